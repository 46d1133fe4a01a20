"""A race or a basin map into plain arrays and a record, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from lossatlas._errors import InputError, OutputError
from lossatlas.optimize import revived
from lossatlas.probe import Meter, differing
from lossatlas.race._track import Track
from lossatlas.race._verdict import Verdict
from lossatlas.surface import Remembered, Surface, landscapes, remember

if TYPE_CHECKING:
    from lossatlas.race._race import Race

# Per racer: what its track holds, and what its verdict adds.
_TRACK = ("start", "positions", "losses", "last", "final", "loss", "seen")
_COUNTS = (
    "calls",
    "values",
    "gradients",
    "products",
    "examples",
    "proof_examples",
    "recalled",
    "confirmed",
    "surface_seconds",
    "algorithm_seconds",
)


def race_arrays(race: Race) -> dict[str, np.ndarray]:
    """Every array of a race by racer and name."""
    arrays: dict[str, np.ndarray] = {}
    for label, track in race.tracks.items():
        arrays |= {f"{label}/{name}": getattr(track, name).cpu().numpy() for name in _TRACK}
        verdict = race.verdicts[label]
        arrays[f"{label}/distance"] = verdict.distance.cpu().numpy()
        arrays[f"{label}/gradient_norm"] = verdict.gradient_norm.cpu().numpy()
        arrays[f"{label}/queries"] = verdict.queries.cpu().numpy()
        arrays[f"{label}/asked"] = track.asked
        arrays[f"{label}/memory"] = np.array(track.memory, dtype=np.float64).reshape(-1, 2)
    return arrays


def race_record(race: Race) -> dict[str, Any]:
    """Everything but the arrays, as plain JSON values; results of few dimensions stand in it too."""
    wells = [well.name for well in race.surface.wells]
    racers = {}
    for label, verdict in race.verdicts.items():
        track = race.tracks[label]
        racers[label] = {
            "title": track.optimizer.title,
            "settings": track.optimizer.settings(),
            "becomes": track.optimizer.becomes(race.surface.layout),
            "sentence": verdict.sentence,
            "wells": list(verdict.wells),
            "rates": {w: [race.rate(label, w), *race.interval(label, w)] for w in wells},
            "alike": verdict.alike,
            "why": track.why,
            "final": track.final.tolist() if race.surface.dimension <= 64 else None,
            "loss": verdict.loss.tolist(),
            "gradient_norm": verdict.gradient_norm.tolist(),
            "distance": verdict.distance.tolist(),
            "stopped": list(verdict.stopped),
            "ends": list(verdict.ends),
            "queries": verdict.queries.tolist(),
            "meter": track.meter.record(),
        }
    return {
        "provenance": race.provenance,
        "surface": remember(race.surface),
        "wells": [{"name": w.name, "minimum": w.minimum.tolist(), "value": w.value} for w in race.surface.wells],
        "racers": racers,
        "referee": race.referee.record(),
    }


def restored_race(
    arrays: Mapping[str, np.ndarray], record: Mapping[str, Any], surface: Surface | None
) -> dict[str, Any]:
    """The attributes of the race that was saved."""
    told = record["provenance"]
    ground = surface_of(record, surface)
    lowest = min((well.value for well in ground.wells), default=None)
    tracks, verdicts = {}, {}
    for label, racer in record["racers"].items():
        parts = {name: _tensor(arrays, f"{label}/{name}") for name in (*_TRACK, "distance", "gradient_norm", "queries")}
        meter = meter_of(racer["meter"], parts["queries"])
        memory = tuple((int(queries), float(held)) for queries, held in _array(arrays, f"{label}/memory").tolist())
        tracks[label] = Track(
            optimizer=revived(told["racers"][label]),
            **{name: parts[name] for name in _TRACK},
            meter=meter,
            stopped=tuple(racer["stopped"]),
            asked=_array(arrays, f"{label}/asked"),
            memory=memory,
            why=racer["why"],
        )
        verdicts[label] = Verdict(
            racer=label,
            wells=tuple(racer["wells"]),
            distance=parts["distance"],
            loss=parts["loss"],
            gradient_norm=parts["gradient_norm"],
            stopped=tuple(racer["stopped"]),
            queries=parts["queries"],
            known=bool(ground.wells) and ground.gradients_known,
            lowest=lowest,
            ends=tuple(racer["ends"]),
            alike=bool(racer["alike"]),
            why=racer["why"],
        )
    return {
        "surface": ground,
        "tracks": tracks,
        "verdicts": verdicts,
        "steps": told["steps"],
        "seed": told["seed"],
        "referee": meter_of(record["referee"]),
        "budget": told["budget"],
    }


def surface_of(record: Mapping[str, Any], given: Surface | None) -> Surface:
    """The surface of a saved result: the given one, a landscape built again, or what is remembered of it.

    Raises:
        InputError: if the given one is not the one of the record.
    """
    told = record["surface"]
    if given is None:
        return landscapes.rebuilt(told["fingerprint"]) or Remembered(told)
    found = list(differing(told["fingerprint"], given.fingerprint())) if isinstance(given, Surface) else []
    if not isinstance(given, Surface) or found:
        name = given.name if isinstance(given, Surface) else type(given).__name__
        differs = f" ({'; '.join(map(str, found[:3]))})" if found else ""
        raise InputError(
            f"got the surface {name!r}; expected the one that the result was made on, {told['fingerprint']['surface']!r}, "
            f"with the same model, loss, data and plane{differs}. Make it again as it was."
        )
    return given


def meter_of(record: Mapping[str, Any], queries: Tensor | None = None) -> Meter:
    """A meter as it was recorded, with the queries of every run where they are known."""
    counts = {name: record.get(name, 0) for name in _COUNTS}
    if queries is None:
        return Meter(**counts)
    return Meter(**counts, runs=len(queries), _some=queries)


def _tensor(arrays: Mapping[str, np.ndarray], name: str) -> Tensor:
    return torch.from_numpy(_array(arrays, name))


def _array(arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    if name not in arrays:
        raise OutputError(
            f"the saved result has no array {name!r}; expected one that this version saved. Load it with the version that "
            "saved it, or make it again."
        )
    return arrays[name]
