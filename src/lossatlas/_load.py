"""Results from folders: whatever kind was saved there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lossatlas import archive
from lossatlas._errors import InputError, OutputError
from lossatlas.chart import Chart, Comparison, Topology, Trajectory
from lossatlas.connect import Path as ConnectingPath
from lossatlas.curvature import (
    BlockCurvature,
    CriticalPoints,
    Diagonal,
    Estimate,
    Extremes,
    Invariance,
    RunCurvature,
    SaddleDescent,
    Sharpness,
    Spectrum,
)
from lossatlas.race import BasinMap, NetworkRace, Race, Sweep
from lossatlas.record import Recording
from lossatlas.surface import Surface

Measured = Extremes | Estimate | Diagonal | Spectrum | BlockCurvature | Sharpness | Invariance
Curvature = Measured | CriticalPoints | SaddleDescent | RunCurvature
Result = (
    Chart
    | Comparison
    | Topology
    | Trajectory
    | Recording
    | ConnectingPath
    | Curvature
    | Race
    | NetworkRace
    | BasinMap
    | Sweep
)

_KINDS: dict[str, Callable[..., Result]] = {
    "chart": Chart.restore,
    "comparison": Comparison.restore,
    "topology": Topology.restore,
    "trajectory": Trajectory.restore,
    "path": ConnectingPath.restore,
    "extremes": Extremes.restore,
    "estimate": Estimate.restore,
    "diagonal": Diagonal.restore,
    "spectrum": Spectrum.restore,
    "blocks": BlockCurvature.restore,
    "sharpness": Sharpness.restore,
    "sharpness-invariance": Invariance.restore,
    "critical-points": CriticalPoints.restore,
    "saddle-descent": SaddleDescent.restore,
    "run-curvature": RunCurvature.restore,
    "race": Race.restore,
    "network-race": NetworkRace.restore,
    "basins": BasinMap.restore,
    "sweep": Sweep.restore,
}
# Results that hold the surface they were made on.
_GROUNDED = ("race", "basins", "sweep")


def load(folder: str | Path, *, surface: Surface | None = None) -> Result:
    """The result that was saved in a folder: a chart, a comparison, a path, a measure of curvature, a race, a sweep, a basin map.

    Args:
        folder: what the `save` of a result wrote.
        surface: for a race, a sweep or a basin map, what it was made on. A landscape of ours is built again from the record; of
            another surface only its name, box and wells are left if it is not given.

    Raises:
        OutputError: if there is none, it is damaged, or another version wrote it.
        InputError: if the surface is not the one that the result was made on, or the result is about none.
    """
    if Recording.is_in(folder):
        return Recording.load(folder, surface)
    kind, arrays, record = archive.load(folder)
    if kind not in _KINDS:
        raise OutputError(
            f"{str(folder)!r} holds a {kind}; expected one of {', '.join(_KINDS)}. Read its JSON for the record."
        )
    if surface is not None and kind not in _GROUNDED:
        raise InputError(
            f"{str(folder)!r} holds a {kind}, which needs no surface; expected surface=… for a race, a sweep or a map."
        )
    try:
        return _KINDS[kind](arrays, record, **({"surface": surface} if kind in _GROUNDED else {}))
    except (KeyError, IndexError, TypeError) as error:
        raise OutputError(
            f"the {kind} in {str(folder)!r} lacks what this version needs ({error}); it was written by another version. "
            "Load it with that one, or make it again."
        ) from error
