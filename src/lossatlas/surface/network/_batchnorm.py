"""Where the running statistics of batch norm come from as the weights move: they are no parameters, yet L needs them.

Four answers, of which none is the right one for every picture: the model's own (``frozen``), moved along with the
weights between models (``interpolate``), measured anew at every point (``recompute``), or those of each batch
(``batch``). LayerNorm and GroupNorm keep no statistics and need no answer.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lossatlas import _checks
from lossatlas._errors import ModelError
from lossatlas._layout import Block, Layout
from lossatlas.surface._caption import Caption

MODES = ("frozen", "interpolate", "recompute", "batch")
_KINDS = ("running_mean", "running_var")
_BatchNorm = nn.modules.batchnorm._BatchNorm


@final
class Statistics:
    """The running statistics of a model as a vector s of S entries, in the layout of a point (θ, s).

    Args:
        model: the user's, left as it is; a private copy is changed to fit by `apply`.
        mode: one of `MODES`.
        layout: of θ.

    Attributes:
        mode: as given.
        layers: names of the batch norms that keep running statistics.
        layout: the blocks of θ, then those of s (kind ``statistic``); only θ's in the modes without an s.

    Raises:
        UnknownNameError: for another mode.
        ModelError: if θ and s are of different types.
    """

    def __init__(self, model: nn.Module, mode: str, layout: Layout) -> None:
        _checks.one_of("batch norm mode", mode, MODES)
        found = {
            name: module
            for name, module in model.named_modules()
            if isinstance(module, _BatchNorm) and module.running_mean is not None
        }
        self.mode, self.layers = mode, tuple(found)
        self.batchwise = tuple(
            name for name, module in model.named_modules() if isinstance(module, _BatchNorm) and name not in found
        )
        self._offset = layout.dimension
        self._stored = {
            _key(name, kind): getattr(module, kind).clone() for name, module in found.items() for kind in _KINDS
        }
        blocks = list(layout.blocks)
        for name, module in found.items():
            if mode not in ("frozen", "batch"):
                for kind in _KINDS:
                    tensor: Tensor = getattr(module, kind)
                    _same_type(name, tensor, next(model.parameters()))
                    offset = blocks[-1].offset + blocks[-1].size
                    blocks.append(Block(_key(name, kind), tuple(tensor.shape), "statistic", offset))
        self.layout = Layout(tuple(blocks), frozen=layout.frozen)
        self._blocks = self.layout.blocks[len(layout.blocks) :]
        self.own = self.of(dict(model.named_buffers()))

    @property
    def moves(self) -> bool:
        """Whether there is an s, which changes from point to point."""
        return bool(self._blocks)

    @property
    def recomputes(self) -> bool:
        """Whether s is measured at every point."""
        return self.moves and self.mode == "recompute"

    @property
    def by_batch(self) -> bool:
        """Whether each batch is normalized by its own statistics."""
        return self.mode == "batch" and bool(self.layers)

    def of(self, tensors: Mapping[str, Tensor]) -> Tensor | None:
        """The vector s (S,) in a state dict, or None where it lacks one of the statistics."""
        if not all(block.name in tensors for block in self._blocks):
            return None
        parts = [tensors[block.name].detach().reshape(-1) for block in self._blocks]
        return torch.cat(parts) if parts else None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the entries of s, in order."""
        return tuple(block.name for block in self._blocks)

    def fit(self, constants: Mapping[str, Tensor]) -> None:
        """Take the statistics of a model as it was, whatever it holds by now."""
        self._stored = {name: constants[name].clone() for name in self._stored}
        self.own = self.of(constants)

    def apply(self, model: nn.Module) -> None:
        """Let a private copy's batch norms take their statistics from where the mode says."""
        for name in self.layers:
            module: Any = model.get_submodule(name)
            module.eval()
            if self.mode == "batch":
                forget(module)
            elif self.mode != "frozen":
                module.forward = partial(_explicit, module)

    def restore(self, model: nn.Module) -> None:
        """Give a changed copy of the model its statistics back, and torch's own way to use them."""
        for name in self.layers:
            module: Any = model.get_submodule(name)
            module.__dict__.pop("forward", None)
            module.track_running_stats = True
            for kind in _KINDS:
                setattr(module, kind, self._stored[_key(name, kind)].clone())

    def nonnegative(self, whole: dict[str, Tensor]) -> dict[str, Tensor]:
        """The same tensors with variances below zero, which extrapolation gives, put at zero."""
        return {name: _clamped(name, value) for name, value in whole.items()}

    def clamp_(self, flat: Tensor) -> None:
        """Put variances below zero at zero, in a vector (θ, s)."""
        for block in self._blocks:
            if block.name.endswith(_KINDS[1]):
                flat[block.span].clamp_(min=0)

    def positive(self, statistics: Tensor) -> list[tuple[float, float]]:
        """How far each direction can be followed from the origin, alone, before a variance falls below zero.

        Args:
            statistics: shape (k + 1, S), as a `Frame` has them.

        Returns:
            The lowest and highest coordinate per direction.
        """
        spans = [slice(b.offset - self._offset, b.offset - self._offset + b.size) for b in self._blocks]
        kept = [span for span, b in zip(spans, self._blocks, strict=True) if b.name.endswith(_KINDS[1])]
        base, *rates = torch.cat([statistics[:, span] for span in kept], 1).double()
        ends = []
        for rate in rates:
            crossing = -base / rate
            high = crossing[rate < 0].min() if bool((rate < 0).any()) else torch.tensor(float("inf"))
            low = crossing[rate > 0].max() if bool((rate > 0).any()) else torch.tensor(float("-inf"))
            ends.append((float(low), float(high)))
        return ends

    def record(self, sizes: list[int]) -> dict[str, Any]:
        """For a surface's fingerprint: the mode, and the batches where they matter."""
        if not self.layers:
            return {}
        batches = {"batch_sizes": sorted(set(sizes), reverse=True)} if self.mode in ("batch", "recompute") else {}
        return {"batchnorm": self.mode, **batches}

    def notes(self, sizes: list[int], loss: float, stored: float | None, *, default: bool = False) -> tuple[str, ...]:
        """What a reader of pictures must know, in sentences.

        Args:
            sizes: of the batches.
            loss: at the model's own parameters.
            stored: the same with the running statistics that the model came with, where they are not used.
            default: whether they are frozen only where no line or plane between models moves them.
        """
        batches = " or ".join(f"{size:,}" for size in sorted(set(sizes), reverse=True))
        own = (
            f"; at the model's own parameters the loss is then {loss:.5g}, with its stored statistics {stored or 0:.5g}"
        )
        count = f"{len(self.layers)} batch norm layer{'s' if len(self.layers) > 1 else ''}"
        says = {
            "frozen": f"batch norm ran on frozen statistics: {count} kept the means and variances of the model's own point, "
            "except on lines and planes between models, which say so"
            if default
            else f"batch norm ran on frozen statistics: {count} kept the means and variances of the model's own point "
            "everywhere",
            "interpolate": f"the running statistics of {count} move with the weights on lines and planes between "
            "models, and are frozen elsewhere",
            "recompute": f"the running statistics of {count} were measured anew at every point over all "
            f"{sum(sizes):,} examples{own}",
            "batch": f"{count} normalized each batch of {batches} examples by itself{own}",
        }
        found = [says[self.mode]] if self.layers else []
        if self.batchwise:
            found.append(f"{len(self.batchwise)} batch norms keep no statistics and normalized each batch of {batches}")
        return tuple(Caption(sentence) for sentence in found)


