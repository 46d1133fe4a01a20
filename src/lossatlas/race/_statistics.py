"""Intervals for shares of runs."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence

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


def ert(costs: Sequence[float], spent: Sequence[float]) -> float:
    """Expected running time (ERT, aRT): queries spent before the target by all runs, failures whole / successes.

    Args:
        costs: per run until the target, infinity for a failure.
        spent: per run in all.

    Returns:
        Queries, infinity without a success.

    Source: Hansen et al., Optimization Methods and Software 36 (2021).

    Example:
        >>> ert([10.0, math.inf, 30.0], [100, 100, 100])
        70.0
    """
    successes = sum(math.isfinite(cost) for cost in costs)
    if not successes:
        return math.inf
    return sum(min(cost, whole) for cost, whole in zip(costs, spent, strict=True)) / successes


def ecdf(costs: Sequence[float], budgets: Sequence[float]) -> list[float]:
    """Share of (problem, target, run) triples that were reached within each budget.

    Args:
        costs: of every triple, infinity where the target was missed.
        budgets: in the unit of the costs.

    Example:
        >>> ecdf([1.0, 5.0, math.inf], [1, 4, 10])
        [0.3333333333333333, 0.3333333333333333, 0.6666666666666666]
    """
    ordered = sorted(costs)
    return [bisect.bisect_right(ordered, budget) / len(ordered) for budget in budgets]
