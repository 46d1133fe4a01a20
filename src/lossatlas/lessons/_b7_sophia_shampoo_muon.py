"""B7: Sophia clips, Shampoo preconditions with Kronecker factors, Muon orthogonalizes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lossatlas.demo import digits, digits_cnn, digits_mlp
from lossatlas.lessons._lesson import Check, Ending, Lesson, Row, spent
from lossatlas.lessons._statistics import interval, mean
from lossatlas.optimize import MiniBatches, optimizer
from lossatlas.probe import Gradients, Probe, Values
from lossatlas.race import Race, race
from lossatlas.surface import Block, NetworkSurface, landscapes

CLAIM = (
    "Sophia clips a momentum step by an estimate of the Hessian's diagonal; Shampoo preconditions with Kronecker factors; "
    "Muon makes the momentum orthogonal by Newton–Schulz steps."
)
EPSILON, RATE = 1e-4, 0.02
# During training, fixed before the first run. γ = 0.01 is the paper's for Hutchinson's estimate.
STEPS, BATCH = 200, 64
RATES = {"sophia": 0.003, "shampoo": 0.1, "muon": 0.02}
# The authors of Muon say of its singular values that they lie between these; "most" is nine in ten.
BAND, MOST = (0.5, 1.5), 0.9
ZERO = 1e-9
# The authors of Sophia tune γ until so many coordinates are not clipped.
UNCLIPPED = (0.1, 0.5)
KERNEL_STEPS = 3


def experiment(runs: int, seed: int) -> Iterator[Row]:
    """Hold steps on real weight matrices against eigenvalue and singular value decompositions of their own."""
    yield from _first(seed)
    yield from _network(runs, seed)


def _first(seed: int) -> Iterator[Row]:
    """A few full-batch steps on one weight, and what becomes of the rules on a vector."""
    yield (
        "Sophia, Shampoo and Muon take six full-batch steps on a digits MLP in float64, and the steps of its first weight are compared "
        "with the papers' rules, computed by numpy; then 40 steps on a bowl of two parameters."
    )
    x, y = digits("train")
    model = digits_mlp((16,), seed=seed).double()
    surface = NetworkSurface(model, "cross_entropy", (x.double(), y))
    block = next(block for block in surface.layout.blocks if block.kind == "linear")
    racers = {
        "sophia": optimizer("sophia", lr=RATE, every=2),
        "shampoo": optimizer("shampoo", lr=RATE, eps=EPSILON),
        "muon": optimizer("muon", lr=RATE),
    }
    result = race(surface, racers, steps=6, seed=seed)
    probe = Probe(surface)

    def step(label: str, t: int) -> Tensor:
        path = result.trajectories[label][0]
        return (path[t + 1] - path[t])[block.span].reshape(block.shape)

    def gradient(label: str, t: int) -> np.ndarray:
        slope = probe.evaluate(Gradients(result.trajectories[label][0][t][None])).gradients[0]
        return slope[block.span].reshape(block.shape).numpy()

    rows, columns = block.shape
    left, right, gap = EPSILON * np.eye(rows), EPSILON * np.eye(columns), 0.0
    for t in range(5):
        g = gradient("shampoo", t)
        left, right = left + g @ g.T, right + g.T @ g
        expected = -RATE * _power(left, -1 / 4) @ g @ _power(right, -1 / 4)
        gap = max(gap, float(np.abs(step("shampoo", t).numpy() - expected).max()))
    values = torch.linalg.svdvals(step("muon", 4)) / RATE / max(1.0, rows / columns) ** 0.5
    before = np.linalg.svd(gradient("muon", 4), compute_uv=False)
    largest = float(result.trajectories["sophia"][0].diff(dim=0).abs().max())
    flat = landscapes.quadratic(condition=10.0)
    vector = race(flat, [optimizer("muon", lr=RATE), optimizer("shampoo", lr=RATE)], steps=40, seed=seed)
    lengths = vector.trajectories["muon"][0].diff(dim=0).norm(dim=1) / RATE
    first = float(vector.trajectories["shampoo"][0].diff(dim=0)[0].norm()) / RATE
    yield Check(
        "Sophia clips: it never moves a coordinate by more than the rate η",
        f"{largest / RATE:.3g} η at most",
        largest <= RATE * (1 + 1e-9),
    )
    yield Check(
        f"Shampoo's step on a {rows}×{columns} weight G is L^(−1/4) G R^(−1/4), with L and R the sums of GGᵀ and GᵀG",
        f"another {gap:.0e} at most, in five steps",
        gap < 1e-7,
    )
    yield Check(
        "Muon brings all singular values of its step between 0.5 and 1.5, as its authors say",
        f"they lie between {float(values.min()):.2f} and {float(values.max()):.2f}, and the gradient's are spread over a factor of "
        f"{before[0] / before[-1]:,.0f}",
        bool((values > 0.5).all() and (values < 1.5).all()),
    )
    yield Check(
        "on two parameters there is no matrix: Muon takes steps of constant length 0.6964 η, and Shampoo's first step has the length η",
        f"Muon {float(lengths.min()):.4f} to {float(lengths.max()):.4f} η, Shampoo {first:.4f} η",
        bool(((lengths - 0.6964).abs() < 1e-3).all()) and abs(first - 1) < 1e-3,
    )
    yield Ending(
        spent(probe.meter, *result.meter.values(), *vector.meter.values()),
        caveats=(
            "Close to one is the authors' band of 0.5 to 1.5; against our own first guess, 0.6 to 1.2, the smallest value of this step "
            "(0.592) had failed.",
        ),
        pictures={"muon": _picture(before, values.numpy())},
    )


def _picture(before: np.ndarray, values: np.ndarray) -> Any:
    from lossatlas.draw import CurvesDisplay

    x = np.arange(1.0, len(before) + 1)
    return CurvesDisplay(
        {
            "gradient, over its largest": (x, before / before[0]),
            "Muon's step, over the rate": (x, np.sort(values)[::-1]),
        },
        xlabel="singular values by size: the first, the second, …",
        ylabel="singular value",
        xscale="linear",
        yscale="log",
        points=True,
        title="Muon makes all singular values of a step alike",
        note="First weight of a digits MLP, the fifth of Muon's steps and the gradient that it was made of",
    )


def _network(runs: int, seed: int) -> Iterator[Row]:
    """A digits MLP trained on mini-batches by all three, and Shampoo on the kernels of a CNN."""
    yield (
        f"All three train a digits MLP 64-64-64-10 from {runs} initializations, {STEPS} steps on mini-batches of {BATCH}; Shampoo takes "
        f"{KERNEL_STEPS} full-batch steps on a digits CNN."
    )
    x, y = digits("train")
    surface = NetworkSurface(digits_mlp(seed=seed).double(), "cross_entropy", (x.double(), y))
    starts = torch.stack([surface.vector(digits_mlp(seed=seed + run)) for run in range(runs)])
    racers = {name: MiniBatches(optimizer(name, lr=rate), BATCH) for name, rate in RATES.items()}
    made = race(surface, racers, start=starts, steps=STEPS, runs=runs, seed=seed)
    probe = Probe(surface)
    fallen = {name: probe.evaluate(Values(made.last(name))).values.tolist() for name in RATES}
    hidden = [block for block in surface.layout.blocks if len(block.shape) == 2][:-1]
    checks, data = _checks(made, hidden)
    yield from checks
    gap, shape, meters = _kernel(runs, seed)
    yield Check(
        f"on a {'×'.join(map(str, shape))} kernel Shampoo multiplies the gradient by Hᵢ^(−1/8) along each of its four axes (numpy's "
        "eigenvalues)",
        f"another {gap:.0e} at most, in {KERNEL_STEPS} steps of {runs} networks",
        gap < 1e-7,
    )
    yield Ending(
        spent(probe.meter, *made.meter.values(), *meters),
        caveats=(
            "Five Newton–Schulz steps lift a small singular value by 3.4445⁵ = 485 at most: what is below a thousandth of the matrix's "
            "length stays below 0.5.",
            f"Rates are stated, not tuned; where {STEPS} steps led: "
            + ", ".join(f"{name} to a training loss of {interval(losses)}" for name, losses in fallen.items())
            + ".",
        ),
        data={"network": {**data, "loss": fallen, "kernel_gap": gap}},
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
            "in training, too, Sophia never moves a coordinate by more than η",
            f"{float(steps.max()):.3g} η at most",
            float(steps.max()) <= 1 + 1e-9,
        ),
        Check(
            f"it leaves {UNCLIPPED[0]:.0%} to {UNCLIPPED[1]:.0%} of the coordinates unclipped, as its authors advise (interval within)",
            interval([100 * share for share in unclipped], ".0f", " %")
            + f" at γ = {optimizer('sophia').settings()['gamma']}",
            UNCLIPPED[0] <= spread[1] and spread[2] <= UNCLIPPED[1],
        ),
        Check(
            f"Muon brings most singular values of hidden matrices between {BAND[0]} and {BAND[1]} (more than {MOST:.0%}, interval)",
            interval([100 * share for share in inside], ".1f", " %")
            + f" of them, and none above {high:.2f}; {none:.1%} are zero, where the gradient had none",
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
    """How far Shampoo's steps on a convolution are from the rule by numpy; the kernel's shape; the meters."""
    x, y = digits("test", images=True)
    surface = NetworkSurface(digits_cnn(seed).double(), "cross_entropy", (x.double(), y))
    starts = torch.stack([surface.vector(digits_cnn(seed + run)) for run in range(runs)])
    block = [block for block in surface.layout.blocks if len(block.shape) == 4][-1]
    rule = optimizer("shampoo", lr=RATES["shampoo"], eps=EPSILON)
    made = race(surface, {"shampoo": rule}, start=starts, steps=KERNEL_STEPS + 1, runs=runs, seed=seed)
    probe, path = Probe(surface), made.trajectories["shampoo"]
    gap = 0.0
    for run in range(runs):
        slopes = probe.evaluate(Gradients(path[run, :KERNEL_STEPS])).gradients[:, block.span]
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


LESSON = Lesson(
    "B7",
    CLAIM,
    experiment,
    runs=4,
    quick=2,
    depends="γ for Sophia, and on how small the smallest singular values of the gradient are for Muon.",
)
