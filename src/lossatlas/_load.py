"""Results from folders: whatever kind was saved there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

# Their classes are known to the archive once they are imported.
import lossatlas.advise
import lossatlas.chart
import lossatlas.connect
import lossatlas.curvature
import lossatlas.race  # noqa: F401
from lossatlas import _checks, _said, archive
from lossatlas._errors import InputError, LossAtlasError, OutputError
from lossatlas.lessons import Evidence
from lossatlas.page import Scene
from lossatlas.record import Recording
from lossatlas.surface import Surface

RECORDING, LESSONS = "recording.json", "lesson-*.json"


def load(folder: str | Path, *, surface: Surface | None = None) -> Any:
    """The result that was saved in a folder, whatever it is; a user's own `lossatlas.archive.Result` too, once imported.

    Args:
        folder: what the `save` of a result wrote; or the JSON file of one of them where it holds several, such as ``path.json``,
            ``recording.json`` or a lesson's ``lesson-ID.json``; or the ``.scene`` file of a scene.
        surface: for a race, a sweep or a basin map, what it was made on. A landscape of ours is built again from the record; of
            another surface only its name, box and wells are left if it is not given.

    Raises:
        OutputError: if there is none, there are several, it is damaged, or another version wrote it.
        InputError: if the surface is not the one that the result was made on, or the result is about none.
    """
    place = archive.located(folder)
    if place.suffix == ".scene":
        return Scene.load(place)
    file = place if place.is_file() else _only(place)
    if file.name == RECORDING:
        return Recording.load(file.parent, surface)
    if file.match(LESSONS) and not file.with_suffix(".safetensors").exists():
        _refuse(surface, f"{str(file)!r} holds the evidence of a lesson")
        return Evidence.load(file)
    kind, arrays, record = archive.load(file)
    if kind not in archive.results:
        raise OutputError(
            f"{str(folder)!r} holds {_said.an(kind)}; expected one of {', '.join(sorted(archive.results))}. Read its JSON for the "
            "record, or import the module whose class it is."
        )
    found = archive.results[kind]
    if not archive.needs(found, "surface"):
        _refuse(surface, f"{str(folder)!r} holds {_said.an(kind)}")
    return found.restore(arrays, record, surface=surface)


def _only(folder: Path) -> Path:
    """The JSON file of the one result in a folder. Files of other kinds, such as checkpoints of a training, are left aside.

    Raises:
        OutputError: if there is none, or several.
    """
    pairs = archive.kinds(folder)
    found = [kind for kind in pairs if kind in archive.results]
    found += ["recording"] if Recording.is_in(folder) else []
    found += sorted(one.stem for one in folder.glob(LESSONS) if one.stem not in pairs)
    return archive.only(folder, found or pairs)


def _refuse(surface: Surface | None, held: str) -> None:
    if surface is not None:
        kinds = ", ".join(sorted(kind for kind, one in archive.results.items() if archive.needs(one, "surface")))
        raise InputError(
            f"{held}, which needs no surface; expected surface=… for one of the kinds {kinds}. Leave it out."
        )


def results_in(folder: str | Path) -> tuple[dict[str, Any], list[str]]:
    """Every result that lies in a folder or below it, by its place, and a sentence for each that cannot be read.

    Args:
        folder: with charts, races, recordings, evidence of lessons and whatever else was saved there.

    Raises:
        OutputError: if there is no such folder.
    """
    root = _checks.path("folder", folder, where="load", error=OutputError)
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
