"""How far rounding alone moves a loss: measured by readings of one place that are rounded differently."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lossatlas.chart.sampling._grid import Grid

Array = NDArray[np.float64]

# Readings of a place. A parabola is taken out of them, which leaves as many but three to tell the rounding by.
READINGS = 8
PLACES = 2
# A type whose numbers lie closer than this share of the tolerance keeps nothing from it.
MATTERS = 1e-3
# Two readings of one standard deviation each differ by less in 95 % of cases.
DIFFER = 1.96 * math.sqrt(2)


def readings(rounding: float, tolerance: float) -> int:
    """How many losses the measurement evaluates: none where the type is fine enough for the tolerance.

    Args:
        rounding: the spacing of numbers at 1 in the coarsest type that a loss is computed in.
        tolerance: of the chart.
    """
    return READINGS * PLACES if rounding > MATTERS * tolerance else 0


def floor(read: Callable[[Array], Array], cells: Grid, apart: Array) -> tuple[float, float]:
    """By what share of the loss two evaluations of one point differ that are rounded differently, in 95 % of cases.

    Losses f₀ … f₇ are read at c, c + δ, …, c + 7δ, where δ is twice the coordinate at which half of a step is
    rounding: far enough apart that most parameters are rounded anew at each, near enough that the surface itself is a parabola there. With
    the residuals r of the parabola of least squares, σ² = Σ r² / 5, and two readings differ by less than 1.96 √2 σ in 95 %
    of cases. This is told as a share of the mean |f|.

    Args:
        read: losses (P,) at coordinates (P, k).
        cells: the grid of the chart.
        apart: (k,), δ along each direction.

    Returns:
        Near the center (the middle of the spans, where they leave it out), and half way to the corner of the largest
        coordinates; 0 where a loss is not finite, or is 0.

    Source:
        Estimating the noise of a function from differences of values nearby: Moré & Wild 2011, doi:10.1137/100786125.
    """
    low, high = (np.array([axis[end] for axis in cells.axes if len(axis) > 1]) for end in (0, -1))
    center = np.where((low < 0) & (high > 0), 0.0, (low + high) / 2)
    starts = np.stack([center, (center + high) / 2])
    # A span that is all rounding has room for no more.
    step = np.minimum(apart, (high - low) / (4 * READINGS))
    along = np.arange(READINGS)[:, None] * step
    found = read((starts[:, None] + along).reshape(-1, len(step))).reshape(PLACES, READINGS)
    near, away = (_share(row) for row in found)
    return near, away


def _share(losses: Array) -> float:
    size = float(np.abs(losses).mean())
    if not np.isfinite(losses).all() or size == 0:
        return 0.0
    t = np.arange(READINGS, dtype=np.float64)
    parabola = np.polynomial.polynomial.polyfit(t, losses, 2)
    left = losses - np.polynomial.polynomial.polyval(t, parabola)
    return DIFFER * math.sqrt(float((left**2).sum()) / (READINGS - 3)) / size
