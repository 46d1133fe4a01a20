"""Frames through given points, and what of them does not lie in θ: frozen parameters and running statistics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lossatlas.chart.planes._directions import point_of
from lossatlas.surface import Frame, NetworkSurface, PointLike, Surface, inner


def through(
    surface: Surface, points: Sequence[PointLike], *, orthonormal: bool = False
) -> tuple[Frame, dict[str, Any], tuple[str, ...]]:
    """The frame with the first point at its origin, and the others at one unit along each direction.

    Args:
        surface: what they lie in.
        points: two or three.
        orthonormal: directions of unit length at right angles in the same plane, so that distances are true.

    Returns:
        The frame, for its record where the points lie on it, and what a reader must know.
    """
    first, *others = (point_of(surface, point) for point in points)
    rows = torch.stack([other - first for other in others])
    statistics, mode, notes = _statistics(surface, points)
    places = torch.eye(len(rows), dtype=torch.float64)
    if orthonormal:
        Frame(first, rows)  # refuses points that coincide or lie on a line
        lower = torch.linalg.cholesky(inner(rows, rows))
        turn = torch.linalg.inv(lower).to(rows.dtype)
        rows, places = turn @ rows, lower.cpu()
        if statistics is not None:
            statistics = torch.cat([statistics[:1], turn @ statistics[1:]])
    frame = Frame(first, rows, statistics)
    marks = {"a": [0.0] * len(rows)} | {name: place.tolist() for name, place in zip("bc", places, strict=False)}
    if statistics is not None and isinstance(surface, NetworkSurface):
        notes += _reach(surface.variances_positive(statistics))
    return frame, {"points": marks, "orthonormal": orthonormal, **mode}, notes


def _statistics(surface: Surface, points: Sequence[PointLike]) -> tuple[Tensor | None, dict[str, Any], tuple[str, ...]]:
    """Running statistics of each point where they move, the mode for the record, and what a reader must know of both."""
    if not isinstance(surface, NetworkSurface):
        return None, {}, ()
    names = "abc"[: len(points)]
    own = surface.statistics(None)
    held = dict(zip(names, map(surface.statistics, points), strict=True))
    missing = [name for name, row in held.items() if row is None]
    asked = surface.batchnorm == "interpolate"
    moving = own is not None and (asked or not missing)
    notes: list[str] = []
    if moving:
        notes += [f"{name} came without running statistics; the model's own are used there" for name in missing]
        shows = "so that each model shows its own loss" if not missing else "as the weights are"
        notes.append(f"batch norm: running statistics are interpolated between {_listed(names)} here, {shows}")
    elif own is not None:
        one = f"{_listed(missing)} came without running statistics"
        notes.append(f"batch norm: running statistics are frozen at the model's own here, since {one}")
    elif surface.batchnorm == "frozen" and surface.tracked:
        notes.append("batch norm: running statistics are frozen at the model's own here")
    for name, point in zip(names, points, strict=True):
        notes += _differs(surface, name, point, moving)
    mode = {"batchnorm": "interpolate" if moving else surface.batchnorm} if surface.tracked else {}
    if not moving:
        return None, mode, tuple(notes)
    stacked = torch.stack([own if row is None else row for row in held.values()])  # type: ignore[misc]
    return torch.cat([stacked[:1], stacked[1:] - stacked[:1]]), mode, tuple(notes)


def _differs(surface: NetworkSurface, name: str, point: PointLike, moving: bool) -> list[str]:
    """What was done to read a point, and what of it is no part of the picture."""
    notes = []
    fitted = surface.fitted(point)
    if fitted is not None and fitted.sentence:
        notes.append(f"{name}: {fitted.sentence}")
    other = surface.departures(point, moving=moving)
    if other:
        more = f" and {len(other) - 2} more" if len(other) > 2 else ""
        running = all(key.rpartition(".")[2].startswith("running_") for key in other)
        advice = ": choose the batch norm mode interpolate or recompute (batchnorm=…, --batchnorm …)" if running else ""
        notes.append(
            f"{name} holds other values than the surface for {', '.join(other[:2])}{more}, which are no part of θ; "
            f"the loss shown at {name} is therefore not its own{advice}"
        )
    return notes


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _reach(ends: Sequence[tuple[float, float]]) -> tuple[str, ...]:
    names = ("t",) if len(ends) == 1 else ("α", "β")
    ranges = ", ".join(f"{low:.3g} ≤ {name} ≤ {high:.3g}" for name, (low, high) in zip(names, ends, strict=True))
    alone = "" if len(ends) == 1 else " (the other coordinate at 0)"
    return (f"running variances stay positive for {ranges}{alone}; beyond that they are clamped to zero",)
