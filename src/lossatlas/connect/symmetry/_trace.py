"""Watching a network run once, to learn which axes of its weights belong together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from lossatlas.connect.symmetry._equivariance import tensors
from lossatlas.connect.symmetry._labels import Labels
from lossatlas.connect.symmetry._rules import OUTPUT, Dims, Rules
from lossatlas.surface import StateSurface

EXAMPLES = 2
INPUT = "an axis of the input"
UNREAD = "the loss does not depend on them"


@final
class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Hands every operation that is executed to the rules, and notes what its results are computed from."""

    def __init__(self, rules: Rules) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._rules = rules
        # By memory, not by tensor: views share it, and what is written into one is read through all. Rules keep what
        # they have seen alive, so that no memory is used twice.
        self._sources: dict[int, set[int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self._rules.follow(func, args, kwargs or {}, out)
        given = {_memory(tensor) for tensor in tensors([list(args), list((kwargs or {}).values())])}
        for tensor in tensors(out):
            self._sources.setdefault(_memory(tensor), set()).update(given)
        return out

    def behind(self, read: Iterable[Tensor]) -> set[int]:
        """The memories that tensors are computed from, their own included."""
        found: set[int] = set()
        waiting = {_memory(tensor) for tensor in read}
        while waiting:
            one = waiting.pop()
            found.add(one)
            waiting |= self._sources.get(one, set()) - found
        return found


@dataclass(frozen=True, eq=False)
class Trace:
    """What was seen.

    Attributes:
        labels: of all axes.
        axes: parameters and running statistics, by name, to the labels of their axes.
        taps: outputs of modules without children, in the order they came, with the labels of their axes.
        held: for every tensor on the way, the labels of its axes.
    """

    labels: Labels
    axes: dict[str, Dims]
    taps: tuple[tuple[str, Dims], ...]
    held: list[set[int]]


def trace(states: StateSurface, *, scaling: bool = False) -> Trace:
    """Run a copy of the network on a few examples and watch.

    Args:
        states: the network.
        scaling: find which units can be rescaled, instead of permuted.
    """
    found, written = _watched(states, scaling, uniform=True)
    return _watched(states, scaling, uniform=False)[0] if written else found


def _watched(states: StateSurface, scaling: bool, uniform: bool) -> tuple[Trace, bool]:
    model, batch = states.specimen(EXAMPLES)
    labels = Labels(signed=scaling)
    known: dict[int, tuple[Tensor, Dims]] = {}
    rules = Rules(labels, known, uniform)
    moving = {block.name for block in states.layout.blocks}
    axes: dict[str, Dims] = {}
    own: dict[str, int] = {}
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        fixed = None if name in moving else f"{name} is held constant"
        dims = tuple(labels.new(n, fixed) for n in tensor.shape)
        rules.learn(tensor, dims)
        if name in moving:
            axes[name], own[name] = dims, _memory(tensor)
    for tensor in _leaves(batch.given):
        rules.learn(tensor, tuple(labels.new(n, INPUT) for n in tensor.shape))
    taps: list[tuple[str, Dims]] = []

    def tap(name: str) -> Any:
        def seen(_: nn.Module, __: Any, output: Any) -> None:
            found = output[0] if isinstance(output, tuple) else output
            dims = rules.seen(found) if isinstance(found, Tensor) else None
            if dims is not None:
                taps.append((name, dims))

        return seen

    leaves = [(n, m) for n, m in model.named_modules() if not any(True for _ in m.children())]
    watch = _Watch(rules)
    hooks = [module.register_forward_hook(tap(name)) for name, module in leaves]
    try:
        with _plain_operations(), torch.no_grad(), torch.random.fork_rng(devices=[]):
            read = states.reads(model, batch, watch)
    finally:
        for hook in hooks:
            hook.remove()
    for tensor in read:
        for dim in rules.dims(tensor):
            labels.fix(dim, OUTPUT)
    behind = watch.behind(read)
    live = {label for name in axes if own[name] in behind for dim in axes[name] for label in labels.members(dim)}
    for dim in (dim for name in axes if own[name] not in behind for dim in axes[name]):
        for label in labels.members(dim) - live:
            labels.fix(((label, 1),), UNREAD)
    # A module that ran several times shows different things each time; it is no place to look at units.
    times = Counter(name for name, _ in taps)
    once = tuple((name, dims) for name, dims in taps if times[name] == 1)
    return Trace(labels, axes, once, rules.held()), rules.written


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata if tensor.layout == torch.strided else id(tensor)


@contextmanager
def _plain_operations() -> Iterator[None]:
    """Fused encoder layers and oneDNN's recurrent layers do all in one operation, which tells nothing."""
    fast, fused = torch.backends.mha.get_fastpath_enabled(), torch._C._get_mkldnn_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    torch._C._set_mkldnn_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        torch._C._set_mkldnn_enabled(fused)


def _leaves(given: Any) -> Iterator[Tensor]:
    if isinstance(given, Tensor):
        yield given
    elif isinstance(given, dict):
        for value in given.values():
            yield from _leaves(value)
    elif isinstance(given, list | tuple):
        for value in given:
            yield from _leaves(value)
    elif hasattr(given, "__dict__"):
        yield from _leaves(vars(given))
