"""Writes walks.json: what Python's own races give for every rule that the page walks too. `python -m tests.golden.write`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lossatlas as la
from lossatlas.page._building import Building
from lossatlas.page._optimizers import TWINS
from lossatlas.page._plain import plain
from lossatlas.page._surfaces import add_surface
from lossatlas.race import replay

FILE = Path(__file__).with_name("walks.json")
STEPS, EVERY = 300, 12
# Smaller rates where the default leaves a surface this steep; the others keep the catalog's defaults.
SMALLER = {
    "rosenbrock": {"gd": 5e-4, "sgd": 5e-4, "momentum": 1e-4, "nesterov": 1e-4, "evolution": 1e-4},
    "quadratic": {"gd": 0.012, "sgd": 0.012, "momentum": 2e-3, "nesterov": 2e-3, "evolution": 5e-3},
}
PLACES = ("four_wells", "rosenbrock", "quadratic")
# 100 × 100 starts: ten thousand ends of momentum on the four wells.
GRID, GRID_STEPS = 100, 300


def walks() -> list[dict[str, Any]]:
    """One entry for each rule on each landscape."""
    return [_walk(place, name) for place in PLACES for name in TWINS]


def _walk(place: str, name: str) -> dict[str, Any]:
    surface = getattr(la.landscapes, place)()
    rate = SMALLER.get(place, {}).get(name)
    one = la.optimizer(name) if rate is None else la.optimizer(name, lr=rate)
    if name == "restart":
        one = la.optimizer(name, inner=la.optimizer("gd", lr=SMALLER.get(place, {}).get("gd", 0.05)), restarts=2)
    race = la.race(surface, [one], steps=STEPS, progress=False)
    track = race.tracks[name]
    drawn = replay(race, name).drawn
    stop = len(track.positions[0])
    kept = sorted({*range(0, stop, EVERY), stop - 1})
    losses = track.losses[0].tolist()
    return {
        "place": place,
        "optimizer": name,
        "settings": one.settings(),
        "formula": _formula(surface),
        "box": {"lower": surface.box[:, 0].tolist(), "upper": surface.box[:, 1].tolist()},
        "start": surface.start.tolist(),
        "steps": STEPS,
        "tape": drawn.tolist() if len(drawn) and name != "sgd" else None,
        "kept": kept,
        "positions": [track.positions[0, k].tolist() for k in kept],
        "losses": [losses[k] for k in kept],
    }


def _formula(surface: Any) -> dict[str, Any]:
    building = Building()
    add_surface(building, surface)
    found: dict[str, Any] = building.parts["surfaces"][0]["formula"]
    return found


def grid() -> dict[str, Any]:
    """Where momentum ends from ten thousand starts, as digits: 9 for no well."""
    surface = la.landscapes.four_wells()
    made = la.basin_map(surface, "momentum", points=GRID, steps=GRID_STEPS, progress=False)
    return {
        "formula": _formula(surface),
        "optimizer": "momentum",
        "settings": made.optimizer.settings(),
        "box": {"lower": [float(made.x[0]), float(made.y[0])], "upper": [float(made.x[-1]), float(made.y[-1])]},
        "points": GRID,
        "steps": GRID_STEPS,
        "wells": [{"name": w.name, "at": w.minimum.tolist(), "value": w.value} for w in surface.wells],
        "ends": ["".join("9" if k < 0 else str(k) for k in row) for row in made.ends.tolist()],
    }


def main() -> None:
    """Write the file."""
    text = json.dumps(plain({"walks": walks(), "grid": grid()}), separators=(",", ":"), allow_nan=False)
    FILE.write_text(text.replace('{"place"', '\n{"place"').replace('"grid"', '\n"grid"') + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
