"""Means and rank correlations with their intervals, for lessons that compare runs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import ndtri

from lossatlas import _statistics
from lossatlas._imports import imported


def spearman(x: Sequence[float], y: Sequence[float], confidence: float = 0.95) -> tuple[float, float, float]:
    """Spearman's rank correlation with an interval by Fisher's z.

    z = artanh ρ has a standard error of √((1 + ρ²/2) / (n − 3)) (Bonett and Wright 2000).

    Args:
        x: n numbers.
        y: n numbers.
        confidence: of the interval.

    Returns:
        The correlation, and its interval: [−1, 1] for fewer than 5 pairs or where one side is constant.

    Source: Bonett and Wright, Psychometrika 65 (2000).

    Example:
        >>> rho, low, high = spearman([1, 2, 3, 4, 5, 6], [1, 3, 2, 4, 6, 5])
        >>> round(rho, 3), low < rho < high
        (0.886, True)
    """
    imported("scipy.stats")
    from scipy.stats import spearmanr

    a, b = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if len(a) < 5 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0, -1.0, 1.0
    rho = float(spearmanr(a, b).statistic)
    if abs(rho) > 1 - 1e-12:
        return rho, rho, rho
    half = float(ndtri(0.5 + confidence / 2)) * math.sqrt((1 + rho * rho / 2) / (len(a) - 3))
    z = math.atanh(rho)
    return rho, math.tanh(z - half), math.tanh(z + half)


def mean(draws: Sequence[float], confidence: float = 0.95) -> tuple[float, float, float]:
    """A mean with Student's interval; unbounded for fewer than two draws.

    Example:
        >>> middle, low, high = mean([1.0, 2.0, 3.0])
        >>> round(middle, 3), round(low, 3), round(high, 3)
        (2.0, -0.484, 4.484)
    """
    return _statistics.mean(draws, confidence)[0], *_statistics.mean_interval(draws, confidence)


def interval(draws: Sequence[float], form: str = ".3g", suffix: str = "") -> str:
    """A mean and Student's 95 % interval in words.

    Example:
        >>> interval([1.0, 2.0, 3.0])
        '2 (-0.484 to 4.48)'
    """
    middle, low, high = mean(draws)
    return f"{middle:{form}}{suffix} ({low:{form}} to {high:{form}}{suffix})"
