"""Facts that fall out of a design: how much of the losses a quadratic explains, where the better neighbors lie, ripples."""

from __future__ import annotations

from dataclasses import replace
from math import exp, inf, log, nan

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from lossatlas.advise._fact import Fact
from lossatlas.advise._jackknife import jackknife

Array = NDArray[np.float64]
# The least share that is told apart from none.
NIL = 1e-12
# Cycles across the box that ripples are looked for at.
CYCLES = np.arange(2.0, 12.5, 0.5)
SHUFFLES = 200


def shape(points: Array, values: Array, seed: int) -> list[Fact]:
    """The facts of a design.

    Args:
        points: (n, N) in the unit cube.
        values: (n,) finite losses.
        seed: of the shuffles that ripples are held against.
    """
    ranks = rankdata(values)
    facts = []
    for name, what, given in (
        ("quadratic", "share of the losses that a full quadratic explains (adjusted R²)", values),
        ("quadratic-ranks", "share of the ranks of the losses that a full quadratic explains (adjusted R²)", ranks),
    ):
        facts.append(Fact(name, what, *jackknife(_unexplained, points, given, back=lambda y: 1 - exp(y))))
    # A monotone map of the losses changes the one and not the other: whichever is nearer to a quadratic speaks.
    nearer = max(facts, key=lambda fact: fact.value if fact.known else -inf)
    facts.append(replace(nearer, name="valley", what="share that a quadratic explains, of losses or of ranks"))
    condition = jackknife(_log_condition, points, values, back=lambda y: 10**y)
    facts.append(Fact("condition", "condition of the fitted quadratic, in units of the box", *condition))
    ratio = jackknife(_nearest_better, points, values)
    facts.append(Fact("nearest-better", "distance to the nearest point over that to the nearest better one", *ratio))
    facts.append(_ripples(points, values, seed))
    return facts


def terms(points: Array) -> Array:
    """1, uᵢ and uᵢuⱼ (i ≤ j) of points (n, N)."""
    n = points.shape[1]
    i, j = np.triu_indices(n)
    return np.column_stack([np.ones(len(points)), points, points[:, i] * points[:, j]])


def _unexplained(points: Array, values: Array) -> float:
    """Log (1 − adjusted R²) of the full quadratic."""
    matrix = terms(points - 0.5)
    n, p = matrix.shape
    around = values - values.mean()
    whole = float(around @ around)
    if n < p + 2 or not whole > 0:
        return nan
    left = values - matrix @ np.linalg.lstsq(matrix, values, rcond=None)[0]
    return log(max(float(left @ left) / whole * (n - 1) / (n - p), NIL))


def hessian(points: Array, values: Array) -> Array | None:
    """(N, N) second derivatives of the full quadratic that fits best; None from too few points."""
    n = points.shape[1]
    matrix = terms(points - 0.5)
    if len(matrix) < matrix.shape[1] + 2:
        return None
    half = np.zeros((n, n))
    half[np.triu_indices(n)] = np.linalg.lstsq(matrix, values, rcond=None)[0][n + 1 :]
    return np.asarray(half + half.T)


def _log_condition(points: Array, values: Array) -> float:
    fitted = hessian(points, values)
    if fitted is None:
        return nan
    size = np.abs(np.linalg.eigvalsh(fitted))
    return float(np.log10(size.max() / max(size.min(), NIL * size.max()))) if size.max() > 0 else nan


def _nearest_better(points: Array, values: Array) -> float:
    """Mean distance to the nearest point over the mean distance to the nearest better one, over all but the best.

    Source: Kerschke, Preuss, Wessing and Trautmann, GECCO 2015.
    """
    apart = np.linalg.norm(points[:, None] - points, axis=2)
    np.fill_diagonal(apart, inf)
    better = np.where(values[None] < values[:, None], apart, inf).min(1)
    has = np.isfinite(better)
    return float(apart.min(1)[has].mean() / better[has].mean()) if has.sum() >= 2 else nan


def _ripples(points: Array, values: Array, seed: int) -> Fact:
    """How much more of what a quadratic leaves one sinusoid along one axis explains than of shuffled remainders.

    The value is the share of the best wave over the 95 % quantile of the best shares of shuffles: above 1 it is no accident.
    """
    what = "share of the rest that one wave along an axis explains, over what it explains by accident"
    matrix = terms(points - 0.5)
    n, p = matrix.shape
    if n < p + 6:
        return Fact("ripples", what, nan)
    basis = np.linalg.qr(matrix)[0]
    rest = values - basis @ (basis.T @ values)
    if not float(rest @ rest) > NIL * float(values @ values):
        return Fact("ripples", what, 0.0, 0.0, 0.0)
    waves = []
    for axis in points.T:
        for cycles in CYCLES:
            pair = np.column_stack([np.cos(2 * np.pi * cycles * axis), np.sin(2 * np.pi * cycles * axis)])
            # Of what the quadratic leaves of the wave itself.
            waves.append(np.linalg.qr(pair - basis @ (basis.T @ pair))[0])
    stack = np.concatenate(waves, 1)

    def best(rows: Array) -> tuple[Array, NDArray[np.int64]]:
        share = ((rows @ stack) ** 2).reshape(len(rows), -1, 2).sum(2) / (rows**2).sum(1, keepdims=True)
        return share.max(1), share.argmax(1)

    generator = np.random.default_rng(seed)
    shuffled = np.array([generator.permutation(rest) for _ in range(SHUFFLES)])
    shuffled -= (shuffled @ basis) @ basis.T
    accident = float(np.quantile(best(shuffled)[0], 0.95))
    share, which = best(rest[None])
    wave = waves[int(which[0])]

    def explained(part: Array, left: Array) -> float:
        pair = part[:, :2]
        fitted = pair @ np.linalg.lstsq(pair, left, rcond=None)[0]
        return float(fitted @ fitted / (left @ left)) / accident if float(left @ left) > 0 else nan

    _, low, high = jackknife(explained, wave, rest)
    return Fact("ripples", what, float(share[0]) / accident, max(0.0, low), high)
