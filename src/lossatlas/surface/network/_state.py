"""A network's loss over its whole state: parameters and running statistics, with what one pass shows beside the loss.

Batch norm keeps statistics that are no parameters. Between two networks they have no natural value, so whoever
compares networks must be able to say which ones are meant: here they are coordinates like the others.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NoReturn, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import vmap

from lossatlas._errors import InputError, NotApplicableError
from lossatlas.surface._layout import Block, Layout
from lossatlas.surface._surface import Reading, Sample, Surface
from lossatlas.surface.network import _data, _loss, _model
from lossatlas.surface.network._data import Batch
from lossatlas.surface.network._network import NetworkSurface

_BatchNorm = nn.modules.batchnorm._BatchNorm


@final
class StateSurface(Surface):
    """L(θ, s) of a network, s being the running means and variances of its batch norms; values only.

    A point is θ followed by s, in the order of `layout`; a network without batch norm has an empty s. Besides the
    loss one pass can tell, for each point: the loss of each example, the outputs, what chosen modules put out, and
    the statistics that batch norm would measure.

    Args:
        base: the network's surface; its data and its loss are used.
        examples: tell ``losses`` (B, n), the loss of each example, and ``right`` (B, n) where the loss is a
            classification loss.
        outputs: tell ``outputs`` (B, n, C), flattened behind the examples.
        taps: names of modules whose outputs to tell, each as ``tap/NAME`` (B, n, …).
        measure: let batch norm normalize each batch by its own statistics and tell their mean over the batches as
            ``statistics`` (B, S), weighted by size. The loss is then that of the batch-normalized network.
        limit: use only the first so many examples.

    Source:
        Re-estimation as Izmailov et al.: Averaging weights leads to wider optima, UAI 2018, section 3.2.
    """

    gradients_known: ClassVar[bool] = False

    def __init__(
        self,
        base: NetworkSurface,
        *,
        examples: bool = False,
        outputs: bool = False,
        taps: Sequence[str] = (),
        measure: bool = False,
        limit: int | None = None,
    ) -> None:
        self.base = base
        self.name, self.dtype, self.device = base.name, base.dtype, base.device
        self._examples, self._outputs, self._taps, self._measure = examples, outputs, tuple(taps), measure
        self._model = copy.deepcopy(base._model)
        base._statistics.restore(self._model)
        self._flat = _model.bind(self._model, base.layout, base.theta)
        modules = dict(self._model.named_modules())
        unknown = [name for name in self._taps if name not in modules]
        if unknown:
            raise InputError(f"the model has no module {unknown[0]!r}; expected names from model.named_modules().")
        self._norms = [m for m in modules.values() if isinstance(m, _BatchNorm) and m.running_mean is not None]
        self._statistics = {
            f"{name}.{kind}" if name else kind: getattr(module, kind)
            for name, module in modules.items()
            if module in self._norms
            for kind in ("running_mean", "running_var")
        }
        # What the model came with; reading other points overwrites the buffers themselves.
        self._own = {name: value.clone() for name, value in self._statistics.items()}
        self.layout = _extended(base.layout, self._statistics)
        self.start = self.join(self._model.state_dict())
        self._batches = _first(base._batches, limit)
        self.examples = sum(batch.size for batch in self._batches)

    @property
    def parameters(self) -> int:
        """How many entries of a point are parameters; the rest are running statistics."""
        return self.base.dimension

    @property
    def tells_accuracy(self) -> bool:
        """Whether readings have an ``accuracy``: the loss is a classification loss on class numbers."""
        return self.base._objective.accurate

    def join(self, state: Mapping[str, Tensor]) -> Tensor:
        """A point from a state dict; running statistics that are not in it are the base's own."""
        own = {name: value for name, value in self._own.items() if name not in state}
        return self.layout.join({**state, **own}).to(self.device, self.dtype)

    @property
    def constants(self) -> dict[str, Tensor]:
        """What the network holds besides its coordinates: frozen parameters and further buffers, by name."""
        moving = {name for block in self.layout.blocks for name in (block.name, *block.aliases)}
        return {n: v.detach().clone() for n, v in self._model.state_dict().items() if n not in moving}

    def split(self, point: Tensor) -> dict[str, Tensor]:
        """The whole state dict of a point (N + S,), in the model's order and ready to be loaded."""
        named = self.layout.split(point.detach().to(self.device, self.dtype).clone())
        aliases = {alias: named[block.name] for block in self.layout.blocks for alias in block.aliases}
        every = {**self.constants, **named, **aliases}
        return {name: every[name] for name in self._model.state_dict()}

    def specimen(self, examples: int) -> tuple[nn.Module, tuple[Any, ...], dict[str, Any]]:
        """A copy of the model and the inputs of a few examples, on the CPU, to look at how it is built."""
        (first, *_) = _first(self._batches, examples)
        inputs, keywords = (
            _data.moved(part, torch.device("cpu")) for part in (first.inputs, self.base._objective.keywords(first))
        )
        return copy.deepcopy(self._model).cpu(), inputs, keywords

    def read(self, points: Tensor) -> Reading:
        """Losses at points (B, N + S), with the channels that were chosen."""
        if points.ndim != 2 or points.shape[1] != self.dimension:
            raise InputError(
                f"got points of shape {tuple(points.shape)}; expected (B, {self.dimension}): parameters, then the "
                "running statistics of batch norm. Build them with join."
            )
        points = points.detach().to(self.device, self.dtype)
        with _data.untouched_randomness(self.device), torch.no_grad():
            rows = [self._one(point) for point in points]
        channels = {name: torch.stack([row[name] for row in rows]) for name in rows[0]} if rows else {}
        values = channels.pop("loss", torch.empty(0, dtype=torch.float64))
        return Reading(values, channels)

    def gradients(self, points: Tensor, sample: Sample | None = None) -> NoReturn:
        """None: ask the network's own surface.

        Raises:
            NotApplicableError: always.
        """
        raise NotApplicableError(f"{self.name} with its running statistics answers values only.")

    def products(self, point: Tensor, vectors: Tensor) -> NoReturn:
        """None: ask the network's own surface.

        Raises:
            NotApplicableError: always.
        """
        raise NotApplicableError(f"{self.name} with its running statistics answers values only.")

    def fingerprint(self) -> dict[str, Any]:
        """The base's, and that running statistics are coordinates."""
        return {**self.base.fingerprint(), "dimension": self.dimension, "statistics": self.dimension - self.parameters}

    def _one(self, point: Tensor) -> dict[str, Tensor]:
        self._flat.copy_(point[: self.parameters])
        for name, value in self.layout.split(point).items():
            if name in self._statistics:
                self._statistics[name].copy_(value)
        seen: dict[str, list[Tensor]] = {}
        hooks = [self._tap(name, seen) for name in self._taps]
        totals, done = torch.zeros(2, dtype=torch.float64, device=self.device), 0
        try:
            for batch in self._batches:
                # A batch of one has no variance; it is left out of the estimate where there are others.
                self._estimate(self._measure and (batch.size > 1 or len(self._batches) == 1), batch.size, done)
                output = self._model(*batch.inputs, **self.base._objective.keywords(batch))
                loss, hits = self.base._objective.measure(output, batch)
                totals += torch.stack([loss.double(), hits.double()]) * batch.size
                done += batch.size
                for name, rows in self._details(output, batch, loss).items():
                    seen.setdefault(name, []).append(rows)
        finally:
            self._estimate(False, 0, 0)
            for hook in hooks:
                hook.remove()
        told = {"loss": totals[0] / self.examples}
        if self.base._objective.accurate:
            told["accuracy"] = totals[1] / self.examples
        if self._measure:
            told["statistics"] = torch.cat([v.reshape(-1) for v in (*self._statistics.values(), self._flat[:0])])
        return {**told, **{name: torch.cat(parts) for name, parts in seen.items()}}

    def _estimate(self, measure: bool, size: int, done: int) -> None:
        """Batch norm keeps the mean of what it has seen, weighted by size, or leaves its statistics alone."""
        for module in self._norms:
            module.training = measure
            module.momentum = size / (done + size) if measure else 0.0

    def _tap(self, name: str, seen: dict[str, list[Tensor]]) -> torch.utils.hooks.RemovableHandle:
        def keep(_: nn.Module, __: Any, output: Any) -> None:
            found = output[0] if isinstance(output, tuple) else output
            seen.setdefault(f"tap/{name}", []).append(found.detach().clone())

        return self._model.get_submodule(name).register_forward_hook(keep)

    def _details(self, output: Any, batch: Batch, loss: Tensor) -> dict[str, Tensor]:
        told: dict[str, Tensor] = {}
        compared = _loss.predictions(output)
        if self._outputs:
            told["outputs"] = self._rows(compared, batch)
        if self._examples:
            told["losses"] = self._each(compared, batch, loss)
            if self.base._objective.accurate and isinstance(compared, Tensor) and compared.ndim == 2:
                told["right"] = (compared.argmax(1) == batch.target).double()
        return told

    def _rows(self, output: Any, batch: Batch) -> Tensor:
        if not isinstance(output, Tensor) or output.ndim == 0 or len(output) != batch.size:
            raise NotApplicableError(
                f"the model {self.name!r} puts out {type(output).__name__}, not one row per example; expected a tensor "
                f"with {batch.size} rows (or an output with such logits) to compare networks example by example."
            )
        return output.reshape(batch.size, -1).clone()

    def _each(self, output: Any, batch: Batch, loss: Tensor) -> Tensor:
        """The loss of each example; refused unless their mean is the loss of the batch."""
        self._rows(output, batch)
        each = _by_example(self.base._objective.loss, output, batch.target)
        off = abs(float(each.mean()) - float(loss)) if each is not None else float("inf")
        if each is None or off > 1e-4 * (1 + abs(float(loss))):
            raise NotApplicableError(
                f"the loss {self.base._objective.loss.name!r} is not the plain mean of a loss per example; expected one, as an "
                "interval over examples needs it. Use a loss without weights over the batch."
            )
        return each.double()


