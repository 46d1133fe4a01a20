"""One run, one folder: an evaluated point is kept before it is handed on, and is never evaluated again."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, final

import torch
from torch import Tensor

from lossatlas import archive
from lossatlas._errors import OutputError
from lossatlas.probe import _blobs, _manifest, _store
from lossatlas.probe._channel import ANSWERING, Channel, maker
from lossatlas.probe._store import Row, Store

POINTS, _LOCK, BLOBS = "ledger.sqlite", "ledger.lock", "blobs"


@final
class Ledger:
    """The memory of a run on a line or plane, in a folder.

    ======================  ==========================================================================================
    ``manifest.json``       what the run is of (`identity`), with what it was begun; written once
    ``ledger.sqlite``       ``points``: one row per answered point; ``events``: every session, and every batch with how
                            many of its points were new
    ``blobs/``              tensors under their SHA-256, as safetensors
    ``ledger.lock``         held while a run is at work; empty
    ======================  ==========================================================================================

    A point is known by its channel and the bit patterns of its float64 coordinates, as integers. Each batch is one
    transaction, and is handed on only after it: killing the process at any moment loses nothing that was handed on.
    What is handed on is what is kept: losses to the bit, NaN and zero without a sign. For a resumed run to end as an
    uninterrupted one, query a surface on a frame with ``steady=True``.

    On a local disk there is a write-ahead log: the file ``ledger.sqlite-wal`` belongs to the ledger while a run is at
    work or after it was killed. On a network file system, or one that is not known, there is a rollback journal. After
    a power failure the last batches may be missing and are evaluated again; the file stays whole. Between machines that
    share a network file system the lock may not hold: run one at a time there.

    Attributes:
        folder: where it is.
        identity: what the run is of, as plain JSON values.
        journal: ``WAL`` or ``DELETE``.
        file_system: what the folder is on, as far as is known.

    Example:
        >>> import tempfile, torch, lossatlas as la
        >>> from lossatlas.probe import Ledger, Probe, Values
        >>> folder, surface = tempfile.mkdtemp(), la.landscapes.himmelblau()
        >>> for _ in range(2):
        ...     with Ledger.open(folder, {"surface": surface.fingerprint()}) as ledger:
        ...         probe = Probe(surface, ledger=ledger.channel("exact"))
        ...         _ = probe.evaluate(Values(torch.rand(5, 2, generator=torch.Generator().manual_seed(0)).double()))
        ...         print(probe.meter.values, probe.meter.recalled)
        5 0
        0 5
    """

    def __init__(self, folder: Path, lock: sqlite3.Connection, store: Store, identity: Mapping[str, Any]) -> None:
        self.folder = folder
        self.identity = identity
        self.journal, self.file_system = _store.journal(folder)
        self._lock, self._store = lock, store
        self._session = 0

    @classmethod
    def open(
        cls,
        folder: str | Path,
        identity: Mapping[str, Any],
        *,
        settings: Mapping[str, Any] | None = None,
        notes: Sequence[str] = (),
    ) -> Ledger:
        """Begin a run in a folder, or go on with the one that is there.

        Args:
            folder: created if needed.
            identity: what decides the answers: surface, data, plane, precision … as plain JSON values. Floats are taken
                for measured and compared to four digits; what must be the same to the bit goes in as a digest.
            settings: of this session, kept with it but not compared: another range or number of points of the same
                plane goes on with the points that there are.
            notes: of the surface; a loader that shuffles, of which they tell, is named where the data differ.

        Returns:
            The ledger, to be closed: it is a context manager.

        Raises:
            OutputError: if the folder cannot be written, another process is at work in it, it holds a ledger of
                something else (the difference is named), of another version, or a damaged one. It is then as it was.
        """
        folder = archive.prepare(folder)
        # The round trip makes tuples lists, so that it can be compared with what is read back.
        wanted = archive.parse(archive.dump(dict(identity)))
        lock = locked(folder)
        try:
            store = _opened(folder, wanted, notes)
            ledger = cls(folder, lock, store, wanted)
            ledger._begin(settings)
        except BaseException:
            lock.close()
            raise
        return ledger

    def channel(self, name: str, identity: Mapping[str, Any] | None = None) -> Channel:
        """The memory of one field: the same point of another channel is another one.

        Args:
            name: ``exact``, ``cheap``, …
            identity: what decides the answers of this channel beyond the ledger's identity; None to leave it open.

        Raises:
            OutputError: if the channel holds answers of another identity; the difference is named.
        """
        if identity is not None:
            wanted = archive.parse(archive.dump(dict(identity)))
            text = self._store.one("SELECT detail FROM events WHERE kind = 'channel' AND channel = ?", name)
            if text is None:
                detail = archive.dump(dict(identity)).decode()
                with self._store.writing() as connection:
                    connection.execute(
                        "INSERT INTO events (at, session, kind, channel, detail) VALUES (?, ?, 'channel', ?, ?)",
                        (datetime.now(UTC).isoformat(), self._session, name, detail),
                    )
            else:
                try:
                    was = archive.parse(str(text).encode())
                except ValueError:
                    raise _store.damaged(self._store.path, f"what its field {name!r} is of cannot be read") from None
                _manifest.refuse_other(self.folder, was, wanted, f"the field {name!r} of ")
        return Channel(self._store, name, self._session)

    def keep(self, tensors: Mapping[str, Tensor]) -> str:
        """Keep tensors that cannot be made again, such as a plane of the user's own; nothing is written twice.

        Returns:
            The name to `fetch` them by: their SHA-256.
        """
        return _blobs.keep(self.folder / BLOBS, tensors)

    def fetch(self, name: str) -> dict[str, Tensor]:
        """The tensors that were kept under a name."""
        return _blobs.fetch(self.folder / BLOBS, name)

    @property
    def blobs(self) -> tuple[str, ...]:
        """Names of the tensors that were kept."""
        return tuple(sorted(path.name for path in (self.folder / BLOBS).glob("*.safetensors")))

    def adopt(self, rows: Sequence[Row], openings: Sequence[Mapping[str, Any]]) -> int:
        """Keep points that another ledger of the same identity holds; what is known already stays as it is.

        Args:
            rows: of the other ledger.
            openings: with what it was opened, the last one to answer last.

        Returns:
            How many were new.
        """
        channels: dict[str, list[Row]] = {}
        for row in rows:
            if self._store.one("SELECT 1 FROM points WHERE channel = ? AND a = ? AND b = ?", *row[:3]) is None:
                channels.setdefault(row.channel, []).append(row)
        if channels:
            # Noted as a session of its own: with what its points were evaluated is not with what this process would.
            session = self._store.note("opened", detail={**(openings[-1] if openings else {}), "adopted": True})
            for new in channels.values():
                self._store.insert(new, session)
        return sum(map(len, channels.values()))

    def __len__(self) -> int:
        """Points kept, of all channels."""
        return int(self._store.one("SELECT count(*) FROM points"))

    @property
    def evaluated(self) -> int:
        """Points ever answered by a surface in this folder, in all sessions; above `len` if any was evaluated twice."""
        return int(self._store.one("SELECT coalesce(sum(points), 0) FROM events WHERE kind = 'answered'"))

    @property
    def sessions(self) -> int:
        """How often it was opened, this time included."""
        return int(self._store.one("SELECT count(*) FROM events WHERE kind = 'opened'"))

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the result must know, in sentences: answers from several machines agree to rounding only."""
        makers = list(dict.fromkeys(maker(detail) for detail in self._store.details(ANSWERING)))
        if len(makers) < 2:
            return ()
        listed = "; ".join(", ".join(maker) or "one that cannot be read" for maker in makers)
        return (f"the points were answered in {len(makers)} environments, which agree to rounding only: {listed}",)

    def record(self) -> dict[str, Any]:
        """For a result's provenance: plain JSON values."""
        return {
            "points": len(self),
            "evaluated": self.evaluated,
            "sessions": self.sessions,
            "journal": self.journal,
            "file_system": self.file_system,
            "blobs": list(self.blobs),
            "notes": list(self.notes),
        }

    @classmethod
    def rescue(cls, folder: str | Path) -> int:
        """Replace a damaged ledger by what can be read of it; the damaged file stays beside it.

        Only points whose checksum holds are taken over; the others will be evaluated again.

        Returns:
            How many there are.

        Raises:
            OutputError: if there is no ledger, it is in use, or not even its manifest can be read.
        """
        folder = archive.located(folder)
        path, old = folder / POINTS, folder / "ledger.damaged.sqlite"
        if not path.is_file():
            raise OutputError(f"there is no ledger {str(path)!r}; expected a damaged one. Check the folder.")
        with contextlib.closing(locked(folder)):
            rows, text = _store.readable(path)
            beside = folder / _manifest.NAME
            candidates = [text] if text is not None else []
            with contextlib.suppress(OSError, ValueError):
                candidates.append(beside.read_text())
            for manifest in candidates:
                with contextlib.suppress(OutputError):
                    _manifest.parse(beside, manifest.encode())
                    break
            else:
                raise OutputError(
                    f"nothing tells what the ledger {str(path)!r} is of: its manifest cannot be read, neither in it "
                    "nor beside it. Put back a copy of manifest.json, or use another folder."
                )
            temporary = folder / ".rescued.sqlite"
            Store.create(temporary, manifest, rows)
            for suffix in ("", "-wal", "-shm", "-journal"):
                part = path.with_name(path.name + suffix)
                if part.exists():
                    part.replace(old.with_name(old.name + suffix))
            temporary.replace(path)
            archive.write_text(beside, manifest)
        return len(rows)

    def close(self) -> None:
        """Let go of the folder; what was answered is kept whether or not this is reached."""
        with contextlib.suppress(OutputError):
            self._store.note("closed", self._session)
        self._store.close()
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _begin(self, settings: Mapping[str, Any] | None) -> None:
        detail = {
            "process": os.getpid(),
            "machine": platform.node(),
            "threads": torch.get_num_threads(),
            "journal": f"{self.journal} on {self.file_system}",
            "with": _manifest.environment(),
            "settings": archive.parse(archive.dump(dict(settings or {}))),
        }
        try:
            self._session = self._store.note("opened", detail=detail)
        except BaseException:
            self._store.close()
            raise


