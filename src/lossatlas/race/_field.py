"""The surface under a picture of paths."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from lossatlas.probe import Probe, Values
from lossatlas.surface import Slice, Surface

if TYPE_CHECKING:
    from lossatlas.draw import FieldDisplay


def field_under(surface: Surface, paths: dict[str, np.ndarray], points: int) -> FieldDisplay:
    """A surface of two parameters on a grid over its box, or around the paths where it has none."""
    from lossatlas.draw import FieldDisplay

    if surface.box is not None:
        (left, right), (bottom, top) = surface.box.tolist()
    else:
        where = np.concatenate([path.reshape(-1, 2) for path in paths.values()])
        where = where[np.isfinite(where).all(1)]
        low, high = where.min(0), where.max(0)
        pad = 0.25 * max(float((high - low).max()), 1e-3)
        (left, bottom), (right, top) = low - pad, high + pad
    x = torch.linspace(left, right, points, dtype=torch.float64)
    y = torch.linspace(bottom, top, points, dtype=torch.float64)
    grid = torch.stack([x.repeat(points), y.repeat_interleave(points)], 1)
    z = Probe(surface).evaluate(Values(grid)).values.reshape(points, points)
    labels = ("α", "β") if isinstance(surface, Slice) else getattr(surface, "names", None) or ("w₁", "w₂")
    return FieldDisplay(
        x.numpy(),
        y.numpy(),
        z.cpu().numpy(),
        xlabel=labels[0],
        ylabel=labels[1],
        title=surface.name,
        wells=_wells(surface),
    )


def _wells(surface: Surface) -> list[tuple[str, float, float]]:
    """The wells by name; the only one there is by its place."""
    places = [(well.name, float(well.minimum[0]), float(well.minimum[1])) for well in surface.wells]
    if len(places) == 1 and getattr(surface, "wells_complete", True):
        ((_, x, y),) = places
        return [(f"minimum ({x:.3g}, {y:.3g})".replace("-", "−"), x, y)]
    return places
