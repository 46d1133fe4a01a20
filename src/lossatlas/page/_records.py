"""Paths, recordings, spectra and comparisons of a scene."""

from __future__ import annotations

from typing import Any

import numpy as np

from lossatlas._errors import LossAtlasError
from lossatlas.chart import Chart, Comparison, Projection, Trajectory
from lossatlas.connect import Path
from lossatlas.curvature import Extremes, Spectrum
from lossatlas.page._building import Building
from lossatlas.page._cards import add_card, add_table
from lossatlas.page._surfaces import add_chart
from lossatlas.record import Recording

# A path of which more than this share of its distance from the center lies off a plane, on average, is not laid over it.
SHADOW = 0.9


def add_path(building: Building, made: Path) -> None:
    """A connection between two networks: its profile and barrier."""
    side = made.train
    channels = {"error": side.error, "low": side.low, "high": side.high}
    if made.test is not None:
        channels["test loss"] = made.test.loss
    interval = made.interval or (None, None)
    title = f"{made.title}: {made.name}"
    building.parts["paths"].append({
        "id": building.id(title),
        "title": title,
        "kind": made.kind,
        "t": building.array(made.t),
        "loss": building.array(made.loss),
        "channels": {name: building.array(found) for name, found in channels.items() if found is not None},
        "ends": ["a", "b"],
        "barrier": {"value": made.barrier, "low": interval[0], "high": interval[1]},
        "sentence": made.reading()[0],
        "reading": made.reading(),
    })  # fmt: skip


def add_line(building: Building, made: Chart) -> None:
    """A chart of a line: its profile with the band of its error."""
    loss, off = made.loss[0], made.error
    channels: dict[str, Any] = {name: found[0] for name, found in made.extras.items()}
    if off.shape == made.loss.shape and np.isfinite(off).any() and off.any():
        channels |= {"low": loss - 2 * off[0], "high": loss + 2 * off[0]}
    building.parts["paths"].append({
        "id": building.id(made.title),
        "title": made.title,
        "kind": "line",
        "t": building.array(made.alpha),
        "loss": building.array(loss),
        "channels": {name: building.array(found) for name, found in channels.items()},
        "ends": [f"{made.alpha[0]:.3g}", f"{made.alpha[-1]:.3g}"],
        "barrier": None,
        "label": made.labels[0],
        "sentence": made.reading()[0],
        "reading": made.reading(),
    })  # fmt: skip


def add_trajectory(building: Building, made: Trajectory) -> None:
    """Recorded training runs on their plane, with what lies off it."""
    where = None if made.field is None else add_chart(building, made.field)
    for name, run in made.runs.items():
        title = f"{made.title}: {name}" if len(made.runs) > 1 else made.title
        building.parts["recordings"].append({
            "id": building.id(title),
            "title": title,
            "surface": where,
            "steps": building.array(run.steps, "i4"),
            "coordinates": building.array(run.coords),
            "residual": building.maybe(run.residuals),
            "loss": building.maybe(run.loss),
            "plane_loss": building.maybe(run.shown),
            "noted": building.maybe(run.noted),
            "notes": [*made.reading(), *made.notes],
        })  # fmt: skip


def add_recording(building: Building, made: Recording) -> None:
    """A recorded run by itself: its losses, and its place on the plane of its own principal components."""
    title = f"recording of {made.manifest['model']}"
    onto = _below(building, made)
    if onto is not None:
        where, seen = onto
        building.parts["recordings"].append({
            "id": building.id(title),
            "title": title,
            "surface": where,
            "steps": building.array(made.steps if made.sketched else made.steps[list(made.kept)], "i4"),
            "coordinates": building.array(seen.coords.cpu()),
            "residual": building.maybe(seen.residuals.cpu()),
            "loss": None,
            "noted": building.maybe(made.losses if made.sketched else made.losses[list(made.kept)]),
            "plane_loss": None,
            "notes": [made.sentence, "Losses at these points were not evaluated; `lossatlas.trajectory` does that."],
        })  # fmt: skip
        return
    found = None
    if made.sketched and len(made.rows) >= 3:
        found = made.coordinates()
    building.parts["recordings"].append({
        "id": building.id(title),
        "title": title,
        "surface": None,
        "steps": building.array(made.steps, "i4"),
        "coordinates": None if found is None else building.array(found.coords),
        "residual": None if found is None else building.maybe(found.residuals),
        "loss": None,
        "plane_loss": None,
        "noted": building.maybe(made.losses),
        "notes": [made.sentence, *([] if found is None else [found.sentence])],
    })  # fmt: skip


def _below(building: Building, made: Recording) -> tuple[str, Projection] | None:
    """The chart that a recording is laid over, and where it runs there: of the charts of its network at hand the one it is nearest to.

    A plane in which next to nothing of the path lies shows its shadow only: then there is none.
    """
    found = []
    for where, chart in building.charts.items():
        if chart.source is None:
            continue
        try:
            seen = chart.source[1].project(made)
        except LossAtlasError:
            continue
        off = float(seen.residuals.mean())
        if off < SHADOW:
            found.append((off, where, seen))
    if not found:
        return None
    _, where, seen = min(found, key=lambda one: one[0])
    return where, seen


def add_spectrum(building: Building, made: Spectrum) -> None:
    """The density of eigenvalues, and those that are known one by one."""
    at, density, *_ = made.density()
    values = made.nodes[0] if made.dense else made.resolved
    title = "eigenvalues of the Hessian"
    building.parts["spectra"].append({
        "id": building.id(title),
        "title": title,
        "values": building.maybe(values),
        "density": {"at": building.array(at), "of": building.array(density)},
        "sentence": made.reading()[0],
        "reading": made.reading(),
    })  # fmt: skip


def add_extremes(building: Building, made: Extremes) -> None:
    """The outermost eigenvalues."""
    values = np.unique(np.concatenate([made.smallest.values, made.largest.values]))
    building.parts["spectra"].append({
        "id": building.id("outermost eigenvalues"),
        "title": "outermost eigenvalues of the Hessian",
        "values": building.maybe(values),
        "density": None,
        "sentence": next(iter(made.reading()), ""),
        "reading": made.reading(),
    })  # fmt: skip


def add_comparison(building: Building, made: Comparison) -> None:
    """Every chart as a surface of its own, on one scale, and the table of roughness."""
    names = []
    for label, charts in made.charts.items():
        for plane, one in zip(made.planes, charts, strict=True):
            if not one.is_line:
                names.append(add_chart(building, one, f"{label}, {plane}" if len(charts) > 1 else label))
    if not names:
        add_card(building, made)
        return
    title = " and ".join(made.names) if len(made.names) <= 3 else f"{len(made.names)} surfaces"
    building.parts["comparisons"].append({
        "id": building.id(f"comparison of {title}"),
        "title": f"comparison of {title}",
        "surfaces": names,
        "sentence": next(iter(made.reading()), ""),
        "reading": made.reading(),
    })  # fmt: skip
    add_table(building, made.table())
