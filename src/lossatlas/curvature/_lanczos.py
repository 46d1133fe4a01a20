"""Lanczos with full re-orthogonalization: one Krylov basis, what the operator does on it, and honest residuals."""

from __future__ import annotations

from typing import final

import numpy as np
import scipy.linalg
import torch
from torch import Tensor

BREAK = 1e-10


@final
class Krylov:
    """An orthonormal basis that grows by one product at a time.

    Every new direction is orthogonalized twice against all earlier ones, and the coefficients are kept as they were
    measured: A Q = Q T + β q_{m+1} e_mᵀ holds to float64 rounding whatever the noise of the products, so that the
    residual of a Ritz pair (θ, y = Q s) is known without another product: ‖Ay − θy‖² = ‖(T − θ)s‖² + β²s_m², to which
    what restarts lost is added.

    Where the space turns out invariant (β ≈ 0) it goes on with a fresh random direction, so that copies of a multiple
    eigenvalue are found. A full basis is restarted from Ritz vectors of both ends (thick restart).

    Args:
        start: shape (n,), not zero.
        rows: how many directions fit before a restart.
        seed: of the fresh directions.

    Source: Lanczos 1950; Wu and Simon, Thick-restart Lanczos method, SIAM J. Matrix Anal. Appl. 22 (2000).
    """

    def __init__(self, start: Tensor, rows: int, seed: int = 0) -> None:
        start = start.detach().double()
        self._basis = torch.empty(rows + 1, len(start), dtype=torch.float64, device=start.device)
        self._basis[0] = start / start.norm()
        self._dimension = len(start)
        self._matrix = np.zeros((rows + 1, rows))
        self._lost = np.zeros(rows)
        self._generator = torch.Generator().manual_seed(seed)
        self.size = 0
        self.invariant = False

    @property
    def full(self) -> bool:
        """Whether there is no room for another direction."""
        return self.size == self._matrix.shape[1]

    @property
    def whole(self) -> bool:
        """Whether the basis spans everything: all Ritz pairs are then eigenpairs."""
        return self.size == self._dimension

    @property
    def next(self) -> Tensor:
        """The direction (n,) whose product is wanted next."""
        return self._basis[self.size]

    def take(self, product: Tensor) -> None:
        """Extend the basis by the operator's product (n,) with `next`."""
        j = self.size
        known = self._basis[: j + 1]
        rest = product.detach().to(known.device, torch.float64, copy=True)
        first = known @ rest
        rest -= first @ known
        second = known @ rest
        rest -= second @ known
        self._matrix[: j + 1, j] = (first + second).cpu().numpy()
        beta = float(rest.norm())
        self.size = j + 1
        scale = float(np.abs(self._matrix[: self.size, : self.size]).max())
        self.invariant = beta <= BREAK * scale
        if self.whole:
            return
        if not self.invariant:
            self._matrix[j + 1, j] = beta
            self._basis[j + 1] = rest / beta
            return
        fresh = torch.randn(len(rest), generator=self._generator, dtype=torch.float64).to(known.device)
        for _ in range(2):
            fresh -= (known @ fresh) @ known
            fresh /= fresh.norm()
        self._basis[j + 1] = fresh

    def ritz(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Ritz values (m,) ascending, their coefficients (m, m) in columns, and their residuals (m,)."""
        m = self.size
        measured = self._matrix[:m, :m]
        # Below the diagonal stands β of each step; above, what orthogonalization measured: their mean is symmetric.
        values, inner = scipy.linalg.eigh((measured + measured.T) / 2)
        off = measured @ inner - values * inner
        beta = self._matrix[m, m - 1] if not self.whole else 0.0
        # What restarts lost may lie in any direction: the sum is a bound, a root of squares would be none.
        residuals = np.sqrt((off**2).sum(0) + (beta * inner[-1]) ** 2) + self._lost[:m] @ np.abs(inner)
        return values, inner, residuals

    def vectors(self, inner: np.ndarray) -> Tensor:
        """Ritz vectors (k, n) of unit length from coefficients (m, k)."""
        coefficients = torch.from_numpy(np.ascontiguousarray(inner.T)).to(self._basis.device)
        return coefficients @ self._basis[: self.size]

    def forget(self) -> None:
        """Drop the basis, where only the Ritz values are wanted from here on."""
        self._basis = self._basis[:0]

    def restart(self, inner: np.ndarray) -> None:
        """Keep the Ritz vectors with coefficients (m, k), and the direction that was to come next."""
        m, k = self.size, inner.shape[1]
        measured, coupling = self._matrix[:m, :m], self._matrix[m, m - 1] * inner[-1]
        moved = measured @ inner
        kept = inner.T @ moved
        lost = np.linalg.norm(moved - inner @ kept, axis=0) + self._lost[:m] @ np.abs(inner)
        vectors, following = self.vectors(inner), self._basis[m].clone()
        self._matrix[:], self._lost[:] = 0.0, 0.0
        self._basis[:k], self._basis[k] = vectors, following
        self._matrix[:k, :k], self._matrix[k, :k], self._lost[:k] = kept, coupling, lost
        self.size = k