def locked(folder: Path) -> sqlite3.Connection:
    """The lock of a folder. It goes with the process that holds it, however that ends."""
    path, connection = folder / _LOCK, None
    _store.refuse_irregular(path)
    try:
        connection = sqlite3.connect(path, timeout=0.0, isolation_level=None, check_same_thread=False)
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as error:
        if connection is not None:
            connection.close()
        if getattr(error, "sqlite_errorname", "").startswith("SQLITE_BUSY"):
            raise OutputError(
                f"the folder {str(folder)!r} is in use{_holder(folder)}; expected one run at a time in it. Wait for "
                "that run, or choose another folder."
            ) from None
        if getattr(error, "sqlite_errorname", "") == "SQLITE_NOTADB":
            raise OutputError(
                f"{str(path)!r} is not the empty file that a run locks. Move it away, or choose another folder."
            ) from None
        raise _store.refusal(path, error, "Choose another folder.") from error
    return connection


def _holder(folder: Path) -> str:
    query = "SELECT detail FROM events WHERE kind = 'opened' ORDER BY id DESC LIMIT 1"
    with contextlib.suppress(sqlite3.Error, TypeError, ValueError, KeyError):
        address = f"{(folder / POINTS).resolve().as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(address, uri=True, timeout=1.0)) as connection:
            detail = json.loads(connection.execute(query).fetchone()[0])
        return f" by process {detail['process']} on {detail['machine']}"
    return " by another run"


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise OutputError(
            f"cannot read {str(path)!r}: {error.strerror or error}. Check its permissions, or choose another folder."
        ) from error


