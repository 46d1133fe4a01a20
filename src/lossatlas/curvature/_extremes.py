"""The largest and smallest eigenvalues of the Hessian with their residuals: an error bar that cannot be argued with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh
from torch import Tensor

from lossatlas import archive
from lossatlas._errors import InputError
from lossatlas.curvature._dense import dense
from lossatlas.curvature._operator import Operator
from lossatlas.probe import Probe
from lossatlas.surface import Surface

KIND = "extremes"
SMALL = 64


@dataclass(frozen=True, eq=False)
class Eigenpairs:
    """Eigenvalues from one end of the spectrum, outermost first.

    Attributes:
        values: (k,) float64.
        vectors: (k, N) of unit length.
        residuals: (k,) ‖Hv − λv‖; an eigenvalue of H lies within that distance of λ.
        converged: (k,) whether the residual is within the tolerance.
    """

    values: np.ndarray
    vectors: np.ndarray
    residuals: np.ndarray
    converged: np.ndarray


@dataclass(frozen=True, eq=False)
class Extremes:
    """Both ends of the spectrum of a Hessian.

    Attributes:
        largest: the k largest, descending.
        smallest: the k smallest, ascending.
        meter: what was asked for it, the products for the residuals included.
        provenance: surface, point and settings, plain JSON values.
        status: ``converged``, or how many of which end are not.
    """

    largest: Eigenpairs
    smallest: Eigenpairs
    meter: dict[str, Any]
    provenance: dict[str, Any]
    status: str = "converged"

    def record(self) -> dict[str, Any]:
        """Everything but the vectors, as plain JSON values."""
        ends = {
            name: {
                "values": pairs.values.tolist(),
                "residuals": pairs.residuals.tolist(),
                "converged": pairs.converged.tolist(),
            }
            for name, pairs in (("largest", self.largest), ("smallest", self.smallest))
        }
        return {**ends, "meter": self.meter, "provenance": self.provenance, "status": self.status}

    def save(self, folder: str | Path) -> Path:
        """Write it into a folder: `extremes.json` and `extremes.safetensors`, atomically."""
        arrays = {"largest": self.largest.vectors, "smallest": self.smallest.vectors}
        return archive.save(folder, KIND, arrays, self.record())


def extremes(
    surface: Surface,
    k: int = 5,
    *,
    point: Tensor | None = None,
    seed: int = 0,
    tolerance: float = 1e-4,
    limit: int | None = None,
    scaling: Tensor | None = None,
    blocks: str | Sequence[str] | None = None,
    probe: Probe | None = None,
    progress: bool | Callable[[int, int], None] = False,
) -> Extremes:
    """The k largest and k smallest eigenpairs of the Hessian.

    Args:
        surface: any surface that knows gradients.
        k: how many from each end.
        point: where, shape (N,); the model's own point on a network, else the surface's start.
        seed: of the starting vector.
        tolerance: a pair has converged once its residual is below this share of its eigenvalue.
        limit: Hessian products at most for one end.
        scaling: D of shape (N,), for D H D.
        blocks: names of layout blocks to restrict H to.
        probe: the door to ask at; a new one by default.
        progress: a function of (products done, limit), or False.

    Returns:
        The `Extremes`.

    Raises:
        InputError: for a k below 1 or above N.
    """
    operator = Operator(surface, point, probe=probe, scaling=scaling, blocks=blocks)
    n = operator.dimension
    if isinstance(k, bool) or k != int(k) or not 1 <= k <= n:
        raise InputError(f"got k={k}; expected 1 to {n}, the number of eigenvalues there are. Choose a smaller k.")
    settings: dict[str, Any] = {"k": k, "seed": seed, "tolerance": tolerance, "limit": limit}
    if n <= max(SMALL, 2 * k + 2):
        values, basis = torch.linalg.eigh(dense(operator))
        pairs = [
            Eigenpairs(v.numpy(), u.T.contiguous().numpy(), np.zeros(k), np.ones(k, bool))
            for v, u in ((values[-k:].flip(0), basis[:, -k:].flip(1)), (values[:k], basis[:, :k]))
        ]
        return Extremes(pairs[0], pairs[1], operator.bill(), operator.provenance(method="dense", **settings))
    found = []
    for which in ("LA", "SA"):
        v0 = np.random.default_rng(seed).standard_normal(n)
        linear = LinearOperator(
            (n, n),
            matvec=lambda v: operator.apply(torch.from_numpy(v.reshape(1, -1)))[0].cpu().numpy(),
            dtype=np.float64,
        )
        try:
            values, basis = eigsh(linear, k, which=which, v0=v0, tol=tolerance, maxiter=limit)
        except ArpackNoConvergence as short:
            values, basis = short.eigenvalues, short.eigenvectors
        order = np.argsort(-values if which == "LA" else values)
        values, vectors = values[order], basis.T[order]
        products = operator.apply(torch.from_numpy(vectors.copy())).cpu().numpy()
        residuals = np.linalg.norm(products - values[:, None] * vectors, axis=1)
        found.append(Eigenpairs(values, vectors, residuals, residuals <= tolerance * np.abs(values)))
    return Extremes(
        found[0], found[1], operator.bill(), operator.provenance(method="implicitly restarted Lanczos", **settings)
    )
