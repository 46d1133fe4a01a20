"""Two threads that take turns before every operation of torch's: whatever they share outside themselves gets mixed up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Condition, Thread
from typing import Any, final

import torch
from torch.utils._python_dispatch import TorchDispatchMode

# A thread that waits longer goes on out of turn: the other one is busy outside of torch, or waits for a lock of the user's.
PATIENCE = 0.02


@final
class _Turns:
    """Whose turn it is: one thread runs at a time, from one operation up to the next."""

    def __init__(self, count: int) -> None:
        self._condition, self._turn, self._running = Condition(), 0, set(range(count))

    def wait(self, number: int) -> None:
        """Wait for one's turn, but not forever."""
        with self._condition:
            self._wait(number)

    def swap(self, number: int) -> None:
        """Let the other one run up to its next operation."""
        with self._condition:
            self._turn = 1 - number
            self._condition.notify_all()
            self._wait(number)

    def leave(self, number: int) -> None:
        """Be waited for no longer."""
        with self._condition:
            self._running.discard(number)
            self._turn = 1 - number
            self._condition.notify_all()

    def _wait(self, number: int) -> None:
        if not self._condition.wait_for(lambda: self._turn == number or len(self._running) < 2, PATIENCE):
            self._running.clear()


@final
class _Alternating(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, turns: _Turns, number: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._turns, self._number = turns, number

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # What was read for this operation was read before; what it leaves is written before the other one goes on.
        self._turns.swap(self._number)
        return func(*args, **(kwargs or {}))


def lockstep(tasks: Sequence[Callable[[], Any]]) -> list[Any]:
    """Run two tasks on threads of their own, an operation of one after an operation of the other.

    Args:
        tasks: two of them; grad mode is off and kernels have one thread.

    Raises:
        Exception: what a task raised.
    """
    turns = _Turns(len(tasks))
    found: dict[int, Any] = {}
    failed: list[BaseException] = []

    def run(number: int) -> None:
        torch.set_num_threads(1)
        turns.wait(number)
        try:
            with torch.no_grad(), _Alternating(turns, number):
                found[number] = tasks[number]()
        except BaseException as error:
            failed.append(error)
        finally:
            turns.leave(number)

    threads = [Thread(target=run, args=(number,), daemon=True) for number in range(len(tasks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return [found[number] for number in range(len(tasks))]
