"""What a card knows of the whole Hessian at the center: from all of it where that is small, else from products."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lossatlas import _statistics
from lossatlas.chart.card._entry import Within
from lossatlas.curvature import Estimate, Operator, extremes, hessian, trace
from lossatlas.curvature._chance import Chance, p_saddle
from lossatlas.curvature._slq import spectrum
from lossatlas.curvature._trace import Signs
from lossatlas.probe import Probe
from lossatlas.surface import Surface

Array = NDArray[np.float64]

ROWS, HELD_BYTES = 8, 2**28
CONFIDENCE = 0.95
# An operator checks itself with so many products.
CHECKS = 3
# Eigenvalues above −ε count as zero; ε is this share of the largest in magnitude.
EPSILON = 1e-3


@dataclass(frozen=True, eq=False)
class Ends:
    """Both ends of the spectrum.

    Attributes:
        largest: λmax with its residual to both sides.
        smallest: λmin.
        sharpest: eigenvector (N,) of the former.
        lowest: of the latter.
        converged: whether each has.
    """

    largest: Within
    smallest: Within
    sharpest: Tensor
    lowest: Tensor
    converged: tuple[bool, bool]

    @property
    def norm(self) -> float:
        """‖H‖."""
        return max(abs(self.largest.value), abs(self.smallest.value))


@dataclass(frozen=True, eq=False)
class Sums:
    """Traces from one set of products.

    Attributes:
        trace: tr H.
        frobenius: ‖H‖_F.
        own: tr(DHD), or None.
        frozen: share of tr H on coordinates that D holds at zero, or None.
        pushed: |Hg|.
        estimate: of tr H and ‖H‖_F², with the single draws; None where they are exact.
    """

    trace: Within
    frobenius: float
    own: Within | None
    frozen: Within | None
    pushed: float
    estimate: Estimate | None = None


def ends_of(surface: Surface, point: Tensor, *, probe: Probe, limit: int, seed: int) -> Ends:
    """Both ends from at most ``limit`` products (and three that check the operator)."""
    found = extremes(surface, 1, point=point, probe=probe, tolerance=0.01, limit=limit, seed=seed)
    pairs = (found.largest, found.smallest)
    numbers = [Within(*(float(p.values[0] + s * p.residuals[0]) for s in (0, -1, 1))) for p in pairs]
    vectors = [torch.from_numpy(np.asarray(p.vectors[0], dtype=np.float64)) for p in pairs]
    done = tuple(bool(p.converged[0]) for p in pairs)
    return Ends(numbers[0], numbers[1], vectors[0], vectors[1], (done[0], done[1]))


def sums_of(
    surface: Surface, point: Tensor, scaling: Tensor | None, gradient: Tensor, *, probe: Probe, vectors: int, seed: int
) -> Sums:
    """Traces by random signs v: E vᵀHv = tr H, E Σ Dᵢ² vᵢ(Hv)ᵢ = tr DHD, E |Hv|² = ‖H‖_F² (Hutchinson 1990).

    Args:
        surface: what H belongs to.
        point: where.
        scaling: D (N,), or None.
        gradient: g (N,), for one product more.
        probe: the door.
        vectors: how many v, at least 2.
        seed: of them.
    """
    operator = Operator(surface, point, probe=probe)
    signs = Signs(operator, seed)
    at_once = max(1, min(ROWS, HELD_BYTES // (8 * operator.dimension)))
    squared, still = (None, None) if scaling is None else (scaling.square(), (scaling == 0).double())
    parts: list[Tensor] = []
    while sum(part.shape[1] for part in parts) < vectors:
        drawn = signs.draw(min(at_once, vectors - sum(part.shape[1] for part in parts)))
        products = operator.apply(drawn)
        forms = drawn * products
        along = [_along(forms, part) for part in (squared, still)]
        parts.append(torch.stack([forms.sum(1), products.square().sum(1), *along]).cpu())
    whole, squares, own, frozen = torch.cat(parts, 1).numpy()
    return Sums(
        _mean(whole),
        math.sqrt(float(squares.mean())),
        None if scaling is None else _mean(own),
        None if scaling is None else _ratio(frozen, whole),
        float(operator.apply(gradient[None]).norm()),
        _estimate(operator, "tr H", whole, _estimate(operator, "‖H‖_F²", squares)),
    )


def _estimate(operator: Operator, quantity: str, draws: Array, inner: Estimate | None = None) -> Estimate:
    mean, error, half = _statistics.mean(draws, CONFIDENCE)
    ends, bill, record = (mean - half, mean + half), operator.bill(), operator.provenance()
    status = f"from {len(draws)} vectors"
    return Estimate(
        quantity, mean, ends, error, CONFIDENCE, 0.05, operator.applied, draws, bill, record, status, inner
    )  # fmt: skip


def _sums_from(matrix: Tensor, scaling: Tensor | None, gradient: Tensor) -> Sums:
    diagonal = matrix.diagonal()
    trace_ = float(diagonal.sum())
    own = frozen = None
    if scaling is not None:
        d = scaling.cpu().double()
        own = _exactly(float((d.square() * diagonal).sum()))
        frozen = _exactly(float(diagonal[d == 0].sum()) / trace_ if trace_ else math.nan)
    pushed = float((matrix @ gradient.cpu().double()).norm())
    return Sums(_exactly(trace_), float(matrix.norm()), own, frozen, pushed)


def _ends_from(values: Tensor, vectors: Tensor) -> Ends:
    high, low = (_exactly(float(values[k])) for k in (-1, 0))
    return Ends(high, low, vectors[:, -1], vectors[:, 0], (True, True))


@dataclass(frozen=True, eq=False)
class Spectra:
    """What follows from all eigenvalues.

    Attributes:
        isotropic: chance that a random plane shows a saddle (a line: negative curvature).
        own: the same for directions scaled by D, or None.
        negative: chance of any negative curvature, for the former.
        gaussian: the cheap formula for it.
        draws: random planes behind each.
        below: share of eigenvalues below −ε.
        epsilon: ε.
    """

    isotropic: Within
    own: Within | None
    negative: float
    gaussian: float
    draws: int
    below: Within
    epsilon: float


def spectra_of(
    surface: Surface,
    point: Tensor,
    scaling: Tensor | None,
    directions: int,
    sums: Sums | None,
    *,
    probe: Probe,
    vectors: int,
    runs: int,
    nodes: int,
    seed: int,
) -> Spectra:
    """From quadrature with ``runs`` random vectors and ``nodes`` products each, of H and of D H D.

    So few give the shape of a spectrum, not its scale: what they leave open of tr H and ‖H‖_F² is mended with those of
    ``vectors`` random signs, from `sums` for H and asked for D H D.
    """
    how: dict[str, Any] = {"point": point, "seed": seed, "probe": probe}
    plain = spectrum(surface, probes=runs, steps=nodes, dense=False, **how)
    found = p_saddle(plain, directions=directions, trace=None if sums is None else sums.estimate, seed=seed)
    own = None
    if scaling is not None:
        shape = spectrum(surface, scaling=scaling, probes=runs, steps=nodes, dense=False, **how)
        # As many vectors as may be, whatever the interval: half of them decide nothing.
        scale = trace(surface, scaling=scaling, limit=vectors + CHECKS, relative=1e-9, **how)
        own = p_saddle(shape, directions=directions, trace=scale, seed=seed)
    epsilon = EPSILON * max(abs(end) for end in plain.ends) or EPSILON
    share = plain.share_below(epsilon)
    return _spectra(found, own, Within(share.value, *share.interval), epsilon)


def from_matrix(
    matrix: Tensor, scaling: Tensor | None, gradient: Tensor, directions: int
) -> tuple[Ends, Sums, Spectra]:
    """Everything from the whole Hessian (N, N): exact, with intervals of no width."""
    values, vectors = torch.linalg.eigh(matrix)
    scaled = None
    if scaling is not None:
        d = scaling.cpu().double()
        scaled = torch.linalg.eigvalsh(d[:, None] * matrix * d).numpy()
    epsilon = EPSILON * float(values.abs().max()) or EPSILON
    below = _exactly(float((values < -epsilon).double().mean()))
    chances = [None if s is None else p_saddle(s, directions=directions) for s in (values.numpy(), scaled)]
    assert chances[0] is not None
    spectra = _spectra(chances[0], chances[1], below, epsilon)
    return _ends_from(values, vectors), _sums_from(matrix, scaling, gradient), spectra


def _spectra(found: Chance, own: Chance | None, below: Within, epsilon: float) -> Spectra:
    scaled = None if own is None else Within(own.value, *own.interval)
    whole = Within(found.value, *found.interval)
    return Spectra(whole, scaled, found.negative, found.gaussian, found.draws, below, epsilon)


def matrix_of(surface: Surface, point: Tensor, *, probe: Probe) -> Tensor:
    """The dense Hessian (N, N): N products and three that check the operator."""
    return hessian(surface, point, probe=probe)


def _along(forms: Tensor, weights: Tensor | None) -> Tensor:
    return forms.new_zeros(len(forms)) if weights is None else forms @ weights.to(forms.device)


def _exactly(value: float) -> Within:
    return Within(value, value, value)


def _mean(samples: Array) -> Within:
    mean, _, half = _statistics.mean(samples, CONFIDENCE)
    return Within(mean, mean - half, mean + half)


def _ratio(part: Array, of: Array) -> Within:
    """A ratio of two means from paired samples, by the delta method."""
    whole = float(of.mean())
    if whole == 0:
        return Within(math.nan, math.nan, math.nan)
    ratio = float(part.mean()) / whole
    spread = _mean((part - ratio * of) / whole)
    half = (spread.high - spread.low) / 2
    return Within(ratio, ratio - half, ratio + half)
