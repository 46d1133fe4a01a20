"""The ledger's SQLite file: its tables, one transaction per batch, and what is left to read of a damaged one.

Every row carries its own key, channel and checksum, so that it can be trusted without its neighbors.
"""

from __future__ import annotations

import contextlib
import json
import math
import sqlite3
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from lossatlas._errors import OutputError

APPLICATION = 0x6C734174
VERSION = 1

_SCHEMA = (
    f"PRAGMA application_id = {APPLICATION}",
    f"PRAGMA user_version = {VERSION}",
    "CREATE TABLE manifest (text TEXT NOT NULL)",
    """CREATE TABLE points (
        channel TEXT NOT NULL, a INTEGER NOT NULL, b INTEGER NOT NULL,
        status TEXT NOT NULL, value REAL, extras TEXT NOT NULL,
        examples INTEGER NOT NULL, seconds REAL NOT NULL, checksum INTEGER NOT NULL,
        PRIMARY KEY (channel, a, b)) WITHOUT ROWID""",
    """CREATE TABLE events (
        id INTEGER PRIMARY KEY, at TEXT NOT NULL, session INTEGER, kind TEXT NOT NULL,
        channel TEXT, points INTEGER, kept INTEGER, detail TEXT)""",
)
_COLUMNS = {
    "manifest": {"text"},
    "points": {"channel", "a", "b", "status", "value", "extras", "examples", "seconds", "checksum"},
    "events": {"id", "at", "session", "kind", "channel", "points", "kept", "detail"},
}
_ALL = "SELECT channel, a, b, status, value, extras, examples, seconds, checksum FROM points"

