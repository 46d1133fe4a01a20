"""Directions and where they start: drawn from a seed, given by points, or the user's own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lossatlas import _checks
from lossatlas._errors import InputError, PlaneError
from lossatlas.chart.planes._normalize import normalize, scale
from lossatlas.chart.planes._policy import LI, Ignore, resolved, rule
from lossatlas.surface import Frame, Layout, PointLike, Surface, as_direction, as_point, inner

Direction = PointLike


def point_of(surface: Surface, given: PointLike | None) -> Tensor:
    """A finite point of any surface; None for its own."""
    return as_point(
        surface, given, "an origin" if given is None else "a point", error=PlaneError if given is None else InputError
    )


def drawn(
    origin: Tensor, layout: Layout, count: int, *, seed: int, normalization: str, ignore: Ignore | None
) -> Tensor:
    """Gaussian directions (count, N) scaled to the weights, block by block: nothing of size N but the result is held.

    One direction after the other, one tensor per parameter in the model's order, in float64; for the normalizations of
    Li et al. in float32 as their reference draws them, so that ``torch.manual_seed(seed)`` there gives these directions.
    """
    resolved(normalization, ignore)
    generator = torch.Generator().manual_seed(_checks.seed(seed))
    rows = torch.empty(count, layout.dimension, dtype=origin.dtype, device=origin.device)
    kind = torch.float32 if normalization in LI else torch.float64
    for row in rows:
        for block in layout.blocks:
            part = torch.randn(block.size, generator=generator, dtype=kind).double()
            scale(part.numpy(), origin[block.span], rule(block, normalization, ignore), normalization)
            row[block.span] = part.to(row)
    return rows


def along(slope: Tensor, origin: Tensor, layout: Layout, *, normalization: str, ignore: Ignore | None = None) -> Tensor:
    """A direction (N,) of one unit along a slope: of unit length for ``none`` and on landscapes, else normalized.

    Among all directions whose filters are as long as the weights', the normalized slope is the steepest.
    """
    if normalization == "none" or all(block.kind == "vector" for block in layout.blocks):
        resolved(normalization, ignore)
        length = float(inner(slope[None], slope[None]).sqrt())
        return slope / length if length > 0 else slope
    return normalize(slope, origin, layout, normalization, ignore=ignore)


def direction_of(surface: Surface, given: PointLike) -> Tensor:
    """A finite direction (N,) in the order of θ from the user's own: a vector, or a tensor for each parameter by name.

    Raises:
        InputError: if it is none, is not finite, or does not fit, naming the keys.
    """
    return as_direction(surface, given, zero=True).to(surface.dtype)  # a zero one is refused where the frame is made


def orthogonal(rows: Tensor) -> Tensor:
    """Rows (2, N) with the part along the first taken out of the second, in place."""
    gram = inner(rows, rows)
    rows[1] -= (gram[0, 1] / gram[0, 0]).to(rows.dtype) * rows[0]
    return rows


def second(
    surface: Surface,
    first: Tensor,
    origin: Tensor,
    given: Direction | None,
    *,
    seed: int,
    normalization: str,
    ignore: Ignore | None,
) -> tuple[Tensor, str]:
    """Both directions (2, N) where one is found and the other is drawn or given, and the name of the other.

    For ``none`` the other one is made orthogonal to the first and of unit length, so that both axes are Euclidean.
    """
    if given is None:
        (other,) = drawn(origin, surface.layout, 1, seed=seed, normalization=normalization, ignore=ignore)
        name = f"random, seed {seed}"
    else:
        other, name = direction_of(surface, given), "given"
    euclidean = normalization == "none" or all(block.kind == "vector" for block in surface.layout.blocks)
    if not euclidean and given is not None:
        other = normalize(other, origin, surface.layout, normalization, ignore=ignore)
    rows = torch.stack([first, other])
    if euclidean:
        Frame(origin, rows)  # refuses a second direction that is zero or parallel before it is made orthogonal
        rows = orthogonal(rows)
        rows[1] /= inner(rows[1:], rows[1:]).sqrt().to(rows.dtype)[0]
    return rows, name


def place(given: Any) -> str:
    """For the record: ``own`` for a surface's own point, ``given`` for another."""
    return "own" if given is None else "given"
