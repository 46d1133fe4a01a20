"""Messages of the command line: what is no result goes through Python's logging to the error stream."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from lossatlas.cli._say import say

LEVELS = ("debug", "info", "warning", "error")
_log = logging.getLogger("lossatlas")


class _Stream(logging.Handler):
    """Writes to the error stream of the moment, which a test or a notebook may have put elsewhere."""

    def emit(self, record: logging.LogRecord) -> None:
        say(self.format(record), err=True)


@contextmanager
def logging_to_errors() -> Iterator[None]:
    """Messages of this package appear on the error stream, as plain lines."""
    handler, before = _Stream(), _log.level
    _log.addHandler(handler)
    _log.setLevel(logging.INFO)
    try:
        yield
    finally:
        _log.removeHandler(handler)
        _log.setLevel(before)


def level(name: str) -> None:
    """Show messages from this level on.

    Args:
        name: one of `LEVELS`.
    """
    _log.setLevel(name.upper())


def message(text: str) -> None:
    """Say what is no result: where something was written, or what was done to make a file fit."""
    _log.info("%s", text)
