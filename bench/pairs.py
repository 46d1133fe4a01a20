"""Two programs timed in turn."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def pairs(ours: Callable[[], object], theirs: Callable[[], object], rounds: int) -> tuple[str, str, str]:
    """Median seconds of both, and the ratio of each round."""
    ours()
    theirs()
    mine, other = [], []
    for _ in range(rounds):
        for program, seconds in ((ours, mine), (theirs, other)):
            begin = time.perf_counter()
            program()
            seconds.append(time.perf_counter() - begin)
    ratios = [b / a for a, b in zip(mine, other, strict=True)]
    spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    return f"{statistics.median(mine):.3f}", f"{statistics.median(other):.3f}", spread
