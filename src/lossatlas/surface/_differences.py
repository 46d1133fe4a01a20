"""The proof of a gradient: it equals central differences of the values at a few points."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lossatlas.surface._surface import Surface

EPS = torch.finfo(torch.float64).eps
# Points, directions at each, and how far both ways may differ as a share of the gradient.
PLACES, DIRECTIONS, AGREE = 3, 3, 1e-4


def disagreement(surface: Surface, what: str) -> str:
    """Why the gradients of a surface are not to be used; empty if they equal central differences.

    Args:
        surface: with a start or a box.
        what: they come from, for the sentence.
    """
    generator = torch.Generator().manual_seed(0)
    held, unit = 0, surface.rounding
    assert surface.start is not None
    for _ in range(10 * PLACES):
        u = torch.rand(surface.dimension, generator=generator, dtype=torch.float64)
        low, high = (surface.start - 1, surface.start + 1) if surface.box is None else surface.box.unbind(1)
        point = low + (high - low) * (0.1 + 0.8 * u)
        vectors = torch.randn(DIRECTIONS, surface.dimension, generator=generator, dtype=torch.float64)
        vectors /= vectors.norm(dim=1, keepdim=True)
        step = unit ** (1 / 3) * (1 + float(point.norm()))
        with warnings.catch_warnings(action="ignore"):
            try:
                gradient = surface.gradients(point[None])[1][0]
            except Exception as error:
                return f"values only: {what} fails ({' '.join(str(error).split())[:300]})"
            ahead, behind = surface.values(torch.cat([point + step * vectors, point - step * vectors])).chunk(2)
        differences = (ahead - behind) / (2 * step)
        if not bool(torch.isfinite(differences).all() and torch.isfinite(gradient).all()):
            continue
        slack = AGREE * float(gradient.norm()) + 1e3 * unit * float(ahead.abs().max()) / step
        apart = float((vectors @ gradient - differences).abs().max())
        if apart > max(slack, AGREE * float(differences.abs().max())):
            return (
                f"values only: {what} differs from central differences by {apart:.2g} at {shown(point)}, where the gradient "
                f"has length {float(gradient.norm()):.2g}"
            )
        held += 1
        if held == PLACES:
            break
    return "" if held else f"values only: {what} is finite at no point where it was looked at"


def shown(points: Tensor) -> str:
    """A point, or the first of several, for a message."""
    first = points.reshape(-1, points.shape[-1])[0].tolist()
    text = ", ".join(f"{x:.6g}" for x in first[:6]) + (", …" if len(first) > 6 else "")
    return f"θ = ({text})" + (
        f" or one of {len(points) - 1} more points" if points.ndim == 2 and len(points) > 1 else ""
    )
