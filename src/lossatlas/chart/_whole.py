"""A surface of two parameters drawn as itself: no slice, its own axes, its minima marked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import torch

from lossatlas import _checks
from lossatlas._errors import InputError
from lossatlas.chart._caption import seen
from lossatlas.chart._picture import Spacing
from lossatlas.probe import Probe, Values
from lossatlas.surface import Slice, Surface

if TYPE_CHECKING:
    from lossatlas.draw import FieldDisplay, PathsDisplay, ReliefDisplay

Box = tuple[tuple[float, float], tuple[float, float]]
POINTS = 121


class _Grid(TypedDict):
    """What map and relief of a surface have in common."""

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    xlabel: str
    ylabel: str
    title: str
    note: str


def plot_surface(
    surface: Surface,
    ax: Any = None,
    *,
    path: Any = None,
    points: int = POINTS,
    box: Any = None,
    scale: Spacing = "auto",
    **style: Any,
) -> FieldDisplay | PathsDisplay:
    """Contours of a surface of two parameters; see `Surface.plot`."""
    from lossatlas.draw import FieldDisplay, PathsDisplay, need_axes

    need_axes(ax)
    wells = [(well.name, float(well.minimum[0]), float(well.minimum[1])) for well in surface.wells]
    field = FieldDisplay(**_grid(surface, points, box), wells=wells)
    if path is None:
        return field.plot(ax, levels=scale, **style)
    return PathsDisplay(field, _paths(path)).plot(ax, levels=scale, **style)


def relief_of_surface(
    surface: Surface,
    ax: Any = None,
    *,
    path: Any = None,
    points: int = POINTS,
    box: Any = None,
    scale: Spacing = "auto",
    **style: Any,
) -> ReliefDisplay:
    """A surface of two parameters in three dimensions; see `Surface.plot_relief`."""
    from lossatlas.draw import ReliefDisplay, need_axes

    need_axes(ax)
    paths = {} if path is None else _paths(path)
    return ReliefDisplay(**_grid(surface, points, box), paths=paths).plot(ax, levels=scale, **style)


def _grid(surface: Surface, points: int, box: Any) -> _Grid:
    """Its losses on a grid over its box, row j at y[j]."""
    if surface.dimension != 2:
        raise InputError(
            f"{surface.name} has {surface.dimension:,} parameters; expected two, so that it can be drawn as itself. Draw "
            "a slice of it: la.chart(surface, plane).plot()."
        )
    points = _checks.whole("points", points, 2, 2001, do="These are grid points per axis.")
    (left, right), (low, high) = _box(surface, box)
    x, y = (torch.linspace(*ends, points, dtype=torch.float64) for ends in ((left, right), (low, high)))
    places = torch.stack([x.repeat(points), y.repeat_interleave(points)], 1).to(surface.device, surface.dtype)
    z = Probe(surface).evaluate(Values(places)).values.reshape(points, points)
    axes = ("α", "β") if isinstance(surface, Slice) else tuple(getattr(surface, "names", None) or ("w₁", "w₂"))
    return {
        "x": x.numpy(),
        "y": y.numpy(),
        "z": z.cpu().double().numpy(),
        "xlabel": str(axes[0]),
        "ylabel": str(axes[1]),
        "title": surface.name,
        "note": " ".join(f"{note[:1].upper()}{note[1:].rstrip('.')}." for note in seen(surface)),
    }


def _box(surface: Surface, box: Any) -> Box:
    """The box that was given, or the surface's own, or one around what is known of it."""
    if box is None and surface.box is not None:
        box = surface.box
    if box is not None:
        try:
            ends = np.asarray(box, dtype=np.float64)
        except (TypeError, ValueError):
            ends = np.full((2, 2), np.nan)
        if ends.shape != (2, 2) or not np.isfinite(ends).all() or not (ends[:, 0] < ends[:, 1]).all():
            raise InputError(f"got box={box!r}; expected ((left, right), (bottom, top)), finite and increasing.")
        (left, right), (low, high) = ends.tolist()
        return (left, right), (low, high)
    known = [well.minimum for well in surface.wells] + ([surface.start] if surface.start is not None else [])
    places = np.array([place.cpu().double().numpy() for place in known] or [np.zeros(2)])
    least, most = places.min(0), places.max(0)
    pad = 0.3 * float((most - least).max()) or 1.0
    (left, low), (right, high) = (least - pad).tolist(), (most + pad).tolist()
    return (left, right), (low, high)


def _paths(path: Any) -> dict[str, Any]:
    """One path or several by name, as arrays of points."""
    given = path if isinstance(path, dict) else {"path": path}
    return {
        name: one.detach().cpu().double().numpy() if isinstance(one, torch.Tensor) else one
        for name, one in given.items()
    }
