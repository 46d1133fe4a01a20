"""Charts of very many cells: outputs are filled in on a lattice of them, and the loss runs smoothly in between.

Between cells that lie closer than the field varies the loss itself interpolates well, in the metric of the picture. The
lattice is refined until cells between its points say so.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RectBivariateSpline

from lossatlas.chart.sampling._fill import Channels
from lossatlas.chart.sampling._grid import Grid
from lossatlas.chart.sampling._metric import Metric

Array = NDArray[np.float64]
Fill = Callable[[NDArray[np.int64]], tuple[Array, Channels]]

# Cells that are filled without further thought, and lattice points per axis to begin with.
PLENTY, LATTICE = 6000, 51
CHECKED = 64


def fill_all(grid: Grid, fill: Fill, metric: Metric, allowed: float, *, first: int = LATTICE) -> tuple[Array, Channels]:
    """Losses and channels of all cells.

    Args:
        grid: the cells.
        fill: losses and channels of cells by number, from interpolated outputs.
        metric: of the picture.
        allowed: 95th percentile of the error, in that metric, that the lattice may add.
        first: lattice points per axis to begin with. Of fewer cells than `PLENTY` all are filled unless it is less than
            `LATTICE`; the tenth of the cells with the lowest losses is filled as well then.

    Returns:
        Losses (m,), and by channel (m,).
    """
    everything = np.arange(grid.cells)
    coarse = first < LATTICE
    if grid.dimension == 1 or (grid.cells <= PLENTY and not coarse):
        return fill(everything)
    rows, columns = grid.shape
    rng = np.random.default_rng(0)
    count = first
    while count < max(rows, columns):
        j, i = _even(rows, count), _even(columns, count)
        loss, extras = fill((j[:, None] * columns + i).ravel())
        if not np.isfinite(loss).all():
            break
        values = metric.back(_between(j, i, metric.forth(loss), rows, columns))
        values = np.clip(values, None if metric.name == "spacing" else 0.0, None)
        low = np.argsort(values)[: grid.cells // 20]
        check = np.concatenate([rng.choice(everything, CHECKED), rng.choice(low, CHECKED)])
        true, more = fill(check)
        if np.quantile(metric.error(values[check], true), 0.95) <= allowed:
            channels = {
                name: np.clip(_between(j, i, channel, rows, columns, 1), channel.min(), channel.max())
                for name, channel in extras.items()
            }
            found = [((j[:, None] * columns + i).ravel(), loss, extras), (check, true, more)]
            if coarse:
                lowest = np.argsort(values)[: grid.cells // 10]
                found.append((lowest, *fill(lowest)))
            for cells, losses, others in found:
                values[cells] = losses
                for name, channel in others.items():
                    channels[name][cells] = channel
            return values, channels
        count = 2 * count - 1
    return fill(everything)


def _even(cells: int, count: int) -> NDArray[np.int64]:
    found: NDArray[np.int64] = np.unique(np.rint(np.linspace(0, cells - 1, min(cells, count))).astype(np.int64))
    return found


def _between(
    j: NDArray[np.int64], i: NDArray[np.int64], values: Array, rows: int, columns: int, degree: int = 3
) -> Array:
    order_j, order_i = min(degree, len(j) - 1), min(degree, len(i) - 1)
    spline = RectBivariateSpline(j, i, values.reshape(len(j), len(i)), kx=order_j, ky=order_i)
    found: Array = spline(np.arange(rows), np.arange(columns)).ravel()
    return found
