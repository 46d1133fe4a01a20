"""One run, one folder: an answered point is kept before it is handed on, and is never asked for again."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sqlite3
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, final

import torch
from torch import Tensor

from lossatlas import archive
from lossatlas._errors import InputError, OutputError
from lossatlas.probe import _blobs, _manifest, _store
from lossatlas.probe._store import Row, Store
from lossatlas.surface import Reading

_POINTS, _LOCK, _BLOBS = "ledger.sqlite", "ledger.lock", "blobs"


class Memory(Protocol):
    """What the door asks before it asks a surface, and tells what is new before it hands it on."""

    def recall(self, points: Tensor) -> tuple[Tensor, Reading]:
        """Which of the points (B, k) are known, shape (B,), and the readings of those, in order, on the CPU."""
        ...

    def record(self, points: Tensor, reading: Reading, examples: int, seconds: float) -> None:
        """Keep what was just answered, all of it or none.

        Args:
            points: shape (B, k).
            reading: of these.
            examples: read for each.
            seconds: spent on all of them.
        """
        ...


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
    uninterrupted one, ask a surface on a frame with ``steady=True``.

    On a local disk there is a write-ahead log: the file ``ledger.sqlite-wal`` belongs to the ledger while a run is at
    work or after it was killed. On a network file system, or one that is not known, there is a rollback journal. After
    a power failure the last batches may be missing and are asked again; the file stays whole. Between machines that
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
        ...         _ = probe.ask(Values(torch.rand(5, 2, generator=torch.Generator().manual_seed(0)).double()))
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
        cls, folder: str | Path, identity: Mapping[str, Any], *, settings: Mapping[str, Any] | None = None
    ) -> Ledger:
        """Begin a run in a folder, or go on with the one that is there.

        Args:
            folder: created if needed.
            identity: what decides the answers: surface, data, plane, precision … as plain JSON values. Floats are taken
                for measured and compared to four digits; what must be the same to the bit goes in as a digest.
            settings: of this session, kept with it but not compared: another range or number of points of the same
                plane goes on with the points that there are.

        Returns:
            The ledger, to be closed: it is a context manager.

        Raises:
            OutputError: if the folder cannot be written, another process is at work in it, it holds a ledger of
                something else (the difference is named), of another version, or a damaged one. It is then as it was.
        """
        folder = archive.prepare(folder)
        # The round trip makes tuples lists, so that it can be compared with what is read back.
        wanted = archive.parse(archive.dump(dict(identity)))
        lock = _locked(folder)
        try:
            store = _opened(folder, wanted)
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
                _manifest.refuse_other(self.folder, archive.parse(text.encode()), wanted, f"the field {name!r} of ")
        return Channel(self._store, name, self._session)

    def keep(self, tensors: Mapping[str, Tensor]) -> str:
        """Keep tensors that cannot be made again, such as a plane of the user's own; nothing is written twice.

        Returns:
            The name to `fetch` them by: their SHA-256.
        """
        return _blobs.keep(self.folder / _BLOBS, tensors)

    def fetch(self, name: str) -> dict[str, Tensor]:
        """The tensors that were kept under a name."""
        return _blobs.fetch(self.folder / _BLOBS, name)

    @property
    def blobs(self) -> tuple[str, ...]:
        """Names of the tensors that were kept."""
        return tuple(sorted(path.name for path in (self.folder / _BLOBS).glob("*.safetensors")))

    def __len__(self) -> int:
        """Points kept, of all channels."""
        return int(self._store.one("SELECT count(*) FROM points"))

    @property
    def asked(self) -> int:
        """Points ever answered by a surface in this folder, in all sessions; above `len` if any was asked twice."""
        return int(self._store.one("SELECT coalesce(sum(points), 0) FROM events WHERE kind = 'answered'"))

    @property
    def sessions(self) -> int:
        """How often it was opened, this time included."""
        return int(self._store.one("SELECT count(*) FROM events WHERE kind = 'opened'"))

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the result must know, in sentences: answers from several machines agree to rounding only."""
        found = self._store.connection.execute(
            "SELECT detail FROM events WHERE id IN (SELECT session FROM events WHERE kind = 'answered') ORDER BY id"
        )
        makers = list(dict.fromkeys(tuple(json.loads(text)["with"].items()) for (text,) in found))
        if len(makers) < 2:
            return ()
        listed = "; ".join(", ".join(f"{name} {value}" for name, value in maker) for maker in makers)
        return (f"the points were answered in {len(makers)} environments, which agree to rounding only: {listed}",)

    def record(self) -> dict[str, Any]:
        """For a result's provenance: plain JSON values."""
        return {
            "points": len(self),
            "asked": self.asked,
            "sessions": self.sessions,
            "journal": self.journal,
            "file_system": self.file_system,
            "blobs": list(self.blobs),
            "notes": list(self.notes),
        }

    @classmethod
    def rescue(cls, folder: str | Path) -> int:
        """Replace a damaged ledger by what can be read of it; the damaged file stays beside it.

        Only points whose checksum holds are taken over; the others will be asked again.

        Returns:
            How many there are.

        Raises:
            OutputError: if there is no ledger, it is in use, or not even its manifest can be read.
        """
        folder = Path(folder)
        path, old = folder / _POINTS, folder / "ledger.damaged.sqlite"
        if not path.is_file():
            raise OutputError(f"there is no ledger {str(path)!r}; expected a damaged one. Check the folder.")
        with contextlib.closing(_locked(folder)):
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


