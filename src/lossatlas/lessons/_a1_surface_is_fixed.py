"""A1: model, loss and data fix the surface: one θ, one loss, and it is the plain average over the examples."""

from __future__ import annotations

import torch
from torch import nn

from lossatlas.demo import digits, digits_cnn, digits_mlp
from lossatlas.lessons._lesson import Check, Lesson, Part, spent
from lossatlas.probe import Probe, Values
from lossatlas.surface import NetworkSurface

CLAIM = "L(θ) = (1/n) Σ ℓ(f_θ(xᵢ), yᵢ) is fixed once model, loss and data are: every θ already has its loss."
POINTS = 20


def experiment(runs: int, seed: int) -> Part:
    """Evaluate at random θ, twice, and compare with a loop over single examples in plain PyTorch."""
    checks, meters = [], []
    for name, model, images in (("MLP", digits_mlp(seed=seed), False), ("CNN", digits_cnn(seed=seed).eval(), True)):
        data = digits("test", images=images)
        surface = NetworkSurface(model.double(), "cross_entropy", (data[0].double(), data[1]))
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(POINTS, surface.dimension, generator=generator, dtype=torch.float64)
        points = surface.theta + 0.05 * noise
        probe = Probe(surface)
        first, second = (probe.evaluate(Values(points)).values for _ in range(2))
        plain = torch.tensor([_plain(model, theta, data[0].double(), data[1]) for theta in points], dtype=torch.float64)
        gap = float(((first - plain) / plain).abs().max())
        checks += [
            Check(
                f"{name}: the average over single examples (to 1e-12)", f"largest relative gap {gap:.1e}", gap < 1e-12
            ),
            Check(
                f"{name}: the same θ twice gives the same bits",
                "bit-identical" if torch.equal(first, second) else "differs",
                torch.equal(first, second),
            ),
        ]
        meters.append(probe.meter)
    return Part(
        f"{POINTS} random θ around the start of a digits MLP and CNN, float64, test digits; evaluated twice; against plain PyTorch.",
        tuple(checks),
        spent(*meters),
        caveats=(
            "fixed means fixed: with dropout on, or batch norm in training mode, there is no such function, and the model is refused",
        ),
    )


def _plain(model: nn.Module, theta: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> float:
    """The loss as a textbook would take it: one example after another."""
    own = nn.utils.parameters_to_vector(model.parameters()).clone()
    with torch.no_grad():
        nn.utils.vector_to_parameters(theta, model.parameters())
        total = sum(float(nn.functional.cross_entropy(model(x[i : i + 1]), y[i : i + 1])) for i in range(len(x)))
        nn.utils.vector_to_parameters(own, model.parameters())
    return total / len(x)


LESSON = Lesson("A1", CLAIM, experiment)