@final
class Collector:
    """A copy of a model whose batch norms normalize each batch by itself and hand out what they measured.

    Args:
        model: copied.
        statistics: which layers, in which order.
    """

    def __init__(self, model: nn.Module, statistics: Statistics) -> None:
        self.model = copy.deepcopy(model)
        self._layers, self._own = statistics.layers, statistics.own
        self._seen: dict[str, list[Tensor]] = {}
        for name in self._layers:
            module: Any = self.model.get_submodule(name)
            forget(module)
            module.forward = partial(self._measuring, name, module)

    def measure(self, run: Callable[[], Any]) -> Tensor:
        """The statistics (S,) of one batch: means, and unbiased variances as running statistics hold them.

        A layer that is passed several times gives the mean of what it saw, one that is not passed keeps its own.

        Args:
            run: runs the collector's model on the batch.
        """
        self._seen = {name: [] for name in self._layers}
        run()
        assert self._own is not None
        parts, begin = [], 0
        for name in self._layers:
            rows = self._seen[name]
            size = 2 * int(self.model.get_submodule(name).num_features)  # type: ignore[arg-type]
            parts.append(torch.stack(rows).mean(0) if rows else self._own[begin : begin + size])
            begin += size
        self._seen = {}
        return torch.cat(parts)

    def _measuring(self, name: str, module: Any, x: Tensor) -> Tensor:
        count = x.numel() // x.shape[1]
        if count < 2:
            raise ValueError(f"Expected more than 1 value per channel, got input size {tuple(x.shape)}")
        variance, mean = torch.var_mean(x, dim=[axis for axis in range(x.ndim) if axis != 1], correction=0)
        self._seen[name].append(torch.cat([mean, variance * (count / (count - 1))]))
        return _normalized(module, x, mean, variance)


