"""Intervals for shares of runs."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lossatlas import _checks
from lossatlas._statistics import proportion_interval


def wilson(successes: int, runs: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a share.

    (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n), with p = successes / n.

    Args:
        successes: how many runs succeeded.
        runs: how many there were, at least one.
        confidence: of the interval, in (0, 1).

    Returns:
        Lower and upper end, both within [0, 1].

    Raises:
        InputError: for anything else.

    Source: Wilson, Journal of the American Statistical Association 22 (1927).

    Example:
        >>> low, high = wilson(8, 10)
        >>> round(low, 4), round(high, 4)
        (0.4902, 0.9433)
    """
    confidence = _checks.number("confidence", confidence, above=0, below=1, do="It is a probability, such as 0.95.")
    runs = _checks.whole("runs", runs, where="wilson")
    return proportion_interval(_checks.whole("successes", successes, 0, runs, where="wilson"), runs, confidence)


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
