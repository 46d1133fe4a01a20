"""Drafts of files that are put in place whole: one that a killed process left is taken up by the next that writes the file."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # no such locks on this system
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def draft(path: Path) -> Iterator[tuple[Path, IO[bytes]]]:
    """An empty file beside `path`, open for writing and this process's own until the block ends; it is removed then.

    Its name is always the same, so that what a killed process left is written over and not left for good. Where a living
    process holds it, or locks are not to be had, the name is one that nobody else has.

    Args:
        path: what the draft will be moved to, inside the block.

    Yields:
        The draft's path, and the open file.
    """
    own, file = _opened(path)
    try:
        yield own, file
    finally:
        with contextlib.suppress(OSError, ValueError):
            # Once it was moved, the name may be another process's.
            if os.path.samestat(own.lstat(), os.fstat(file.fileno())):
                own.unlink()
        file.close()


def _opened(path: Path) -> tuple[Path, IO[bytes]]:
    own = path.with_name(f".{path.name}.new")
    with contextlib.suppress(
        OSError
    ):  # where it is held, or something else lies there, or nothing can be written at all
        while fcntl is not None:
            file = open(os.open(own, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666), "r+b", buffering=0)  # noqa: PTH123, SIM115
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Its last holder may have moved it away between the two calls.
                with contextlib.suppress(FileNotFoundError):
                    if os.path.samestat(own.lstat(), os.fstat(file.fileno())):
                        file.truncate(0)
                        return own, file
            except BaseException:
                file.close()
                raise
            file.close()
    own = path.with_name(f".{path.name}.{uuid.uuid4().hex}.new")
    return own, own.open("xb", buffering=0)
