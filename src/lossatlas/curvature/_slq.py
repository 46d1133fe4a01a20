"""Stochastic Lanczos quadrature: several random vectors in step, one Krylov space each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from lossatlas import _checks
from lossatlas._progress import Show, counted
from lossatlas.curvature._dense import LIMIT
from lossatlas.curvature._dense import dense as matrix_of
from lossatlas.curvature._lanczos import Krylov
from lossatlas.curvature._operator import How, Operator
from lossatlas.curvature._spectrum import Spectrum
from lossatlas.curvature._trace import Signs
from lossatlas.probe import Probe
from lossatlas.surface import PointLike, Surface

SMALL = 64
BASIS_BYTES = 2**31
# A Ritz value whose residual is below this share of it is taken for a single eigenvalue, if every probe agrees.
SHARP = 1e-3


def spectrum(
    surface: Surface,
    *,
    point: PointLike | None = None,
    probes: int = 4,
    steps: int = 80,
    seed: int = 0,
    blocks: str | Sequence[str] | None = None,
    dense: bool | None = None,
    scaling: PointLike | None = None,
    how: How = "auto",
    probe: Probe | None = None,
    progress: Show = False,
) -> Spectrum:
    """The spectral density of the Hessian by stochastic Lanczos quadrature, or exactly.

    From every random vector v of unit length a Krylov space is built with full re-orthogonalization; the eigenvalues
    θ_k of the operator on it are quadrature nodes, the squared first components of its eigenvectors their weights,
    and vᵀf(H)v = Σ w_k f(θ_k) holds exactly for polynomials of degree below 2·steps. The spread over the probes is
    the error. Eigenvalues at the ends that every probe found with a small residual are kept as single ones.

    Args:
        surface: any surface that knows gradients.
        point: where, whatever describes a point (a vector, state dict, module or file); the surface's own by default.
        probes: how many random vectors.
        steps: products with each.
        seed: of the vectors.
        blocks: names of layout blocks, or of modules, to restrict H to: the spectrum of a layer.
        dense: True for all eigenvalues of the dense Hessian (up to 5,000 parameters), False never; None where that
            takes no more products than quadrature.
        scaling: D of shape (N,), for D H D.
        how: to take products, as in `Operator`.
        probe: the door to ask at; a new one by default.
        progress: True for a bar, or a function of (products done, in all).

    Returns:
        The `Spectrum`.

    Raises:
        InputError: for fewer than one probe or two steps, or a dense Hessian that is too large.

    Source:
        Lin, Saad and Yang, SIAM Review 58 (2016); Ubaru, Chen and Saad, SIAM J. Matrix Anal. Appl. 38 (2017);
        Ghorbani, Krishnan and Xiao, ICML 2019, arXiv:1901.10159.

    Example:
        >>> import lossatlas as la
        >>> found = la.spectrum(la.landscapes.quadratic(condition=9.0, dimension=3))
        >>> found.index, found.nodes.round(6).tolist()
        (0, [[1.0, 3.0, 9.0]])
    """
    probes, steps, seed = _checks.whole("probes", probes), _checks.whole("steps", steps, 2), _checks.seed(seed)
    dense = None if dense is None else _checks.flag("dense", dense)
    operator = Operator(surface, point, probe=probe, scaling=scaling, blocks=blocks, how=how)
    n = operator.dimension
    settings: dict[str, Any] = {"probes": probes, "steps": steps, "seed": seed, "rounding": operator.rounding}
    if dense or (dense is None and n <= min(LIMIT, max(SMALL, probes * steps))):
        return _exact(operator, settings)
    steps = min(steps, n)
    signs = Signs(operator, seed)
    together = max(1, BASIS_BYTES // (8 * n * steps))
    chains: list[Krylov] = []
    with counted("Hessian products", probes * steps, progress) as report:
        while len(chains) < probes:
            group = [Krylov(v, steps, seed) for v in signs.draw(min(together, probes - len(chains)))]
            _run(group, operator, report)
            for chain in group:
                chain.forget()
            chains += group
    ritz = [chain.ritz() for chain in chains]
    nodes, weights = np.full((2, probes, max(len(values) for values, _, _ in ritz)), [[[np.nan]], [[0.0]]])
    for row, (values, inner, _) in enumerate(ritz):
        nodes[row, : len(values)], weights[row, : len(values)] = values, inner[0] ** 2
    resolved, residuals, above = _resolved([(values, off) for values, _, off in ritz], operator.noise)
    status = operator.remark(f"an estimate from {probes} probe{'s' * (probes > 1)} of {steps} products")
    record = operator.provenance(method="stochastic Lanczos quadrature", **settings)
    return Spectrum(nodes, weights, resolved, residuals, above, n, False, operator.bill(), record, status)


def _run(chains: list[Krylov], operator: Operator, report: Any) -> None:
    """All chains in step, their products asked as one block; a chain ends where its space is invariant."""
    going = list(chains)
    while going:
        found = operator.apply(torch.stack([chain.next for chain in going]))
        for chain, product in zip(going, found, strict=True):
            chain.take(product)
        report(operator.applied)
        going = [chain for chain in going if not (chain.full or chain.invariant or chain.whole)]


def _resolved(ritz: list[tuple[np.ndarray, np.ndarray]], noise: float) -> tuple[np.ndarray, np.ndarray, int]:
    """Eigenvalues known one by one, counted from both ends inward as long as every probe agrees.

    Args:
        ritz: values ascending and residuals of every probe.
        noise: what cannot be told apart, relative to the range.

    Returns:
        The eigenvalues descending, their residuals, and how many of them were counted from the top.
    """
    reach = max(values[-1] for values, _ in ritz) - min(values[0] for values, _ in ritz)
    ends = []
    for step in (-1, 1):
        found = []
        for place in range(min(len(values) for values, _ in ritz) // 2):
            heads = np.array([values[::step][place] for values, _ in ritz])
            gaps = np.array([abs(values[::step][place + 1] - values[::step][place]) for values, _ in ritz])
            offs = np.array([residuals[::step][place] for _, residuals in ritz])
            best = int(offs.argmin())
            agreed = np.abs(heads - heads[best]) <= offs + offs[best] + noise * reach
            if not (agreed.all() and (offs <= SHARP * np.abs(heads)).all() and (offs < gaps / 2).all()):
                break
            found.append((heads[best], offs[best]))
        ends.append(found)
    top, low = ends
    pairs = np.array(top + low[::-1]).reshape(-1, 2)
    return pairs[:, 0].copy(), pairs[:, 1].copy(), len(top)


def _exact(operator: Operator, settings: dict[str, Any]) -> Spectrum:
    values = np.linalg.eigvalsh(matrix_of(operator).numpy())
    n = len(values)
    offs = np.full(n, operator.rounding * np.abs(values).max())
    record = operator.provenance(method="dense", **settings)
    return Spectrum(
        values[None], np.full((1, n), 1 / n), values[::-1].copy(), offs, n, n, True, operator.bill(), record,
        operator.remark("exact"),
    )  # fmt: skip
