"""Cells of a chart from few that are filled in: between cells that lie closer than the field varies, the loss runs smoothly.

Losses are filled in on a coarse lattice. Each halving of its step predicts the points in between by a spline in the
metric of the picture; where the points of the step before came out wrong, they are filled in; elsewhere the prediction
is kept. Cells drawn from those that were predicted say how far off they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RectBivariateSpline
from scipy.ndimage import maximum_filter

from lossatlas.chart.sampling._fill import Channels
from lossatlas.chart.sampling._grid import Grid
from lossatlas.chart.sampling._metric import Metric

Array = NDArray[np.float64]
Cells = NDArray[np.int64]
Mask = NDArray[np.bool_]
Fill = Callable[[Cells], tuple[Array, Channels]]
Close = Callable[[Cells, Array], Mask]

# Points per axis of the first lattice, at least.
LATTICE = 12
# Predicted cells that are filled in to see how far off they are, where the picture is read most closely and anywhere.
CHECKED = 64
# From one lattice to the next the error of cubic splines falls by 16, at kinks of outputs by less.
SHRINKS = 1 / 8
# Errors of further channels that a lattice may add, as a share of their range, and in units of what one example changes:
# the share of right predictions has steps that no lattice resolves.
CHANNEL, STEPS = 0.005, 3.0
# So often is a lattice that was too coarse refined with a quarter of the tolerance, before all cells are filled in.
TRIES = 3


@final
@dataclass(eq=False)
class Filled:
    """Losses and channels of all cells.

    Attributes:
        loss: (m,).
        extras: by channel, (m,).
        filled: how many cells were computed from outputs.
        near: 95th percentile of the error that the lattice adds where the picture is read most closely, in the metric.
        anywhere: of the error that it adds to all cells.
        channels: by channel, of the absolute error that it adds.
    """

    loss: Array
    extras: Channels
    filled: int
    near: float
    anywhere: float
    channels: dict[str, float]


def fill_all(
    grid: Grid,
    fill: Fill,
    metric: Metric,
    allowed: tuple[float, float],
    close: Close,
    *,
    first: int = LATTICE,
    quantum: float = 0.0,
) -> Filled:
    """Losses and channels of all cells.

    Args:
        grid: the cells.
        fill: losses and channels of cells by number, from interpolated outputs.
        metric: of the picture.
        allowed: 95th percentile of the error, in that metric, that the lattice may add where the picture is read most
            closely, and anywhere.
        close: which of some cells, given with their losses, are where the picture is read most closely.
        first: points per axis of the first lattice, at least.
        quantum: what one example changes of a further channel.
    """
    lattice = _Lattice(grid, fill, metric, close, STEPS * quantum)
    steps = [max(0, int(np.log2(max(1, (n - 1) / first)))) for n in grid.shape]
    if grid.dimension == 2 and max(steps) > 0:
        rng = np.random.default_rng(0)
        for attempt in range(TRIES):
            values = lattice.refine(steps, np.array(allowed) / 4**attempt)
            if values is None:
                break
            found = lattice.checked(*values, rng)
            if found.near <= allowed[0] and found.anywhere <= allowed[1]:
                return found
    everything = np.arange(grid.cells)
    lattice.compute(everything)
    return Filled(lattice.loss, lattice.extras, grid.cells, 0.0, 0.0, dict.fromkeys(lattice.extras, 0.0))


@final
class _Lattice:
    """What was filled in so far, on ever finer lattices."""

    def __init__(self, grid: Grid, fill: Fill, metric: Metric, close: Close, least: float) -> None:
        self.grid, self.metric, self._fill, self._close, self._least = grid, metric, fill, close, least
        self.loss = np.full(grid.cells, np.nan)
        self.extras: Channels = {}
        self.known = np.zeros(grid.cells, dtype=bool)

    def compute(self, cells: Cells) -> None:
        """Fill in those cells that are not yet."""
        cells = cells[~self.known[cells]]
        if len(cells) == 0:
            return
        self.loss[cells], extras = self._fill(cells)
        for name, values in extras.items():
            self.extras.setdefault(name, np.full(self.grid.cells, np.nan))[cells] = values
        self.known[cells] = True

    def refine(self, steps: list[int], allowed: Array) -> tuple[Array, Channels] | None:
        """All cells, filled in or predicted; None where losses are not finite."""
        axes = [_every(n, 2**step) for n, step in zip(self.grid.shape, steps, strict=True)]
        cells = self._numbers(axes)
        self.compute(cells.ravel())
        fields = self._fields(cells)
        if not np.isfinite(fields[0]).all():
            return None
        # The first errors are those of every other point of the first lattice, had it been left out.
        coarse = [_every(len(axis), 2) for axis in axes]
        kept = np.ix_(*coarse)
        rare = [axis[few] for axis, few in zip(axes, coarse, strict=True)]
        guess = [self._between(rare, field[kept], axes, k) for k, field in enumerate(fields)]
        wrong = self._wrong(cells, guess, fields, allowed)
        while any(steps):
            steps = [max(0, step - 1) for step in steps]
            finer = [_every(n, 2**step) for n, step in zip(self.grid.shape, steps, strict=True)]
            inside = [np.searchsorted(new, old) for new, old in zip(finer, axes, strict=True)]
            sizes = [len(axis) for axis in finer]
            guess = [self._between(axes, field, finer, k) for k, field in enumerate(fields)]
            old = np.zeros(sizes, dtype=bool)
            old[np.ix_(*inside)] = True
            # Of a point in between, the errors of the nearest points of the step before speak.
            spread = maximum_filter(wrong, 3)
            near = [np.clip(np.searchsorted(o, f), 0, len(o) - 1) for o, f in zip(axes, finer, strict=True)]
            cells = self._numbers(finer)
            self.compute(cells[(SHRINKS * spread[np.ix_(*near)] > 1) & ~old])
            have = self.known[cells]
            fields = [np.where(have, true, value) for true, value in zip(self._fields(cells), guess, strict=True)]
            if not np.isfinite(fields[0]).all():
                return None
            wrong = np.where(have & ~old, self._wrong(cells, guess, fields, allowed), 0.0)
            axes = finer
        return fields[0].ravel(), {name: f.ravel() for name, f in zip(self.extras, fields[1:], strict=True)}

    def checked(self, loss: Array, extras: Channels, rng: np.random.Generator) -> Filled:
        """Fill in some cells that were predicted, and hold the predictions against them."""
        close = self._close(np.arange(len(loss)), loss)
        drawn, shares = [], []
        for part in (close, np.ones(len(loss), dtype=bool)):
            free = np.flatnonzero(part & ~self.known)
            drawn.append(rng.choice(free, min(CHECKED, len(free)), replace=False))
            shares.append(len(free) / max(1, int(part.sum())))
        filled = int(self.known.sum())
        self.compute(np.concatenate(drawn))
        off = [
            _quantile(self.metric.error(loss[cells], self.loss[cells]), share)
            for cells, share in zip(drawn, shares, strict=True)
        ]
        channels = {
            name: _quantile(np.abs(values[drawn[1]] - self.extras[name][drawn[1]]), shares[1])
            for name, values in extras.items()
        }
        have = self.known
        return Filled(
            np.where(have, self.loss, loss),
            {name: np.where(have, self.extras[name], values) for name, values in extras.items()},
            filled,
            off[0],
            off[1],
            channels,
        )

    def _numbers(self, axes: list[Cells]) -> Cells:
        found: Cells = axes[0][:, None] * self.grid.shape[1] + axes[1]
        return found

    def _fields(self, cells: Cells) -> list[Array]:
        return [self.loss[cells], *(values[cells] for values in self.extras.values())]

    def _between(self, axes: list[Cells], values: Array, finer: list[Cells], k: int) -> Array:
        """A field on a lattice from a coarser one; the loss is the first."""
        scaled = self.metric.forth(values) if k == 0 else values
        degrees = [min(3 if k == 0 else 1, len(axis) - 1) for axis in axes]
        spline = RectBivariateSpline(axes[0], axes[1], scaled, kx=degrees[0], ky=degrees[1])
        found: Array = spline(finer[0], finer[1])
        if k == 0:
            found = self.metric.back(found)
            return np.maximum(found, 0.0) if self.metric.name == "relative" else found
        return np.clip(found, values.min(), values.max())

    def _wrong(self, cells: Cells, guess: list[Array], true: list[Array], allowed: Array) -> Array:
        """Errors of predictions in units of what is allowed."""
        close = self._close(cells.ravel(), true[0].ravel()).reshape(cells.shape)
        found = self.metric.error(guess[0], true[0]) / np.where(close, *allowed)
        for one, other in zip(guess[1:], true[1:], strict=True):
            span = float(np.ptp(other))
            if span > 0:
                found = np.maximum(found, np.abs(one - other) / max(CHANNEL * span, self._least))
        return found


def _every(n: int, step: int) -> Cells:
    """Every so many of n, and the last."""
    return np.unique(np.append(np.arange(0, n, step), n - 1))


def _quantile(errors: Array, share: float) -> float:
    """The 95th percentile over all cells where these are drawn from a share of them and the others have no error."""
    if share <= 0.05 or len(errors) == 0:
        return 0.0
    return float(np.quantile(errors, 1 - 0.05 / share))
