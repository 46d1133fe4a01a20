"""The schema of everything that is saved or written with --json: ``python -m lossatlas.cli._schema`` writes it anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lossatlas import archive
from lossatlas.archive import generate, record_of

_TEXT = {"type": "string"}
_LIST = {"type": "array"}
_OBJECT = {"type": "object"}
FILE = Path(archive.__file__).with_name("schema.json")


def generated() -> dict[str, Any]:
    """The schema, from the results and the commands of this version."""
    import lossatlas
    from lossatlas.advise import Advice
    from lossatlas.chart import Chart, Topology, Volume
    from lossatlas.connect import Alignment, Barriers, Merge, Similarity
    from lossatlas.connect import Path as Connection
    from lossatlas.curvature import (
        CriticalPoint,
        CriticalPoints,
        CriticalSharpness,
        CurvatureMap,
        Diagonal,
        Estimate,
        Extremes,
        NoiseScale,
        RunCurvature,
        Sharpness,
        SharpnessTable,
        Spectrum,
    )
    from lossatlas.lessons import Evidence
    from lossatlas.race import BasinMap, NetworkRace, Race, Sweep

    for name in lossatlas.__all__:
        getattr(lossatlas, name)  # a room's results are known once it is imported
    of = record_of
    numbers = {"anyOf": [{"$ref": "#/$defs/array"}]}
    gradients = {"noise_scale": of(NoiseScale), "fisher_diagonal": of(Diagonal)}
    commands = {
        "advise": {"allOf": [of(Advice)]},
        "barriers": _holds(barriers=of(Barriers), optional={"similarity": of(Similarity)}),
        "chart": {
            "allOf": [of(Chart)],
            **_holds(
                **dict.fromkeys(("alpha", "beta", "loss", "error", "exactly", "samples"), numbers),
                extras={"type": "object", "additionalProperties": numbers},
                topology=of(Topology),
            ),
        },
        "connect": {
            "allOf": [of(Connection)],
            **_holds(arrays=_OBJECT, optional={"naive": of(Connection), "alignment": of(Alignment), "merge": of(Merge)}),
        },
        "curvature": {
            "anyOf": [
                of(CriticalSharpness),
                _holds(
                    kind={"const": "curvature"}, surface=_OBJECT, status={"enum": ["complete", "unfinished"]}, meter=_OBJECT, of=_OBJECT,
                    settings=_OBJECT,
                    optional={
                        "point": of(CriticalPoint), "extremes": of(Extremes), "trace": of(Estimate), "spectrum": of(Spectrum),
                        "sharpness": {"type": "array", "items": of(Sharpness)}, "search": of(CriticalPoints), "along": of(RunCurvature),
                        "map": of(CurvatureMap), **gradients, "critical_sharpness": of(CriticalSharpness),
                    },
                ),
                _holds(
                    kind={"const": "curvature"}, status={"enum": ["complete", "unfinished"]},
                    tables={"type": "array", "items": of(SharpnessTable)},
                    networks={"type": "object", "additionalProperties": {"type": "object", "properties": gradients}},
                ),
            ]
        },
        "dimension": _holds(
            kind={"const": "dimension"},
            models={
                "type": "array",
                "items": _holds(name=_TEXT, parameters={"type": "integer"}, dimensions={"type": "integer"}, note=_TEXT),
            },
        ),
        "lessons": _holds(kind={"const": "lessons"}, lessons={"type": "array", "items": of(Evidence)}),
        "race": {
            "anyOf": [of(Race), of(NetworkRace)],
            **_holds(
                optional={
                    "tuning": _OBJECT, "why": {"type": ["object", "array", "null"]},
                    "sweeps": {"type": "object", "additionalProperties": of(Sweep)},
                    "maps": {"type": "object", "additionalProperties": of(BasinMap)},
                }
            ),
        },
        "volume": {
            "allOf": [of(Volume)],
            **_holds(loss=numbers, axes={"type": "array", "items": numbers}, extras={"type": "object", "additionalProperties": numbers}),
        },
        "tour": _holds(kind={"const": "tour"}, seconds={"type": "number"}, seed={"type": "integer"}, network=_OBJECT, wells=_OBJECT),
    }  # fmt: skip
    named = [kind for kind in archive.results.values() if kind.__module__.startswith("lossatlas.")]
    return generate([*named, Evidence, Topology], commands)


def _holds(optional: dict[str, Any] | None = None, **required: Any) -> dict[str, Any]:
    return {"type": "object", "properties": required | (optional or {}), "required": list(required)}


if __name__ == "__main__":
    from lossatlas.cli import _schema  # as it is imported everywhere, so that its classes are

    archive.write_text(FILE, json.dumps(_schema.generated(), indent=1) + "\n")
