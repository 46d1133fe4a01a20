"""A1: model, loss and data fix the surface: one θ, one loss, and it is the plain average over the examples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from lossatlas.demo import digits, digits_cnn, digits_mlp
from lossatlas.lessons._lesson import Check, Ending, Lesson, Row, spent
from lossatlas.probe import Probe, Values
from lossatlas.surface import NetworkSurface

CLAIM = "L(θ) = (1/n) Σ ℓ(f_θ(xᵢ), yᵢ) is fixed once model, loss and data are: every θ already has its loss."
POINTS = 20
# Of the surface and of the plain loop, for each network.
COLORS = (("#0072B2", "#E69F00"), ("#009E73", "#D55E00"))


def experiment(runs: int, seed: int, quick: bool = False) -> Iterator[Row]:
    """Evaluate at random θ, twice, and compare with a loop over single examples in plain PyTorch."""
    count = 5 if quick else POINTS
    yield (
        f"The loss of a digits MLP and of a CNN is evaluated at {count} random θ around their start, in float64 and twice each, and is "
        "compared with a plain PyTorch loop over single test digits."
    )
    meters = []
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for name, model, images in (("MLP", digits_mlp(seed=seed), False), ("CNN", digits_cnn(seed=seed).eval(), True)):
        data = digits("test", images=images)
        surface = NetworkSurface(model.double(), "cross_entropy", (data[0].double(), data[1]))
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(count, surface.dimension, generator=generator, dtype=torch.float64)
        points = surface.theta + 0.05 * noise
        probe = Probe(surface)
        first, second = (probe.evaluate(Values(points)).values for _ in range(2))
        plain = torch.tensor([_plain(model, theta, data[0].double(), data[1]) for theta in points], dtype=torch.float64)
        gap = float(((first - plain) / plain).abs().max())
        yield Check(
            f"the loss of the {name} is the average over single examples (to 1e-12)",
            f"the two differ by {gap:.0e} of the loss at most",
            gap < 1e-12,
        )
        yield Check(
            f"the {name} has one loss at one θ: evaluated twice, it has the same bits",
            f"the same at {int((first == second).sum())} of {count} points",
            torch.equal(first, second),
        )
        meters.append(probe.meter)
        found[name] = first, plain
    yield Ending(
        spent(*meters),
        caveats=(
            "With dropout on, or batch norm in training mode, there is no such function, and the model is refused.",
        ),
        pictures={"twice": _picture(found)},
    )


def _picture(found: dict[str, tuple[Tensor, Tensor]]) -> Any:
    from lossatlas.draw import CurvesDisplay, Stroke

    # Dashes over a line: both are seen where one covers the other.
    looks = {}
    curves = {}
    for (name, (surface, plain)), (line, dashes) in zip(found.items(), COLORS, strict=True):
        order = surface.argsort()
        x = torch.arange(1, len(order) + 1).numpy()
        curves[f"{name}, surface"] = (x, surface[order].numpy())
        curves[f"{name}, one example after another"] = (x, plain[order].numpy())
        looks[f"{name}, surface"] = Stroke(line, "o", "-")
        looks[f"{name}, one example after another"] = Stroke(dashes, "x", (0, (4, 4)))
    return CurvesDisplay(
        curves,
        xlabel="random θ, by their loss",
        yscale="linear",
        xscale="linear",
        points=True,
        looks=looks,
        title="Model, loss and data fix the loss at every θ",
        note="The surface, and plain PyTorch over single examples: the curves lie on top of each other",
    )


def _plain(model: nn.Module, theta: Tensor, x: Tensor, y: Tensor) -> float:
    """The loss as a textbook would take it: one example after another."""
    own = nn.utils.parameters_to_vector(model.parameters()).clone()
    with torch.no_grad():
        nn.utils.vector_to_parameters(theta, model.parameters())
        total = sum(float(nn.functional.cross_entropy(model(x[i : i + 1]), y[i : i + 1])) for i in range(len(x)))
        nn.utils.vector_to_parameters(own, model.parameters())
    return total / len(x)


LESSON = Lesson(
    "A1",
    CLAIM,
    experiment,
    depends="the model being a fixed function: no dropout, no statistics of the batch, no data drawn anew.",
)
