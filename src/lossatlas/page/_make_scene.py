"""Results into a scene: each kind of result to the part of the page that shows it, everything else to a card."""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lossatlas import archive
from lossatlas._errors import InputError
from lossatlas.chart import Chart, Comparison, Trajectory
from lossatlas.connect import Path as Connection
from lossatlas.curvature import Extremes, Spectrum
from lossatlas.draw import Table
from lossatlas.lessons import Evidence
from lossatlas.page._building import Building
from lossatlas.page._cards import add_card, add_table
from lossatlas.page._lecture import Lecture, add_lecture
from lossatlas.page._lessons import add_lesson
from lossatlas.page._optimizers import TWINS, add_optimizers
from lossatlas.page._plain import digested, plain
from lossatlas.page._races import add_basins, add_race, add_sweep
from lossatlas.page._records import (
    add_comparison,
    add_extremes,
    add_line,
    add_path,
    add_recording,
    add_spectrum,
    add_trajectory,
)
from lossatlas.page._scene import FORMAT, VERSION, Scene
from lossatlas.page._surfaces import add_chart, add_surface
from lossatlas.page._thinning import thinned
from lossatlas.race import BasinMap, Race, Sweep
from lossatlas.record import Recording
from lossatlas.surface import Surface

_ADDERS: dict[type[Any], Callable[[Building, Any], Any]] = {
    Race: add_race,
    BasinMap: add_basins,
    Sweep: add_sweep,
    Trajectory: add_trajectory,
    Recording: add_recording,
    Connection: add_path,
    Spectrum: add_spectrum,
    Extremes: add_extremes,
    Comparison: add_comparison,
    Evidence: add_lesson,
    Lecture: add_lecture,
    Table: add_table,
    archive.Result: add_card,
}


def scene(*results: Any, title: str | None = None) -> Scene:
    """The document that the explorer's page shows, made of results.

    Charts, comparisons, races, basin maps, sweeps, paths, recordings, spectra and the evidence of lessons get their own
    parts of the page; any other result becomes a card with its table, its sentences and its picture. A surface of two
    parameters may be given too. Nothing is evaluated for it but landscapes, which are formulas, and a
    function of two parameters with a box, at 101 × 101 points.

    Args:
        *results: what functions of lossatlas returned, lists or dicts of such.
        title: of the page; by default it is named after what it holds.

    Returns:
        The `Scene`. It is kept below 5 MB, the size that mail takes, by leaving out positions of runs; its notes say so.

    Raises:
        InputError: for no results, or what is none.

    Example:
        >>> import lossatlas as la
        >>> la.scene(la.landscapes.himmelblau(), title="Four equal wells")
        <Scene: Four equal wells: 1 surface>
    """
    building = Building()
    flat = list(_flat(results))
    if not flat:
        raise InputError("got no results; expected at least one, for example a chart or a race.")
    # A recording is laid over a chart, which must be there before it.
    for one in sorted(flat, key=lambda one: isinstance(one, Recording)):
        _add(building, one)
    _told_apart(building.parts["surfaces"])
    if building.parts["surfaces"]:
        add_optimizers(building, list(TWINS))
    from lossatlas import __version__

    head: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "title": str(title) if title is not None else _named(building),
        "made": {
            "program": f"lossatlas {__version__}",
            "command": _command(),
            "digests": {surface["id"]: digested(surface["provenance"]) for surface in building.parts["surfaces"]},
            "date": None,
        },
        "language": "en",
        "notes": building.notes,
        **building.parts,
    }
    found: dict[str, Any] = plain(head)
    return thinned(Scene(found, building.arrays))


def _add(building: Building, one: Any) -> None:
    if isinstance(one, Chart):
        (add_line if one.is_line else add_chart)(building, one)
        return
    if isinstance(one, Surface):
        if add_surface(building, one) is None:
            raise InputError(
                f"got the surface {one.name!r} of {one.dimension:,} parameters; expected one of two parameters with a box, or "
                "results. Chart it and give the chart."
            )
        return
    for kind, add in _ADDERS.items():
        if isinstance(one, kind):
            add(building, one)
            return
    raise InputError(
        f"got a {type(one).__name__}; expected results of lossatlas: a chart, a race, a recording, any other, or a list of them."
    )


def _told_apart(surfaces: list[dict[str, Any]]) -> None:
    """Charts of one network bear its name: what plane each is of is added, and a number where that is not enough."""
    titles = Counter(one["title"] for one in surfaces)
    for one in surfaces:
        plane = one["provenance"].get("plane") if one["kind"] == "field" else None
        if titles[one["title"]] > 1 and isinstance(plane, dict) and plane.get("kind"):
            seed = f", seed {plane['seed']}" if plane.get("seed") is not None else ""
            one["title"] += f" ({'PCA' if plane['kind'] == 'pca' else plane['kind']} plane{seed})"
    seen: Counter[str] = Counter()
    for one in surfaces:
        seen[one["title"]] += 1
        if seen[one["title"]] > 1:
            one["title"] += f", {seen[one['title']]}"


def _flat(given: Any) -> list[Any]:
    if isinstance(given, dict):
        given = list(given.values())
    if isinstance(given, list | tuple) and not isinstance(given, archive.Result):
        return [one for each in given for one in _flat(each)]
    return [given]


def _named(building: Building) -> str:
    titles = [one["title"] for part in ("surfaces", "paths", "recordings", "spectra", "cards", "lessons")
              for one in building.parts[part]]  # fmt: skip
    return f"Atlas: {', '.join(titles[:2])}{' and more' if len(titles) > 2 else ''}" if titles else "Atlas"


def _command() -> str | None:
    """The command line, where it is one of ours; paths of the program itself say nothing."""
    name = Path(sys.argv[0]).name if sys.argv else ""
    return shlex.join(["lossatlas", *sys.argv[1:]]) if name == "lossatlas" else None
