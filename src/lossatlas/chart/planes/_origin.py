"""Where a line or plane is centered."""

from __future__ import annotations

from torch import Tensor

from lossatlas._errors import InputError, PlaneError
from lossatlas.surface import PointLike, Surface, as_point


def point_of(surface: Surface, given: PointLike | None) -> Tensor:
    """A finite point of any surface; None for its own."""
    return as_point(
        surface, given, "an origin" if given is None else "a point", error=PlaneError if given is None else InputError
    )
