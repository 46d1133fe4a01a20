"""Files that are there whole or not at all, and folders checked before the work whose result goes there."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lossatlas import _checks, _drafts
from lossatlas._errors import OutputError

_log = logging.getLogger(__name__)

Location = str | os.PathLike[str]
# Bytes of a file that is not worth keeping in memory once it is on disk, of a block of any disk, and of one write.
LARGE, BLOCK, AT_ONCE = 2**22, 2**12, 2**23

_REASONS = {
    errno.EACCES: "there is no permission to write there",
    errno.EPERM: "there is no permission to write there",
    errno.EROFS: "the file system is read-only",
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.ENOTDIR: "a part of that path is a file, not a folder",
    errno.EEXIST: "a file of that name is in the way",
    errno.EISDIR: "a folder of that name is in the way",
    errno.ENAMETOOLONG: "the name is too long",
}


def located(given: Location, name: str = "folder") -> Path:
    """A path that was given.

    Args:
        given: text or a path.
        name: of the argument, for the message.

    Raises:
        OutputError: for anything else.
    """
    return _checks.path(name, given, error=OutputError)


def prepare(folder: Location) -> Path:
    """Make sure that a folder is there and can be written, before the work whose result goes there.

    Returns:
        Path: the folder.

    Raises:
        OutputError: saying what is in the way.
    """
    folder = located(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Only writing tells: permission bits say nothing about a read-only file system, a quota or root.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, ValueError) as error:
        raise _refusal(folder, error) from error
    return folder


def prepare_file(path: Location) -> Path:
    """Make sure that a file can be written, before the work whose result goes there; a stream is left alone until then.

    Returns:
        Path: the file, not yet created.

    Raises:
        OutputError: saying what is in the way.
    """
    path = located(path, "path")
    if _checks.is_stream(path):
        return path
    prepare(path.parent)
    if path.is_dir():
        raise _refusal(path, IsADirectoryError(errno.EISDIR, "is a directory"))
    return path


def write_text(path: Location, text: str) -> Path:
    """Write a text file as UTF-8, all or nothing, into a folder that is created if needed.

    Raises:
        OutputError: if it cannot be written.
    """
    path = located(path, "path")
    try:
        content = text.encode()
    except UnicodeEncodeError as error:
        raise OutputError(
            f"the text for {str(path)!r} is not valid Unicode ({error}); expected text that can be written as UTF-8. "
            "Replace the character."
        ) from None
    return write_bytes(path, content)


def write_bytes(path: Location, content: bytes) -> Path:
    """Write a file, all or nothing, into a folder that is created if needed; straight into a device, a pipe or a stream.

    Raises:
        OutputError: if it cannot be written.
    """
    path = prepare_file(path)
    commit([(path, content)])
    return path


def commit(files: Sequence[tuple[Path, bytes | memoryview]], *, settled: bool = True) -> None:
    """Put files of one folder in place together, the last of them last; on any failure none of them.

    What is no regular file, such as a device, a pipe or an open stream, is written into where it lies, first.

    Args:
        files: paths and contents.
        settled: whether to wait until they are on the disk itself, where they outlive a loss of power.

    Raises:
        OutputError: if one cannot be written; earlier files of these names are then still there.
    """
    for path, content in files:
        if _checks.is_stream(path):
            _pour(path, content)
    files = [(path, content) for path, content in files if not _checks.is_stream(path)]
    if not files:
        return
    with contextlib.ExitStack() as always:
        try:
            staged = []
            for path, content in files:
                temporary, file = always.enter_context(_drafts.draft(path))
                _fill(file.fileno(), content)
                if settled:
                    os.fsync(file.fileno())
                staged.append((temporary, path))
            with contextlib.ExitStack() as undo:
                for temporary, path in staged[:-1]:
                    earlier = temporary.with_suffix(".old")
                    always.callback(_remove, earlier)
                    if _set_aside(path, earlier):
                        undo.callback(earlier.replace, path)
                    else:
                        undo.callback(_remove, path)
                    temporary.replace(path)
                temporary, path = staged[-1]
                temporary.replace(path)
                undo.pop_all()
        except (OSError, ValueError) as error:
            raise _refusal(path, error) from error
    for path, content in files:
        _log.debug("wrote %s, %d bytes", path, len(content))


def settle(path: Path) -> None:
    """Wait until a file is on the disk itself; nothing where there is no such file.

    Raises:
        OutputError: if the disk fails.
    """
    try:
        with path.open("rb") as file:
            os.fsync(file.fileno())
    except FileNotFoundError:
        return
    except OSError as error:
        raise _refusal(path, error) from error


def _pour(path: Path, content: bytes | memoryview) -> None:
    """Write into a device, a pipe or a stream, which nothing can be put in the place of."""
    try:
        sys.stdout.flush()
        with path.open("ab", buffering=0) as file:
            view = memoryview(content)
            while len(view):
                view = view[file.write(view) :]
            # What is printed afterwards into the same file stands behind it.
            for number in (1, 2):
                with contextlib.suppress(OSError):
                    if os.path.samestat(os.fstat(number), os.fstat(file.fileno())):
                        os.lseek(number, 0, os.SEEK_END)
    except (OSError, ValueError) as error:
        raise _refusal(path, error) from error


def _fill(file: int, content: bytes | memoryview) -> None:
    """Write all of it; large contents past the page cache, which others need more, where they lie and fit so."""
    view, done = memoryview(content), 0
    if len(view) > LARGE and hasattr(os, "O_DIRECT"):
        import fcntl

        flags, blocks = fcntl.fcntl(file, fcntl.F_GETFL), len(view) // BLOCK * BLOCK
        with contextlib.suppress(OSError):  # not on this file system, or not from this place in memory
            fcntl.fcntl(file, fcntl.F_SETFL, flags | os.O_DIRECT)
            while done < blocks:
                done += os.write(file, view[done : min(done + AT_ONCE, blocks)])
        fcntl.fcntl(file, fcntl.F_SETFL, flags)
    while done < len(view):
        done += os.write(file, view[done:])


def content_of(path: Path) -> bytes:
    """The content of a regular file: a pipe has no end as long as nobody writes into it, and a device may have none at all.

    Raises:
        OSError: as of opening it, or because it is something else.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OSError("it is no regular file")
    return path.read_bytes()


def read(path: Path) -> bytes:
    """The content of a file.

    Raises:
        OutputError: if it is missing or cannot be read.
    """
    try:
        return content_of(path)
    except FileNotFoundError:
        raise OutputError(
            f"there is no file {str(path)!r}; expected one that was saved by lossatlas. Check the folder and the kind."
        ) from None
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot read {str(path)!r}: {error}. Check that it is a file you may read.") from error


def _set_aside(path: Path, earlier: Path) -> bool:
    """Give a file a second name; it keeps its own, so that a process that is killed now leaves it where it was."""
    _remove(earlier)
    try:
        os.link(path, earlier, follow_symlinks=False)
    except FileNotFoundError:
        return False
    except OSError:  # a file system without second names
        if not path.exists():
            return False
        path.replace(earlier)
    return True


def _remove(path: Path) -> None:
    # A leftover must not hide the error that is being reported.
    with contextlib.suppress(OSError, ValueError):
        path.unlink(missing_ok=True)


def _refusal(path: Path, error: OSError | ValueError) -> OutputError:
    reason = _REASONS.get(getattr(error, "errno", None) or 0, str(error))
    return OutputError(
        f"cannot write {str(path)!r}: {reason}; expected a folder that exists or can be created, with room and "
        "permission to write. Nothing was written; choose another folder."
    )
