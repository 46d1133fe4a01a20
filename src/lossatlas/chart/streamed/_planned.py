"""What a pass through a streamed model takes, found without a number: operations, and bytes of activations by device.

The model's own forward runs on fake tensors, which have a shape, a type and a device and no memory. Of modules that are
alike and stand in one list, as the layers of a transformer do, one is run.
"""

from __future__ import annotations

import contextlib
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from lossatlas.chart.streamed._passes import Unit
from lossatlas.chart.streamed._pieces import CHUNK, moved_to

# Rows of the matrices whose product is timed: the largest of these that is done in a few milliseconds, or the one after it.
SIDES, QUICK = (128, 256, 512, 1024, 2048, 4096), 0.005
# Numbers whose drawing and summing is timed, and how often each is.
DRAWN, TIMES = 2**18, 2


@dataclass(frozen=True)
class Planned:
    """What passes take.

    Attributes:
        flops: of one point, all batches.
        held: bytes by device that one pass holds while it waits for the others.
        beside: bytes by device that the one that runs takes beside that.
    """

    flops: int
    held: Mapping[str, int]
    beside: Mapping[str, int]

    def activations(self, together: int) -> dict[str, int]:
        """Bytes by device with so many passes side by side."""
        devices = sorted({*self.held, *self.beside})
        return {name: together * self.held.get(name, 0) + self.beside.get(name, 0) for name in devices}


@final
class _Like:
    """What a tensor looks like."""

    def __init__(self, one: Tensor) -> None:
        self.shape, self.stride, self.dtype, self.device = one.shape, one.stride(), one.dtype, one.device

    def again(self) -> Tensor:
        """Another like it."""
        return torch.empty_strided(self.shape, self.stride, dtype=self.dtype, device=self.device)


@dataclass(frozen=True)
class Rates:
    """How fast a device is, as it was measured.

    Attributes:
        flops: operations of a matrix product in a second.
        side: rows of its matrices.
        draws: directions' entries drawn in a second.
        moves: parameters moved to a point in a second.
        device: in words.
    """

    flops: float
    side: int
    draws: float
    moves: float
    device: str


def rates(device: torch.device, dtype: torch.dtype, axes: int) -> Rates:
    """Time a product of two square matrices, the drawing of directions, and the sum w₀ + Σ cₖ dₖ, on a device."""
    for side in SIDES:
        one, other = (torch.ones(side, side, dtype=dtype, device=device) for _ in range(2))
        product = _fastest(lambda a=one, b=other: a @ b, device)  # type: ignore[misc]
        if product > QUICK:
            break
    generator = torch.Generator().manual_seed(0)
    weight = torch.ones(DRAWN, dtype=dtype, device=device)
    drawn = [torch.empty(DRAWN) for _ in range(axes)]
    directions = [one.to(device) for one in drawn]
    point = (0.5,) * axes

    def draw() -> None:
        # Drawn, squared for the lengths of filters, and scaled by them.
        drawn[0].normal_(generator=generator).mul_(drawn[0].double().square().sum().float())

    drawing = _fastest(draw, device)
    moving = _fastest(lambda: moved_to(weight, directions, point), device)
    name = (
        torch.cuda.get_device_name(device) if device.type == "cuda" else f"this CPU ({torch.get_num_threads()} threads)"
    )
    return Rates(2 * side**3 / product, side, DRAWN / drawing, DRAWN / moving, name)


def _fastest(work: Callable[[], Any], device: torch.device) -> float:
    taken = []
    for _ in range(1 + TIMES):  # the first one warms up
        begin = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - begin)
    return max(min(taken[1:]), 1e-9)


