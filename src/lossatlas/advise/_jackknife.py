"""Intervals of statistics of a design: what they become when a part of its points is left out."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, nan, sqrt

import numpy as np
from numpy.typing import NDArray

from lossatlas._statistics import quantile

Array = NDArray[np.float64]
GROUPS = 20


def jackknife(
    statistic: Callable[[Array, Array], float],
    points: Array,
    values: Array,
    *,
    back: Callable[[float], float] = lambda y: y,
) -> tuple[float, float, float]:
    """A statistic with its 95 % interval by the delete-a-group jackknife, y ± t s with s² = (G − 1)/G Σ (y_g − ȳ)².

    Args:
        statistic: of points (n, N) and values (n,), on a scale on which its error is about normal; NaN where there is none.
        points: the design.
        values: there.
        back: from that scale to the one that is told.

    Returns:
        Value, lower and upper end; NaN and an infinite interval where it is not known.

    Source: Kott, Journal of Official Statistics 17 (2001).
    """
    n = len(values)
    whole, groups = statistic(points, values), min(GROUPS, n)
    if not np.isfinite(whole) or groups < 3:
        return nan, -inf, inf
    told = np.array([statistic(*(np.delete(a, np.s_[g::groups], 0) for a in (points, values))) for g in range(groups)])
    if not np.isfinite(told).all():
        return back(whole), -inf, inf
    error = sqrt((groups - 1) / groups * float(((told - told.mean()) ** 2).sum()))
    half = quantile(0.95, groups - 1) * error
    low, high = sorted((back(whole - half), back(whole + half)))
    return back(whole), low, high
