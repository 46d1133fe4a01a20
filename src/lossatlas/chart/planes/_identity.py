"""What makes a plane this one, for whoever keeps something of it: how it was made, what no seed makes again, its centers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lossatlas._errors import InputError
from lossatlas.chart.planes._cut import Cut
from lossatlas.chart.planes._line import Line
from lossatlas.chart.planes._plane import Plane
from lossatlas.chart.planes._space import Space
from lossatlas.surface import Frame

Array = NDArray[np.float64]


def need_plane(given: Any, where: str) -> None:
    """Refuse what is no line, plane or frame of one or two directions.

    Raises:
        InputError: for anything else.
    """
    if isinstance(given, Space) or (isinstance(given, Frame) and given.dimension > 2):
        raise InputError(
            f"{where} got {given.frame.dimension} directions for a plane; expected one or two. la.volume evaluates a grid along "
            "three and more."
        )
    if not isinstance(given, Plane | Line | Frame):
        raise InputError(
            f"{where} got {given!r:.60} of type {type(given).__name__} for a plane; expected a Plane, a Line or a Frame, for "
            "example la.Plane.random(surface, seed=0)."
        )


def centers(plane: Plane | Line | Frame) -> Array | None:
    """The points that a line or plane was laid through: its origin, and what its directions lead to."""
    marks = plane.how.get("points") if isinstance(plane, Plane | Line) else None
    return None if marks is None else np.array(list(marks.values()), dtype=np.float64)


def unrepeatable(plane: Cut | Frame) -> dict[str, torch.Tensor]:
    """What no seed makes again."""
    frame, parts = plane.frame, {}
    seeded = isinstance(plane, Cut) and plane.kind == "random"
    if not seeded or getattr(plane, "how", {}).get("origin") != "own":
        parts["origin"] = frame.origin
    if not seeded:
        parts["directions"] = frame.directions
    if frame.statistics is not None:
        parts["statistics"] = frame.statistics
    return parts


def identity(plane: Cut | Frame) -> dict[str, Any]:
    """What makes a plane this one: how it was made, and digests of what came out."""
    how = {"kind": plane.kind, **plane.how} if isinstance(plane, Cut) else {"kind": "frame"}
    return how | plane.frame.digests()