@final
class Channel:
    """The memory of one field in a ledger.

    Args:
        store: of the ledger.
        name: of the channel.
        session: that answers are noted under.
    """

    def __init__(self, store: Store, name: str, session: int) -> None:
        self._store, self._name, self._session = store, name, session

    def recall(self, points: Tensor) -> tuple[Tensor, Reading]:
        """Which of the points (B, k) are known, shape (B,), and the readings of those, in order, on the CPU."""
        query = "SELECT status, value, extras FROM points WHERE channel = ? AND a = ? AND b = ?"
        execute = self._store.connection.execute
        try:
            rows = [execute(query, (self._name, a, b)).fetchone() for a, b in _keys(points)]
        except sqlite3.Error as error:
            raise _store.damaged(self._store.path, str(error)) from error
        found = [row for row in rows if row is not None]
        extras = [json.loads(text) for _, _, text in found]
        return torch.tensor([row is not None for row in rows], dtype=torch.bool), Reading(
            torch.tensor([_store.loss(status, value) for status, value, _ in found], dtype=torch.float64),
            {
                name: torch.tensor([float(each[name]) for each in extras], dtype=torch.float64)
                for name in (extras[0] if extras else {})
            },
        )

    def record(self, points: Tensor, reading: Reading, examples: int, seconds: float) -> None:
        """Keep what was just answered, in one transaction; what is known already stays as it is."""
        names, channels = list(reading.extras), list(reading.extras.values())
        table = torch.stack([reading.values, *channels], 1).detach().to("cpu", torch.float64) + 0.0
        each = seconds / max(1, len(points))
        rows = [
            Row.of(self._name, key, value, dict(zip(names, extras, strict=True)), examples, each)
            for key, (value, *extras) in zip(_keys(points), table.tolist(), strict=True)
        ]
        self._store.insert(rows, self._session)


def _keys(points: Tensor) -> Iterator[tuple[int, int]]:
    if points.ndim != 2 or not 1 <= points.shape[1] <= 2:
        raise InputError(
            f"got points of shape {tuple(points.shape)} for a ledger; expected (B, 1) or (B, 2), coordinates on a line "
            "or plane. Slice the surface first: surface.on(plane)."
        )
    bits = (points.detach().to("cpu", torch.float64) + 0.0).contiguous().view(torch.int64).tolist()
    return ((row[0], row[1] if len(row) == 2 else 0) for row in bits)


def _locked(folder: Path) -> sqlite3.Connection:
    """The lock of a folder. It goes with the process that holds it, however that ends."""
    connection = sqlite3.connect(folder / _LOCK, timeout=0.0, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as error:
        connection.close()
        if getattr(error, "sqlite_errorname", "").startswith("SQLITE_BUSY"):
            raise OutputError(
                f"the folder {str(folder)!r} is in use{_holder(folder)}; expected one run at a time in it. Wait for "
                "that run, or choose another folder."
            ) from None
        raise _store.refusal(folder / _LOCK, error, "Choose another folder.") from error
    return connection


def _holder(folder: Path) -> str:
    query = "SELECT detail FROM events WHERE kind = 'opened' ORDER BY id DESC LIMIT 1"
    with contextlib.suppress(sqlite3.Error, TypeError, ValueError, KeyError):
        address = f"{(folder / _POINTS).resolve().as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(address, uri=True, timeout=1.0)) as connection:
            detail = json.loads(connection.execute(query).fetchone()[0])
        return f" by process {detail['process']} on {detail['machine']}"
    return " by another run"


def _opened(folder: Path, identity: Mapping[str, Any]) -> Store:
    """The points of a run, new or old, after everything that speaks against it."""
    path, manifest = folder / _POINTS, folder / _manifest.NAME
    if not path.exists():
        if manifest.exists():
            _manifest.parse(manifest, manifest.read_bytes())
            raise OutputError(
                f"the folder {str(folder)!r} has the manifest of a ledger, but {_POINTS} is missing. Put back a copy of "
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
        if not manifest.exists():
            # Killed between the two, or removed: the ledger has its own copy.
            archive.write_text(manifest, own)
        given = manifest.read_bytes()
        _manifest.parse(manifest, given)
        if given != own.encode():
            raise OutputError(
                f"{str(manifest)!r} is not the manifest that the ledger beside it was begun with. Remove it, and it is "
                "written again from the ledger's own copy; or choose another folder. Nothing was changed."
            )
        _manifest.refuse_other(folder, _manifest.parse(path, own.encode())["identity"], identity, "")
    except BaseException:
        store.close()
        raise
    return store
