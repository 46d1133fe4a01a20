"""A path over its plane: the chart of the plane through the ends and the control point, with the path drawn on it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from lossatlas import _checks
from lossatlas._errors import InputError
from lossatlas.chart import Chart, Plane, chart
from lossatlas.connect._curve import Curve
from lossatlas.draw import PathsDisplay
from lossatlas.surface import NetworkSurface, Surface

STEPS = 201


def plane_of(curve: Curve, surface: Surface) -> Plane:
    """The plane through both ends and the control point that lies farthest from the line between them.

    Its first axis runs from a (0) to b (1); the second is perpendicular and of the same length, so that the picture
    has the geometry of the parameters.

    Raises:
        InputError: for a curve without such a point.
    """
    controls = curve.controls.double()
    along = controls[-1] - controls[0]
    offsets = controls[1:-1] - controls[0]
    across = offsets - torch.outer(offsets @ along / (along @ along), along)
    lengths = across.norm(dim=1)
    if not len(lengths) or not float(lengths.max()) > 1e-9 * float(along.norm()):
        raise InputError(
            "a straight path spans no plane; give a third point, Plane.between(surface, a, b, c), or draw the profile "
            "itself with path.plot()."
        )
    best = int(lengths.argmax())
    third = controls[0] + across[best] * (along.norm() / lengths[best])
    return Plane.between(surface, curve.controls[0], curve.controls[-1], third.to(curve.controls.dtype))


def chart_over(
    curve: Curve, surface: Surface, statistics: str | None, *, points: int, margin: float
) -> tuple[Plane, Chart]:
    """The plane of a curve and its chart, large enough to hold the curve.

    Args:
        curve: the path.
        surface: what it lies on.
        statistics: how those of batch norm were read along it, or None where there are none.
        points: cells per axis.
        margin: how far to go beyond the curve, as a share of its extent.
    """
    margin = _checks.number("margin", margin, least=0)
    if isinstance(surface, NetworkSurface) and statistics == "reset":
        surface = surface.with_batchnorm("recompute")
    plane = plane_of(curve, surface)
    coords, _ = plane.frame.project(_steps(curve))
    low, high = coords.amin(0), coords.amax(0)
    room = margin * (high - low).amax()
    spans = [(float(x - room), float(y + room)) for x, y in zip(low, high, strict=True)]
    return plane, chart(surface, plane, span=spans, points=points, progress=False)


def over_plane(
    curve: Curve, surface: Surface, statistics: str | None, *, title: str, name: str, points: int, margin: float
) -> PathsDisplay:
    """The curve on the chart of its plane, not drawn yet; `title` and `name` are those of the path."""
    plane, made = chart_over(curve, surface, statistics, points=points, margin=margin)
    coords, off = plane.frame.project(_steps(curve))
    straight, _ = plane.frame.project(curve.controls[[0, -1]])
    unit = "(in lengths of b − a)"
    field = replace(made.display(), xlabel=f"from a to b {unit}", ylabel=f"across {unit}", center=None)
    residual = float(off.max())
    lies = (
        "the path lies in this plane"
        if residual < 1e-5
        else f"the path leaves this plane by up to {residual:.0%} of its distance from a: the loss under it is not its own"
    )
    return PathsDisplay(
        field,
        {"straight line": straight.cpu().numpy(), name: coords.cpu().numpy()},
        title=f"{title}: the plane of the {name}",
        note=f"One plane of {surface.dimension:,} dimensions; {lies}",
    )


def _steps(curve: Curve) -> Tensor:
    return curve.points(np.linspace(0, 1, STEPS))
