"""`Hessian`: second derivatives at one point as a linear operator, and what is measured with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard, final, overload

import numpy as np
from torch import Tensor

from lossatlas._progress import Show
from lossatlas.curvature._blocks import BlockCurvature, estimate_blocks
from lossatlas.curvature._diagonal import Diagonal, estimate_diagonal
from lossatlas.curvature._estimate import Estimate
from lossatlas.curvature._extremes import End, Extremes, find_extremes
from lossatlas.curvature._operator import Operator
from lossatlas.curvature._slq import estimate_spectrum
from lossatlas.curvature._spectrum import Spectrum
from lossatlas.curvature._trace import Method, estimate_traces
from lossatlas.surface import PointLike, finite, numbers_of


@final
class Hessian(Operator):
    """The Hessian of a surface at a point, H, or D H D, or a block of it: a symmetric linear operator (n, n).

    `H @ v` is a product; everything else is made of products and comes with its error. Before anything is measured one
    product is evaluated twice and a symmetric pair is compared: a moving target is refused. Where a surface cannot be
    differentiated twice, central differences of its gradients stand in, (∇L(θ + εv) − ∇L(θ − εv)) / 2ε with
    ε = u^(1/3) (1 + ‖θ‖) for ‖v‖ = 1 and u the rounding unit, and every `status` and `provenance` says so. The Hessian of
    the same surface at another point, scaled, or a block of it are `at`, `scaled` and `block`; they are not checked again.
    Once `dense` was called everything is read off the matrix, its blocks and scalings too, exactly and without further
    evaluations.

    SciPy takes it as it is: ``scipy.sparse.linalg.eigsh(H)``.

    Args:
        surface: any surface that knows gradients.
        point: where: whatever describes a point (a vector, state dict, module, file or result); the surface's own by
            default.
        blocks: names of layout blocks, or of modules that hold several, to restrict H to.
        scaling: D of shape (N,): the operator is then D H D, as planes with scaled directions see it.
        how: ``exact`` for second derivatives only, ``differences`` for central differences, ``auto`` for the
            latter where the former cannot be had.
        probe: what evaluates and counts; a new one by default.

    Attributes:
        dimension: n, the number of entries of a vector: N, or those of the blocks.
        shape: (n, n).
        point: θ (N,).
        method: ``second derivatives`` or ``central differences of gradients``.

    Raises:
        InputError: if point, scaling or blocks do not fit.
        ModelError: if the operator is not a fixed symmetric one.
        LossError: if a product is not finite.
        NotApplicableError: if the surface has no gradients, or no second derivatives with ``how="exact"``.

    Source: Pearlmutter, Fast exact multiplication by the Hessian, Neural Computation 6 (1994).

    Example:
        >>> import numpy as np, lossatlas as la
        >>> H = la.Hessian(la.landscapes.quadratic(condition=9.0, dimension=3))
        >>> (H @ np.array([1.0, 1.0, 1.0])).round(6).tolist(), H.shape
        ([1.0, 3.0, 9.0], (3, 3))
        >>> float(H.extremes(1).largest.values[0].round(6)), round(H.trace().value, 6)
        (9.0, 13.0)
    """

    # What SciPy and NumPy look for in a linear operator.
    dtype = np.dtype(np.float64)
    __array_ufunc__ = None

    @property
    def shape(self) -> tuple[int, int]:
        """(n, n)."""
        return self.dimension, self.dimension

    @overload
    def __matmul__(self, other: Tensor) -> Tensor: ...  # type: ignore[overload-overlap]
    @overload
    def __matmul__(self, other: PointLike) -> np.ndarray: ...
    def __matmul__(self, other: PointLike) -> Tensor | np.ndarray:
        """H times a vector (n,), or times the columns of a matrix (n, k).

        Args:
            other: a tensor or an array; or whatever describes a direction. Directions (N,) are restricted to the blocks.

        Returns:
            The same shape in float64: a tensor for a tensor, else an array.
        """
        matrix = numbers_of(other, "a matrix") if _two(other) else None
        rows = self.direction(other, "a vector", zero=True)[None] if matrix is None else finite(matrix, "a matrix").T
        found = self.apply(rows)
        found = found[0] if matrix is None else found.T
        return found.to(other.device) if isinstance(other, Tensor) else found.cpu().numpy()

    def __rmatmul__(self, other: PointLike) -> Tensor | np.ndarray:
        """A row (n,), or the rows of a matrix (k, n), times H: H is symmetric."""
        return (self @ other.T).T if _two(other) else self @ other

    matvec = rmatvec = matmat = rmatmat = __matmul__

    def __repr__(self) -> str:
        parts = f", blocks {', '.join(self.blocks)}" if self.blocks else ""
        return f"Hessian of {self.surface.name} ({self.dimension:,} × {self.dimension:,}{parts}), by {self.method}"

    def extremes(
        self,
        k: int = 5,
        *,
        seed: int = 0,
        tolerance: float = 1e-4,
        limit: int | None = None,
        ends: End = "both",
        start: PointLike | Extremes | None = None,
        progress: Show = True,
    ) -> Extremes:
        """The k largest and k smallest eigenpairs.

        One Krylov space serves both ends: on trained digit networks it took less than half the products of two runs of
        SciPy's `eigsh`, which moreover gives back nothing of what has not converged. The residuals ‖Hv − λv‖ follow from
        the products that built the space, and cost none of their own. Up to 64 parameters the dense Hessian is taken.

        Ritz values approach from inside: the largest is never too large, the smallest never too small (up to rounding).
        An eigenvalue that H has more than once may be shown once.

        Args:
            k: how many from each end.
            seed: of the starting vector.
            tolerance: a pair has converged once its residual is below this share of its eigenvalue, or below what the
                rounding of products allows.
            limit: Hessian products at most, 100 + 20k by default. What has not converged by then is returned and marked.
            ends: go on until ``both`` ends have converged, or only the ``largest`` or ``smallest``; the other end is
                returned as far as it came.
            start: a vector to start from instead of a random one, such as the eigenvector of an earlier checkpoint; of
                `Extremes` that of its largest eigenvalue.
            progress: True for a bar on the error stream of a terminal, False for silence, or a function of
                (products done, limit).

        Raises:
            InputError: for a k below 1 or above n, or a limit too low for 2k eigenvalues.

        Source: Lanczos 1950; Wu and Simon, SIAM J. Matrix Anal. Appl. 22 (2000).
        """
        return find_extremes(self.counted(), k, seed, tolerance, limit, ends, start, progress)

    def trace(
        self,
        *,
        method: Method = "hutchinson",
        relative: float = 0.05,
        confidence: float = 0.95,
        limit: int = 1000,
        seed: int = 0,
        sketch: int = 16,
        known: Extremes | None = None,
        progress: Show = True,
    ) -> Estimate:
        """The trace, tr H = E vᵀHv over random signs v, and ‖H‖_F² = E ‖Hv‖² from the same products.

        Vectors are added until Student's interval is as narrow as wanted, from 32 of them on. ``hutch++`` first sketches
        the range of H, Q = orth(HS), takes tr QᵀHQ exactly and estimates only the rest, which pays where few eigenvalues
        dominate; its rate is proved for semidefinite H, and it is unbiased for any. With `known` extremes the same is
        done with their eigenvectors, and the sketch is saved. Up to 64 parameters the trace is exact.

        Args:
            method: ``hutchinson``, or ``hutch++``.
            relative: stop once the interval reaches no farther than this share of the value to both sides.
            confidence: of the interval.
            limit: Hessian products at most.
            seed: of the random vectors; two networks measured with one seed meet the same ones.
            sketch: columns of S for ``hutch++``.
            known: extremes of this very Hessian whose eigenvectors are taken out of the estimate.
            progress: True for a bar on the error stream of a terminal, False for silence, or a function of
                (vectors done, limit).

        Returns:
            The `Estimate`, with that of ‖H‖_F² as its `frobenius`.

        Raises:
            UnknownNameError: for another method.
            InputError: for a relative width, confidence, limit or sketch that cannot be, or extremes of another Hessian.

        Source: Hutchinson 1990; Meyer, Musco, Musco and Woodruff: Hutch++, SOSA 2021, arXiv:2010.09649.
        """
        return estimate_traces(
            self.counted(), (), relative, confidence, limit, seed, progress, method=method, sketch=sketch, known=known
        )[0]

    def traces(
        self,
        *weights: PointLike,
        relative: float = 0.05,
        confidence: float = 0.95,
        limit: int = 1000,
        seed: int = 0,
        progress: Show = True,
    ) -> tuple[Estimate, ...]:
        """The trace and further weighted sums of the diagonal from the same products, tr WH = E Σ wᵢ vᵢ(Hv)ᵢ.

        Args:
            weights: the diagonals w of W, (N,) each; any of them may be zero in places.
            relative: as in `trace`; it is the interval of tr H that decides.
            confidence: of the intervals.
            limit: Hessian products at most.
            seed: of the random vectors.
            progress: as in `trace`.

        Returns:
            tr H with ‖H‖_F², then tr WH for each weight; draw for draw from the same vectors.

        Example:
            >>> import lossatlas as la
            >>> H = la.Hessian(la.landscapes.quadratic(condition=9.0, dimension=3))
            >>> [round(one.value, 6) for one in H.traces([1.0, 0.0, 2.0])]
            [13.0, 19.0]
        """
        return estimate_traces(self.counted(), weights, relative, confidence, limit, seed, progress)

    def diagonal(
        self,
        *,
        relative: float = 0.05,
        confidence: float = 0.95,
        limit: int = 1000,
        seed: int = 0,
        progress: Show = True,
    ) -> Diagonal:
        """The diagonal, E v ∘ Hv over random signs v; the variance of an entry is Σ_{j≠i} H_ij².

        Where the limit allows for one product per parameter the diagonal is exact.

        Args:
            relative: stop once the standard errors together are below this share of the length of the diagonal.
            confidence: of the intervals.
            limit: Hessian products at most.
            seed: of the random vectors.
            progress: as in `trace`.

        Source: Bekas, Kokiopoulou and Saad, Applied Numerical Mathematics 57 (2007).
        """
        return estimate_diagonal(self.counted(), relative, confidence, limit, seed, progress)

    def spectrum(
        self, *, probes: int = 4, steps: int = 80, seed: int = 0, dense: bool | None = None, progress: Show = True
    ) -> Spectrum:
        """The spectral density by stochastic Lanczos quadrature, or exactly.

        From every random vector v of unit length a Krylov space is built with full re-orthogonalization; the eigenvalues
        θ_k of the operator on it are quadrature nodes, the squared first components of its eigenvectors their weights,
        and vᵀf(H)v = Σ w_k f(θ_k) holds exactly for polynomials of degree below 2·steps. The spread over the probes is
        the error. Eigenvalues at the ends that every probe found with a small residual are kept as single ones.

        Args:
            probes: how many random vectors.
            steps: products with each.
            seed: of the vectors.
            dense: True for all eigenvalues of the dense Hessian (up to 5,000 parameters), False never; None where that
                takes no more products than quadrature.
            progress: True for a bar on the error stream of a terminal, False for silence, or a function of
                (products done, in all).

        Raises:
            InputError: for fewer than one probe or two steps, or a dense Hessian that is too large.

        Source:
            Lin, Saad and Yang, SIAM Review 58 (2016); Ubaru, Chen and Saad, SIAM J. Matrix Anal. Appl. 38 (2017);
            Ghorbani, Krishnan and Xiao, ICML 2019, arXiv:1901.10159.
        """
        return estimate_spectrum(self.counted(), probes, steps, seed, dense, progress)

    def per_block(
        self,
        blocks: str | Sequence[str] | None = None,
        *,
        eigenvalues: bool = True,
        relative: float = 0.05,
        confidence: float = 0.95,
        limit: int = 200,
        tolerance: float = 1e-3,
        seed: int = 0,
        progress: Show = True,
    ) -> BlockCurvature:
        """Trace and extreme eigenvalues of every diagonal block.

        One product Hv with random signs v serves the traces of all blocks, tr H_bb = E v_b·(Hv)_b, so that a hundred
        layers cost no more than one. The eigenvalues are those of `block`, and cost a run each.

        Args:
            blocks: names of layout blocks, or of modules that hold several; every block of the layout by default.
            eigenvalues: whether to find the largest and smallest eigenvalue of each.
            relative: stop once the interval of every trace reaches no farther than this share of the largest of them.
            confidence: of the intervals.
            limit: products at most for the traces, and for the eigenvalues of each block.
            tolerance: of the eigenvalues, as in `extremes`.
            seed: of the random vectors.
            progress: as in `trace`, for the traces.

        Raises:
            UnknownNameError: for a block that is not in the layout.
        """
        return estimate_blocks(
            self.counted(), blocks, eigenvalues, relative, confidence, limit, tolerance, seed, progress
        )


def _two(given: object) -> TypeGuard[Tensor | np.ndarray]:
    """Whether it is a matrix."""
    return isinstance(given, Tensor | np.ndarray) and given.ndim == 2
