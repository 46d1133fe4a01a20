"""E3: principal components of a training trajectory: what the plane of the first two holds of the path, and what it hides."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from lossatlas.chart import Plane, Trajectory, trajectory
from lossatlas.demo import digits, digits_mlp
from lossatlas.lessons._lesson import Check, Ending, Lesson, Row, spent
from lossatlas.lessons._statistics import interval, mean
from lossatlas.probe import Meter
from lossatlas.record import Recorder, Recording
from lossatlas.surface import NetworkSurface

CLAIM = (
    "The plane of the two leading principal components of a training trajectory shows how training moves: it holds most of the "
    "path, more than it would of a random walk, and the loss drawn under the path is the path's own (Li et al. 2018)."
)
# Fixed before the first run: "most" is more than half, "its own" within a quarter at every recorded point.
WIDTHS, EPOCHS, BATCH, EVERY, POINTS = (32,), 12, 64, 6, 31
QUICK_EPOCHS, QUICK_POINTS = 6, 15
MOST, READABLE = 0.5, 1.25
RULES: dict[str, Callable[[Iterable[nn.Parameter]], Optimizer]] = {
    "SGD": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
    "Adam": lambda parameters: torch.optim.Adam(parameters, lr=3e-3),
}


@dataclass(frozen=True)
class Seen:
    """What one recorded run looks like on its plane.

    Attributes:
        share: of the path's squared length about its last point that both axes hold.
        null: the same for a random walk of as many points in as many dimensions.
        gap: the largest factor between the true loss at a point and the loss drawn under it.
        off_start: share of the start's distance from the end that lies outside of the plane.
        off_most: the same where it is largest.
        points: recorded.
    """

    share: float
    null: float
    gap: float
    off_start: float
    off_most: float
    points: int


def experiment(runs: int, seed: int, quick: bool = False) -> Iterator[Row]:
    """Record trainings of a digits MLP by two optimizers from several seeds, each on the plane of its own path."""
    epochs, points = (QUICK_EPOCHS, QUICK_POINTS) if quick else (EPOCHS, POINTS)
    yield (
        f"A digits MLP 64-{WIDTHS[0]}-10 is trained from {runs} seeds, {epochs} epochs of mini-batches of {BATCH} by SGD (rate 0.1, "
        f"momentum 0.9) and by Adam (rate 0.003). Its weights are recorded every {EVERY} steps, and each path is laid on the plane of "
        "its own two principal components. Intervals are Student's over seeds."
    )
    meters: list[Meter] = []
    seen: dict[str, list[Seen]] = {}
    pictures: dict[str, Any] = {}
    for name in RULES:
        seen[name] = []
        for run in range(seed, seed + runs):
            made = _recorded(name, run, points=points if run == seed else None, epochs=epochs)
            seen[name].append(_seen(made))
            meters += [made.meter["true"], made.meter["plane"], *([] if made.field is None else [made.field.meter])]
            if run == seed:
                pictures[name.lower()] = made.plot()
        yield from _checks(name, seen[name])
    walks = _walks(runs, seed, seen["SGD"][0].points)
    first = seen["SGD"][0]
    yield Ending(
        spent(*meters),
        caveats=(
            f"A large share is no sign of a simple path: random walks of {first.points} points in as many parameters, "
            f"{_surface(seed).dimension:,}, hold {interval([100 * w for w in walks], '.1f', ' %')} in two components "
            f"({first.null:.1%} in the limit of many dimensions; Antognini & Sohl-Dickstein 2018).",
            "Near its end a path is close to the center of the plane, and most of what is left of it lies outside: "
            + "; ".join(
                f"{name} up to {max(one.off_most for one in found):.0%} of a point's distance, at the start "
                f"{interval([100 * one.off_start for one in found], '.1f', ' %')}"
                for name, found in seen.items()
            )
            + ".",
        ),
        data={"runs": {n: [vars(one) for one in found] for n, found in seen.items()}, "random_walks": walks},
        pictures=pictures,
    )


def _surface(seed: int) -> NetworkSurface:
    return NetworkSurface(digits_mlp(WIDTHS, seed=seed), "cross_entropy", digits("train"), name="digits MLP")


def _recorded(name: str, seed: int, points: int | None, epochs: int | None = None) -> Trajectory:
    """Train under a recorder, and lay the path over the plane of its components."""
    model = digits_mlp(WIDTHS, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        _train(model, RULES[name](model.parameters()), Path(folder) / "run", seed, epochs or EPOCHS)
        surface = _surface(seed)
        run = Recording.load(Path(folder) / "run", surface)
        plane = Plane.pca(surface, run)
        return trajectory(surface, plane, {name: run}, points=points, progress=False)


def _train(model: nn.Module, optimizer: Optimizer, folder: Path, seed: int, epochs: int) -> None:
    x, y = digits("train")
    shuffle = torch.Generator().manual_seed(seed)
    with torch.enable_grad(), Recorder(model, optimizer, folder, every=EVERY, quiet=True) as recorder:
        for _ in range(epochs):
            for batch in torch.split(torch.randperm(len(y), generator=shuffle), BATCH):
                loss = functional.cross_entropy(model(x[batch]), y[batch])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                recorder.note(loss=loss)
                optimizer.step()


def _seen(made: Trajectory) -> Seen:
    (run,) = made.runs.values()
    shares, null = made.plane["shares"], made.plane["random_walk"]["shares"]
    # At the last point, the center, there is no distance to have a share of.
    off = run.residuals[:-1]
    return Seen(sum(shares), sum(null), run.gap, float(off[0]), float(off.max()), len(run.steps))


def _checks(name: str, found: list[Seen]) -> tuple[Check, ...]:
    shares, gaps = [one.share for one in found], [one.gap for one in found]
    over = [one.share - one.null for one in found]
    return (
        Check(
            f"the plane holds most of the squared length of a path of {name} (more than {MOST:.0%}, interval)",
            f"{interval([100 * share for share in shares], '.0f', ' %')} of it",
            mean(shares)[1] > MOST,
        ),
        Check(
            "it holds more than it would of a random walk of as many points (difference, interval above 0)",
            f"{interval([100 * o for o in over], '+.1f')} percentage points more than {found[0].null:.0%}",
            mean(over)[1] > 0,
        ),
        Check(
            f"the loss drawn under a path of {name} is the path's own (within a factor of {READABLE} at every point, mean over "
            "seeds, interval)",
            f"off by a factor of {interval(gaps)} at the worst point of a path",
            mean(gaps)[2] < READABLE,
        ),
    )


def _walks(runs: int, seed: int, points: int) -> list[float]:
    """What the two leading components hold of random walks in the network's own space."""
    surface = _surface(seed)
    generator = torch.Generator().manual_seed(seed)
    shares = []
    for _ in range(runs):
        walk = torch.randn(points, surface.dimension, generator=generator).cumsum(0)
        shares.append(float(sum(Plane.pca(surface, _at(surface, walk)).how["shares"])))
    return shares


def _at(surface: NetworkSurface, walk: Tensor) -> Tensor:
    """A walk that ends in the surface's own point, in steps small enough that no loss is beyond numbers."""
    return surface.theta + 1e-3 * (walk - walk[-1])


LESSON = Lesson(
    "E3",
    CLAIM,
    experiment,
    runs=8,
    quick=3,
    depends="the optimizer and the length of the path: random walks, too, lie almost in a plane.",
)
