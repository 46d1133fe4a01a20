"""G1, a misconception: "SGD builds the loss surface". It evaluates one mini-batch at one point, and keeps nothing of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lossatlas.demo import digits, digits_mlp, fit
from lossatlas.lessons._lesson import Check, Ending, Lesson, Row, spent
from lossatlas.optimize import Posterior, optimizer
from lossatlas.probe import Meter, Probe, Values
from lossatlas.race import race
from lossatlas.surface import NetworkSurface, Surface, landscapes

CLAIM = (
    "SGD does not build the loss surface: model and data fix it before the first step, and each step evaluates one mini-batch at "
    "one point and keeps nothing of it."
)
# Fixed before the first run.
BATCH, POINTS = 32, 20
WALK, SEEN, GRID = 300, 100, 41
RATE = 0.1
# Errors over that of a flat map at the mean loss: half of the variance unexplained, and a tenth of it.
POOR, GOOD = 0.7, 0.3
# Less than one float64 per query is keeping nothing.
FLOAT = 8.0

Array = NDArray[np.float64]


def experiment(runs: int, seed: int, quick: bool = False) -> Iterator[Row]:
    """What SGD evaluates, holds and changes on a network; then the surface rebuilt from all that it saw on the four wells."""
    steps = 200 if quick else 600
    yield (
        f"SGD takes {steps} steps on mini-batches of {BATCH} digits, with everything it evaluates and holds counted. The loss at "
        f"{POINTS} random points is evaluated before a training and after it. Then a descent with noisy gradients walks over the four "
        f"wells, {runs} times, and a Gaussian process, given {SEEN} points of its path with their exact losses, predicts the whole map."
    )
    surface = NetworkSurface(digits_mlp((16,), seed=seed), "cross_entropy", digits("train"))
    made = race(surface, [optimizer("sgd", lr=RATE, batch_size=BATCH)], steps=steps, seed=seed)
    track = made.tracks["sgd"]
    meter, held = track.meter, track.memory
    meters = [meter]
    yield Check(
        "each step evaluates one mini-batch at one point: one gradient with its value, and nothing else",
        f"{meter.gradients} gradients, {meter.values} further values and {meter.examples:,} examples in {steps} steps",
        (meter.gradients, meter.values, meter.products, meter.examples) == (steps, 0, 0, steps * BATCH),
    )
    probe = Probe(surface)
    places = track.positions[0, : steps : max(1, steps // 20)]
    whole = probe.evaluate(Values(places)).values
    learned = track.losses[0, : steps : max(1, steps // 20)]
    gaps = (learned - whole).abs() / whole
    off = int((gaps > 1e-6).sum())
    meters.append(probe.meter)
    yield Check(
        f"the value it learns is that of its mini-batch, and not the loss L(θ) over all {surface.examples:,} examples",
        f"another value at {off} of {len(gaps)} steps, off by {float(gaps.median()):.0%} in the median",
        off == len(gaps),
    )
    yield Check(
        "it keeps nothing of what it evaluated (memory grows by less than one number per query)",
        f"{held[0][1]:,.0f} bytes after {held[0][0]} queries, {held[-1][1]:,.0f} after {held[-1][0]}: the parameters and no more",
        abs(track.growth) < FLOAT,
    )
    before, after, cost = _twice(seed)
    meters.append(cost)
    yield Check(
        "the surface was there before: training moves the network over it and changes it nowhere (the same bits)",
        f"the same loss at {int((before == after).sum())} of {POINTS} random points, before and after two epochs of training",
        bool((before == after).all()),
    )
    wells = landscapes.four_wells()
    own, uniform, picture, cost = _rebuilt(wells, runs, seed)
    meters.append(cost)
    yield Check(
        f"from all that a descent saw, the map cannot be rebuilt (more than {POOR:g} of a flat map's error, in every run)",
        f"{_range(own)} the error of a flat map, from {SEEN} points of a path",
        min(own) > POOR,
    )
    yield Check(
        f"as many points, spread over the box and kept, would be enough (less than {GOOD:g} of a flat map's error, in every run)",
        f"{_range(uniform)} that error, from {SEEN} uniform points",
        max(uniform) < GOOD,
    )
    yield Ending(
        spent(*meters),
        caveats=(
            "A path can be kept by whoever trains, and drawn over the surface: that is a picture of the path, and its surface was "
            "evaluated for the picture.",
            "A flat map guesses the mean loss everywhere; a rebuilt map that is wrong by more is worse than none.",
        ),
        data={"error_from_path": own, "error_from_uniform": uniform, "gaps": gaps.tolist()},
        pictures={"rebuilt": picture},
    )


def _twice(seed: int) -> tuple[torch.Tensor, torch.Tensor, Meter]:
    """Losses at random points, of a network before its training and of the same network after it."""
    model = digits_mlp((16,), seed=seed)
    fresh = NetworkSurface(model, "cross_entropy", digits("test"))
    noise = torch.randn(POINTS, fresh.dimension, generator=torch.Generator().manual_seed(seed))
    points = fresh.theta + 0.1 * noise
    first = Probe(fresh)
    before = first.evaluate(Values(points)).values
    fit(model, digits("train"), epochs=2, seed=seed)
    second = Probe(NetworkSurface(model, "cross_entropy", digits("test")))
    return before, second.evaluate(Values(points)).values, first.meter + second.meter


def _rebuilt(surface: Surface, runs: int, seed: int) -> tuple[list[float], list[float], Any, Meter]:
    """How wrong a Gaussian process draws the map from a path, and from uniform points; the picture; the cost."""
    from lossatlas.draw import SurrogateDisplay

    assert surface.box is not None
    box = surface.box.numpy()
    made = race(surface, ["gradient-noise"], steps=WALK, runs=runs, seed=seed)
    probe = Probe(surface)
    axes = [np.linspace(low, high, GRID) for low, high in box]
    cells = np.stack([part.ravel() for part in np.meshgrid(*axes)], 1)
    truth = probe.evaluate(Values(torch.from_numpy(cells))).values.numpy()
    own: list[Any] = []
    uniform: list[Any] = []
    stages = []
    for run in range(runs):
        path = made.trajectories["gradient-noise"][run, : WALK : WALK // SEEN].numpy()
        drawn = np.random.default_rng(seed + run).uniform(box[:, 0], box[:, 1], (SEEN, 2))
        for points, shares in ((path, own), (drawn, uniform)):
            losses = probe.evaluate(Values(torch.from_numpy(points))).values.numpy()
            guess, deviation = Posterior(points, losses, box).predict(cells)
            shares.append(error(truth, guess))
            if run == 0:
                stages.append((SEEN, guess.reshape(GRID, GRID), deviation.reshape(GRID, GRID), points))
    picture = SurrogateDisplay(
        axes[0],
        axes[1],
        truth.reshape(GRID, GRID),
        stages,
        title=f"The four wells, rebuilt from {SEEN} points: of a descent (above), spread over the box (below)",
    )
    return own, uniform, picture, probe.meter + made.meter["gradient-noise"]


def error(truth: Array, guess: Array) -> float:
    """The root mean square error of a guessed map over that of the map that guesses the mean everywhere, √(1 − R²)."""
    return float(np.sqrt(np.square(truth - guess).mean()) / truth.std())


def _range(errors: list[float]) -> str:
    return f"{np.median(errors):.3g} times (median; {min(errors):.3g} to {max(errors):.3g} over {len(errors)} runs)"


LESSON = Lesson(
    "G1",
    CLAIM,
    experiment,
    runs=10,
    quick=3,
    depends="nothing for what is evaluated and held; what can be rebuilt depends on how much of the box a path crosses.",
)
