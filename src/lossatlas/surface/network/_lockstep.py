"""Two threads that take turns before every operation of torch's and every line of the user's code.

Whatever they share outside themselves gets mixed up: a variable of a module, or the generators of NumPy and Python.
"""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Condition, Thread
from types import FrameType
from typing import Any, final

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lossatlas._errors import NotApplicableError

# A thread that waits longer goes on out of turn: the other one waits for a lock of the user's, say.
PATIENCE = 0.5
# Lines of the user's code at which a thread lets the other one go on; later ones are like them.
LINES = 2000
_NOT_THE_USERS = (str(Path(torch.__file__).parent), str(Path(__file__).parents[2]), "<frozen")
_LIBRARY = sysconfig.get_path("stdlib")


def _the_users(file: str) -> bool:
    """Whether code in a file may be the user's: it is not torch's, ours, or of Python's own library."""
    if file.startswith(_NOT_THE_USERS):
        return False
    return not file.startswith(_LIBRARY) or "-packages" in file[len(_LIBRARY) :]


class OutOfTurn(NotApplicableError):
    """One of two threads had to go on out of turn: nothing is known then of what they share."""


@final
class _Turns:
    """Whose turn it is: one thread runs at a time, from one operation up to the next."""

    def __init__(self, count: int) -> None:
        self._condition, self._turn, self._running = Condition(), 0, set(range(count))
        # Whether nobody ever went on out of turn.
        self.kept = True

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
            self.kept = False


@final
class _Alternating(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, turns: _Turns, number: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._turns, self._number = turns, number

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # What was read for this operation was read before; what it leaves is written before the other one goes on.
        self._turns.swap(self._number)
        return func(*args, **(kwargs or {}))


@final
class _Lines:
    """Gives up the turn before each line of code that is neither torch's nor ours."""

    def __init__(self, turns: _Turns, number: int) -> None:
        self._turns, self._number, self._left = turns, number, LINES

    def __call__(self, frame: FrameType, event: str, arg: object) -> _Lines | None:
        if event == "call" and not _the_users(frame.f_code.co_filename):
            return None
        if event == "line" and self._left > 0:
            self._left -= 1
            self._turns.swap(self._number)
        return self


def lockstep(tasks: Sequence[Callable[[], Any]]) -> list[Any]:
    """Run two tasks on threads of their own, an operation of one after an operation of the other.

    Args:
        tasks: two of them; grad mode is off and kernels have one thread.

    Raises:
        OutOfTurn: if one had to go on without the other.
        Exception: what a task raised.
    """
    turns = _Turns(len(tasks))
    found: dict[int, Any] = {}
    failed: list[BaseException] = []

    def run(number: int) -> None:
        torch.set_num_threads(1)
        turns.wait(number)
        if sys.gettrace() is None:  # of a debugger, or of what measures coverage
            sys.settrace(_Lines(turns, number))
        try:
            with torch.no_grad(), _Alternating(turns, number):
                found[number] = tasks[number]()
        except BaseException as error:
            failed.append(error)
        finally:
            sys.settrace(None)
            turns.leave(number)

    threads = [Thread(target=run, args=(number,), daemon=True) for number in range(len(tasks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    if not turns.kept:
        raise OutOfTurn(
            f"one of two threads waited for more than {PATIENCE} s for the other, so that nothing is known of what they share"
        )
    return [found[number] for number in range(len(tasks))]
