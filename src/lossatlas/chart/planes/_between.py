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
    statistics, notes = _statistics(surface, points)
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
    return frame, {"points": marks, "orthonormal": orthonormal}, notes


def _statistics(surface: Surface, points: Sequence[PointLike]) -> tuple[Tensor | None, tuple[str, ...]]:
    """Running statistics of each point where they move, and what differs between the points that does not move."""
    if not isinstance(surface, NetworkSurface):
        return None, ()
    rows, notes, own = [], [], surface.statistics(None)
    for name, point in zip("abc", points, strict=False):
        found = surface.statistics(point)
        rows.append(own if found is None else found)
        if own is not None and found is None:
            notes.append(f"{name} came without running statistics; the model's own are used there")
        fitted = surface.fitted(point)
        if fitted is not None and fitted.sentence:
            notes.append(f"{name}: {fitted.sentence}")
        other = surface.departures(point)
        if other:
            more = f" and {len(other) - 2} more" if len(other) > 2 else ""
            advice = (
                ": make the surface with batchnorm='interpolate' or 'recompute'"
                if all(key.rpartition(".")[2].startswith("running_") for key in other)
                else ""
            )
            notes.append(
                f"{name} holds other values than the surface for {', '.join(other[:2])}{more}, which are no part of θ; "
                f"the loss shown at {name} is therefore not its own{advice}"
            )
    if own is None:
        return None, tuple(notes)
    stacked = torch.stack([row for row in rows if row is not None])
    return torch.cat([stacked[:1], stacked[1:] - stacked[:1]]), tuple(notes)


def _reach(ends: Sequence[tuple[float, float]]) -> tuple[str, ...]:
    names = ("t",) if len(ends) == 1 else ("α", "β")
    ranges = ", ".join(f"{low:.3g} ≤ {name} ≤ {high:.3g}" for name, (low, high) in zip(names, ends, strict=True))
    alone = "" if len(ends) == 1 else " (the other coordinate at 0)"
    return (f"running variances stay positive for {ranges}{alone}; beyond that they are clamped to zero",)
