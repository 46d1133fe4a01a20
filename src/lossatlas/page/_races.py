"""Races, basin maps and sweeps of a scene: positions, what was queried where, what it cost, and the verdicts in words."""

from __future__ import annotations

from typing import Any

import numpy as np

from lossatlas._errors import LossAtlasError
from lossatlas.page._building import Building, metered
from lossatlas.page._cards import add_card
from lossatlas.page._optimizers import TWINS, add_optimizers
from lossatlas.page._surfaces import add_surface
from lossatlas.race import BasinMap, Race, Sweep, replay, wilson
from lossatlas.surface.landscapes import Landscape

# Of several hundred descents in a row, one run's positions are shown thinned to so many.
MOST_POSITIONS = 20_000
MOST_ENDS = 20_000


def add_race(building: Building, made: Race) -> None:
    """The run that is shown of each racer, and of many runs their ends with shares and intervals."""
    where = add_surface(building, made.surface)
    if where is None:
        add_card(building, made, tables=[made.table(), made.accounting()])
        return
    add_optimizers(building, [*TWINS, *(track.optimizer.name for track in made.tracks.values())])
    for label, track in made.tracks.items():
        shown, why = typical(made, label)
        # A race that kept only its ends has no way to show.
        if track.positions.shape[1] > 1 and not _there(building, made, where, label, shown, why):
            building.parts["runs"].append(_run(building, made, where, label, shown, why))
        if made.runs > 1:
            building.parts["many"].append({
                "surface": where,
                "optimizer": track.optimizer.name,
                "label": label,
                "n": made.runs,
                "ends": building.array(track.final[:MOST_ENDS].double().cpu().numpy()),
                "shares": _shares(made, label),
                "sentence": made.verdicts[label].sentence,
            })  # fmt: skip


def _there(building: Building, made: Race, where: str, label: str, run: int, why: str | None) -> bool:
    """Whether that very run came with another race, which then is the typical one too."""
    positions = made.tracks[label].positions[run].double().cpu().numpy()
    ref = building.array(positions[: _stop(positions)])
    same = [one for one in building.parts["runs"] if one["surface"] == where and one["label"] == label]
    same = [one for one in same if one["positions"] == ref and one["every"] == 1]
    for one in same:
        one["typical"] = one["typical"] or why
    return bool(same)


def typical(made: Race, label: str) -> tuple[int, str | None]:
    """The run that is shown, and the sentence that says why."""
    if made.runs == 1:
        return 0, None
    shown, wells = made.typical(label), made.verdicts[label].wells
    well, count = wells[shown], wells.count(wells[shown])
    place = "no known well" if well is None else "the global well" if well == "global" else f"the well {well}"
    return (
        shown,
        f"run {shown:,} of {made.runs:,} is shown: of the {count:,} that ended in {place}, the one of median loss",
    )


def _run(building: Building, made: Race, where: str, label: str, run: int, why: str | None) -> dict[str, Any]:
    track = made.tracks[label]
    positions = track.positions[run].double().cpu().numpy()
    losses = track.losses[run].double().cpu().numpy()
    stop = _stop(positions)
    positions, losses = positions[:stop], losses[:stop]
    step = -(-len(positions) // MOST_POSITIONS)
    if step > 1:
        building.notes.append(f"positions of {label} were thinned to every {step}th of {len(positions):,}")
    found = _replayed(made, label, run)
    seen, counts, tape = (None, None, None) if found is None else (found.points, found.counts[:stop], found.drawn)
    # What mini-batch SGD draws are seeds of batches, which mean nothing to the page.
    kept = tape is not None and 0 < len(tape) <= MOST_POSITIONS and track.optimizer.name != "sgd"
    return {
        "surface": where,
        "optimizer": track.optimizer.name,
        "label": label,
        "settings": track.optimizer.settings(),
        "seed": made.seed,
        "source": "recorded",
        "positions": building.array(positions[::step]),
        "losses": building.array(losses[::step]),
        "seen": None if seen is None or not len(seen) else building.array(seen[:: -(-len(seen) // MOST_POSITIONS)]),
        "counts": None if counts is None else building.array(counts[::step], "i4"),
        "bytes": int(max((held for _, held in track.memory), default=0)),
        "tape": building.array(tape, "f8") if kept else None,
        "off": None,
        "verdict": made.verdicts[label].sentence,
        "typical": why,
        "meter": metered(track.meter),
        "every": step,
        # Where a new descent begins: no line leads there.
        "breaks": sorted({k // step for k in track.optimizer.breaks(track.positions.shape[1] - 1) if k < stop}),
    }


def _stop(positions: np.ndarray) -> int:
    """One more than the last position at which the run still moved."""
    moved = np.flatnonzero((positions[1:] != positions[:-1]).any(1))
    return int(moved[-1]) + 2 if len(moved) else min(2, len(positions))


def _replayed(made: Race, label: str, run: int) -> Any:
    """The run walked again, where that costs nothing: on a formula."""
    if not isinstance(made.surface, Landscape):
        return None
    try:
        return replay(made, label, run)
    except LossAtlasError:
        return None


def _shares(made: Race, label: str) -> list[dict[str, Any]]:
    names = [well.name for well in made.surface.wells]
    found = [(name, made.rate(label, name), *made.interval(label, name)) for name in names]
    lost = sum(well is None for well in made.verdicts[label].wells)
    if lost and names:
        found.append(("none of them", lost / made.runs, *wilson(lost, made.runs)))
    return [{"well": name, "share": share, "low": low, "high": high} for name, share, low, high in found]


def add_basins(building: Building, made: BasinMap) -> None:
    """A basin map; an end in none of the wells is 255."""
    where = add_surface(building, made.surface)
    if where is None:
        add_card(building, made, tables=[made.table()])
        return
    add_optimizers(building, [*TWINS, made.optimizer.name])
    shares = [
        {"well": n, "share": made.share(n), "low": made.interval(n)[0], "high": made.interval(n)[1]} for n in made.names
    ]
    building.parts["basins"].append({
        "surface": where,
        "optimizer": made.optimizer.name,
        "label": made.optimizer.title,
        "settings": made.optimizer.settings(),
        "steps": made.steps,
        "nx": len(made.x),
        "ny": len(made.y),
        "box": {"lower": [float(made.x[0]), float(made.y[0])], "upper": [float(made.x[-1]), float(made.y[-1])]},
        "wells": list(made.names),
        "ends": building.array(np.where(made.ends < 0, 255, made.ends), "u1"),
        "cost": building.maybe(made.cost),
        "shares": shares,
        "sentence": made.sentence,
    })  # fmt: skip


def add_sweep(building: Building, made: Sweep) -> None:
    """A sweep: at each value the share of runs in the deepest well, with its interval."""
    where = add_surface(building, made.surface)
    if where is None or not made.names:
        add_card(building, made, tables=[made.table()])
        return
    add_optimizers(building, [*TWINS, made.optimizer.name])
    well = "global" if "global" in made.names else made.names[0]
    band = made.intervals(well)
    building.parts["sweeps"].append({
        "surface": where,
        "optimizer": made.optimizer.name,
        "setting": made.setting,
        "values": made.values,
        "outcome": made.shares(well),
        "low": band[:, 0],
        "high": band[:, 1],
        "label": f"share of runs that ended in {'the global well' if well == 'global' else well}",
        "sentence": made.sentence,
        "shares": {name: made.shares(name) for name in made.names},
    })  # fmt: skip
