"""Points side by side on the cores: each thread takes its own share of points, with kernels of one thread.

Threads inside every kernel meet at a barrier many times per point; beside a busy neighbor that costs several times
the work itself. Threads over points meet once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Share = TypeVar("Share")
Result = TypeVar("Result")


def side_by_side(evaluate: Callable[[int, Share], Result], shares: Sequence[Share]) -> list[Result]:
    """Evaluate each share on a thread of its own, in order; one share stays on this thread.

    Args:
        evaluate: function of the worker's number and its share; grad mode is off in it.
        shares: what to do, at most one per worker.
    """
    if len(shares) == 1:
        with torch.no_grad():
            return [evaluate(0, shares[0])]

    def work(number: int) -> Result:
        torch.set_num_threads(1)  # of this thread's kernels only
        with torch.no_grad():
            return evaluate(number, shares[number])

    with ThreadPoolExecutor(len(shares)) as pool:
        return list(pool.map(work, range(len(shares))))


def workers(points: int, at_least: int = 4) -> int:
    """How many threads to use for so many points, at least a few for each."""
    return max(1, min(torch.get_num_threads(), points // at_least))