def _opened(folder: Path, identity: Mapping[str, Any], notes: Sequence[str]) -> Store:
    """The points of a run, new or old, after everything that speaks against it."""
    path, manifest = folder / POINTS, folder / _manifest.NAME
    _store.refuse_irregular(manifest)
    if not path.exists():
        if manifest.exists():
            _manifest.parse(manifest, _bytes_of(manifest))
            raise OutputError(
                f"the folder {str(folder)!r} has the manifest of a ledger, but {POINTS} is missing. Put back a copy of "
                "it, or remove manifest.json to begin anew."
            )
        text = _manifest.new(identity)
        Store.create(path, text)
        try:
            archive.write_text(manifest, text)
        except OutputError:
            path.unlink()
            raise
    store = Store(path, _store.journal(folder)[0])
    try:
        own = store.one("SELECT text FROM manifest")
        if not isinstance(own, str):
            raise _store.damaged(path, "its own copy of the manifest is missing")
        if not manifest.exists():
            # Killed between the two, or removed: the ledger has its own copy.
            archive.write_text(manifest, own)
        given = _bytes_of(manifest)
        _manifest.parse(manifest, given)
        if given != own.encode():
            raise OutputError(
                f"{str(manifest)!r} is not the manifest that the ledger beside it was begun with. Remove it, and it is "
                "written again from the ledger's own copy; or choose another folder. Nothing was changed."
            )
        _manifest.refuse_other(folder, _manifest.parse(path, own.encode())["identity"], identity, "", notes)
    except BaseException:
        store.close()
        raise
    return store
