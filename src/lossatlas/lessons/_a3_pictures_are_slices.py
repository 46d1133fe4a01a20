"""A3: a surface can be drawn only with two parameters; every other picture is a slice of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch

from lossatlas.chart import Plane, chart
from lossatlas.demo import digits, digits_mlp, fit
from lossatlas.lessons._lesson import Check, Ending, Lesson, Row, spent
from lossatlas.probe import Meter, Probe, Values
from lossatlas.surface import Frame, NetworkSurface, Surface, landscapes

CLAIM = "With two parameters the surface itself is drawn; with more, every picture is a slice, and says so."
POINTS, PLACES = 25, 200


def experiment(runs: int, seed: int) -> Iterator[Row]:
    """Hold the picture of a two-parameter surface, and that of a network, against the surface at random places."""
    yield (
        f"A linear regression with two parameters is drawn over its box, and a trained digits MLP on {runs} random planes. {PLACES} "
        "random places of each surface are held against the pictures; the network's lie as far away as its weights are long."
    )
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
    network = NetworkSurface(model, "cross_entropy", digits("test"), name="a digits MLP")
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
    rim = [one.loss[0, 0] for one in charts]
    itself, slices = line.plot(), charts[0].plot()
    slice_says, whole_says = _said(slices), _said(itself)
    yield Check(
        f"with two parameters every one of {PLACES} random places lies in the picture, with its own loss (to 1e-12)",
        f"at most {float(reached.max()):.0e} of the way lies outside, and losses differ by {float(gap.max()):.0e} at most",
        float(reached.max()) < 1e-12 and float(gap.max()) < 1e-12,
    )
    yield Check(
        f"with {n:,} parameters a plane holds 2/N of the squared way to a random place (within five standard errors)",
        f"{mean:.2e} ± {spread:.0e} on average over {len(shadow):,} ways, and 2/N is {2 / n:.2e}",
        abs(mean - 2 / n) < 5 * spread,
    )
    yield Check(
        "the loss drawn where such a place is projected to is not its loss (off by more than a tenth in the median)",
        f"off by {off:.0%} of the loss in the median",
        off > 0.1,
    )
    yield Check(
        "the picture of a slice says that it is one; the picture of the whole surface does not",
        f"“{slice_says}” stands under the one, {f'“{whole_says}”' if whole_says else 'nothing of the kind'} under the other",
        f"{n:,}" in slice_says and not whole_says,
    )
    yield Ending(
        spent(*meters, *(one.meter for one in charts)),
        caveats=(
            f"Two slices through one point may look alike all the same: losses at one corner of the first two are {rim[0]:.3g} and "
            f"{rim[1]:.3g}, and {charts[0].center:.3g} at the center.",
        ),
        data={"shadow": mean, "predicted": 2 / n},
        pictures={"surface": itself, "slice": slices},
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


def _said(drawn: Any) -> str:
    """What the drawn picture itself says of slices."""
    words = [text.get_text().replace("\n", " ") for axes in drawn.figure_.axes for text in axes.texts]
    return next((line.split(".")[0] for line in words if "slice" in line.lower()), "")


LESSON = Lesson(
    "A3",
    CLAIM,
    experiment,
    runs=20,
    quick=2,
    depends="the number of parameters: a plane holds 2/N of a random way, whatever the network.",
)
