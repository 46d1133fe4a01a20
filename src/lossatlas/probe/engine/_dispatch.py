"""Who evaluates which rows of a query: a state machine without any input or output, the same for every kind of worker."""

from __future__ import annotations

from collections import Counter, deque
from typing import NamedTuple, TypeAlias, final

# Workers that a row may end, and deaths of one worker without an answer between them.
MOST = 3
Batch: TypeAlias = tuple[int, ...]


class Death(NamedTuple):
    """What the death of a worker means.

    Attributes:
        rows: that it was evaluating; they will be given to others, one by one.
        fatal: those of them that have ended so many workers that they are not given to another one.
    """

    rows: Batch
    fatal: Batch


@final
class Dispatch:
    """The rows of one query: given out in batches, taken back when a worker dies, each answered once.

    ==============  ====================================================================
    ``give``        rows that wait → a worker evaluates them
    ``took``        its answer is here
    ``died``        it ended without one → its rows wait again, each as a batch of its own, so that one that ends
                    every worker is found and its neighbors are not blamed for it
    ``returned``    it is out of reach: its rows wait again, and it is no failure of theirs
    ``cancelled``   what waits will not be given any more; what is being evaluated may still be answered
    ==============  ====================================================================

    Args:
        rows: how many there are; they are numbered from 0.
        most: workers that a row may end.
    """

    def __init__(self, rows: int, *, most: int = MOST) -> None:
        self._rows, self._most, self._next = rows, most, 0
        self._returned: deque[int] = deque()
        self._running: dict[str, Batch] = {}
        self._deaths: Counter[int] = Counter()
        self.answered = self.lost = 0

    @property
    def waiting(self) -> int:
        """Rows that are not given to anyone."""
        return self._rows - self._next + len(self._returned)

    @property
    def running(self) -> dict[str, Batch]:
        """Rows by the worker that evaluates them."""
        return dict(self._running)

    @property
    def finished(self) -> bool:
        """Whether nothing waits and nothing is being evaluated."""
        return not self._running and not self.waiting

    def give(self, worker: str, size: int) -> Batch:
        """Rows for a worker, up to so many; none where nothing waits.

        Raises:
            ValueError: for a worker that has not answered yet, or no rows.
        """
        if worker in self._running:
            raise ValueError(f"the worker {worker} is evaluating {self._running[worker]}")
        if size < 1:
            raise ValueError(f"got a batch of {size} rows; expected at least 1")
        if self._returned:
            batch: Batch = (self._returned.popleft(),)
        else:
            batch = tuple(range(self._next, min(self._next + size, self._rows)))
            self._next += len(batch)
        if batch:
            self._running[worker] = batch
        return batch

    def took(self, worker: str) -> Batch:
        """The rows that a worker has answered; none where it had none, as after it was given up."""
        batch = self._running.pop(worker, ())
        self.answered += len(batch)
        return batch

    def died(self, worker: str) -> Death:
        """A worker ended: what it was evaluating waits again, unless it has ended too many."""
        batch = self._running.pop(worker, ())
        self.lost += len(batch)
        self._deaths.update(batch)
        # Only what was evaluated alone when the last of them ended is to blame for it.
        fatal = batch if len(batch) == 1 and self._deaths[batch[0]] >= self._most else ()
        if not fatal:
            self._returned.extendleft(reversed(batch))
        return Death(batch, fatal)

    def returned(self, worker: str) -> Batch:
        """A worker cannot be reached for now: what it was given waits again, and nobody is blamed."""
        batch = self._running.pop(worker, ())
        self._returned.extendleft(reversed(batch))
        return batch

    def cancelled(self) -> int:
        """Nothing more is given out; how many rows that leaves unanswered beside those that are being evaluated."""
        left, self._next = self.waiting, self._rows
        self._returned.clear()
        return left


@final
class Breaker:
    """Which workers are started again: none that keeps ending without an answer in between.

    Args:
        most: such deaths.
    """

    def __init__(self, *, most: int = MOST) -> None:
        self._most = most
        self._deaths: Counter[str] = Counter()

    def answered(self, worker: str) -> None:
        """It gave an answer."""
        self._deaths[worker] = 0

    def died(self, worker: str) -> bool:
        """It ended; whether to start it again."""
        self._deaths[worker] += 1
        return self._deaths[worker] < self._most