# File systems on which the shared memory of a write-ahead log works; on any other a rollback journal is used.
_LOCAL = {"apfs", "bcachefs", "btrfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "jfs", "overlay", "ramfs", "reiserfs"}
_LOCAL |= {"tmpfs", "ubifs", "vfat", "xfs", "zfs"}


class Row(NamedTuple):
    """One answered point as it is stored.

    Attributes:
        channel: of which field.
        a: bit pattern of the first coordinate.
        b: of the second; 0 on a line.
        status: ``ok``, ``nan``, ``posinf`` or ``neginf``; SQLite has no NaN of its own.
        value: the loss, or None where it is not finite.
        extras: JSON of the further channels.
        examples: read for it.
        seconds: spent on it.
    """

    channel: str
    a: int
    b: int
    status: str
    value: float | None
    extras: str
    examples: int
    seconds: float

    @classmethod
    def of(
        cls, channel: str, key: tuple[int, int], value: float, extras: dict[str, float], examples: int, seconds: float
    ) -> Row:
        """The row of one answer."""
        status = "ok" if math.isfinite(value) else "nan" if math.isnan(value) else "posinf" if value > 0 else "neginf"
        text = json.dumps({name: x if math.isfinite(x) else str(x) for name, x in extras.items()})
        return cls(channel, *key, status, value if status == "ok" else None, text, examples, seconds)

    @property
    def checksum(self) -> int:
        """Of all the rest, to know a damaged row by."""
        return zlib.crc32(repr(tuple(self)).encode())


def loss(status: str, value: float | None) -> float:
    """The loss that a status and a stored value stand for."""
    return {"nan": math.nan, "posinf": math.inf, "neginf": -math.inf}[status] if value is None else value


class Store:
    """An open ledger file.

    Args:
        path: of an existing file.
        journal: ``WAL`` or ``DELETE``.

    Attributes:
        connection: transactions are begun and ended in `writing` only.
    """

    def __init__(self, path: Path, journal: str) -> None:
        self.path = path
        refuse_irregular(path)
        try:
            self.connection = sqlite3.connect(path, timeout=30.0, isolation_level=None)
        except sqlite3.Error as error:
            raise refusal(path, error, "") from error
        try:
            self._refuse_others()
            self.connection.execute(f"PRAGMA journal_mode = {journal}")
            # With a write-ahead log a killed process loses nothing; a power failure may cost the last commits.
            self.connection.execute(f"PRAGMA synchronous = {'NORMAL' if journal == 'WAL' else 'FULL'}")
            self._verify()
        except BaseException as error:
            # Closed by hand, whatever it was: a connection that is only forgotten warns from Python 3.13 on.
            self.close()
            if not isinstance(error, sqlite3.Error):
                raise
            raise self._unusable(error, "") from error

    @classmethod
    def create(cls, path: Path, manifest: str, rows: Iterable[Row] = ()) -> None:
        """Write a new file, all or nothing.

        Raises:
            OutputError: if it cannot be written; nothing is left then.
        """
        # One name for all: whoever holds the folder's lock writes over what a killed run left.
        temporary = path.with_name(f".{path.name}.new")
        try:
            temporary.unlink(missing_ok=True)
            with contextlib.closing(sqlite3.connect(temporary, isolation_level=None)) as connection:
                connection.execute("BEGIN")
                for statement in _SCHEMA:
                    connection.execute(statement)
                connection.execute("INSERT INTO manifest VALUES (?)", (manifest,))
                connection.executemany(_INSERT, ((*row, row.checksum) for row in rows))
                connection.execute("COMMIT")
            temporary.replace(path)
        except (sqlite3.Error, OSError) as error:
            raise refusal(path, error, "Nothing was written; make room or choose another folder.") from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
                temporary.with_name(f"{temporary.name}-journal").unlink(missing_ok=True)

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it is kept, or nothing.

        Raises:
            OutputError: if it cannot be written; what was kept before is still there.
        """
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            yield self.connection
            self.connection.execute("COMMIT")
        except sqlite3.Error as error:
            kept = self._rolled_back()
            raise self._unusable(
                error,
                f"The {kept} points answered before are safe in it: make that right and run the same again to go on.",
            ) from error
        except BaseException:
            self._rolled_back()
            raise

    def insert(self, rows: Sequence[Row], session: int) -> int:
        """Keep answered points, in one transaction with the note that they were evaluated.

        Returns:
            How many of them were new.
        """
        with self.writing() as connection:
            before = connection.total_changes
            connection.executemany(_INSERT, ((*row, row.checksum) for row in rows))
            new = connection.total_changes - before
            self._note(connection, "answered", session, rows[0].channel if rows else None, len(rows), new, None)
        return new

    def note(self, kind: str, session: int | None = None, detail: Any = None) -> int:
        """Write down that something happened.

        Returns:
            The number of the event.
        """
        with self.writing() as connection:
            return self._note(connection, kind, session, None, None, None, detail)

    def _unusable(self, error: sqlite3.Error, advice: str) -> OutputError:
        """What is to be said of a failed access: that it is not possible, or that the file is no whole ledger."""
        return refusal(self.path, error, advice) if _reason(error) is not None else damaged(self.path, str(error))

    def _note(
        self,
        connection: sqlite3.Connection,
        kind: str,
        session: int | None,
        channel: str | None,
        points: int | None,
        kept: int | None,
        detail: Any,
    ) -> int:
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        row = (at, session, kind, channel, points, kept, None if detail is None else json.dumps(detail))
        cursor = connection.execute(
            "INSERT INTO events (at, session, kind, channel, points, kept, detail) VALUES (?, ?, ?, ?, ?, ?, ?)", row
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def one(self, query: str, *values: Any) -> Any:
        """The first column of the first row of an answer, or None."""
        row = self.first(query, *values)
        return None if row is None else row[0]

    def first(self, query: str, *values: Any) -> tuple[Any, ...] | None:
        """The first row of an answer, or None."""
        row: tuple[Any, ...] | None = self.connection.execute(query, values).fetchone()
        return row

    def details(self, where: str, *values: Any) -> list[dict[str, Any] | None]:
        """What events say in detail, in order; None for one that cannot be read.

        Args:
            where: which events.
            values: of its placeholders.
        """
        found: list[dict[str, Any] | None] = []
        for (text,) in self.connection.execute(f"SELECT detail FROM events WHERE {where} ORDER BY id", values):
            try:
                content = json.loads(text)
            except (TypeError, ValueError):
                content = None
            found.append(content if isinstance(content, dict) else None)
        return found

    def rows(self) -> list[Row]:
        """Every answered point."""
        return [Row(*row) for *row, _ in self.connection.execute(_ALL)]

    def close(self) -> None:
        """Let go of the file. What was committed is kept whether this succeeds or not."""
        with contextlib.suppress(sqlite3.Error):
            self.connection.close()

    def _rolled_back(self) -> str:
        with contextlib.suppress(sqlite3.Error):
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
        try:
            return f"{self.one('SELECT count(*) FROM points'):,}"
        except sqlite3.Error:
            return ""

    def _refuse_others(self) -> None:
        application, version = self.one("PRAGMA application_id"), self.one("PRAGMA user_version")
        if application != APPLICATION:
            if self.path.stat().st_size == 0:
                raise sqlite3.DatabaseError("it is empty")
            raise OutputError(
                f"{str(self.path)!r} is a database, but no ledger of lossatlas; expected one, or a folder without such "
                "a file. Choose another folder."
            )
        if version != VERSION:
            raise other_version(self.path, version)

    def _verify(self) -> None:
        found = self.one("PRAGMA quick_check(1)")
        if found != "ok":
            raise sqlite3.DatabaseError(" ".join(str(found).split()))
        for table, columns in _COLUMNS.items():
            there = {row[1] for row in self.connection.execute(f"PRAGMA table_info({table})")}
            if not there:
                raise sqlite3.DatabaseError(f"its table {table} is missing")
            if missing := sorted(columns - there):
                raise sqlite3.DatabaseError(f"its table {table} has no {', '.join(missing)}")
        for *row, checksum in self.connection.execute(_ALL):
            if Row(*row).checksum != checksum:
                raise sqlite3.DatabaseError("a row does not match its checksum")


_INSERT = "INSERT OR IGNORE INTO points VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"


def readable(path: Path) -> tuple[list[Row], str | None]:
    """What can still be read of a damaged file: rows whose checksum holds, and its copy of the manifest."""
    rows: dict[tuple[str, int, int], Row] = {}
    manifest = None
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(path, timeout=30.0)) as connection:
        connection.text_factory = lambda raw: raw.decode(errors="replace")
        with contextlib.suppress(sqlite3.Error, TypeError):
            manifest = str(connection.execute("SELECT text FROM manifest").fetchone()[0])
        for order in ("ASC", "DESC"):  # up to the damage from both sides
            with contextlib.suppress(sqlite3.Error):
                for *found, checksum in connection.execute(f"{_ALL} ORDER BY channel {order}, a {order}, b {order}"):
                    row = Row(*found)
                    if row.checksum == checksum:
                        rows[row[:3]] = row
    return list(rows.values()), manifest


def refuse_irregular(path: Path) -> None:
    """Refuse what stands in the place of a ledger's file and is no file.

    Raises:
        OutputError: for a folder, a pipe, a device.
    """
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "no regular file"
        raise OutputError(
            f"{str(path)!r} is {kind}; expected a file that a ledger wrote, or nothing there. Move it away, or choose "
            "another folder. Nothing was changed."
        )


def damaged(path: Path, how: str) -> OutputError:
    """The refusal of a damaged ledger: it says how much can be read, and how to get it back."""
    rows, _ = readable(path)
    return OutputError(
        f"the ledger {str(path)!r} is damaged ({how}); {len(rows):,} answered points in it can still be read. Nothing "
        "was changed. Put back a copy of the file if there is one, or keep what can be read with "
        f"lossatlas.probe.Ledger.rescue({str(path.parent)!r}), or use another folder."
    )


def other_version(path: Path, version: object) -> OutputError:
    """The refusal of a ledger that another version of lossatlas wrote."""
    return OutputError(
        f"{str(path)!r} has ledger format {version!r}; expected {VERSION}. It was written by another version of "
        "lossatlas: finish it with that version, or use another folder. Nothing was changed."
    )


def refusal(path: Path, error: sqlite3.Error | OSError, advice: str) -> OutputError:
    """What a failed access says."""
    reason = _reason(error) or f"{error}"
    return OutputError(f"cannot write the ledger {str(path)!r}: {reason}. {advice}".rstrip())


def _reason(error: sqlite3.Error | OSError) -> str | None:
    name = getattr(error, "sqlite_errorname", None) or ""
    for begin, reason in (
        ("SQLITE_FULL", "the disk is full"),
        ("SQLITE_READONLY", "the file or its folder is read-only"),
        ("SQLITE_CANTOPEN", "it cannot be opened in that folder (read-only, or full)"),
        ("SQLITE_PERM", "there is no permission to write there"),
        ("SQLITE_BUSY", "another program holds it"),
        ("SQLITE_LOCKED", "another program holds it"),
        ("SQLITE_IOERR", "the disk could not be read or written (full, over its quota, or failing)"),
    ):
        if name.startswith(begin):
            return reason
    return None


def journal(folder: Path) -> tuple[str, str]:
    """Which journal suits the file system that a folder is on, and that file system's name as far as it is known.

    A write-ahead log needs memory shared through the file, which network file systems do not give.
    """
    kind = "unknown"
    if sys.platform == "linux":
        with contextlib.suppress(OSError, ValueError, IndexError):
            kind = _mounted(folder.resolve(), Path("/proc/self/mountinfo").read_text())
    return ("WAL" if kind in _LOCAL else "DELETE"), kind


def _mounted(folder: Path, table: str) -> str:
    kind, longest = "unknown", -1
    for line in table.splitlines():
        before, _, after = line.partition(" - ")
        point = Path(before.split()[4].encode().decode("unicode_escape"))
        if folder.is_relative_to(point) and len(point.parts) >= longest:
            kind, longest = after.split()[0], len(point.parts)
    return kind
