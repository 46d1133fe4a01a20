"""E5: these are always slices, never the full picture: each kind of picture with the card that says what it hides."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lossatlas.chart import Card, Line, Plane, card, chart
from lossatlas.demo import digits, digits_mlp, fit
from lossatlas.lessons._e2_shortcuts_smooth import SHALLOW, network
from lossatlas.lessons._lesson import Check, Ending, Lesson, Row, spent
from lossatlas.probe import Meter
from lossatlas.surface import NetworkSurface

CLAIM = "Random planes, planes of a trajectory and lines between solutions are slices, never the full picture."
EPOCHS, EVERY, EXAMPLES, POINTS = 8, 4, 200, 11
QUICK_EPOCHS, QUICK_EXAMPLES, QUICK_POINTS = 2, 40, 11
# Fixed beforehand: a picture that holds less than this share of all curvature is not the full one.
FULL = 0.5


def experiment(runs: int, seed: int, quick: bool = False) -> Iterator[Row]:
    """One picture of each kind that E1 to E4 draw, and its card."""
    epochs, examples, cells = (QUICK_EPOCHS, QUICK_EXAMPLES, QUICK_POINTS) if quick else (EPOCHS, EXAMPLES, POINTS)
    yield (
        f"An MLP 64-32-10 and a residual network of {6 * SHALLOW + 1} convolutions are trained on digits and drawn in each of the ways of "
        f"E1 to E4, {cells} cells per axis, with the card that says what a picture holds. A picture is a slice if it has fewer "
        f"directions than the network has parameters, and holds less than {FULL:.0%} of the trace of the Hessian."
    )
    train = digits("train", seed=seed)
    part = (train[0][:examples], train[1][:examples])
    model, path = _trained(seed, train, epochs)
    other, _ = _trained(seed + 1, train, epochs)
    mlp = NetworkSurface(model, "cross_entropy", part, name="MLP")
    residual = network(SHALLOW, True, seed)
    images = (train[0].reshape(-1, 1, 8, 8), train[1])
    fit(residual, images, epochs=3, batch_size=128, lr=3e-3, seed=seed)
    cnn = NetworkSurface(residual, "cross_entropy", (images[0][:examples], images[1][:examples]), name="residual CNN")
    pictures: list[tuple[str, NetworkSurface, Plane | Line, Tensor | None]] = [
        ("random plane", mlp, Plane.random(mlp, seed=seed), None),
        ("random plane of a residual CNN", cnn, Plane.random(cnn, seed=seed), None),
        ("plane of the trajectory", mlp, Plane.pca(mlp, path), path),
        ("line from start to end", mlp, Line.between(mlp, path[0], path[-1]), None),
        ("line between two solutions", mlp, Line.between(mlp, mlp.theta, mlp.vector(other)), None),
    ]
    cards, meters = {}, list[Meter]()
    for name, surface, plane, points in pictures:
        made = chart(surface, plane, points=cells, exact=True, progress=False)
        found = cards[name] = card(surface, plane, made, path=points, seeds=0, seed=seed, progress=False)
        meters += [made.meter, found.meter]
        yield _check(name, surface, plane, found)
    trajectory = cards["plane of the trajectory"]
    assert trajectory.variance is not None and trajectory.markers is not None
    ghosts = sum(trajectory.markers.ghosts)
    yield Ending(
        spent(*meters),
        caveats=(
            f"Of the trajectory: {trajectory.variance.says()[0].rstrip('.')}.",
            f"{ghosts} of {len(path)} points of the trajectory lie farther off its plane than a grid step; the loss drawn there is off by "
            f"up to {max(trajectory.markers.heights):.2g}.",
            "A share of the trace is negative where a picture curves down along more than it curves up.",
        ),
        data={"cards": {name: found.record() for name, found in cards.items()}},
        pictures={"held": _picture(cards), "card": cards["random plane"].plot()},
    )


def _picture(cards: dict[str, Card]) -> Any:
    from lossatlas.draw import BarsDisplay

    rows = {name: found.trace.held for name, found in cards.items() if found.trace is not None}
    middle = np.array([100 * held.value for held in rows.values()])
    ends = np.array([[100 * end for end in (held.low, held.high)] for held in rows.values()])
    return BarsDisplay(
        list(rows),
        middle,
        np.minimum(middle, ends[:, 0]),
        np.maximum(middle, ends[:, 1]),
        xlabel="% of the trace of the Hessian that the picture holds",
        title="Every picture is a slice: what each kind holds of all curvature",
        note="Digits networks; the whole surface would hold 100 %",
    )


def _trained(seed: int, data: tuple[Tensor, Tensor], epochs: int) -> tuple[nn.Module, Tensor]:
    """A network, and its weights every few steps on the way."""
    model = digits_mlp((32,), seed=seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    shuffle = torch.Generator().manual_seed(seed)
    path = [nn.utils.parameters_to_vector(model.parameters()).detach().clone()]
    batches = [b for _ in range(epochs) for b in torch.split(torch.randperm(len(data[1]), generator=shuffle), 128)]
    with torch.enable_grad():
        for k, batch in enumerate(batches, 1):
            loss = F.cross_entropy(model(data[0][batch]), data[1][batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if k % EVERY == 0:
                path.append(nn.utils.parameters_to_vector(model.parameters()).detach().clone())
    return model.eval(), torch.stack(path)


def _check(name: str, surface: NetworkSurface, plane: Plane | Line, found: Card) -> Check:
    curvature, trace = found.curvature, found.trace
    assert curvature is not None and trace is not None
    shown, n = plane.frame.dimension, surface.dimension
    says = f"{shown} of {n:,} directions, {trace.held.value:.1%} of the trace and {curvature.sharpest_share:.0%} of the sharpest curvature"
    told = f"{shown} of {n:,} directions" in found.title and all(found.reading())
    return Check(
        f"a {name} is a slice, and its card says so",
        f"it holds {says}"
        + (f"; the card has {len(found.warnings)} warning{'s' * (len(found.warnings) != 1)}" if found.warnings else ""),
        told and shown < n and not trace.held.value >= FULL,
    )


LESSON = Lesson(
    "E5",
    CLAIM,
    experiment,
    depends="nothing but the number of parameters, as long as it is more than the picture has axes.",
)
