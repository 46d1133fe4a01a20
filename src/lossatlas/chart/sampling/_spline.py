"""Polyharmonic splines: the smoothest function through scattered nodes, of as many outputs at once as there are.

Nodes may lie anywhere, so each goes where the error is expected to be largest, and every evaluation is reused. On a line
the spline is the natural one: cubic for the exponent 3, quintic for 5.
"""

from __future__ import annotations

from functools import cached_property
from typing import final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Cells = NDArray[np.int64]

QUINTIC, CUBIC = 5, 3
# Squares of the power function below this are rounding, where spans are 2 wide.
ROUNDING = 1e-12


@final
class Spline:
    """The interpolant Σ aᵢ φ(‖x − xᵢ‖) + p(x) with φ(r) = r^e up to its sign and p a polynomial of degree ≤ 2.

    It is linear in the values at the nodes, so one matrix of `weights` serves every output of every example. As many
    coefficients of p are used as the nodes determine.

    Args:
        nodes: shape (n, k), k = 1 or 2, in units in which the spans are about 2 wide; no two equal.
        exponent: e, 3 or 5.

    Source:
        Duchon: Splines minimizing rotation-invariant semi-norms in Sobolev spaces, 1977; Wendland: Scattered data
        approximation, 2005, chapters 8 and 11 (power function).
    """

    def __init__(self, nodes: Array, exponent: int = QUINTIC) -> None:
        self.nodes, self.exponent = nodes, exponent
        self.degree = _degree(nodes)

    @cached_property
    def inverse(self) -> Array:
        """Inverse of the system [[Φ, Q], [Qᵀ, 0]], (n + q, n + q)."""
        tail = polynomials(self.nodes, self.degree)
        corner = np.zeros((tail.shape[1], tail.shape[1]))
        system = np.block([[kernel(self.nodes, self.nodes, self.exponent), tail], [tail.T, corner]])
        try:
            found: Array = np.linalg.inv(system)
        except np.linalg.LinAlgError:
            # Few nodes may not determine it, such as those on one line that are left where a network overflows.
            found = np.linalg.pinv(system)
        return found

    def rows(self, points: Array) -> Array:
        """The basis at points, (m, n + q)."""
        return np.concatenate([kernel(points, self.nodes, self.exponent), polynomials(points, self.degree)], 1)

    def weights(self, points: Array) -> Array:
        """The matrix (m, n) that takes values at the nodes to values at points."""
        found: Array = self.rows(points) @ self.inverse[:, : len(self.nodes)]
        return found

    def power(self, points: Array) -> Array:
        """Power function (m,): the error at points is at most this times the roughness of the interpolated function."""
        rows = self.rows(points)
        found: Array = np.sqrt(np.maximum(-np.einsum("mi,mi->m", rows @ self.inverse, rows), 0.0))
        return found

    @cached_property
    def noise(self) -> float:
        """What rounding adds to squares of the power function: what they are at the nodes, where the function is 0."""
        rows = self.rows(self.nodes)
        return float(np.abs(np.einsum("mi,mi->m", rows @ self.inverse, rows)).max())

    @cached_property
    def spread(self) -> Array:
        """The power function at each node of the spline through all others, (n,)."""
        found: Array = 1 / np.sqrt(np.maximum(np.diag(self.inverse)[: len(self.nodes)], np.finfo(np.float64).tiny))
        return found

    @cached_property
    def omitted(self) -> Array:
        """The matrix (n, n) that takes values at the nodes to those predicted at each node from all others.

        With A the upper left block of the inverse, the prediction of node i from the others is zᵢ − (A z)ᵢ / Aᵢᵢ.
        """
        count = len(self.nodes)
        block = self.inverse[:count, :count]
        found: Array = np.eye(count) - block / np.diag(block)[:, None]
        return found


def farthest(spline: Spline, candidates: Array, scale: Array, count: int) -> Cells:
    """The next nodes, one by one where scale × power is largest, each chosen with the ones before it in place.

    Args:
        spline: through the nodes so far.
        candidates: shape (m, k).
        scale: shape (m,), what a unit of the power function weighs at each candidate.
        count: how many to choose.

    Returns:
        Numbers of the chosen candidates, fewer than ``count`` where the power function has become rounding.
    """
    rows = spline.rows(candidates)
    ahead = rows @ spline.inverse
    square = np.maximum(-np.einsum("mi,mi->m", ahead, rows), 0.0)
    least = max(1e-9 * square.max(initial=0.0), ROUNDING, 2 * spline.noise)
    chosen: list[int] = []
    basis: list[Array] = []
    for _ in range(count):
        pick = int(np.argmax(square * scale**2))
        if not square[pick] > least:
            break
        column = kernel(candidates, candidates[pick : pick + 1], spline.exponent)[:, 0] - ahead @ rows[pick]
        for old in basis:
            column = column - old * old[pick]
        new = column / np.sqrt(square[pick])
        basis.append(new)
        square = np.maximum(square - new**2, 0.0)
        square[pick] = 0.0
        chosen.append(pick)
    return np.array(chosen, dtype=np.int64)


def kernel(a: Array, b: Array, exponent: int) -> Array:
    """±‖a − b‖^e, (m, n), with the sign that makes it positive on coefficients orthogonal to the polynomials."""
    square = np.zeros((len(a), len(b)))
    for k in range(a.shape[1]):
        square += np.subtract.outer(a[:, k], b[:, k]) ** 2
    sign = -1.0 if exponent % 4 == 1 else 1.0
    # A power with a fraction takes ten times as long.
    found: Array = np.sqrt(square)
    for _ in range(exponent // 2):
        found *= square
    found *= sign
    return found


def polynomials(points: Array, degree: int) -> Array:
    """Monomials of degree at most ``degree``, (m, q)."""
    columns = [np.ones(len(points)), *points.T] if degree else [np.ones(len(points))]
    if degree == 2:
        axes = range(points.shape[1])
        columns += [points[:, i] * points[:, j] for i in axes for j in axes if i <= j]
    return np.stack(columns, 1)


def _degree(nodes: Array) -> int:
    for degree in (2, 1):
        tail = polynomials(nodes, degree)
        # One node more than polynomials: each is predicted from the others.
        if len(nodes) > tail.shape[1] and np.linalg.matrix_rank(tail, tol=1e-6) == tail.shape[1]:
            return degree
    return 0
