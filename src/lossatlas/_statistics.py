"""Intervals that every room takes: Student's for means, Clopper and Pearson's or Wilson's for proportions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np

from lossatlas._imports import imported

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def quantile(confidence: float, freedom: float) -> float:
    """The t of Student's interval: with this confidence his variable with so many degrees of freedom lies within ±t."""
    imported("scipy.stats")
    from scipy.stats import t as student  # imported where used: it alone takes a third of a command's start

    return float(student.ppf(0.5 + confidence / 2, freedom))


def mean(draws: ArrayLike, confidence: float = 0.95) -> tuple[float, float, float]:
    """The mean of independent draws with Student's interval, m ± t s/√n.

    Args:
        draws: (n,) numbers.
        confidence: of the interval.

    Returns:
        The mean, its standard error s/√n, and half the width of its interval; the last two are infinite where they
        cannot be known, from fewer than two draws or draws that are not finite.

    Source: Student, Biometrika 6 (1908).

    Example:
        >>> middle, error, half = mean([1.0, 2.0, 3.0])
        >>> round(middle, 3), round(error, 3), round(half, 3)
        (2.0, 0.577, 2.484)
    """
    rows = np.asarray(draws, dtype=np.float64)
    n, middle = len(rows), float(rows.mean()) if len(rows) else 0.0
    if n < 2 or not np.isfinite(rows).all():
        return middle, math.inf, math.inf
    error = float(rows.std(ddof=1)) / math.sqrt(n)
    return middle, error, quantile(confidence, n - 1) * error


def mean_interval(draws: ArrayLike, confidence: float = 0.95) -> tuple[float, float]:
    """Both ends of the interval of `mean`: everything where it cannot be known.

    Example:
        >>> low, high = mean_interval([1.0, 2.0, 3.0])
        >>> round(low, 3), round(high, 3)
        (-0.484, 4.484)
    """
    middle, _, half = mean(draws, confidence)
    return (middle - half, middle + half) if math.isfinite(half) else (-math.inf, math.inf)


def proportion_interval(
    hits: int, draws: int, confidence: float = 0.95, *, method: Literal["exact", "wilson"] = "wilson"
) -> tuple[float, float]:
    """The interval of a probability from so many hits in so many draws.

    Args:
        hits: how many.
        draws: of how many, at least one.
        confidence: of the interval.
        method: ``wilson`` for Wilson's score interval, or ``exact`` for that of Clopper and Pearson.

    Source: Clopper and Pearson, Biometrika 26 (1934); Wilson, Journal of the American Statistical Association 22 (1927).

    Example:
        >>> low, high = proportion_interval(8, 10)
        >>> round(low, 4), round(high, 4)
        (0.4902, 0.9433)
    """
    imported("scipy.stats")
    from scipy.stats import binomtest

    found = binomtest(hits, draws).proportion_ci(confidence, method=method)
    return float(found.low), float(found.high)
