"""Stochastic Lanczos quadrature: several random vectors in step, one Krylov space each."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from lossatlas import _checks
from lossatlas._progress import Show, counted
from lossatlas._said import several
from lossatlas.curvature._lanczos import Krylov
from lossatlas.curvature._operator import LIMIT, SMALL, Operator
from lossatlas.curvature._samples import Signs
from lossatlas.curvature._spectrum import Spectrum

BASIS_BYTES = 2**31
# A Ritz value whose residual is below this share of it is taken for a single eigenvalue, if every probe agrees.
SHARP = 1e-3


def estimate_spectrum(
    operator: Operator, probes: int, steps: int, seed: int, exact: bool | None, progress: Show
) -> Spectrum:
    """See `Hessian.spectrum`."""
    probes, steps, seed = _checks.whole("probes", probes), _checks.whole("steps", steps, 2), _checks.seed(seed)
    _checks.work("spectrum", {"probes": probes, "steps": min(steps, operator.dimension)}, what="products")
    exact = None if exact is None else _checks.flag("dense", exact)
    n = operator.dimension
    settings: dict[str, Any] = {"probes": probes, "steps": steps, "seed": seed, "rounding": operator.rounding}
    if exact or (exact is None and (operator.known or n <= min(LIMIT, max(SMALL, probes * steps)))):
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
    status = operator.remark(f"an estimate from {several(probes, 'probe')} of {steps} products")
    record = operator.provenance(method="stochastic Lanczos quadrature", **settings)
    return Spectrum(nodes, weights, resolved, residuals, above, n, False, operator.spent(), record, status)


def _run(chains: list[Krylov], operator: Operator, report: Any) -> None:
    """All chains in step, their products evaluated as one block; a chain ends where its space is invariant."""
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
    values = np.linalg.eigvalsh(operator.dense().numpy())
    n = len(values)
    offs = np.full(n, operator.rounding * np.abs(values).max())
    record = operator.provenance(method="dense", **settings)
    return Spectrum(
        values[None], np.full((1, n), 1 / n), values[::-1].copy(), offs, n, n, True, operator.spent(), record,
        operator.remark("exact"),
    )  # fmt: skip
