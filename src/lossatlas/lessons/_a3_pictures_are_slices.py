"""A3: a surface can be drawn only with two parameters; every other picture is a slice of it."""

from __future__ import annotations

import math

import torch

from lossatlas.chart import Chart, Plane, chart
from lossatlas.demo import digits, digits_mlp, fit
from lossatlas.lessons._lesson import Check, Lesson, Part, spent
from lossatlas.probe import Meter, Probe, Values
from lossatlas.surface import Frame, NetworkSurface, Surface, landscapes

CLAIM = "With two parameters the surface itself is drawn; with more, every picture is a slice, and says so."
POINTS, PLACES = 15, 200


def experiment(runs: int, seed: int) -> Part:
    """Hold the picture of a two-parameter surface, and that of a network, against the surface at random places."""
    generator = torch.Generator().manual_seed(seed)
    line = landscapes.regression()
    assert line.box is not None
    low, high = line.box[:, 0], line.box[:, 1]
    whole = Frame((low + high) / 2, torch.diag((high - low) / 2))
    places = low + (high - low) * torch.rand(PLACES, 2, generator=generator, dtype=torch.float64)
    meters: list[Meter] = []
    reached, gap = _held_against(line, whole, places, meters)

    model = digits_mlp((32,), seed=seed)
    fit(model, digits("train"), epochs=5, seed=seed)
    network = NetworkSurface(model, "cross_entropy", digits("test"))
    n = network.dimension
    steps = torch.randn(PLACES, n, generator=generator)
    around = network.theta + steps * (network.theta.norm() / steps.norm(dim=1, keepdim=True))
    planes = [Plane.random(network, seed=seed + k) for k in range(runs)]
    kept, wrong = [], []
    for plane in planes:
        residual, error = _held_against(network, plane.frame, around, meters)
        kept.append(1 - residual**2)
        wrong.append(error)
    shadow = torch.cat(kept)
    mean, spread = float(shadow.mean()), float(shadow.std()) / math.sqrt(len(shadow))
    off = float(torch.cat(wrong).median())
    charts = [chart(network, plane, points=POINTS, exact=True, progress=False) for plane in planes[:2]]
    itself = chart(line, whole, points=POINTS, exact=True, progress=False)
    rim = [one.loss[0, 0] for one in charts]
    slice_says, whole_says = _said(charts[0]), _said(itself)
    checks = (
        Check(
            f"two parameters: each of {PLACES} random places of the surface is a place of the picture, with its loss (to 1e-12)",
            f"largest distance {float(reached.max()):.1e} of the way, largest gap in loss {float(gap.max()):.1e}",
            float(reached.max()) < 1e-12 and float(gap.max()) < 1e-12,
        ),
        Check(
            f"{n:,} parameters: a plane holds 2/N of the way to a random place (within five standard errors)",
            f"{mean:.2e} ± {spread:.0e} on average over {len(shadow):,}, 2/N = {2 / n:.2e}",
            abs(mean - 2 / n) < 5 * spread,
        ),
        Check(
            "and the loss drawn at its shadow is not its loss (off by more than a tenth in the median)",
            f"off by {off:.0%} of it in the median",
            off > 0.1,
        ),
        Check(
            "every picture of a slice says so, that of the surface itself does not",
            f"“{slice_says}” on one, “{whole_says}” on the other",
            f"{n:,}" in slice_says and not whole_says,
        ),
    )
    return Part(
        f"Linear regression with two parameters, drawn over its box, and a digits MLP with {n:,} on {runs} random planes; "
        f"{PLACES} random places of each, at the network's as far off as its weights are long.",
        checks,
        spent(*meters, *(one.meter for one in [*charts, itself])),
        caveats=(
            f"two slices through one point may look alike all the same: losses at one corner of the first two are {rim[0]:.3g} "
            f"and {rim[1]:.3g}, {charts[0].center:.3g} at the center",
        ),
        data={"shadow": mean, "predicted": 2 / n},
    )


def _held_against(
    surface: Surface, frame: Frame, places: torch.Tensor, meters: list[Meter]
) -> tuple[torch.Tensor, torch.Tensor]:
    """How far places lie off a frame, as a share of the way, and how far the loss at their shadow is off, relative."""
    coords, residual = frame.project(places)
    true, drawn = Probe(surface), Probe(surface.on(frame))
    losses = true.evaluate(Values(places)).values
    shown = drawn.evaluate(Values(coords.double())).values
    meters += [true.meter, drawn.meter]
    return residual.double(), (shown - losses).abs() / losses.abs()


def _said(made: Chart) -> str:
    """What the drawn picture itself says of slices."""
    figure = made.plot().figure_
    words = [text.get_text().replace("\n", " ") for axes in figure.axes for text in axes.texts]
    return next((line.split(".")[0] for line in words if "slice" in line.lower()), "")


LESSON = Lesson("A3", CLAIM, experiment, runs=20)
