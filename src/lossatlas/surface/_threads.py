"""Points side by side on the cores: each thread takes its own share of points, with kernels of one thread.

Threads inside every kernel meet at a barrier many times per point; beside a busy neighbor that costs several times
the work itself. Threads over points meet once. Kernels of one thread also add in the same order on every machine
with the same instructions, however many cores it has; `steadily` relies on that.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from threading import Event, Lock
from typing import TypeVar

import torch

# Points θ that are read side by side.
ABREAST_BYTES = 2**31

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
    return steadily(evaluate, shares, len(shares))


def steadily(evaluate: Callable[[int, Share], Result], shares: Sequence[Share], threads: int) -> list[Result]:
    """Evaluate each share in an environment that is the same whatever the caller's thread is like.

    Every share runs on a thread of ours with kernels of one thread and grad mode off, so that its bits depend neither
    on the number of cores nor on modes that the caller has set for its own thread. An interrupt waits for the shares
    that have begun, and for no others.

    Args:
        evaluate: function of the worker's number and a share. A worker takes one share at a time.
        shares: what to do, in any number.
        threads: how many workers there are; they are numbered from 0.
    """
    threads = max(1, min(threads, len(shares)))
    rest, lock, halt = iter(range(len(shares))), Lock(), Event()
    results: dict[int, Result] = {}

    def work(number: int) -> None:
        torch.set_num_threads(1)
        with torch.no_grad():
            while not halt.is_set():
                with lock:
                    share = next(rest, None)
                if share is None:
                    return
                try:
                    results[share] = evaluate(number, shares[share])
                except BaseException:
                    halt.set()
                    raise

    before, hands = torch.get_num_threads(), [_borrow() for _ in range(threads)]
    begun: list[Future[None]] = []
    try:
        begun = [hand.submit(work, number) for number, hand in enumerate(hands)]
        for one in begun:
            one.result()
    finally:
        halt.set()
        wait(begun)
        _idle.extend(hands)
        # Some kernels take the number that this thread has, others the one that any thread set last.
        torch.set_num_threads(before)
    return [results[share] for share in range(len(shares))]


# Threads that wait for work: starting one costs more than reading a small network at many points.
_idle: list[ThreadPoolExecutor] = []
os.register_at_fork(after_in_child=_idle.clear)


def _borrow() -> ThreadPoolExecutor:
    """A thread that waits, or a new one where none does: workers may use workers."""
    try:
        return _idle.pop()
    except IndexError:
        return ThreadPoolExecutor(1, thread_name_prefix="lossatlas")


@contextmanager
def same_algorithms() -> Iterator[None]:
    """Let cuDNN neither choose its algorithms by timing nor take one whose sums come in any order."""
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.deterministic
    cudnn.benchmark, cudnn.deterministic = False, True
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.deterministic = before


def workers(points: int, at_least: int = 4, *, each: int = 0) -> int:
    """How many threads to use for so many points.

    Args:
        points: how many there are.
        at_least: points for each thread.
        each: bytes of the θ that each of them holds, no more than `ABREAST_BYTES` together.
    """
    room = ABREAST_BYTES // each if each else points
    return max(1, min(torch.get_num_threads(), room, points // at_least))
