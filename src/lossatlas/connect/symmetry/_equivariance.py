"""What an operation without a rule of its own does to axes, found by running it on permuted and rescaled numbers.

An operation keeps an axis if permuting its inputs along it permutes what comes out along one axis of that, and it sums
an axis up if permuting changes nothing. Both are tried on the numbers at hand and on random ones. This is one rule for
every elementwise operation, every pooling and every reduction, whatever its name.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

Place = tuple[int, int]
"""A tensor among those that were given, and one of its axes."""

MOST = 2**24  # numbers of an operation that is tried; larger ones are taken to fix their axes
ROUNDINGS = 64.0


@dataclass(frozen=True)
class Kept:
    """Axes that are one axis.

    Attributes:
        places: where it lies in what was given.
        out: by tensor that came out, where it lies there: an axis, None where it is summed up, or −1 where what comes
            out depends on the order along it.
        scales: whether rescaling what was given along it rescales what comes out alike.
    """

    places: tuple[Place, ...]
    out: tuple[int | None, ...]
    scales: bool


@final
class Equivariance:
    """Tries one operation.

    Args:
        function: the operation.
        args: positional arguments.
        kwargs: by name.
    """

    def __init__(self, function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        self._function, self._args, self._kwargs = function, args, kwargs
        self._given = list(tensors([list(args), list(kwargs.values())]))
        self._generator = torch.Generator().manual_seed(0)

    def kept(self) -> list[Kept]:
        """All axes that are kept or summed up; empty if the operation cannot be tried."""
        if not self._given or sum(t.numel() for t in self._given) > MOST:
            return []
        numbers = [[t.detach().clone() for t in self._given], [self._random(t) for t in self._given]]
        try:
            bases = [(given, self._run(given)) for given in numbers]
            if not all(_same(base, self._run(given)) for given, base in bases):
                return []
        except Exception:  # whatever an operation raises on other numbers
            return []
        found: list[Kept] = []
        settled: set[Place] = set()
        for place in ((i, k) for i, t in enumerate(self._given) for k in range(t.ndim) if t.shape[k] > 1):
            if place in settled:
                continue
            for places in dict.fromkeys(self._candidates(place)):
                out = None if set(places) & settled else self._try(places, bases)
                if out is not None:
                    found.append(Kept(places, out, self._scales(places, out, bases)))
                    settled |= set(places)
                    break
        return found

    def _candidates(self, place: Place) -> list[tuple[Place, ...]]:
        """The axis alone, with the axes in front of which as many others lie, or behind which as many do."""
        i, k = place
        size, behind = self._given[i].shape[k], k - self._given[i].ndim
        front = tuple((j, k) for j, t in enumerate(self._given) if k < t.ndim and t.shape[k] == size)
        back = tuple(
            (j, t.ndim + behind) for j, t in enumerate(self._given) if -behind <= t.ndim and t.shape[behind] == size
        )
        return [(place,), back, front]

    def _try(
        self, places: tuple[Place, ...], bases: list[tuple[list[Tensor], list[Tensor]]]
    ) -> tuple[int | None, ...] | None:
        """Where the axis lies in what comes out, or None if the first of it depends on the order along it."""
        size = self._given[places[0][0]].shape[places[0][1]]
        orders = [torch.arange(size).flip(0), torch.randperm(size, generator=self._generator)]
        possible: list[set[int | None]] | None = None
        for (given, base), order in itertools.product(bases, orders):
            moved = list(given)
            for j, axis in places:
                moved[j] = moved[j].index_select(axis, order)
            try:
                out = self._run(moved)
            except Exception:
                return None
            fits = [_fits(one, two, order) for one, two in zip(base, out, strict=True)]
            possible = fits if possible is None else [a & b for a, b in zip(possible, fits, strict=True)]
        if not possible or not possible[0]:
            return None
        return tuple(-1 if not p else min((x for x in p if x is not None), default=None) for p in possible)

    def _scales(self, places: tuple[Place, ...], out: tuple[int | None, ...], bases: Any) -> bool:
        """Whether f(Dx) = D f(x) for positive D along the axis, over many powers of ten."""
        if out[0] is None or out[0] < 0:
            return False
        size = self._given[places[0][0]].shape[places[0][1]]
        scales = torch.exp(8 * torch.randn(size, generator=self._generator, dtype=torch.float64))
        scales[0], scales[-1] = 1e-4, 1e4
        for given, base in bases:
            moved = list(given)
            for j, axis in places:
                if not moved[j].is_floating_point():
                    return False
                moved[j] = _scaled(moved[j], axis, scales)
            try:
                if not _same([_scaled(base[0], out[0], scales)], self._run(moved)[:1]):
                    return False
            except Exception:
                return False
        return True

    def _random(self, like: Tensor) -> Tensor:
        if not like.is_floating_point():
            return like.detach().clone()
        return torch.randn(like.shape, generator=self._generator, dtype=torch.float64).to(like)

    def _run(self, given: Sequence[Tensor]) -> list[Tensor]:
        rest = [t.clone() for t in given]

        def put(value: Any) -> Any:
            if isinstance(value, Tensor):
                return rest.pop(0)
            return type(value)([put(one) for one in value]) if type(value) in (list, tuple) else value

        args = [put(value) for value in self._args]
        kwargs = {name: put(value) for name, value in self._kwargs.items()}
        with torch.no_grad():
            return [t.clone() for t in tensors(self._function(*args, **kwargs))]


def tensors(given: Any) -> Iterator[Tensor]:
    """All tensors in nested lists and tuples."""
    if isinstance(given, Tensor):
        yield given
    elif isinstance(given, list | tuple):
        for item in given:
            yield from tensors(item)


def _fits(base: Tensor, out: Tensor, order: Tensor) -> set[int | None]:
    """The axes of base along which the order makes it what came out; None among them if nothing changed."""
    if base.shape != out.shape:
        return set()
    found: set[int | None] = {None} if _same([base], [out]) else set()
    for axis in range(base.ndim):
        if base.shape[axis] == len(order) and _same([base.index_select(axis, order)], [out]):
            found.add(axis)
    return found


def _same(one: Sequence[Tensor], two: Sequence[Tensor]) -> bool:
    """Equal to rounding, numbers that are not finite included."""
    for a, b in zip(one, two, strict=True):
        if a.shape != b.shape or a.dtype != b.dtype:
            return False
        if not a.is_floating_point():
            if not torch.equal(a, b):
                return False
            continue
        tolerance = ROUNDINGS * torch.finfo(a.dtype).eps
        if not torch.allclose(a, b, rtol=tolerance, atol=tolerance * 1e-30, equal_nan=True):
            finite = a[a.isfinite()].abs()
            if not len(finite) or not torch.allclose(
                a, b, rtol=tolerance, atol=tolerance * float(finite.max()), equal_nan=True
            ):
                return False
    return True


def _scaled(tensor: Tensor, axis: int, scales: Tensor) -> Tensor:
    shape = [1] * tensor.ndim
    shape[axis] = len(scales)
    return (tensor.double() * scales.reshape(shape)).to(tensor)
