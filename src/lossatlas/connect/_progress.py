"""Progress of long work here: a bar on a terminal's error stream, silence, or a function of the caller's."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

Show: TypeAlias = bool | Callable[[int, int], None]


@contextmanager
def counted(what: str, total: int, show: Show) -> Iterator[Callable[[int], None]]:
    """Count something.

    Args:
        what: is counted, for the bar.
        total: how many there will be at most.
        show: True for a bar where the error stream is a terminal, False for nothing, or a function of (done, total).

    Yields:
        A function to call with the number done so far.
    """
    if callable(show):
        call = show
        yield lambda done: call(min(done, total), total)
        return
    if not (show and sys.stderr.isatty()):
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=min(done, total))
