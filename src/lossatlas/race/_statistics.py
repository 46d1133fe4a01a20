"""Intervals for shares of runs."""

from __future__ import annotations

import math

from scipy.stats import norm


def wilson(successes: int, runs: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a share.

    (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n), with p = successes / n.

    Args:
        successes: how many runs succeeded.
        runs: how many there were, at least one.
        confidence: of the interval.

    Returns:
        Lower and upper end, both within [0, 1].

    Source: Wilson, Journal of the American Statistical Association 22 (1927).

    Example:
        >>> low, high = wilson(8, 10)
        >>> round(low, 4), round(high, 4)
        (0.4902, 0.9433)
    """
    z = float(norm.ppf(0.5 + confidence / 2))
    p = successes / runs
    middle = p + z * z / (2 * runs)
    half = z * math.sqrt(p * (1 - p) / runs + z * z / (4 * runs * runs))
    scale = 1 + z * z / runs
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)
