"""E5: these are always slices, never the full picture: each kind of picture with the card that says what it hides."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lossatlas.chart import Card, Line, Plane, card, chart
from lossatlas.demo import digits, digits_mlp, fit
from lossatlas.lessons._e2_shortcuts_smooth import SHALLOW, network
from lossatlas.lessons._lesson import Check, Lesson, Part, spent
from lossatlas.probe import Meter
from lossatlas.surface import NetworkSurface

CLAIM = "Random planes, planes of a trajectory and lines between solutions are slices, never the full picture."
EPOCHS, EVERY, EXAMPLES, POINTS = 8, 4, 200, 11
# Fixed beforehand: a picture that holds less than this share of all curvature is not the full one.
FULL = 0.5


def experiment(runs: int, seed: int) -> Part:
    """One picture of each kind that E1 to E4 draw, and its card."""
    train = digits("train", seed=seed)
    part = (train[0][:EXAMPLES], train[1][:EXAMPLES])
    model, path = _trained(seed, train)
    other, _ = _trained(seed + 1, train)
    mlp = NetworkSurface(model, "cross_entropy", part, name="MLP")
    residual = network(SHALLOW, True, seed)
    images = (train[0].reshape(-1, 1, 8, 8), train[1])
    fit(residual, images, epochs=3, batch_size=128, lr=3e-3, seed=seed)
    cnn = NetworkSurface(residual, "cross_entropy", (images[0][:EXAMPLES], images[1][:EXAMPLES]), name="residual CNN")
    pictures: list[tuple[str, NetworkSurface, Plane | Line, Tensor | None]] = [
        ("E1 random plane", mlp, Plane.random(mlp, seed=seed), None),
        ("E2 random plane of a residual CNN", cnn, Plane.random(cnn, seed=seed), None),
        ("E3 plane of the trajectory", mlp, Plane.pca(mlp, path), path),
        ("E4 line from start to end", mlp, Line.between(mlp, path[0], path[-1]), None),
        ("E4 line between two solutions", mlp, Line.between(mlp, mlp.theta, mlp.vector(other)), None),
    ]
    checks, cards, meters = [], {}, list[Meter]()
    for name, surface, plane, points in pictures:
        made = chart(surface, plane, points=POINTS, exact=True, progress=False)
        found = cards[name] = card(surface, plane, made, path=points, seeds=0, seed=seed, progress=False)
        meters += [made.meter, found.meter]
        checks.append(_check(name, surface, plane, found))
    trajectory = cards["E3 plane of the trajectory"]
    assert trajectory.variance is not None and trajectory.markers is not None
    ghosts = sum(trajectory.markers.ghosts)
    return Part(
        f"An MLP 64-32-10 and a residual network of {6 * SHALLOW + 1} convolutions on {EXAMPLES} digits; charts of {POINTS} cells per "
        "axis, and for each the card: directions shown, share of the trace of the Hessian, of its sharpest and most negative "
        f"curvature. Held to be a slice: fewer directions than parameters, and less than {FULL:.0%} of the trace.",
        tuple(checks),
        spent(*meters),
        caveats=(
            trajectory.variance.says()[0],
            f"{ghosts} of {len(path)} points of the trajectory lie farther off its plane than a grid step; the loss drawn "
            f"there is off by up to {max(trajectory.markers.heights):.3g}",
        ),
        data={"cards": {name: found.record() for name, found in cards.items()}},
    )


def _trained(seed: int, data: tuple[Tensor, Tensor]) -> tuple[nn.Module, Tensor]:
    """A network, and its weights every few steps on the way."""
    model = digits_mlp((32,), seed=seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    shuffle = torch.Generator().manual_seed(seed)
    path = [nn.utils.parameters_to_vector(model.parameters()).detach().clone()]
    batches = [b for _ in range(EPOCHS) for b in torch.split(torch.randperm(len(data[1]), generator=shuffle), 128)]
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
    says: list[Any] = [f"{shown} of {n:,} directions", f"{trace.held.value:.2%} of the trace"]
    says.append(f"{curvature.sharpest_share:.1%} of the sharpest curvature")
    if curvature.negative_share == curvature.negative_share:
        says.append(f"{curvature.negative_share:.1%} of the most negative")
    told = f"{shown} of {n:,} directions" in found.title and all(found.reading())
    return Check(
        f"{name}: a slice, and its card says so",
        ", ".join(says) + f"; {len(found.warnings)} warnings",
        told and shown < n and not trace.held.value >= FULL,
    )


LESSON = Lesson("E5", CLAIM, experiment)
