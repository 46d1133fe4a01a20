"""Surfaces of a scene: charts as fields with their status and error, landscapes as formulas that the page evaluates itself."""

from __future__ import annotations

import json
from dataclasses import asdict, is_dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lossatlas._errors import LossAtlasError
from lossatlas.archive import Status
from lossatlas.chart import Chart
from lossatlas.page._building import Building, metered
from lossatlas.probe import Meter
from lossatlas.surface import Surface
from lossatlas.surface.landscapes import Landscape

Array = NDArray[np.float64]
EVALUATED, RECONSTRUCTED, NOT_A_NUMBER, INFINITE, NOT_YET = range(5)
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
        "field": _field(building, made),
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
    field = None if formula else _exact(building, x, y, z)
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
    constants = asdict(one) if is_dataclass(one) and not isinstance(one, type) else {}
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


def _field(building: Building, made: Chart) -> dict[str, Any]:
    center = None
    i, j = np.flatnonzero(made.alpha == 0), np.flatnonzero(made.beta == 0)
    if len(i) and len(j):
        center = {"i": int(i[0]), "j": int(j[0]), "loss": float(made.loss[j[0], i[0]])}
    return {
        "alpha": building.array(made.alpha, "f8"),
        "beta": building.array(made.beta, "f8"),
        "loss": building.array(_rounded(made)),
        "status": building.array(status(made), "u1"),
        "error": _error(building, made),
        "channels": {name: building.array(_coarse(made, found)) for name, found in made.extras.items()},
        "center": center,
        "evaluated": _points(building, made.samples),
        "cheap": _points(building, made.cheaply),
        "held_out": None,
    }


def _exact(building: Building, x: Array, y: Array, z: Array) -> dict[str, Any]:
    told = np.where(np.isnan(z), NOT_A_NUMBER, np.where(np.isinf(z), INFINITE, EVALUATED))
    none = {"error": None, "channels": {}, "center": None, "evaluated": None, "cheap": None, "held_out": None}
    arrays = {"alpha": building.array(x, "f8"), "beta": building.array(y, "f8"), "loss": building.array(z)}
    return {**arrays, "status": building.array(told, "u1"), **none}


def status(made: Chart) -> NDArray[np.uint8]:
    """What each cell is, by the codes above."""
    known = made.exactly.shape == made.loss.shape
    exact = made.exactly if known else np.full(made.loss.shape, made.certificate.exact)
    found = np.where(exact, EVALUATED, RECONSTRUCTED)
    missing = NOT_YET if made.status == Status.INTERRUPTED else NOT_A_NUMBER
    found = np.where(np.isnan(made.loss), np.where(exact & known, NOT_A_NUMBER, missing), found)
    return np.where(np.isinf(made.loss), INFINITE, found).astype(np.uint8)


def _rounded(made: Chart) -> NDArray[np.float32]:
    """Losses of which cells that are sure to fewer figures than float32 holds keep 16 bits: a third less to carry.

    What that changes is less than a sixteenth of the expected error of the cell. Evaluated cells stay as they are.
    """
    with np.errstate(over="ignore"):
        loss = made.loss.astype(np.float32)
    if made.error.shape != loss.shape:
        return loss
    return _cut(loss, np.isfinite(loss) & (made.error > 16 * 2.0**-16 * np.abs(made.loss)), 8)


def _coarse(made: Chart, channel: Array) -> NDArray[np.float32]:
    """A further channel, such as the accuracy: reconstructed cells keep 12 bits, evaluated ones are what they are."""
    found = channel.astype(np.float32)
    return _cut(found, np.isfinite(found) & (status(made) == RECONSTRUCTED), 11)


def _cut(numbers: NDArray[np.float32], where: NDArray[np.bool_], bits: int) -> NDArray[np.float32]:
    """Numbers rounded by so many bits at some places."""
    patterns = numbers.view(np.int32).astype(np.int64)
    kept = ((patterns + (1 << (bits - 1))) & ~((1 << bits) - 1)).astype(np.int32).view(np.float32)
    return np.where(where & np.isfinite(kept), kept, numbers)


def _error(building: Building, made: Chart) -> dict[str, Any] | None:
    """The expected error in 255 logarithmic steps: 0 for none, else lowest · ratio^(code − 1)."""
    if made.error.shape != made.loss.shape:
        return None
    sound = np.isfinite(made.error) & (made.error > 0)
    if not sound.any():
        return None
    lowest, highest = float(made.error[sound].min()), float(made.error[sound].max())
    ratio = max((highest / lowest) ** (1 / 254), 1 + 1e-9)
    codes = np.zeros(made.error.shape)
    codes[sound] = 1 + np.rint(np.log(made.error[sound] / lowest) / np.log(ratio))
    return {"array": building.array(np.clip(codes, 0, 255), "u1"), "lowest": lowest, "ratio": ratio}


def _points(building: Building, points: Array) -> int | None:
    return building.array(points) if points.ndim == 2 and points.shape[1] == 2 and len(points) else None


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
