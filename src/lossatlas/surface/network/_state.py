"""A network's loss over its whole state: parameters and running statistics, with what one pass shows beside the loss.

Batch norm keeps statistics that are no parameters. Between two networks they have no natural value, so whoever
compares networks must be able to say which ones are meant: here they are coordinates like the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any, ClassVar, NoReturn, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import vmap

from lossatlas import _checks
from lossatlas._errors import InputError, LossAtlasError, NotApplicableError
from lossatlas._layout import Block, Layout, Sample
from lossatlas.surface._surface import Reading, Surface
from lossatlas.surface.network import _data, _loss
from lossatlas.surface.network._batchnorm import Statistics
from lossatlas.surface.network._copies import bind, private
from lossatlas.surface.network._data import Batch
from lossatlas.surface.network._network import NetworkSurface
from lossatlas.surface.network._objective import Objective, Outcome, OutputObjective
from lossatlas.surface.network._reads import reads
from lossatlas.surface.network._user_code import in_user_code

_KeepsStatistics = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)


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
        outputs: tell ``outputs`` (B, n, C), flattened behind the examples: all that the loss is computed from, or, where
            that is no tensor of one row per example, the losses of the batches (B, batches, 1).
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
        given = {"examples": examples, "outputs": outputs, "taps": list(taps), "measure": measure, "limit": limit}
        made = {"make": "lossatlas.surface:StateSurface", "with": given}
        self.made_by = (*base.made_by, made) if base.made_by else ()
        self.name, self.dtype, self.device = base.name, base.dtype, base.device
        self._examples, self._outputs, self._taps, self._measure = examples, outputs, tuple(taps), measure
        self._reference = base._reference.in_mode("frozen")
        modules = dict(base.model.named_modules())
        unknown = [name for name in self._taps if name not in modules]
        if unknown:
            raise InputError(f"the model has no module {unknown[0]!r}; expected names from model.named_modules().")
        norms = [n for n, m in modules.items() if isinstance(m, _KeepsStatistics) and m.running_mean is not None]
        names = [f"{name}.{kind}" if name else kind for name in norms for kind in ("running_mean", "running_var")]
        self._norms = norms
        # What the model came with; evaluating other points overwrites the buffers themselves.
        self._own = {name: self._reference.constants[name] for name in names}
        self._reference.statistics_names = tuple(names)
        self.layout = _extended(base.layout, self._own)
        self._copy: tuple[nn.Module, Tensor] | None = None
        if base._evaluation.copied():
            frozen = Statistics(base.model, "frozen", base.layout)
            model = private(self._reference, frozen, True)
            self._copy = model, bind(model, base.layout, base._theta)
        self.start = torch.cat([base._theta, *(self._own[n].reshape(-1).to(base.dtype) for n in names)])
        settled = base._settled
        self._batches = _first(settled.batches, limit)
        self._shares = settled.of(self._batches, base._reference).shares if limit is not None else settled.shares
        self.examples = sum(batch.size for batch in self._batches)

    @property
    def parameters(self) -> int:
        """How many entries of a point are parameters; the rest are running statistics."""
        return self.base.dimension

    @property
    def tells_accuracy(self) -> bool:
        """Whether readings have an ``accuracy``: the loss is a classification loss on class numbers."""
        return self.base._settled.hit_shares is not None

    def join(self, state: Mapping[str, Tensor]) -> Tensor:
        """A point from a state dict; running statistics that are not in it are the base's own."""
        own = {name: value for name, value in self._own.items() if name not in state}
        return self.layout.join({**state, **own}).to(self.device, self.dtype)

    @property
    def constants(self) -> dict[str, Tensor]:
        """What the network holds besides its coordinates: frozen parameters and further buffers, by name."""
        moving = {name for block in self.layout.blocks for name in (block.name, *block.aliases)}
        known = self._reference.constants
        saved = self.base.model.state_dict()
        return {n: known.get(n, v).detach().clone() for n, v in saved.items() if n not in moving}

    def split(self, point: Tensor) -> dict[str, Tensor]:
        """The whole state dict of a point (N + S,), in the model's order and ready to be loaded."""
        named = self.layout.split(point.detach().to(self.device, self.dtype).clone())
        aliases = {alias: named[block.name] for block in self.layout.blocks for alias in block.aliases}
        every = {**self.constants, **named, **aliases}
        return {name: every[name] for name in self.base.model.state_dict()}

    def specimen(self, examples: int) -> tuple[nn.Module, Batch]:
        """A copy of the model and a batch of a few examples, on the CPU, to look at how it is built."""
        (first, *_) = _first(self._batches, examples)
        try:
            frozen = Statistics(self.base.model, "frozen", self.base.layout)
            model = private(self._reference, frozen, True).cpu()
        except LossAtlasError as error:
            raise NotApplicableError(
                f"the model of {self.name} is looked at in a copy of its, and {error}; expected a model that copy.deepcopy copies."
            ) from error
        return model, replace(first, given=_data.moved(first.given, torch.device("cpu")))

    def reads(self, model: nn.Module, batch: Batch, watch: AbstractContextManager[Any]) -> list[Tensor]:
        """Run a `specimen` within a watch; of all that it puts out, the tensors that its loss is computed from."""
        return reads(self.base._objective, model, batch, watch)

    @property
    def prediction(self) -> str:
        """What of a network's outputs is averaged over several networks: ``probabilities``, or the ``outputs`` themselves."""
        return "probabilities" if self._plain() in _PROBABILITIES else "outputs"

    def averaged(self, outputs: Tensor) -> Tensor:
        """Outputs (n, C) whose prediction is the mean of those of outputs (K, n, C), in float64.

        Probabilities are averaged where the loss is a named one of scores; of other losses the outputs are.
        """
        mix = _PROBABILITIES.get(self._plain(), _mean)
        return mix(outputs.double())

    def score(self, outputs: Tensor) -> Reading:
        """The user's loss of outputs (n, C) that are no network's own, with what is told of a network: (1,) each, or (1, n).

        Raises:
            NotApplicableError: where the loss is no function of outputs and targets of one row per example.
        """
        objective = self.base._objective
        if not isinstance(objective, OutputObjective):
            raise NotApplicableError(
                f"the objective {objective.name!r} gives one loss for a whole batch, and no outputs; expected a loss of (output, "
                "target) to score averaged predictions."
            )
        hit_shares, seen, done = _shares_of_hits(self._batches, self.base), dict[str, list[Tensor]](), 0
        totals = torch.zeros(2, dtype=torch.float64, device=self.device)
        for k, (batch, share) in enumerate(zip(self._batches, self._shares, strict=True)):
            rows = outputs[done : done + batch.size].to(self.device, self.dtype)
            target, done = batch.target, done + batch.size
            if isinstance(target, Tensor) and target.is_floating_point() and target.numel() == rows.numel():
                rows = rows.reshape(target.shape)
            with in_user_code(batch, k, len(self._batches), "at averaged outputs"), torch.no_grad():
                outcome = objective.measure(rows, batch)
            totals += torch.stack([outcome.loss.double() * share, outcome.hits.double() * hit_shares[k]])
            for name, part in self._details(rows, batch, outcome.loss).items():
                seen.setdefault(name, []).append(part)
        told = {name: torch.cat(parts)[None] for name, parts in seen.items() if name != "outputs"}
        return Reading(totals[:1], told | ({"accuracy": totals[1:]} if self.tells_accuracy else {}))

    def _plain(self) -> str:
        objective = self.base._objective
        return objective.loss.plain if isinstance(objective, OutputObjective) else ""

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
        """None: use the network's own surface.

        Raises:
            NotApplicableError: always.
        """
        raise NotApplicableError(f"{self.name} with its running statistics answers values only.")

    def products(self, point: Tensor, vectors: Tensor) -> NoReturn:
        """None: use the network's own surface.

        Raises:
            NotApplicableError: always.
        """
        raise NotApplicableError(f"{self.name} with its running statistics answers values only.")

    def fingerprint(self) -> dict[str, Any]:
        """The base's, and that running statistics are coordinates."""
        return {**self.base.fingerprint(), "dimension": self.dimension, "statistics": self.dimension - self.parameters}

    @contextmanager
    def _holding(self, point: Tensor) -> Iterator[nn.Module]:
        """A model at a point: the private copy where it is proven, else the user's own."""
        if self._copy is None:
            with self._reference.holding(point[: self.parameters], point[self.parameters :]) as model:
                yield model
            return
        model, flat = self._copy
        flat.copy_(point[: self.parameters])
        buffers = dict(model.named_buffers())
        for name, value in self.layout.split(point).items():
            if name in self._own:
                buffers[name].copy_(value)
        yield model

    def _one(self, point: Tensor) -> dict[str, Tensor]:
        seen: dict[str, list[Tensor]] = {}
        totals, done = torch.zeros(2, dtype=torch.float64, device=self.device), 0
        hit_shares = _shares_of_hits(self._batches, self.base)
        with self._holding(point) as model:
            modules = dict(model.named_modules())
            norms: list[Any] = [modules[name] for name in self._norms]
            hooks = [self._tap(modules[name], name, seen) for name in self._taps]
            try:
                for k, (batch, share) in enumerate(zip(self._batches, self._shares, strict=True)):
                    # A batch of one has no variance; it is left out of the estimate where there are others.
                    _estimate(norms, self._measure and (batch.size > 1 or len(self._batches) == 1), batch.size, done)
                    outcome, output = self._outcome(model, batch, k)
                    totals += torch.stack([outcome.loss.double() * share, outcome.hits.double() * hit_shares[k]])
                    done += batch.size
                    for name, rows in self._details(output, batch, outcome.loss).items():
                        seen.setdefault(name, []).append(rows)
            finally:
                _estimate(norms, False, 0, 0)
                for hook in hooks:
                    hook.remove()
            buffers = dict(model.named_buffers())
            measured = [buffers[name].reshape(-1).to(point.dtype).clone() for name in self._own]
        found = {"loss": totals[0]}
        if self.tells_accuracy:
            found["accuracy"] = totals[1]
        if self._measure:
            found["statistics"] = torch.cat([*measured, point[:0]])
        return {**found, **{name: torch.cat(parts) for name, parts in seen.items()}}

    def _outcome(self, model: nn.Module, batch: Batch, number: int) -> tuple[Outcome, Any]:
        objective, graph = self.base._objective, self._reference.graph
        fresh = batch.fresh(self._reference.clones)
        with in_user_code(batch, number, len(self._batches), "at this point"), torch.set_grad_enabled(graph):
            if not isinstance(objective, OutputObjective):
                return self._own_loss(objective, model, fresh)
            output = model(*fresh.inputs, **fresh.keywords)
            return objective.measure(output, fresh), output

    def _own_loss(self, objective: Objective, model: nn.Module, batch: Batch) -> tuple[Outcome, Any]:
        """The loss that the model or the user computes, with the scores that it was seen to be computed from, if any."""
        if self._outputs:
            try:
                scores = objective.output(model, batch)
                return objective.measure(scores, batch), scores
            except NotApplicableError:
                pass
        return objective(model, batch), None

    def _tap(self, module: nn.Module, name: str, seen: dict[str, list[Tensor]]) -> torch.utils.hooks.RemovableHandle:
        def keep(_: nn.Module, __: Any, output: Any) -> None:
            found = output[0] if isinstance(output, tuple) else output
            seen.setdefault(f"tap/{name}", []).append(found.detach().clone())

        return module.register_forward_hook(keep)

    def _details(self, output: Any, batch: Batch, loss: Tensor) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        if not self._outputs and not self._examples:
            return found
        compared = (
            self.base._objective.compared(output) if isinstance(self.base._objective, OutputObjective) else output
        )
        if self._outputs:
            rows = isinstance(compared, Tensor) and compared.ndim > 0 and len(compared) > 0
            told = compared.reshape(len(compared), -1) if rows else loss.reshape(1, 1)
            found["outputs"] = told.detach().clone()
        if self._examples:
            found["losses"] = self._each(compared, batch, loss)
            if self.tells_accuracy and isinstance(compared, Tensor) and compared.ndim == 2:
                found["right"] = (compared.argmax(1) == batch.target).double()
        return found

    def _rows(self, output: Any, batch: Batch) -> Tensor:
        if not isinstance(self.base._objective, OutputObjective):
            raise NotApplicableError(
                f"the objective {self.base._objective.name!r} gives one loss for a whole batch, and no outputs; expected a loss "
                "of (output, target) to compare networks example by example."
            )
        if not isinstance(output, Tensor) or output.ndim == 0 or len(output) != batch.size:
            raise NotApplicableError(
                f"the model {self.name!r} puts out {type(output).__name__}, not one row per example; expected a tensor "
                f"with {batch.size} rows (or an output with such logits) to compare networks example by example."
            )
        return output.detach().reshape(batch.size, -1).clone()

    def _each(self, output: Any, batch: Batch, loss: Tensor) -> Tensor:
        """The loss of each example; refused unless their mean is the loss of the batch."""
        self._rows(output, batch)
        known = self.base._objective.loss
        each = None if known is None else _by_example(known, output.detach(), batch.target)
        off = abs(float(each.mean()) - float(loss)) if each is not None else float("inf")
        if each is None or off > 1e-4 * (1 + abs(float(loss))):
            raise NotApplicableError(
                f"the loss {self.base._objective.name!r} is not the plain mean of a loss per example; expected one, as an "
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


def _mean(outputs: Tensor) -> Tensor:
    return outputs.mean(0)


# By loss, the outputs whose prediction is the mean of several.
_PROBABILITIES: dict[str, Callable[[Tensor], Tensor]] = {
    "cross_entropy": lambda o: o.log_softmax(2).logsumexp(0) - math.log(len(o)),
    "nll": lambda o: o.logsumexp(0) - math.log(len(o)),
    "bce_with_logits": lambda o: torch.logit(o.sigmoid().mean(0), eps=1e-300),
}


def _by_example(loss: _loss.Loss, output: Tensor, target: Any) -> Tensor | None:
    """The loss of each example (n,), or None where the loss cannot be taken apart."""
    if not isinstance(target, Tensor) or target.ndim == 0 or len(target) != len(output):
        return None
    if loss.plain in _NONE:
        return _NONE[loss.plain](output, target).reshape(len(output), -1).mean(1)
    try:
        return vmap(lambda o, t: loss.function(o[None], t[None]).reshape(()))(output, target)
    except (RuntimeError, ValueError, TypeError, NotImplementedError):
        pass  # a loss that vmap does not take is evaluated example by example
    try:
        found = [loss.function(o, t).reshape(()) for o, t in zip(_singly(output), _singly(target), strict=True)]
    except (RuntimeError, ValueError, TypeError):
        return None
    return torch.stack(found)


def _singly(rows: Tensor) -> list[Tensor]:
    return [rows[k : k + 1] for k in range(len(rows))]


def _estimate(norms: Sequence[Any], measure: bool, size: int, done: int) -> None:
    """Batch norm keeps the mean of what it has seen, weighted by size, or leaves its statistics alone."""
    for module in norms:
        module.training = measure
        module.momentum = size / (done + size) if measure else 0.0


def _shares_of_hits(batches: Sequence[Batch], base: NetworkSurface) -> tuple[float, ...]:
    if base._settled.hit_shares is None:
        return (0.0,) * len(batches)
    if len(batches) == len(base._settled.hit_shares):
        return base._settled.hit_shares
    total = sum(batch.size for batch in batches)
    return tuple(batch.size / total for batch in batches)


def _extended(layout: Layout, statistics: Mapping[str, Tensor]) -> Layout:
    blocks, offset = list(layout.blocks), layout.dimension
    for name, value in statistics.items():
        blocks.append(Block(name, tuple(value.shape), "statistic", offset))
        offset += blocks[-1].size
    return Layout(tuple(blocks))


def _first(batches: tuple[Batch, ...], limit: int | None) -> tuple[Batch, ...]:
    limit = _checks.optional(_checks.whole, "limit", limit)
    if limit is None or limit >= sum(batch.size for batch in batches):
        return batches
    kept: list[Batch] = []
    for batch in batches:
        room = limit - sum(one.size for one in kept)
        if room > 0:
            whole = batch.size <= room or not batch.rows_known
            kept.append(batch if whole else batch.rows(torch.arange(room, device=_device(batch))))
    return tuple(kept)


def _device(batch: Batch) -> torch.device:
    tensors = batch.leaves()
    return tensors[0].device if tensors else torch.device("cpu")
