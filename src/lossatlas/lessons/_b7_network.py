"""B7 on networks: what the three rules do to real matrices during training, over several initializations."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lossatlas.demo import digits, digits_cnn, digits_mlp
from lossatlas.lessons._correlation import mean
from lossatlas.lessons._lesson import Check, bill
from lossatlas.lessons._part import Part, interval
from lossatlas.optimize import MiniBatches, optimizer
from lossatlas.probe import Gradients, Probe, Values
from lossatlas.race import Race, race
from lossatlas.surface import Block, NetworkSurface

# Fixed before the first run. γ = 0.01 is the paper's for Hutchinson's estimate.
STEPS, BATCH = 200, 64
RATES = {"sophia": 0.003, "shampoo": 0.1, "muon": 0.02}
# The authors of Muon say of its singular values that they lie between these; "most" is nine in ten.
BAND, MOST = (0.5, 1.5), 0.9
ZERO = 1e-9
# The authors of Sophia tune γ until so many coordinates are not clipped.
UNCLIPPED = (0.1, 0.5)
KERNEL_STEPS, EPSILON = 3, 1e-4


def network(runs: int, seed: int) -> Part:
    """A digits MLP trained on mini-batches by all three, and Shampoo on the kernels of a CNN."""
    x, y = digits("train")
    surface = NetworkSurface(digits_mlp(seed=seed).double(), "cross_entropy", (x.double(), y))
    starts = torch.stack([surface.vector(digits_mlp(seed=seed + run)) for run in range(runs)])
    racers = {name: MiniBatches(optimizer(name, lr=rate), BATCH) for name, rate in RATES.items()}
    made = race(surface, racers, start=starts, steps=STEPS, runs=runs, seed=seed)
    probe = Probe(surface)
    fallen = {name: probe.ask(Values(made.last(name))).values.tolist() for name in RATES}
    hidden = [block for block in surface.layout.blocks if len(block.shape) == 2][:-1]
    gap, shape, meters = _kernel(runs, seed)
    checks, data = _checks(made, hidden)
    kernel = Check(
        f"network: Shampoo multiplies the gradient of a {'×'.join(map(str, shape))} kernel by Hᵢ^(−1/8) along each of its four "
        "axes (numpy's eigenvalues)",
        f"largest difference in {KERNEL_STEPS} steps of {runs} networks {gap:.1e}",
        gap < 1e-7,
    )
    return Part(
        f"Digits MLP 64-64-64-10 in float64, {runs} initializations, {STEPS} steps on mini-batches of {BATCH}; a digits CNN, "
        f"{KERNEL_STEPS} full-batch steps.",
        (*checks, kernel),
        bill(probe.meter, *made.meter.values(), *meters),
        caveats=(
            "five Newton–Schulz steps lift a small singular value by 3.4445⁵ = 485 at most: what is below a thousandth of the "
            "matrix's length stays below 0.5",
            f"rates are stated, not tuned; where {STEPS} steps led: "
            + ", ".join(f"{name} training loss {interval(losses)}" for name, losses in fallen.items()),
        ),
        data={**data, "loss": fallen, "kernel_gap": gap},
    )


def _checks(made: Race, hidden: list[Block]) -> tuple[tuple[Check, ...], dict[str, Any]]:
    steps = made.trajectories["sophia"].diff(dim=1).abs() / RATES["sophia"]
    moving = steps > 0
    # What stands still had no gradient at all: it says nothing about clipping.
    free = ((steps < 1 - 1e-9) & moving).flatten(1).sum(1) / moving.flatten(1).sum(1)
    values = _singular(made.trajectories["muon"].diff(dim=1), hidden)
    inside = ((values > BAND[0]) & (values < BAND[1])).double().mean(1).tolist()
    low, high, none = float(values.min()), float(values.max()), float((values < ZERO).double().mean())
    unclipped = free.tolist()
    spread = mean(unclipped)
    checks = (
        Check(
            "network: Sophia never moves a coordinate by more than η",
            f"{float(steps.max()):.6f} η at most",
            float(steps.max()) <= 1 + 1e-9,
        ),
        Check(
            f"network: Sophia leaves {UNCLIPPED[0]:.0%} to {UNCLIPPED[1]:.0%} of the coordinates unclipped, as its authors advise "
            "(interval within)",
            interval([100 * share for share in unclipped], suffix=" %")
            + f" at γ = {optimizer('sophia').settings()['gamma']}",
            UNCLIPPED[0] <= spread[1] and spread[2] <= UNCLIPPED[1],
        ),
        Check(
            f"network: Muon brings most singular values of its steps on hidden matrices between {BAND[0]} and {BAND[1]} (interval "
            f"above {MOST:.0%})",
            interval([100 * share for share in inside], ".1f", " %")
            + f"; up to {high:.3f}; {none:.1%} of all are zero to rounding, "
            "where the gradient had none",
            mean(inside)[1] > MOST,
        ),
    )
    return checks, {"unclipped": unclipped, "inside": inside, "singular": [low, high], "zero": none}


def _singular(steps: Tensor, hidden: list[Block]) -> Tensor:
    """Singular values, over η, of the hidden matrices of steps (runs, T, N); a row per run."""
    values = []
    for block in hidden:
        rows, columns = block.shape
        scale = RATES["muon"] * max(1.0, rows / columns) ** 0.5
        values.append(
            torch.linalg.svdvals(steps[..., block.span].reshape(*steps.shape[:2], *block.shape) / scale).flatten(1)
        )
    return torch.cat(values, 1)


def _kernel(runs: int, seed: int) -> tuple[float, tuple[int, ...], list[Any]]:
    """How far Shampoo's steps on a convolution are from the rule by numpy; the kernel's shape; the bill."""
    x, y = digits("test", images=True)
    surface = NetworkSurface(digits_cnn(seed).double(), "cross_entropy", (x.double(), y))
    starts = torch.stack([surface.vector(digits_cnn(seed + run)) for run in range(runs)])
    block = [block for block in surface.layout.blocks if len(block.shape) == 4][-1]
    rule = optimizer("shampoo", lr=RATES["shampoo"], eps=EPSILON)
    made = race(surface, {"shampoo": rule}, start=starts, steps=KERNEL_STEPS + 1, runs=runs, seed=seed)
    probe, path = Probe(surface), made.trajectories["shampoo"]
    gap = 0.0
    for run in range(runs):
        slopes = probe.ask(Gradients(path[run, :KERNEL_STEPS])).gradients[:, block.span]
        histories = [EPSILON * np.eye(size) for size in block.shape]
        for t, slope in enumerate(slopes):
            gradient = slope.reshape(block.shape).numpy()
            step = gradient
            for axis in range(gradient.ndim):
                unfolded = np.moveaxis(gradient, axis, 0).reshape(gradient.shape[axis], -1)
                histories[axis] = histories[axis] + unfolded @ unfolded.T
                turned = np.tensordot(_power(histories[axis], -1 / (2 * gradient.ndim)), step, axes=(1, axis))
                step = np.moveaxis(turned, 0, axis)
            taken = (path[run, t + 1] - path[run, t])[block.span].reshape(block.shape).numpy()
            gap = max(gap, float(np.abs(taken + RATES["shampoo"] * step).max()))
    return gap, block.shape, [probe.meter, *made.meter.values()]


def _power(matrix: np.ndarray, exponent: float) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray(vectors * np.maximum(values, EPSILON) ** exponent @ vectors.T)
