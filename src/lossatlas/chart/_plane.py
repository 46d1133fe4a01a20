"""Lines and planes: frames together with how they were made, so that a seeded one is remembered by its seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from lossatlas._errors import InputError, PlaneError
from lossatlas.chart._normalize import normalize
from lossatlas.surface import Frame, NetworkSurface, Surface

PointLike = Tensor | Mapping[str, Tensor] | nn.Module | str | Path


@final
@dataclass(frozen=True, eq=False)
class Plane:
    """A frame of two directions and how it was made.

    Attributes:
        frame: origin and directions.
        kind: ``random`` or ``between``.
        how: seed, normalization and whatever else made it, as plain JSON values.
        labels: of the two axes, with their unit.
    """

    frame: Frame
    kind: str
    how: dict[str, Any]
    labels: tuple[str, str]

    @classmethod
    def random(
        cls, surface: Surface, *, seed: int = 0, normalization: str = "filter", origin: PointLike | None = None
    ) -> Plane:
        """Two random Gaussian directions through a point, scaled to the weights there (Li et al. 2018, section 4).

        Directions are drawn in float64, one tensor per parameter in the model's order, and not orthogonalized: in many
        dimensions they almost are, and orthogonalizing would undo the scaling. Their cosine is on record in `how`.

        Args:
            surface: what the plane lies in.
            seed: of the directions; the same seed gives the same plane on every machine with this torch.
            normalization: ``filter``, ``layer`` or ``none``.
            origin: the center; the model's own parameters, or the landscape's start, by default.

        Raises:
            PlaneError: if a direction comes out zero (a model whose weights are all biases) or both are parallel.
        """
        center = _center(surface, origin)
        generator = torch.Generator().manual_seed(seed)
        rows = []
        for _ in range(2):
            parts = [
                torch.randn(block.size, generator=generator, dtype=torch.float64) for block in surface.layout.blocks
            ]
            drawn = torch.cat(parts).to(center.device)
            rows.append(normalize(drawn, center.double(), surface.layout, normalization))
        frame = Frame(center, torch.stack(rows).to(center.dtype))
        unit = {
            "filter": "relative to filter norms",
            "layer": "relative to layer norms",
            "none": "standard deviations per weight",
        }[normalization]
        how = {"seed": seed, "normalization": normalization, **_measures(frame)}
        return cls(frame, "random", how, (f"α, direction 1 ({unit})", f"β, direction 2 ({unit})"))

    @classmethod
    def between(cls, surface: Surface, a: PointLike, b: PointLike, c: PointLike) -> Plane:
        """The plane through three points: a at (0, 0), b at (1, 0), c at (0, 1).

        Args:
            surface: what the plane lies in.
            a: first point: a vector, state dict, module or checkpoint file.
            b: second point.
            c: third point.

        Raises:
            PlaneError: if two of the points coincide or the three lie on a line.
        """
        start, one, two = (_center(surface, point) for point in (a, b, c))
        frame = Frame(start, torch.stack([one - start, two - start]))
        return cls(frame, "between", _measures(frame), ("α, from a (0) to b (1)", "β, from a (0) to c (1)"))


@final
@dataclass(frozen=True, eq=False)
class Line:
    """A frame of one direction and how it was made.

    Attributes:
        frame: origin and direction.
        kind: ``between``.
        how: what made it, as plain JSON values.
        labels: of the axis, with its unit.
    """

    frame: Frame
    kind: str
    how: dict[str, Any]
    labels: tuple[str]

    @classmethod
    def between(cls, surface: Surface, a: PointLike, b: PointLike) -> Line:
        """The line through two points: a at 0, b at 1 (Goodfellow, Vinyals & Saxe 2015).

        Args:
            surface: what the line lies in.
            a: first point: a vector, state dict, module or checkpoint file.
            b: second point.

        Raises:
            PlaneError: if the points coincide.
        """
        start, end = _center(surface, a), _center(surface, b)
        frame = Frame(start, (end - start)[None])
        return cls(frame, "between", _measures(frame), ("t, from a (0) to b (1)",))


def _center(surface: Surface, point: PointLike | None) -> Tensor:
    if isinstance(surface, NetworkSurface):
        return surface.theta if point is None else surface.vector(point)
    if point is None:
        if surface.start is None:
            raise PlaneError(f"{surface.name} declares no point of its own; give origin=….")
        return surface.start
    if not isinstance(point, Tensor):
        raise InputError(f"got a point of type {type(point).__name__} on {surface.name}; expected a vector.")
    if point.shape != (surface.dimension,):
        raise InputError(f"got a vector of shape {tuple(point.shape)}; expected ({surface.dimension},).")
    return point.to(surface.device, surface.dtype)


def _measures(frame: Frame) -> dict[str, Any]:
    rows = frame.directions.double()
    norms = rows.norm(dim=1)
    measured: dict[str, Any] = {"norms": norms.tolist(), "origin_norm": float(frame.origin.double().norm())}
    if len(rows) == 2:
        measured["cosine"] = float(rows[0] @ rows[1] / norms.prod())
    return measured
