"""G2, a misconception: "the loss is 3-D because the pictures are". They are slices, and what they leave out is not flat."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lossatlas.chart import Plane
from lossatlas.curvature import hessian
from lossatlas.demo import digits, digits_mlp, fit
from lossatlas.lessons._lesson import Check, Ending, Lesson, Row, spent
from lossatlas.lessons._statistics import interval, mean
from lossatlas.probe import Gradients, Probe, Values
from lossatlas.surface import NetworkSurface, landscapes

CLAIM = (
    "The loss is not three-dimensional because its pictures are: they are slices through N + 1 dimensions, and what they leave "
    "out is not flat."
)
# Fixed before the first run: which curvatures count, how little is little, and how different is different.
COUNTS, LITTLE, DIFFERENT = 0.01, 0.01, 0.1
HIDDEN, EPOCHS, MORE, RATE, SPAN = 16, 10, 2, 3e-3, 1.0


def experiment(runs: int, seed: int, quick: bool = False) -> Iterator[Row]:
    """Curvatures of a two-parameter surface and of a network, and what random pictures hold of its gradient and its training."""
    hidden = 8 if quick else HIDDEN
    yield (
        f"All curvatures of a linear regression and of a digits MLP 64-{hidden}-10, trained for {EPOCHS} epochs, are computed. "
        f"{runs} random pictures of the network, filter-normalized, are held against its gradient and against the way that training "
        f"takes in the next {MORE} epochs."
    )
    line = landscapes.regression()
    flat = torch.linalg.eigvalsh(hessian(line, point=line.wells[0].minimum)).flip(0)
    yield Check(
        "with two parameters the picture is the surface: there are as many curvatures as the picture has axes",
        f"{len(flat)} curvatures, {float(flat[0]):.3g} and {float(flat[1]):.3g}, for 2 axes",
        len(flat) == 2 and bool((flat > 0).all()),
    )
    model = digits_mlp((hidden,), seed=seed)
    fit(model, digits("train"), epochs=EPOCHS, lr=RATE, seed=seed)
    surface = NetworkSurface(model, "cross_entropy", digits("train"))
    n = surface.dimension
    probe = Probe(surface)
    curved = torch.linalg.eigvalsh(hessian(surface, probe=probe)).abs().sort(descending=True).values
    many = int((curved > COUNTS * curved[0]).sum())
    yield Check(
        f"the loss of {n:,} parameters curves along more directions than a picture has (curvatures above {COUNTS:.0%} of the largest)",
        f"{many} of {n:,}, and a picture shows 2",
        many > 2,
    )
    gradient = probe.evaluate(Gradients(surface.theta[None])).gradients[0]
    fit(model, digits("train"), epochs=MORE, lr=RATE, seed=seed + 1)
    way = surface.vector(model) - surface.theta
    planes = [Plane.random(surface, seed=seed + k) for k in range(runs)]
    held = {name: [shown(vector, plane) for plane in planes] for name, vector in (("gradient", gradient), ("way", way))}
    yield Check(
        f"a random picture shows next to nothing of the gradient (less than {LITTLE:.0%} of its squared length, interval)",
        f"{_percent(held['gradient'])}, where 2/N is {2 / n:.3%}",
        mean(held["gradient"])[2] < LITTLE,
    )
    yield Check(
        f"training goes on outside of the picture (less than {LITTLE:.0%} of the way's squared length lies in it, interval)",
        f"{_percent(held['way'])} of the next {MORE} epochs",
        mean(held["way"])[2] < LITTLE,
    )
    corners = torch.stack([surface.theta + SPAN * plane.frame.directions.sum(0) for plane in planes])
    rim = probe.evaluate(Values(corners)).values.numpy()
    apart = float(rim.std(ddof=1) / rim.mean()) if runs > 1 else 0.0
    yield Check(
        f"pictures through the same point differ (the loss at a corner varies by more than {DIFFERENT:.0%} between them)",
        f"by {apart:.0%} (standard deviation over mean), from {rim.min():.3g} to {rim.max():.3g}, around {surface.loss_at_theta:.3g} "
        "in the center",
        apart > DIFFERENT,
    )
    yield Ending(
        spent(probe.meter),
        caveats=(
            "Few of the curvatures are large: the loss is far from curving alike in all directions, which is why planes along them "
            "(`--plane hessian`) or along a training path show more than random ones.",
        ),
        data={"curvatures": {"regression": flat.tolist(), "network": curved.tolist()}, **held, "rim": rim.tolist()},
        pictures={"curvatures": _picture(flat.numpy(), curved.numpy(), n)},
    )


def shown(vector: Tensor, plane: Plane) -> float:
    """The share of a vector's squared length that lies in a plane."""
    axes, _ = torch.linalg.qr(plane.frame.directions.double().T)
    return float((axes.T @ vector.double()).square().sum() / vector.double().square().sum())


def _percent(shares: list[float]) -> str:
    return interval([100 * share for share in shares], ".2g", " %")


def _picture(flat: np.ndarray, curved: np.ndarray, n: int) -> Any:
    from lossatlas.draw import CurvesDisplay

    large = curved[curved > 1e-6 * curved[0]]
    curves = {
        name: (np.arange(1.0, len(values) + 1), values / values[0])
        for name, values in (("linear regression, 2 parameters", flat), (f"digits MLP, {n:,} parameters", large))
    }
    return CurvesDisplay(
        curves,
        xlabel="curvatures by size: the first, the second, …",
        ylabel="curvature, over the largest",
        xscale="log",
        yscale="log",
        points=True,
        title="A picture has two axes; the loss curves along many more directions",
        note=f"Absolute curvatures in the trained network, {len(large)} of {n:,} above a millionth of the largest",
    )


LESSON = Lesson(
    "G2",
    CLAIM,
    experiment,
    runs=50,
    quick=20,
    depends="the number of parameters, and the point: the further a network is trained, the fewer curvatures are large.",
)
