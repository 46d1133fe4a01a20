"""Two threads that take turns after every operation of torch's: whatever they share outside themselves gets mixed up."""

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
    """Whose turn it is."""

    def __init__(self, count: int) -> None:
        self._condition, self._turn, self._running = Condition(), 0, set(range(count))

    def take(self, number: int) -> None:
        """Wait for one's turn, but not forever."""
        with self._condition:
            self._condition.wait_for(lambda: self._turn == number or len(self._running) < 2, PATIENCE)

    def give(self, number: int) -> None:
        """Let the next one go on."""
        with self._condition:
            self._turn = 1 - number
            self._condition.notify_all()

    def leave(self, number: int) -> None:
        """Be waited for no longer."""
        with self._condition:
            self._running.discard(number)
            self._turn = 1 - number
            self._condition.notify_all()


@final
class _Alternating(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, turns: _Turns, number: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._turns, self._number = turns, number

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Nothing is compiled here, and keeping the compiler out would import it first, which takes seconds.
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._turns.take(self._number)
        try:
            return func(*args, **(kwargs or {}))
        finally:
            self._turns.give(self._number)


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