def batchwise(model: nn.Module, momentum: float = 0.0) -> list[Any]:
    """Let a user's batch norms normalize each batch by itself, as in training; whoever calls this puts them back.

    Args:
        model: the user's.
        momentum: the share of a batch in running statistics; 0 leaves them as they are.

    Returns:
        The batch norms.
    """
    found: list[Any] = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
    for module in found:
        module.training, module.momentum = True, momentum
    return found


@contextmanager
def watched(model: nn.Module) -> Iterator[Callable[[], list[Tensor]]]:
    """Normalize batches by themselves, and hand out what batch norms measured since the last time.

    Yields:
        A function that gives mean and variance of each batch norm: of one that was passed several times the mean of
        what it saw, of one that was not passed its own.
    """
    norms = batchwise(model, momentum=1.0)
    rows: dict[int, list[list[Tensor]]] = {id(module): [] for module in norms}
    own = [[getattr(module, kind).clone() for kind in _KINDS] for module in norms]

    def keep(module: Any, _: Any, __: Any) -> None:
        rows[id(module)].append([getattr(module, kind).clone() for kind in _KINDS])

    def seen() -> list[Tensor]:
        found = []
        for module, before in zip(norms, own, strict=True):
            passes = rows[id(module)]
            found += [torch.stack(kind).double().mean(0) for kind in zip(*(passes or [before]), strict=True)]
            passes.clear()
        return found

    hooks = [module.register_forward_hook(keep) for module in norms]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def settled(model: nn.Module, statistics: list[Tensor]) -> None:
    """Give a user's batch norms their running statistics, means and variances in turn, and let them use these."""
    rest = iter(statistics)
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.running_mean is not None:
            module.training = False
            for kind in _KINDS:
                getattr(module, kind).copy_(next(rest))


def tracked(model: nn.Module) -> bool:
    """Whether a model has batch norms that keep running statistics."""
    return any(isinstance(m, _BatchNorm) and m.running_mean is not None for m in model.modules())


def forget(module: Any) -> None:
    """Let a batch norm normalize each batch by its own statistics, in evaluation mode too."""
    module.track_running_stats = False
    module.running_mean = module.running_var = module.num_batches_tracked = None


def _explicit(self: Any, x: Tensor) -> Tensor:
    return _normalized(self, x, self.running_mean, self.running_var)


def _normalized(module: Any, x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """Batch norm with given statistics, by formula where gradients are wanted: torch's own has none for them."""
    if not torch.is_grad_enabled():
        return F.batch_norm(x, mean, variance, module.weight, module.bias, False, 0.0, module.eps)
    shape = (1, -1) + (1,) * (x.ndim - 2)
    scale = torch.rsqrt(variance + module.eps)
    if module.weight is not None:
        scale = scale * module.weight
    y: Tensor = (x - mean.reshape(shape)) * scale.reshape(shape)
    return y if module.bias is None else y + module.bias.reshape(shape)


def _clamped(name: str, value: Tensor) -> Tensor:
    return value.clamp_min(0) if name.rpartition(".")[2] == _KINDS[1] else value


def _key(name: str, kind: str) -> str:
    return f"{name}.{kind}" if name else kind


def _same_type(name: str, statistic: Tensor, weight: Tensor) -> None:
    if statistic.dtype != weight.dtype:
        raise ModelError(
            f"the running statistics of {name!r} are {statistic.dtype}, the weights {weight.dtype}; expected one type, "
            "since they are moved together. Convert the model, or use batchnorm='frozen'."
        )
