"""The cells of a chart: coordinates per axis, in the order that pictures expect."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from lossatlas import _checks
from lossatlas._errors import InputError

# Cells of a chart: with what is kept of each, a gigabyte.
MOST_CELLS = 20_000_000
Array = NDArray[np.float64]

Span = float | tuple[float, float] | Sequence[tuple[float, float]]


@final
@dataclass(frozen=True, eq=False)
class Grid:
    """A tensor grid of one or two axes; rows follow the second axis, the first runs fastest.

    Attributes:
        axes: coordinates along each direction, uniform and increasing.
    """

    axes: tuple[Array, ...]

    @property
    def dimension(self) -> int:
        """1 for a line, 2 for a plane."""
        return len(self.axes)

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx); on a line (1, nx)."""
        return (1 if self.dimension == 1 else len(self.axes[1])), len(self.axes[0])

    @property
    def cells(self) -> int:
        """How many there are."""
        return math.prod(self.shape)

    @property
    def finest(self) -> int:
        """The dyadic level whose cells are no wider than the chart's."""
        return max(3, math.ceil(math.log2(max(len(axis) for axis in self.axes) - 1)))

    @property
    def units(self) -> tuple[Array, ...]:
        """Each axis in units of its span, from 0 to 1."""
        return tuple((axis - axis[0]) / (axis[-1] - axis[0]) for axis in self.axes)

    def oriented(self, field: Array) -> Array:
        """A field with the first coordinate first, as rows of the second coordinate."""
        return np.ascontiguousarray(field.T) if self.dimension == 2 else field.reshape(1, -1)

    def coords(self, cells: NDArray[np.int64] | None = None) -> Array:
        """Coordinates of cells by their flat numbers, of all cells by default, (n, k); the first axis runs fastest."""
        numbers = np.arange(self.cells) if cells is None else cells
        columns = []
        for axis in self.axes:
            columns.append(axis[numbers % len(axis)])
            numbers = numbers // len(axis)
        return np.stack(columns, 1)

    def place(self, units: Array) -> Array:
        """Coordinates of points given in units of the spans; the middle of a symmetric span is exactly 0."""
        low = np.array([axis[0] for axis in self.axes])
        high = np.array([axis[-1] for axis in self.axes])
        return low * (1 - units) + high * units

    def cell(self, coords: Array) -> NDArray[np.int64]:
        """The flat number of the cell that lies exactly at each point, or −1."""
        found = np.zeros(len(coords), dtype=np.int64)
        hit = np.ones(len(coords), dtype=bool)
        stride = 1
        for k, axis in enumerate(self.axes):
            step = (axis[-1] - axis[0]) / (len(axis) - 1)
            index = np.clip(np.rint((coords[:, k] - axis[0]) / step).astype(np.int64), 0, len(axis) - 1)
            hit &= np.abs(axis[index] - coords[:, k]) <= 1e-12 * max(abs(axis[0]), abs(axis[-1]))
            found += stride * index
            stride *= len(axis)
        return np.where(hit, found, -1)

    def hit(self, *units: Array) -> NDArray[np.bool_]:
        """Which cells, (ny, nx), lie exactly at one of some points given in units of the spans."""
        mask = np.zeros(self.shape, dtype=bool)
        for points in units:
            found = self.cell(self.place(points))
            mask.flat[found[found >= 0]] = True
        return mask


def grid(span: Span, points: int | tuple[int, int], dimension: int) -> Grid:
    """The cells of a chart.

    Args:
        span: how far to both sides; (low, high) for both axes, or one such pair per axis.
        points: cells per axis, or (nx, ny).
        dimension: 1 or 2.

    Raises:
        InputError: for fewer than two points, or a span that is not finite or has no width.
    """
    counts = counts_of(points, dimension)
    if min(counts[:dimension]) < 2:
        raise InputError(
            f"got points={_checks.shown(points)}; expected at least 2 per axis, as one number or (nx, ny)."
        )
    pairs = _pairs(span)
    for low, high in pairs[:dimension]:
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise InputError(f"got span={span}; expected a finite width above 0, as a number, (low, high), or 'auto'.")
    axes = [even(low, high, n) for (low, high), n in zip(pairs, counts, strict=True)]
    return Grid(tuple(axes[:dimension]))


def counts_of(points: int | tuple[int, int], axes: int = 2) -> tuple[int, int]:
    """Cells per axis from one number or (nx, ny).

    Raises:
        InputError: if they are no whole numbers of at least 1.
    """
    if isinstance(points, list | tuple) or (isinstance(points, np.ndarray) and points.ndim == 1):
        if len(points) != 2:
            raise InputError(
                f"got points={_checks.shown(points)}; expected at least 2 per axis, as one number or (nx, ny)."
            )
        nx, ny = points
    else:
        nx = ny = points
    do = "Give at least 2 per axis, as one number or (nx, ny)."
    nx, ny = _checks.whole("points", nx, do=do), _checks.whole("points", ny, do=do)
    cells = nx if axes == 1 else nx * ny
    if cells > MOST_CELLS:
        times = f"{nx:,}" if axes == 1 else f"{nx:,} × {ny:,}"
        raise InputError(
            f"got points={_checks.shown(points)}: {times} cells, {cells:,} evaluations of the loss where none is interpolated; "
            f"expected at most {MOST_CELLS:,}. {do}"
        )
    return nx, ny


def _pairs(span: Span) -> list[tuple[float, float]]:
    if isinstance(span, int | float | np.number):
        width = _checks.number("span", span, do="It is the half width of the chart, in units of the axes.")
        return [(-width, width)] * 2
    try:
        ends: list[Any] = list(span)
        if len(ends) == 2 and all(isinstance(end, int | float | np.number) for end in ends):
            ends = [ends]
        pairs = [(float(low), float(high)) for low, high in (ends * 2 if len(ends) == 1 else ends)]
    except (TypeError, ValueError, RuntimeError, OverflowError):
        pairs = []
    if len(pairs) != 2:
        raise InputError(f"got span={span!r}; expected a number, (low, high), such a pair per axis, or 'auto'.")
    return pairs


def even(low: float, high: float, n: int) -> Array:
    """Coordinates at even distances; the middle of a symmetric axis is exactly 0."""
    axis = np.linspace(low, high, n)
    if low == -high and n % 2:
        axis[n // 2] = 0.0
    return axis