_NONE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": lambda o, t: F.cross_entropy(o, t, reduction="none"),
    "nll": lambda o, t: F.nll_loss(o, t, reduction="none"),
    "mse": lambda o, t: F.mse_loss(o, t, reduction="none"),
    "l1": lambda o, t: F.l1_loss(o, t, reduction="none"),
    "huber": lambda o, t: F.huber_loss(o, t, reduction="none"),
    "bce_with_logits": lambda o, t: F.binary_cross_entropy_with_logits(o, t, reduction="none"),
}


def _by_example(loss: _loss.Loss, output: Tensor, target: Any) -> Tensor | None:
    """The loss of each example (n,), or None where the loss cannot be taken apart."""
    if not isinstance(target, Tensor) or target.ndim == 0 or len(target) != len(output):
        return None
    if loss is _loss.NAMED.get(loss.name) and loss.name in _NONE:
        return _NONE[loss.name](output, target).reshape(len(output), -1).mean(1)
    try:
        return vmap(lambda o, t: loss.function(o[None], t[None]).reshape(()))(output, target)
    except (RuntimeError, ValueError, TypeError, NotImplementedError):
        pass  # a loss that vmap does not take is asked example by example
    try:
        found = [loss.function(o, t).reshape(()) for o, t in zip(_singly(output), _singly(target), strict=True)]
    except (RuntimeError, ValueError, TypeError):
        return None
    return torch.stack(found)


def _singly(rows: Tensor) -> list[Tensor]:
    return [rows[k : k + 1] for k in range(len(rows))]


def _extended(layout: Layout, statistics: Mapping[str, Tensor]) -> Layout:
    blocks, offset = list(layout.blocks), layout.dimension
    for name, value in statistics.items():
        blocks.append(Block(name, tuple(value.shape), "statistic", offset))
        offset += blocks[-1].size
    return Layout(tuple(blocks))


def _first(batches: tuple[Batch, ...], limit: int | None) -> tuple[Batch, ...]:
    if limit is None or limit >= sum(batch.size for batch in batches):
        return batches
    if limit < 1:
        raise InputError(f"got limit={limit} examples; expected at least 1, or None for all.")
    kept: list[Batch] = []
    for batch in batches:
        room = limit - sum(one.size for one in kept)
        if room > 0:
            kept.append(batch if batch.size <= room else batch.rows(torch.arange(room, device=_device(batch))))
    return tuple(kept)


def _device(batch: Batch) -> torch.device:
    tensors = [v for v in (*batch.inputs, *batch.keywords.values()) if isinstance(v, Tensor)]
    return tensors[0].device if tensors else torch.device("cpu")
