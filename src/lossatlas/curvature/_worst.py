"""How far the loss can rise near a point: the worst case in a ball, in Keskar's box, and the average over noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.optimize import Bounds, minimize
from torch import Tensor

from lossatlas import _checks
from lossatlas._errors import InputError, LossError
from lossatlas._said import several
from lossatlas.probe import Gradients, Probe, Values
from lossatlas.surface import Layout, Sample, Surface

SCALINGS = ("none", "filter", "elementwise")
BIASES = ("normalized", "plain")
ROWS = 16
KESKAR_STEPS = 10


@dataclass(frozen=True)
class Found:
    """What a measure came to.

    Attributes:
        draws: (n,) one value per sub-batch or random direction; one value where nothing is drawn.
        loss: L at the point itself.
        status: what must be known of it.
    """

    draws: np.ndarray
    loss: float
    status: str


def scale(theta: Tensor, layout: Layout, scaling: str, biases: str, eta: float) -> Tensor | None:
    """The vector D that a measure takes as its unit of length, (N,) in float64; None for all ones.

    ``elementwise``: |θ| + η, with 1 in place of it for blocks of one axis if biases are ``plain``. ``filter``: ‖w_j‖/√n_j
    on every filter j of n_j weights, and 0 on blocks of one axis, as filter-normalized directions have it.

    Raises:
        UnknownNameError: for another scaling, or another treatment of biases.
    """
    _checks.one_of("scaling", scaling, SCALINGS)
    _checks.one_of("treatment of biases", biases, BIASES)
    if scaling == "none":
        return None
    d = theta.double().abs() + eta
    for block in layout.blocks:
        if block.kind == "vector":
            if scaling == "filter":
                d[block.span] = 1.0
            continue
        if len(block.shape) <= 1:
            if scaling == "filter":
                d[block.span] = 0.0
            elif biases == "plain":
                d[block.span] = 1.0
        elif scaling == "filter":
            weight = theta[block.span].double().view(block.shape)
            axes = tuple(a for a in range(weight.ndim) if a != (1 if block.kind == "conv-transpose" else 0))
            d[block.span] = weight.square().mean(dim=axes, keepdim=True).sqrt().expand(block.shape).reshape(-1)
    return d


def worst(
    surface: Surface, probe: Probe, theta: Tensor, d: Tensor | None, rho: float, steps: int, m: int | None, batches: int,
    seed: int,
) -> Found:  # fmt: skip
    """The largest L(θ + e) − L(θ) over ‖D⁻¹e‖ ≤ ρ by `steps` normalized ascents, on all data or on sub-batches of m examples.

    In z = D⁻¹e the first ascent is z = ρ D∇L/‖D∇L‖; further ones go on from there by steps of ρ/2, halved where they do
    not rise, and are put back onto the ball. The highest loss met counts.
    """
    seeds = _seeds(batches, seed) if m is not None else [None]
    rises, first = [], math.nan
    unit = torch.ones_like(theta) if d is None else d
    for begin in range(0, len(seeds), ROWS):
        part = seeds[begin : begin + ROWS]
        sample = None if m is None else Sample(m, torch.tensor(part, dtype=torch.int64))
        here = theta.expand(len(part), -1)
        base, gradient = _evaluate(surface, probe, here, sample)
        first = float(base[0]) if m is None else first
        best, z = base.clone(), torch.zeros_like(here)
        pull, length = gradient * unit, torch.full((len(part), 1), rho, dtype=torch.float64, device=theta.device)
        for step in range(steps):
            norm = pull.norm(dim=1, keepdim=True)
            trial = z + length * pull / norm.clamp_min(1e-300)
            trial = trial * (rho / trial.norm(dim=1, keepdim=True).clamp_min(1e-300)).clamp_max(1.0)
            value, new = _evaluate(surface, probe, here + unit * trial, sample)
            # The first ascent is the measure itself, and may come to a fall; later ones must rise.
            better = (value > best) | (step == 0)
            best = torch.where(better, value, best)
            z = torch.where(better[:, None], trial, z)
            pull = torch.where(better[:, None], new * unit, pull)
            length = torch.where(better[:, None], torch.full_like(length, rho / 2), length / 2)
        rises += (best - base).tolist()
    if m is not None:
        first = float(probe.evaluate(Values(theta.to(surface.dtype)[None])).values[0])
    return Found(np.array(rises), first, "one step of ascent" if steps == 1 else f"{steps} steps of ascent")


def average(
    surface: Surface, probe: Probe, theta: Tensor, d: Tensor | None, rho: float, samples: int, seed: int
) -> Found:
    """E L(θ + ρ D z) − L(θ) over z ~ N(0, I), each draw the mean of z and −z."""
    unit = torch.ones_like(theta) if d is None else d
    generator = torch.Generator().manual_seed(seed)
    base = float(probe.evaluate(Values(theta.to(surface.dtype)[None])).values[0])
    draws: list[float] = []
    while len(draws) < samples:
        rows = min(ROWS, samples - len(draws))
        z = torch.randn(rows, len(theta), generator=generator, dtype=torch.float64).to(theta.device)
        ends = torch.cat([theta + rho * unit * z, theta - rho * unit * z])
        values = probe.evaluate(Values(ends.to(surface.dtype))).values
        draws += (0.5 * (values[:rows] + values[rows:]) - base).tolist()
    if not np.isfinite(draws).all():
        raise LossError(
            f"the loss of {surface.name} is not finite for {int((~np.isfinite(draws)).sum())} of {samples} random steps of "
            f"ρ = {rho:g}; expected finite losses. Choose a smaller rho."
        )
    return Found(np.array(draws), base, f"{samples} pairs of opposite steps")


def keskar(
    surface: Surface, probe: Probe, theta: Tensor, epsilon: float, subspace: int | None, restarts: int, seed: int
) -> Found:
    """100 (max L − L) / (1 + L) over the box |zᵢ| ≤ ε (|(A⁺θ)ᵢ| + 1) of θ + Az, by ten steps of L-BFGS-B from z = 0."""
    n = len(theta)
    generator = torch.Generator().manual_seed(seed)
    matrix: Tensor | None = None
    center = theta
    if subspace is not None:
        subspace = _checks.whole("subspace", subspace, 1, n, do="These are random directions; None takes all of them.")
        matrix = torch.randn(n, subspace, generator=generator, dtype=torch.float64).to(theta.device)
        center = torch.linalg.lstsq(matrix, theta[:, None]).solution[:, 0]
    reach = (epsilon * (center.abs() + 1)).cpu().numpy()
    seen: list[float] = []

    def negative(z: np.ndarray[Any, Any]) -> tuple[float, np.ndarray[Any, Any]]:
        step = torch.from_numpy(np.array(z, dtype=np.float64)).to(theta.device)
        point = theta + (step if matrix is None else matrix @ step)
        value, gradient = _evaluate(surface, probe, point[None], None)
        seen.append(float(value[0]))
        down = gradient[0] if matrix is None else matrix.T @ gradient[0]
        return -seen[-1], -down.cpu().numpy()

    starts = [np.zeros(len(reach))]
    unit = torch.rand(restarts, len(reach), generator=generator, dtype=torch.float64).numpy()
    starts += [(2 * u - 1) * reach for u in unit]
    options = {"maxiter": KESKAR_STEPS}
    rises = []
    for start in starts:
        minimize(negative, start, jac=True, method="L-BFGS-B", bounds=Bounds(-reach, reach), options=options)
        rises.append(max(seen))
    base = seen[0]
    if not 1 + base > 0:
        raise InputError(
            f"the loss is {base:.4g}; Keskar's sharpness divides by 1 + L and expects a loss above −1. Choose another kind."
        )
    value = 100 * (max(seen) - base) / (1 + base)
    idle = "; the ascent from θ itself did not move" if rises[0] <= base else ""
    return Found(np.array([value]), base, f"the highest of {several(len(seen), 'loss', 'losses')} met in the box{idle}")


def _evaluate(surface: Surface, probe: Probe, points: Tensor, sample: Sample | None) -> tuple[Tensor, Tensor]:
    answer = probe.evaluate(Gradients(points.to(surface.dtype), sample))
    gradients = answer.gradients.double()
    if not (bool(answer.values.isfinite().all()) and bool(gradients.isfinite().all())):
        raise LossError(
            f"a loss or gradient of {surface.name} near the point is not finite; expected finite numbers. Choose a smaller "
            "rho, or another point."
        )
    return answer.values, gradients


def _seeds(count: int, seed: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return [int(s) for s in torch.randint(0, 2**31 - 1, (count,), generator=generator)]
