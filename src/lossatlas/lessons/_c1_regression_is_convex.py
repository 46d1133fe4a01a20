"""C1: linear regression with a mean squared error is a convex bowl, and gradient descent finds its least squares."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from lossatlas.lessons._lesson import Check, Ending, Lesson, Row, spent
from lossatlas.optimize import optimizer
from lossatlas.probe import Probe, Products
from lossatlas.race import race
from lossatlas.surface import landscapes

CLAIM = "The loss of y = w₁x + w₂ under a mean squared error is a convex bowl, and gradient descent always finds its minimum."
POINTS, STEPS, RATE = 100, 2000, 0.05


def experiment(runs: int, seed: int) -> Iterator[Row]:
    """Hessians at random points, and gradient descent from random starts, against the closed-form least squares."""
    yield (
        f"The Hessian of a linear regression with two weights is computed at {POINTS} random points, and gradient descent (learning rate "
        f"{RATE}, {STEPS:,} steps) runs from {runs:,} random starts."
    )
    surface = landscapes.regression()
    assert surface.box is not None
    low, high = surface.box[:, 0], surface.box[:, 1]
    generator = torch.Generator().manual_seed(seed)
    anywhere = low + (high - low) * torch.rand(POINTS, 2, generator=generator, dtype=torch.float64)
    probe = Probe(surface)
    answer = probe.evaluate(Products(anywhere, torch.eye(2, dtype=torch.float64).expand(POINTS, 2, 2)))
    hessians = answer.products
    change = float((hessians - hessians[0]).abs().max())
    smallest = float(torch.linalg.eigvalsh(hessians).min())
    yield Check(
        "the Hessian is the same everywhere (to 1e-10)",
        f"it changes by {change:.1g} at most over {POINTS} points",
        change < 1e-10,
    )
    yield Check(
        "it is positive definite, so that the bowl is convex",
        f"its smallest eigenvalue is {smallest:.3g}",
        smallest > 0,
    )
    starts = low + (high - low) * torch.rand(runs, 2, generator=generator, dtype=torch.float64)
    result = race(surface, [optimizer("gd", lr=RATE)], start=starts, steps=STEPS, runs=runs, seed=seed)
    solution = surface.wells[0].minimum
    gap = float((result.final("gd") - solution).norm(dim=1).max())
    yield Check(
        "from every start gradient descent ends at the least-squares solution (to 1e-8)",
        f"at most {gap:.0e} from w₁ = {solution[0]:.3f}, w₂ = {solution[1]:.3f}, from {runs:,} starts",
        gap < 1e-8,
    )
    drawn = race(surface, [optimizer("gd", lr=RATE)], steps=STEPS // 10, seed=seed)
    yield Ending(
        spent(probe.meter, *result.meter.values()),
        caveats=(
            f"This holds for learning rates below 2/λmax = {2 / float(torch.linalg.eigvalsh(hessians[0]).max()):.3g}; above it descent "
            "diverges.",
        ),
        data={"minimum": solution.tolist()},
        pictures={"bowl": drawn.plot()},
    )


LESSON = Lesson(
    "C1", CLAIM, experiment, runs=1000, quick=100, depends="the learning rate alone, which must be below 2/λmax."
)
