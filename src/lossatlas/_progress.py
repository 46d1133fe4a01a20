"""Progress of long work: a bar on a terminal's error stream, silence, or a function of the caller's."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias, final

from lossatlas import _checks
from lossatlas._printable import printable

# True for a bar where the error stream is a terminal, False for nothing, or a function of (done, total).
Show: TypeAlias = bool | Callable[[int, int], None]


@final
class Progress:
    """Counts what is done.

    Args:
        total: how much there is.
        show: how to show it.
        word: what is being done.

    Raises:
        InputError: for a `show` that is neither a flag nor a function.
    """

    def __init__(self, total: int, show: Show, word: str = "charting") -> None:
        self.total, self.done, self.word = total, 0, word
        self._call = show if callable(show) else None
        self._talks = show is not None and not callable(show) and _checks.flag("progress", show)
        self._bar: Any = _bar() if self._talks and sys.stderr.isatty() else None
        self._task: Any = None

    def say(self, sentence: str) -> None:
        """Print a line above the bar."""
        if self._talks:
            print(printable(sentence), file=sys.stderr)

    def grow(self, total: int) -> None:
        """There is so much, as is known by now."""
        self.total = max(total, self.done)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, total=self.total)

    def advance(self, count: int) -> None:
        """So many more are done."""
        self.done += count
        self.grow(self.total)
        if self._bar is not None:
            self._bar.update(self._task, advance=count)
        if self._call is not None:
            self._call(self.done, self.total)

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task(printable(self.word), total=self.total)
        return self

    def __exit__(self, *failure: object) -> None:
        if self._bar is not None:
            self._bar.stop()


@contextmanager
def counted(what: str, total: int, show: Show) -> Iterator[Callable[[int], None]]:
    """Count something of which there may turn out to be fewer.

    Args:
        what: is counted, for the bar.
        total: how many there will be at most.
        show: how to show it.

    Yields:
        A function to call with the number done so far.
    """
    with Progress(total, show, what) as progress:
        yield lambda done: progress.advance(min(done, total) - progress.done)


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))
