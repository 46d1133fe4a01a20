"""The whole Hessian of a small surface, column by column: the oracle of everything else in this room."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lossatlas._errors import InputError
from lossatlas.curvature._operator import Operator
from lossatlas.probe import Probe
from lossatlas.surface import PointLike, Surface

LIMIT = 5000
ROWS = 256


def hessian(
    surface: Surface,
    point: PointLike | None = None,
    *,
    probe: Probe | None = None,
    scaling: PointLike | None = None,
    blocks: str | Sequence[str] | None = None,
) -> Tensor:
    """The dense Hessian, from one product per unit vector.

    Args:
        surface: of at most 5,000 parameters.
        point: where, whatever describes a point (a vector, state dict, module or file); the surface's own by default.
        probe: the door to ask at; a new one by default.
        scaling: D of shape (N,), for D H D.
        blocks: names of layout blocks to restrict H to.

    Returns:
        Shape (N, N), float64, symmetric to the last bit.

    Raises:
        InputError: for more parameters than that.

    Example:
        >>> import torch, lossatlas as la
        >>> surface = la.landscapes.quadratic(condition=4.0, dimension=2, rotation=0.0)
        >>> torch.linalg.eigvalsh(hessian(surface)).round(decimals=6).tolist()
        [1.0, 4.0]
    """
    return dense(Operator(surface, point, probe=probe, scaling=scaling, blocks=blocks))


def dense(operator: Operator) -> Tensor:
    """The matrix (n, n) of an operator, float64.

    Raises:
        InputError: for more than 5,000 rows.
    """
    n = operator.dimension
    if n > LIMIT:
        raise InputError(
            f"got a Hessian of {n:,} × {n:,} entries; expected at most {LIMIT:,} parameters. Use extremes, trace or "
            "spectrum, which need products only, or restrict it with blocks=…."
        )
    matrix = torch.empty(n, n, dtype=torch.float64)
    for first in range(0, n, ROWS):
        rows = torch.zeros(min(ROWS, n - first), n, dtype=torch.float64)
        rows[:, first : first + len(rows)].fill_diagonal_(1.0)
        matrix[first : first + len(rows)] = operator.apply(rows).cpu()
    return (matrix + matrix.T) / 2
