"""Surfaces of a scene: charts as fields with their status and error, landscapes as formulas that the page evaluates itself."""

from __future__ import annotations

import json
from dataclasses import asdict, is_dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lossatlas._errors import LossAtlasError
from lossatlas.chart import Chart
from lossatlas.page import _fields
from lossatlas.page._building import Building, metered
from lossatlas.probe import Meter
from lossatlas.surface import Surface
from lossatlas.surface.landscapes import Landscape

Array = NDArray[np.float64]
FAMILIES = frozenset({
    "GaussianWells", "Plateau", "Rosenbrock", "Himmelblau", "Beale", "MonkeySaddle", "Quadratic", "Regression", "Rastrigin",
    "Ackley", "RandomWaves",
})  # fmt: skip
# Nodes per axis of a field that stands for a function the page has no formula of.
POINTS = 101
# A loss that spans more than this factor is shown on a logarithmic scale, as in our other pictures.
DECADES = 30.0


def add_chart(building: Building, made: Chart, title: str | None = None) -> str:
    """A chart of a plane; its id."""
    key = f"chart {id(made)}"
    if key in building.known:
        return building.known[key]
    title = title or made.title
    finite = made.loss[np.isfinite(made.loss)]
    said = made.provenance.get("surface", {})
    name = building.known[key] = building.id(title)
    building.charts[name] = made
    building.parts["surfaces"].append({
        "id": name,
        "kind": "field",
        "title": title,
        "dimension": int(said.get("dimension") or 2),
        "parameters": said.get("dimension"),
        "labels": list(made.labels),
        "box": {
            "lower": [float(made.alpha.min()), float(made.beta.min())],
            "upper": [float(made.alpha.max()), float(made.beta.max())],
        },
        "start": [0.0, 0.0] if made.center is not None else None,
        "scale": _scale(finite),
        "positive": made.positive,
        "formula": None,
        "field": _fields.of_chart(building, made),
        "certificate": {"sentence": made.certificate.sentence, **made.certificate.record()},
        "card": _card(made),
        "reading": made.reading(),
        "meter": metered(made.meter),
        "meters": {kind: metered(part) for kind, part in made.meters.items()},
        "provenance": made.provenance,
        "citation": None,
        "command": _command(made),
        "wells": [],
    })  # fmt: skip
    return name


def add_surface(building: Building, surface: Surface) -> str | None:
    """A surface of two parameters that is at hand; its id, or None where it can only be told of."""
    key = json.dumps(surface.fingerprint(), sort_keys=True, default=str)
    if key in building.known:
        return building.known[key]
    formula = _formula(surface)
    if surface.dimension != 2 or surface.box is None:
        return None
    try:
        x, y, z = sampled(surface, 41 if formula else POINTS)
    except (LossAtlasError, NotImplementedError):
        return None
    box = surface.box.tolist()
    finite = z[np.isfinite(z)]
    name = building.known[key] = building.id(surface.name)
    field = None if formula else _fields.of_values(building, x, y, z)
    building.parts["surfaces"].append({
        "id": name,
        "kind": "formula" if formula else "field",
        "title": surface.name.replace("-", " "),
        "dimension": 2,
        "parameters": 2,
        "labels": ["w₁", "w₂"],
        "box": {"lower": [row[0] for row in box], "upper": [row[1] for row in box]},
        "start": None if surface.start is None else surface.start.tolist(),
        "scale": _scale(finite),
        "positive": bool(finite.size and finite.min() > 0),
        "formula": formula,
        "field": field,
        "certificate": {"sentence": "this is the surface itself, not a slice: every value is the formula's own"} if formula else None,
        "card": [],
        "reading": [surface.sentence, *surface.notes],
        "meter": metered(Meter() if formula else Meter(values=z.size)),
        "meters": {},
        "provenance": surface.fingerprint(),
        "citation": None,
        "command": f"lossatlas race {surface.name}" if formula else None,
        "wells": [
            {"name": well.name, "at": well.minimum.tolist(), "value": float(well.value)} for well in surface.wells
        ],
    })  # fmt: skip
    return name


def sampled(surface: Surface, points: int) -> tuple[Array, Array, Array]:
    """Losses on a grid over the box of a surface of two parameters."""
    if surface.box is None:
        raise NotImplementedError
    (x0, x1), (y0, y1) = surface.box.tolist()
    x, y = np.linspace(x0, x1, points), np.linspace(y0, y1, points)
    grid = torch.tensor(np.stack(np.meshgrid(x, y), -1).reshape(-1, 2), dtype=surface.dtype)
    return x, y, surface.values(grid).double().cpu().numpy().reshape(points, points)


def _formula(surface: Surface) -> dict[str, Any] | None:
    if not isinstance(surface, Landscape) or surface.dimension != 2:
        return None
    one = surface.formula
    if type(one).__name__ not in FAMILIES or not type(one).__module__.startswith("lossatlas."):
        return None
    constants: dict[str, Any] = asdict(one) if is_dataclass(one) and not isinstance(one, type) else {}
    # Two families draw their numbers from a seed: the page gets what was drawn.
    constants |= one.drawn() if hasattr(one, "drawn") else {}
    turn = surface.rotation
    cosine, sine = float(np.cos(turn)), float(np.sin(turn))
    return {
        "family": type(one).__name__,
        "constants": constants,
        "shift": surface.shift.tolist() if bool(surface.shift.any()) else None,
        "rotation": [[cosine, -sine], [sine, cosine]] if turn else None,
        "noise": surface.noise or None,
    }


def _scale(finite: Array) -> str:
    wide = finite.size and finite.min() > 0 and finite.max() > DECADES * finite.min()
    return "log" if wide else "linear"


def _card(made: Chart) -> list[dict[str, str]]:
    if "card" not in made.kept:
        return []
    return [{"name": head, "value": state, "sentence": text} for head, text, state in made.kept["card"].rows]


def _command(made: Chart) -> str | None:
    found = made.provenance.get("command")
    return str(found) if found else None
