"""What every part of an advice is given: a surface in a box, and points of it that favor none."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lossatlas._errors import InputError
from lossatlas.surface import Surface, need_surface


def need_box(surface: Any, where: str) -> Tensor:
    """The box of a surface, (N, 2) in float64.

    Raises:
        InputError: for what is no surface, or has no box, or one that is not finite.
    """
    need_surface(surface, where)
    if surface.box is None:
        raise InputError(
            f"{where} got {surface.name}, which has no box; expected bounds to search in. Give it some: lossatlas.Function(f, "
            "box=[(-2, 2), (-1, 3)])."
        )
    box: Tensor = surface.box.double()
    if not bool(box.isfinite().all()):
        raise InputError(f"{where} got {surface.name} in a box that is not finite; expected bounds. Give finite ones.")
    return box


def drawn(surface: Surface, *seed: int) -> Tensor:
    """A point uniform in the box: neither its center nor the surface's start is favored.

    Args:
        surface: in a box.
        *seed: of the draw.
    """
    box = need_box(surface, "advise")
    u = torch.from_numpy(np.random.default_rng(seed).random(len(box)))
    return (box[:, 0] + (box[:, 1] - box[:, 0]) * u).to(surface.device, surface.dtype)
