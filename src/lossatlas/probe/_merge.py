"""Ledgers of parts of one job, joined into one."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from lossatlas import _checks, archive
from lossatlas._errors import InputError, OutputError
from lossatlas.probe import _manifest
from lossatlas.probe._ledger import BLOBS, POINTS, Ledger, locked
from lossatlas.probe._store import Row, Store, journal, loss

# Two answers to one point that are further apart are of two surfaces, whatever the identities say.
TOLERANCE = 1e-4


class Source(NamedTuple):
    """What a ledger that is to be merged holds.

    Attributes:
        folder: of it.
        identity: of it.
        rows: every answered point.
        openings: what was noted when it was opened to evaluate something.
    """

    folder: Path
    identity: Any
    rows: list[Row]
    openings: list[dict[str, Any]]

    @property
    def settings(self) -> list[dict[str, Any]]:
        """With which it was opened."""
        return [one.get("settings") or {} for one in self.openings]


@dataclass(frozen=True)
class Merged:
    """What a merge found.

    Attributes:
        folder: of the ledger that holds everything now.
        points: in it.
        new: points that each source brought, by its folder.
        overlapping: points that more than one of them held.
        differing: of those, points whose answers have other bits.
        largest: the largest relative difference of two losses of one point.
        sources: the ledgers.
    """

    folder: Path
    points: int
    new: Mapping[str, int]
    overlapping: int
    differing: int
    largest: float
    sources: tuple[Source, ...]

    def sentences(self) -> list[str]:
        """In words."""
        brought = [f"{folder}: {count:,} new point{'s' * (count != 1)}" for folder, count in self.new.items()]
        said = [*brought, f"{self.folder} holds {self.points:,} points"]
        if self.overlapping:
            apart = (
                f"; {self.differing:,} of them differ, by {self.largest:.2g} of the loss at most, as between kinds of machines"
                if self.differing
                else ", with the same answers to the bit"
            )
            said.append(f"{self.overlapping:,} points were evaluated by more than one of them{apart}")
        return said


def merge_ledgers(folders: Sequence[str | Path], out: str | Path | None = None) -> Merged:
    """Join ledgers of one surface and one plane: every point that any of them knows, each once.

    Nothing is evaluated. Merging again changes nothing, and a killed merge is finished by the same call.

    Args:
        folders: of the ledgers, at least one.
        out: where all points go, a ledger or nothing yet; the first of the folders by default.

    Returns:
        What each brought, and which points several of them held.

    Raises:
        OutputError: if one of them is no ledger, is in use, damaged, or of another surface or plane (what differs is
            named), or two of them give one point losses further apart than rounding. Nothing is changed then.

    Example:
        >>> import tempfile, lossatlas as la
        >>> surface, root = la.landscapes.himmelblau(), tempfile.mkdtemp()
        >>> plane = la.Plane.random(surface)
        >>> for part in ("1/2", "2/2"):
        ...     _ = la.chart_part(surface, plane, part, f"{root}/{part[0]}", points=(5, 4), progress=False)
        >>> la.merge_ledgers([f"{root}/1", f"{root}/2"], f"{root}/all").points
        20
    """
    folders = _checks.listed("folders", folders, "the folders of ledgers", where="merge_ledgers")
    if not folders:
        raise InputError("got no ledgers; expected the folders of at least one. Give those that --part wrote.")
    try:
        target = archive.located(folders[0] if out is None else out)
        places = list(dict.fromkeys(archive.located(folder).resolve() for folder in folders))
        target.resolve()
    except (OSError, RuntimeError) as error:  # links that lead to one another
        raise OutputError(f"a folder cannot be found: {error}. Give folders that are there.") from None
    with contextlib.ExitStack() as stack:
        sources = [_read(place, stack) for place in places if place != target.resolve()]
        if (target / POINTS).exists():
            own = _read(target, None)
            sources.insert(0, own) if target.resolve() in places else sources.append(own)
        for source in sources[1:]:
            _manifest.refuse_other(source.folder, sources[0].identity, source.identity, "")
        overlapping, differing, largest = _compared(sources, target)
        ledger = stack.enter_context(
            Ledger.open(target, sources[0].identity, settings={"merge": [str(p) for p in places]})
        )
        new: dict[str, int] = {}
        for source in sources:
            if source.folder.resolve() != target.resolve():
                new[str(source.folder)] = ledger.adopt(source.rows, source.openings)
                for name in sorted(path.name for path in (source.folder / BLOBS).glob("*.safetensors")):
                    ledger.keep(_fetched(source.folder, name))
        return Merged(target, len(ledger), new, overlapping, differing, largest, tuple(sources))


def _read(folder: Path, stack: contextlib.ExitStack | None) -> Source:
    path = folder / POINTS
    if not path.is_file():
        raise OutputError(
            f"there is no ledger in {str(folder)!r}; expected a folder that a chart with a ledger, or --part, wrote. Check the "
            "name, or wait until that part has begun."
        )
    if stack is not None:
        stack.enter_context(contextlib.closing(locked(folder)))
    with contextlib.closing(Store(path, journal(folder)[0])) as store:
        manifest = _manifest.parse(folder / _manifest.NAME, str(store.one("SELECT text FROM manifest")).encode())
        rows = store.rows()
        openings = [one for one in store.details("kind = 'opened'") if one is not None]
    return Source(folder, manifest["identity"], rows, openings)


def _fetched(folder: Path, name: str) -> Any:
    from lossatlas.probe import _blobs

    return _blobs.fetch(folder / BLOBS, name)


def _compared(sources: Sequence[Source], target: Path) -> tuple[int, int, float]:
    """Points of several sources beside the target, those with other bits, and the largest relative difference."""
    known: dict[tuple[Any, ...], tuple[Row, Path]] = {}
    overlapping, differing, largest = set(), set(), 0.0
    for source in sources:
        for row in source.rows:
            key = row[:3]
            if key not in known:
                known[key] = row, source.folder
                continue
            other, folder = known[key]
            if target.resolve() not in (folder.resolve(), source.folder.resolve()):
                overlapping.add(key)  # what a merge before this one brought is no second evaluation
            if (row.status, row.value, row.extras) == (other.status, other.value, other.extras):
                continue
            differing.add(key)
            one, two = loss(row.status, row.value), loss(other.status, other.value)
            apart = abs(one - two) / max(abs(one), abs(two), 1e-300) if row.status == other.status == "ok" else math.inf
            if apart > TOLERANCE and abs(one - two) > 1e-9:
                raise OutputError(
                    f"the ledgers in {str(folder)!r} and {str(source.folder)!r} hold losses {two:.6g} and {one:.6g} of the same "
                    "point; expected the same surface in both. One of them was evaluated with other code, data or numbers: leave "
                    "it out and evaluate its part again. Nothing was changed."
                )
            largest = max(largest, apart if math.isfinite(apart) else 0.0)
    return len(overlapping), len(differing), largest
