"""A progress bar on the error stream, or silence, or a function of the caller's."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, final


@final
class Progress:
    """Counts what is done.

    Args:
        total: how much there is.
        show: True for a bar where the error stream is a terminal, False for nothing, or a function of (done, total).
        word: what is being done.
    """

    def __init__(self, total: int, show: bool | Callable[[int, int], None], word: str = "charting") -> None:
        self.total, self.done, self.word = total, 0, word
        self._call = show if callable(show) else None
        self._bar: Any = None
        self._task: Any = None
        if show is True and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn(word), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=Console(stderr=True))
        self._talks = show is True

    def say(self, sentence: str) -> None:
        """Print a line above the bar."""
        if self._talks:
            print(sentence, file=sys.stderr)

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
            self._task = self._bar.add_task(self.word, total=self.total)
        return self

    def __exit__(self, *failure: object) -> None:
        if self._bar is not None:
            self._bar.stop()