@final
class _Seen(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the operations of what runs, and the bytes that are alive at a time, by device.

    Args:
        there: tensors that are there before, whose views are no new bytes.
    """

    def __init__(self, there: Sequence[Any] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0
        self.live: Counter[str] = Counter()
        # While a pass waits; and what is alive beside that until the next wait.
        self.held: Counter[str] = Counter()
        self.beside: Counter[str] = Counter()
        self._base: Counter[str] = Counter()
        before = [one.untyped_storage() for one in there if isinstance(one, Tensor)]
        self._known = {one._cdata: ("", 0) for one in before}
        self._before = before

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        from torch.utils import flop_counter

        out = func(*args, **(kwargs or {}))
        count: Any = flop_counter.flop_registry.get(func._overloadpacket)
        if count is not None:
            self.flops += int(count(*args, **(kwargs or {}), out_val=out))
        elif "scaled_dot_product" in str(func):  # some kinds are missing there
            attention: Any = flop_counter.sdpa_flop_count
            self.flops += int(attention(*(one.shape for one in args[:3])))
        for one in tree_leaves(out):
            if isinstance(one, Tensor):
                self._see(one)
        return out

    def _see(self, one: Tensor) -> None:
        storage = one.untyped_storage()
        key, name = storage._cdata, str(one.device)
        if key in self._known:
            return
        self._known[key] = name, storage.nbytes()
        self.live[name] += storage.nbytes()
        self.took(name, 0)
        weakref.finalize(storage, self._gone, key)

    def _gone(self, key: int) -> None:
        name, size = self._known.pop(key)
        self.live[name] -= size

    def took(self, name: str, more: int) -> None:
        """So many bytes beside what is alive are taken for a moment."""
        self.beside[name] = max(self.beside[name], self.live[name] + more - self._base[name])

    def waits(self) -> None:
        """A pass comes to a module that waits for the others."""
        self._base = Counter(self.live)
        for name, size in self.live.items():
            self.held[name] = max(self.held[name], size)


def planned(
    model: nn.Module,
    units: Sequence[Unit],
    batches: Sequence[Any],
    arguments: Callable[[Any, torch.device], tuple[tuple[Any, ...], dict[str, Any]]],
    last: nn.Module | None,
    device: torch.device,
) -> Planned:
    """What one pass of each batch takes.

    Args:
        model: the user's; where its parameters are on the meta device they are taken to lie on `device`.
        units: the modules that moved weights are made for.
        batches: the data.
        arguments: what the model is called with.
        last: the layer whose tokens are judged some rows of its weight at a time, or None.
        device: that inputs go to.

    Raises:
        Exception: whatever the model raises that looks at numbers on its way.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    flops, held, beside = 0, Counter[str](), Counter[str]()
    known: dict[Any, tuple[int, Counter[str], Counter[str]]] = {}
    for batch in batches:
        shapes = str(tree_map(lambda one: (one.shape, one.dtype) if isinstance(one, Tensor) else one, batch))
        if shapes not in known:
            with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
                own = {name: _fake(one, device) for name, one in _tensors(model)}
                positional, named = tree_map(
                    lambda one: _fake(one, device) if isinstance(one, Tensor) else one,
                    arguments(batch, torch.device("meta")),
                )
                with _Seen(tree_leaves((own, positional, named))) as seen, _alike(model, units, last, seen):
                    torch.func.functional_call(model, own, positional, named)
            known[shapes] = seen.flops, seen.held, seen.beside
        of_one = known[shapes]
        flops += of_one[0]
        held, beside = held | of_one[1], beside | of_one[2]
    return Planned(flops, dict(held), dict(beside))


def _weight_of(module: nn.Module) -> Tensor:
    found: Any = module.weight
    weight: Tensor = found
    return weight


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()


def _fake(one: Tensor, device: torch.device) -> Tensor:
    return torch.empty(one.shape, dtype=one.dtype, device=device if one.is_meta else one.device)


@contextlib.contextmanager
def _alike(model: nn.Module, units: Sequence[Unit], last: nn.Module | None, seen: _Seen) -> Iterator[None]:
    """Modules that wait say so, large layers take what they take by rows, and of modules alike in one list one is run."""
    known: dict[Any, tuple[Any, int, Counter[str]]] = {}
    replaced: list[tuple[nn.Module, Any]] = []

    def put(module: nn.Module, forward: Callable[..., Any]) -> None:
        replaced.append((module, vars(module).get("forward")))
        module.forward = forward

    def waiting(inner: Callable[..., Any]) -> Callable[..., Any]:
        def forward(*args: Any, **kwargs: Any) -> Any:
            seen.waits()
            return inner(*args, **kwargs)

        return forward

    def by_rows(unit: Unit) -> Callable[..., Any]:
        module: Any = unit.module

        def forward(given: Tensor) -> Tensor:
            seen.waits()
            name, weight = str(given.device), _weight_of(module)
            if unit.by_rows == "embedding":
                return weight.new_empty((*given.shape, weight.shape[1]))
            tokens, rows = given.numel() // given.shape[-1], max(1, CHUNK // weight.shape[1])
            seen.flops += 2 * tokens * weight.numel()
            if module is last:
                # Logits of some rows at a time: as they come, in float32, and their exponentials.
                seen.took(name, tokens * rows * (weight.element_size() + 8))
                return given.new_zeros(()).expand(*given.shape[:-1], weight.shape[0])
            return given.new_empty((*given.shape[:-1], weight.shape[0]))

        return forward

    def once(inner: Callable[..., Any], kind: Any) -> Callable[..., Any]:
        def forward(*args: Any, **kwargs: Any) -> Any:
            leaves = tree_leaves((args, kwargs))
            key = kind, str([(one.shape, one.dtype, one.device) if isinstance(one, Tensor) else one for one in leaves])
            if key in known:
                like, flops, most = known[key]
                seen.flops += flops
                for name, more in most.items():
                    seen.took(name, more)
                return tree_map(lambda one: one.again() if isinstance(one, _Like) else one, like)
            before, alive = seen.flops, Counter(seen.live)
            out = inner(*args, **kwargs)
            like = tree_map(lambda one: _Like(one) if isinstance(one, Tensor) else one, out)
            known[key] = (
                like,
                seen.flops - before,
                Counter({name: max(0, seen.beside[name] + seen._base[name] - alive[name]) for name in seen.beside}),
            )
            return out

        return forward

    try:
        for unit in units:
            put(unit.module, by_rows(unit) if unit.by_rows else waiting(unit.module.forward))
        for stack in (one for one in model.modules() if isinstance(one, nn.ModuleList | nn.Sequential)):
            for module in stack:
                kind = type(module), str([(name, one.shape, one.dtype, one.device) for name, one in _tensors(module)])
                put(module, once(module.forward, kind))
        yield
    finally:
        for module, before in reversed(replaced):
            if before is None:
                del module.forward
            else:
                module.forward = before
