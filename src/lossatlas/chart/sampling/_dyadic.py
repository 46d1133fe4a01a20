"""A field known at some nodes of nested dyadic grids, filled level by level with cubic splines.

A value is predicted from the coarser level first; what a sampled node differs by is its surplus. Surpluses tell where
the field is not resolved yet (interpolating wavelets: Deslauriers & Dubuc 1989, Donoho 1992), and which cells to split.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RectBivariateSpline, make_interp_spline
from scipy.ndimage import distance_transform_edt

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Nodes = NDArray[np.int64]

COARSEST = 1


@dataclass(frozen=True, eq=False)
class Filled:
    """A field on the whole grid of its finest level.

    Attributes:
        grid: values, (2^L + 1) per axis; axis 0 is the first coordinate.
        surplus: by level, the values less their prediction; 0 at nodes that were not evaluated.
        holes: nodes of the finest grid whose nearest evaluated node is not finite.
    """

    grid: Array
    surplus: dict[int, Array]
    holes: Mask

    def at(self, *axes: Array) -> Array:
        """The field on the tensor grid of unit coordinates, one array in [0, 1] per axis; holes are NaN."""
        values = spline(self.grid, *axes)
        if self.holes.any():
            last = len(self.holes) - 1
            nearest = np.ix_(*(np.rint(axis * last).astype(np.int64) for axis in axes))
            values = np.where(self.holes[nearest], np.nan, values)
        return values


@final
@dataclass(eq=False)
class Dyadic:
    """What is known of a field over the unit square (or interval), and the tree of cells it was refined by.

    Nodes are integer coordinates on the grid of their level: i / 2^level. A cell of a level is split by evaluating the
    nodes of the next level in it.

    Attributes:
        dimension: 1 or 2.
        finest: the last level that may be evaluated.
        data: by level, the values at nodes that are new there; NaN elsewhere.
        evaluated: by level, which nodes were evaluated.
        leaves: by level, which cells are not split.
    """

    dimension: int
    finest: int
    data: dict[int, Array] = field(default_factory=dict)
    evaluated: dict[int, Mask] = field(default_factory=dict)
    leaves: dict[int, Mask] = field(default_factory=dict)

    @property
    def top(self) -> int:
        """The finest level with an evaluated node."""
        return max(self.data, default=COARSEST)

    @property
    def count(self) -> int:
        """Nodes evaluated so far."""
        return sum(int(mask.sum()) for mask in self.evaluated.values())

    def whole(self, level: int) -> list[tuple[int, Nodes]]:
        """All nodes of a level and the coarser ones that were not evaluated yet, by level; its cells become leaves."""
        found = []
        for k in range(COARSEST, level + 1):
            self._open(k)
            fresh = self._new(k) & ~self.evaluated[k]
            if fresh.any():
                found.append((k, np.argwhere(fresh)))
            self.leaves[k][...] = k == level
        return found

    def split(self, cells: dict[int, Mask]) -> list[tuple[int, Nodes]]:
        """Split leaf cells, given by level; the nodes of the next level in them that were not evaluated yet."""
        found = []
        for level, chosen in cells.items():
            if level >= self.finest or not chosen.any():
                continue
            self._open(level + 1)
            self.leaves[level] &= ~chosen
            fine = chosen
            for axis in range(self.dimension):
                fine = np.repeat(fine, 2, axis)
            self.leaves[level + 1] |= fine
            fresh = _corners(fine) & self._new(level + 1) & ~self.evaluated[level + 1]
            if fresh.any():
                found.append((level + 1, np.argwhere(fresh)))
        return found

    def tell(self, level: int, nodes: Nodes, values: Array) -> None:
        """Keep the values at nodes of one level."""
        self._open(level)
        place = tuple(nodes.T)
        self.data[level][place] = values
        self.evaluated[level][place] = True

    def value(self, level: int, nodes: Nodes) -> Array:
        """What was told at nodes of a level; NaN where nothing was."""
        if level not in self.data:
            return np.full(len(nodes), np.nan)
        found: Array = self.data[level][tuple(nodes.T)]
        return found

    def nodes(self) -> tuple[Array, Array]:
        """Unit coordinates (n, dimension) and values (n,) of all that was evaluated."""
        places, values = [], []
        for level, mask in self.evaluated.items():
            places.append(np.argwhere(mask) / 2**level)
            values.append(self.data[level][mask])
        return np.concatenate(places), np.concatenate(values)

    def fill(self, transform: Callable[[Array], Array], top: int | None = None) -> Filled:
        """Predict level by level, put in what was evaluated, and note by how much it differed.

        Args:
            transform: of the values, before anything is interpolated.
            top: last level to use; all of them by default.
        """
        top = self.top if top is None else top
        values = transform(self.data[COARSEST])
        holes = ~np.isfinite(values)
        grid = _patched(values, holes)
        surplus: dict[int, Array] = {}
        for level in range(COARSEST + 1, top + 1):
            axis = np.linspace(0.0, 1.0, 2**level + 1)
            predicted = spline(grid, *([axis] * self.dimension))
            coarse = (slice(None, None, 2),) * self.dimension
            predicted[coarse] = grid
            expected = _near(holes)
            mask, told = self.evaluated[level], transform(self.data[level])
            wrong = mask & ~np.isfinite(told)
            use = mask & ~wrong
            grid = np.where(use, told, predicted)
            holes = np.where(mask, wrong, expected)
            # Where holes begin is not resolved until the cells are as fine as they may be.
            change = np.where(use, grid - predicted, 0.0)
            surplus[level] = np.where(mask & (wrong != expected), np.inf, change)
        return Filled(grid, surplus, holes)

    def _open(self, level: int) -> None:
        if level not in self.data:
            shape = (2**level + 1,) * self.dimension
            self.data[level] = np.full(shape, np.nan)
            self.evaluated[level] = np.zeros(shape, dtype=bool)
            self.leaves[level] = np.zeros((2**level,) * self.dimension, dtype=bool)

    def _new(self, level: int) -> Mask:
        """Nodes of a level that are on no coarser one."""
        fresh = np.ones((2**level + 1,) * self.dimension, dtype=bool)
        if level > COARSEST:
            fresh[(slice(None, None, 2),) * self.dimension] = False
        return fresh


def spline(grid: Array, *axes: Array) -> Array:
    """The interpolating cubic spline of values on a uniform grid over [0, 1]^k, on a tensor grid of coordinates.

    With fewer than four nodes per axis the degree is as high as they allow.
    """
    degree = min(3, len(grid) - 1)
    x = np.linspace(0.0, 1.0, len(grid))
    if grid.ndim == 1:
        return np.asarray(make_interp_spline(x, grid, k=degree)(axes[0]), dtype=np.float64)
    fitted = RectBivariateSpline(x, x, grid, kx=degree, ky=degree)
    return np.asarray(fitted(*axes), dtype=np.float64)


def _corners(cells: Mask) -> Mask:
    """The nodes of a level that are corners of some of its cells."""
    nodes = cells
    for axis in range(cells.ndim):
        pad = [(1, 1) if k == axis else (0, 0) for k in range(cells.ndim)]
        padded = np.pad(nodes, pad)
        low = tuple(slice(None, -1) if k == axis else slice(None) for k in range(cells.ndim))
        high = tuple(slice(1, None) if k == axis else slice(None) for k in range(cells.ndim))
        nodes = padded[low] | padded[high]
    return nodes


def _patched(values: Array, holes: Mask) -> Array:
    """Holes take the value of the nearest finite node, so that a spline can run through."""
    if not holes.any():
        return values
    if holes.all():
        return np.zeros_like(values)
    nearest = distance_transform_edt(holes, return_distances=False, return_indices=True)
    patched: Array = values[tuple(nearest)]
    return patched


def _near(holes: Mask) -> Mask:
    """Holes on the next level, by the nearest coarser node."""
    fine = holes
    for axis in range(holes.ndim):
        index = np.rint(np.arange(2 * fine.shape[axis] - 1) / 2).astype(np.int64)
        fine = np.take(fine, index, axis)
    return fine
