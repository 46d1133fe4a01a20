"""Results from folders: whatever kind was saved there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

# Their classes are known to the archive once they are imported.
import lossatlas.chart
import lossatlas.connect
import lossatlas.curvature
import lossatlas.race  # noqa: F401
from lossatlas import archive
from lossatlas._errors import InputError, LossAtlasError, OutputError
from lossatlas.lessons import Evidence
from lossatlas.page import Scene
from lossatlas.record import Recording
from lossatlas.surface import Surface


def load(folder: str | Path, *, surface: Surface | None = None) -> Any:
    """The result that was saved in a folder, whatever it is; a user's own `lossatlas.archive.Result` too, once imported.

    Args:
        folder: what the `save` of a result wrote, or the ``.scene`` file that the `save` of a scene did.
        surface: for a race, a sweep or a basin map, what it was made on. A landscape of ours is built again from the record; of
            another surface only its name, box and wells are left if it is not given.

    Raises:
        OutputError: if there is none, it is damaged, or another version wrote it.
        InputError: if the surface is not the one that the result was made on, or the result is about none.
    """
    if Path(folder).suffix == ".scene":
        return Scene.load(folder)
    if Recording.is_in(folder):
        return Recording.load(folder, surface)
    kind, arrays, record = archive.load(folder)
    if kind not in archive.results:
        raise OutputError(
            f"{str(folder)!r} holds a {kind}; expected one of {', '.join(sorted(archive.results))}. Read its JSON for the "
            "record, or import the module whose class it is."
        )
    found = archive.results[kind]
    if surface is not None and not archive.needs(found, "surface"):
        raise InputError(
            f"{str(folder)!r} holds a {kind}, which needs no surface; expected surface=… for a race, a sweep or a map."
        )
    return found.restore(arrays, record, surface=surface)


def results_in(folder: str | Path) -> tuple[dict[str, Any], list[str]]:
    """Every result that lies in a folder or below it, by its place, and a sentence for each that cannot be read.

    Args:
        folder: with charts, races, recordings, evidence of lessons and whatever else was saved there.

    Raises:
        OutputError: if there is no such folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise OutputError(f"{str(root)!r} is no folder; expected one with results that lossatlas saved.")
    found: dict[str, Any] = {}
    faults: list[str] = []
    for place in sorted({root, *(path for path in root.rglob("*") if path.is_dir())}):
        for name, read in _readers(place):
            where = (place / name).relative_to(root).as_posix()
            try:
                found[where] = read()
            except LossAtlasError as error:
                faults.append(f"{where} was left out: {error}")
    return found, faults


def _readers(place: Path) -> list[tuple[str, Any]]:
    if Recording.is_in(place):
        return [("recording", lambda: Recording.load(place))]
    readers: list[tuple[str, Any]] = [
        (kind, lambda kind=kind: load(place / f"{kind}.json"))
        for kind in archive.kinds(place)
        if kind in archive.results
    ]
    readers += [(path.stem, lambda path=path: Evidence.load(path)) for path in sorted(place.glob("lesson-*.json"))]
    return readers
