"""The picture of a surface in a page without scripts: its contours with the paths of the races on it."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lossatlas.draw import FieldDisplay, PathsDisplay
from lossatlas.page._images import of_figure
from lossatlas.page._scene import Scene
from lossatlas.page._surfaces import sampled
from lossatlas.surface.landscapes import rebuilt

Array = NDArray[np.float64]
Scale = Literal["auto", "log"]
# Nodes per axis, and paths, that a small picture can show.
NODES, PATHS = 101, 7


def picture(scene: Scene, surface: dict[str, Any]) -> str | None:
    """A data URI, or None where the scene does not hold what is needed to draw."""
    found = _field(scene, surface)
    if found is None:
        return None
    x, y, z = found
    if not np.isfinite(z).any() or min(z.shape) < 2:
        return None
    field = FieldDisplay(x, y, z, xlabel=surface["labels"][0], ylabel=surface["labels"][1], title="")
    levels: Scale = "log" if surface["scale"] == "log" and surface["positive"] else "auto"
    runs = [run for run in scene.head["runs"] if run["surface"] == surface["id"]][:PATHS]
    if runs:
        paths = {run["label"]: _pieces(scene, run) for run in runs}
        return of_figure(PathsDisplay(field, paths).plot(levels=levels).figure_)
    return of_figure(field.plot(levels=levels).figure_)


def _pieces(scene: Scene, run: dict[str, Any]) -> list[Array]:
    """The path of a run, cut where a new descent begins."""
    positions = scene.array(run["positions"]).astype(np.float64)
    return [piece for piece in np.split(positions, run.get("breaks") or []) if len(piece)]


def _field(scene: Scene, surface: dict[str, Any]) -> tuple[Array, Array, Array] | None:
    field = surface.get("field")
    if field is not None:
        x, y = scene.array(field["alpha"]), scene.array(field["beta"])
        step = max(1, -(-max(len(x), len(y)) // NODES))
        return x[::step], y[::step], scene.array(field["loss"]).astype(np.float64)[::step, ::step]
    made = rebuilt(surface.get("provenance") or {})
    return None if made is None else sampled(made, NODES)
