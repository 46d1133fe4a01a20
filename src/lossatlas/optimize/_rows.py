"""Sums and products within each run, added in an order that does not depend on how many runs there are.

Reductions and matrix kernels choose their order by the shape of the whole batch; a run's bits must not depend on its
neighbors. Short axes are added term by term; long ones (networks) are held to rounding only, and use the kernels.
"""

from __future__ import annotations

import torch
from torch import Tensor

SHORT = 16


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Σᵢ aᵢ bᵢ along the last axis."""
    product = a * b
    if product.shape[-1] > SHORT:
        return product.sum(-1)
    first, *rest = product.unbind(-1)
    for term in rest:
        first = first + term
    return first


def norm(a: Tensor) -> Tensor:
    """Length along the last axis."""
    return dot(a, a).sqrt()


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """Products of matrices (…, i, k) and (…, k, j)."""
    if a.shape[-1] > SHORT:
        return torch.matmul(a, b)
    total = a[..., :, :1] * b[..., :1, :]
    for k in range(1, a.shape[-1]):
        total = total + a[..., :, k : k + 1] * b[..., k : k + 1, :]
    return total


def power(values: Tensor, exponent: float) -> Tensor:
    """Entries to a power, each row (…, d) with the same bits wherever it stands in a batch.

    Vectorized kernels compute what is left over at the end of a tensor in another way than the rest: rows are filled up
    to whole vectors first.
    """
    width = values.shape[-1]
    filled = torch.nn.functional.pad(values, (0, -width % SHORT), value=1.0)
    return filled.pow(exponent)[..., :width]


def symmetric_power(matrices: Tensor, exponent: float, floor: float = 0.0) -> Tensor:
    """M^exponent of symmetric positive matrices (…, d, d) by their eigenvectors, in float64.

    Args:
        matrices: symmetric.
        exponent: of the eigenvalues.
        floor: eigenvalues below are raised to it.
    """
    whole = matrices.double()
    finite = torch.isfinite(whole).flatten(-2).all(-1)[..., None, None]
    # A run that has left the numbers must not take the others with it: LAPACK refuses the whole batch.
    eye = torch.eye(whole.shape[-1], dtype=torch.float64, device=whole.device)
    values, vectors = torch.linalg.eigh(torch.where(finite, whole, eye))
    scaled = vectors * power(values.clamp_min(floor), exponent)[..., None, :]
    powered = matmul(scaled, vectors.transpose(-1, -2))
    return torch.where(finite, powered, float("nan")).to(matrices.dtype)
