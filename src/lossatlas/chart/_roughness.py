"""How rough a field is: three numbers with their definitions, none of which knows how the field was made."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lossatlas._errors import InputError

Array = NDArray[np.float64]

# Short, for tables and axes; and as defined.
MEASURES = {
    "nonconvex": ("non-convex share", "share of inner cells whose second differences curve downward in some direction"),
    "misfit": ("distance from a bowl", "rms distance from the best quadratic, as a share of the loss's range"),
    "minima": ("local minima", "inner cells below all their neighbors"),
}


@dataclass(frozen=True)
class Roughness:
    """How far a field is from one smooth bowl.

    Attributes:
        nonconvex: share of inner cells whose matrix of second differences has a negative eigenvalue.
        misfit: rms of loss less its best quadratic (least squares over all cells), divided by the range of the loss.
        minima: inner cells strictly below all their neighbors by more than the noise.
        cells: inner cells that were judged; those next to a hole are not.
    """

    nonconvex: float
    misfit: float
    minima: int
    cells: int


def roughness(loss: Array, *, noise: float = 0.0) -> Roughness:
    """The roughness of a field on a uniform grid, in units of its cells.

    Second differences at cell (j, i) over a square whose sides are the spans: f_xx = (f₁₀ − 2f₀₀ + f₋₁₀)/h², f_xy =
    (f₁₁ − f₁₋₁ − f₋₁₁ + f₋₁₋₁)/4hk; a cell is non-convex if the smaller eigenvalue of that 2×2 matrix is negative by more
    than the noise can make it. None of the three numbers changes when the loss is scaled or shifted, the first and
    last do not change either when the spans are stretched together.

    Args:
        loss: (ny, nx), or (1, nx) for a line; at least three cells along each axis that has any.
        noise: how far each value may be off, in units of the loss.

    Returns:
        The `Roughness`; NaN where no cell can be judged.

    Raises:
        InputError: for fewer than three cells along an axis.
    """
    line = loss.shape[0] == 1
    if loss.ndim != 2 or loss.shape[1] < 3 or not (line or loss.shape[0] >= 3):
        raise InputError(f"got a field of shape {loss.shape}; expected at least three cells along each axis.")
    field = np.where(np.isfinite(loss), loss, np.nan)
    lowest, floor = _lowest_curvature(field, noise)
    judged = np.isfinite(lowest)
    cells = int(judged.sum())
    share = float((lowest[judged] < -floor).mean()) if cells else np.nan
    around = _neighbors(field)
    inner = field[:, 1:-1] if line else field[1:-1, 1:-1]
    with np.errstate(invalid="ignore"):
        pits = (inner[None] < around - noise).all(0)
    return Roughness(share, _misfit(field), int(pits.sum()), cells)


def second_differences(field: Array) -> tuple[Array, Array, Array]:
    """f_xx, f_xy, f_yy at the inner cells of a field (ny, nx), for a square of side 2 whatever the counts."""
    h, k = (2 / (n - 1) for n in reversed(field.shape))
    middle = field[1:-1, 1:-1]
    xx = (field[1:-1, 2:] - 2 * middle + field[1:-1, :-2]) / h**2
    yy = (field[2:, 1:-1] - 2 * middle + field[:-2, 1:-1]) / k**2
    xy = (field[2:, 2:] - field[2:, :-2] - field[:-2, 2:] + field[:-2, :-2]) / (4 * h * k)
    return xx, xy, yy


def _lowest_curvature(field: Array, noise: float) -> tuple[Array, float]:
    """The smaller eigenvalue of second differences at each inner cell, and how far noise may move it."""
    rounding = 8 * np.finfo(np.float64).eps * float(np.nanmax(np.abs(field), initial=0.0))
    if field.shape[0] == 1:
        h = 2 / (field.shape[1] - 1)
        row = field[0]
        return ((row[2:] - 2 * row[1:-1] + row[:-2]) / h**2)[None], 4 * max(noise, rounding) / h**2
    xx, xy, yy = second_differences(field)
    lowest = (xx + yy) / 2 - np.sqrt(((xx - yy) / 2) ** 2 + xy**2)
    step = min(2 / (n - 1) for n in field.shape)
    return lowest, 4 * max(noise, rounding) / step**2


def _neighbors(field: Array) -> Array:
    """The neighbors of each inner cell: (2, 1, nx − 2) on a line, (8, ny − 2, nx − 2) on a plane."""
    if field.shape[0] == 1:
        return np.stack([field[:, :-2], field[:, 2:]])
    ny, nx = field.shape
    shifts = [(j, i) for j in (0, 1, 2) for i in (0, 1, 2) if (j, i) != (1, 1)]
    return np.stack([field[j : ny - 2 + j, i : nx - 2 + i] for j, i in shifts])


def _misfit(field: Array) -> float:
    """The rms residual of the best quadratic, relative to the range."""
    finite = np.isfinite(field)
    values = field[finite]
    span = float(np.ptp(values)) if values.size else 0.0
    if span == 0.0:
        return 0.0 if values.size else np.nan
    y, x = (np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in field.shape)
    grid_x, grid_y = (part[finite] for part in np.meshgrid(x, y))
    terms = [np.ones_like(grid_x), grid_x, grid_x**2]
    if len(y) > 1:
        terms += [grid_y, grid_y**2, grid_x * grid_y]
    design = np.stack(terms, 1)
    # In units of the range: numbers far from 1 would lose digits for nothing.
    scaled = (values - values.min()) / span
    best = np.linalg.lstsq(design, scaled, rcond=None)[0]
    return float(np.sqrt(((scaled - design @ best) ** 2).mean()))
