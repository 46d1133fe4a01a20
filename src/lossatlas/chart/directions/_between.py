"""Directions from one point to another, and what of the points does not lie in θ: frozen parameters, running statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from lossatlas.chart.directions._direction import Direction, Drawn, letters
from lossatlas.chart.planes._origin import point_of
from lossatlas.surface import NetworkSurface, PointLike, Surface, inner

# Of the points that a line, plane or space is laid through.
NAMES = "abcdefghi"


@final
@dataclass(frozen=True, eq=False)
class Between(Direction):
    """The direction from one point to another, one unit apart: a at 0, b at 1 (Goodfellow, Vinyals & Saxe 2015).

    A line or plane through a starts there unless it is given another origin. Where both points hold running statistics
    of batch norm, these move with the weights from a on, so that b shows its own loss; not on a surface that was made with
    ``batchnorm="frozen"``. The notes say which it is.

    Args:
        a: first point: a vector, state dict, module or checkpoint file.
        b: second point.
    """

    a: PointLike
    b: PointLike

    kind: ClassVar[str] = "between"

    def home(self, surface: Surface) -> Tensor:
        """The first point."""
        return point_of(surface, self.a)

    def draw(self, surface: Surface, origin: Tensor) -> Drawn:
        """The difference of both points."""
        (drawn,), record = _through(surface, origin, (self.a, self.b))
        return replace(drawn, record=record)

    @classmethod
    def together(
        cls, several: Sequence[Between], surface: Surface, origin: Tensor
    ) -> tuple[list[Drawn], dict[str, Any]] | None:
        """Directions from one point to several others: their running statistics move together."""
        first = several[0].a
        if any(one.a is not first for one in several):
            return None
        return _through(surface, origin, (first, *(one.b for one in several)))


def _through(surface: Surface, origin: Tensor, points: Sequence[PointLike]) -> tuple[list[Drawn], dict[str, Any]]:
    """Directions from the first point to the others, for the record where all lie on them, and what a reader must know."""
    first, *others = (point_of(surface, point) for point in points)
    rows = [other - first for other in others]
    lengths = [float(inner(row[None], row[None]).sqrt()) for row in rows]
    units = [f"1 = {'Euclidean distance ' if k == 0 else ''}{length:.4g}" for k, length in enumerate(lengths)]
    labels = [f"a at 0, {name} at 1" for name, _ in zip(NAMES[1:], rows, strict=False)]
    toward = ["a at 0, towards b", *(f"at a right angle, towards {name}" for name in NAMES[2:])]
    if not torch.equal(first, origin):
        # Away from both points there are no running statistics to interpolate between.
        return [Drawn(row, label=f"from a to {name}") for row, name in zip(rows, NAMES[1:], strict=False)], {}
    statistics, mode, notes = _statistics(surface, points)
    marks = {"a": [0.0] * len(rows)}
    marks |= {name: [float(k == j) for j in range(len(rows))] for k, name in enumerate(NAMES[1:][: len(rows)])}
    moving = [None if statistics is None else statistics[[0, k + 1]] for k in range(len(rows))]
    drawn = [
        Drawn(row, {}, label, notes if k == 0 else (), unit, toward[k], moving[k])
        for k, (row, label, unit) in enumerate(zip(rows, labels, units, strict=True))
    ]
    return drawn, {"points": marks, **mode}


def _statistics(surface: Surface, points: Sequence[PointLike]) -> tuple[Tensor | None, dict[str, Any], tuple[str, ...]]:
    """Running statistics of each point where they move, the mode for the record, and what a reader must know of both."""
    if not isinstance(surface, NetworkSurface):
        return None, {}, ()
    names = NAMES[: len(points)]
    own = surface.statistics(None)
    held = dict(zip(names, map(surface.statistics, points), strict=True))
    missing = [name for name, row in held.items() if row is None]
    wanted = surface.batchnorm == "interpolate"
    moving = own is not None and (wanted or not missing)
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


def reach(surface: Surface, statistics: Tensor) -> tuple[str, ...]:
    """How far running variances stay positive along a frame whose statistics move, as a sentence."""
    if not isinstance(surface, NetworkSurface):
        return ()
    ends = surface.variances_positive(statistics)
    names = letters(len(ends))
    ranges = ", ".join(f"{low:.3g} ≤ {name} ≤ {high:.3g}" for name, (low, high) in zip(names, ends, strict=True))
    alone = "" if len(ends) == 1 else f" (the other coordinate{'s' * (len(ends) > 2)} at 0)"
    return (f"running variances stay positive for {ranges}{alone}; beyond that they are clamped to zero",)
