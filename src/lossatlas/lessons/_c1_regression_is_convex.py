"""C1: linear regression with a mean squared error is a convex bowl, and gradient descent finds its least squares."""

from __future__ import annotations

import torch

from lossatlas.lessons._lesson import Check, Lesson, Part, spent
from lossatlas.optimize import optimizer
from lossatlas.probe import Probe, Products
from lossatlas.race import race
from lossatlas.surface import landscapes

CLAIM = "The loss of y = w₁x + w₂ under a mean squared error is a convex bowl, and gradient descent always finds its minimum."
POINTS, STEPS, RATE = 100, 2000, 0.05


def experiment(runs: int, seed: int) -> Part:
    """Hessians at random points, and gradient descent from random starts, against the closed-form least squares."""
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
    starts = low + (high - low) * torch.rand(runs, 2, generator=generator, dtype=torch.float64)
    result = race(surface, [optimizer("gd", lr=RATE)], start=starts, steps=STEPS, runs=runs, seed=seed)
    solution = surface.wells[0].minimum
    gap = float((result.final("gd") - solution).norm(dim=1).max())
    checks = (
        Check(
            "the Hessian is the same everywhere (to 1e-10)",
            f"largest change {change:.1e} over {POINTS} points",
            change < 1e-10,
        ),
        Check("it is positive definite", f"smallest eigenvalue {smallest:.4g}", smallest > 0),
        Check(
            "gradient descent ends at the least-squares point from every start (to 1e-8)",
            f"largest distance {gap:.1e} over {runs:,} starts",
            gap < 1e-8,
        ),
    )
    return Part(
        f"{POINTS} Hessians at random points; gradient descent (rate {RATE}, {STEPS:,} steps) from {runs:,} uniform starts.",
        checks,
        spent(probe.meter, *result.meter.values()),
        caveats=(
            f"true for a rate below 2/λmax = {2 / float(torch.linalg.eigvalsh(hessians[0]).max()):.3g}; above it, descent diverges",
        ),
        data={"minimum": solution.tolist()},
    )


LESSON = Lesson("C1", CLAIM, experiment, runs=1000)
