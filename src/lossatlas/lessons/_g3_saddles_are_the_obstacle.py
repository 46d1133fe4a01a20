"""G3, a misconception: "local minima are why deep learning is hard". Saddles are the obstacle, and optimizers leave them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lossatlas.curvature import extremes
from lossatlas.demo import digits
from lossatlas.lessons import _network_basins as basins
from lossatlas.lessons._lesson import Check, Ending, Lesson, Row, spent
from lossatlas.lessons._network_basins import RATE, ground, initial, settled
from lossatlas.lessons._statistics import mean
from lossatlas.optimize import optimizer, strokes_of
from lossatlas.probe import Gradients, Meter, Probe
from lossatlas.race import race, wilson
from lossatlas.surface import NetworkSurface, landscapes

CLAIM = (
    "Local minima are not why deep learning is hard: where training stalls a direction still leads down, and momentum and Adam "
    "leave such saddles sooner than plain descent; a true local minimum they do not leave."
)
# Fixed before the first run. A loss below a tenth of that of guessing is no trap; a curvature below a thousandth of the largest
# is a direction down.
CHANCE = math.log(10)
LOW, DOWN = 0.1 * CHANCE, 1e-3
WIDTH, HIDDEN, EXAMPLES, NEAR = 16, 12, 100, 1e-3
RATES = {"gd": (0.1, 0.3, 1.0), "momentum": (0.03, 0.1, 0.3), "adam": (0.003, 0.01, 0.03)}
STEPS, DEEP, STALLED, TRAPPED = 300, 5, 200, 1000
QUICK_STEPS, QUICK_SETTLING = 100, 400

Array = NDArray[np.float64]


def experiment(runs: int, seed: int, quick: bool = False) -> Iterator[Row]:
    """Where descent ends and where it stalls on networks; how fast optimizers leave a saddle; whether they leave a minimum."""
    steps, settling = (QUICK_STEPS, QUICK_SETTLING) if quick else (STEPS, basins.SETTLING)
    yield (
        f"{runs} digits MLPs 64-{WIDTH}-10 descend on {EXAMPLES} digits for {settling:,} steps; {runs} networks of {DEEP} sigmoid "
        f"layers, on which descent stalls, have their curvature measured where they stand after {STALLED} steps; a tanh network starts "
        f"{runs} times within {NEAR:g} of a saddle that is known exactly, with three rates for each optimizer, of which the best "
        "counts; and each optimizer starts at the bottom of the trap A of the deep wells."
    )
    surface = ground(WIDTH, seed)
    ends = settled(surface, initial(surface, WIDTH, range(seed, seed + runs)), settling)
    meters = [ends.meter]
    losses = ends.loss[:, -1]
    trapped = int((losses > LOW).sum())
    yield Check(
        f"no descent of a network that can fit its data ends in a bad minimum (at a loss above {LOW:.2f}, a tenth of guessing)",
        f"{trapped} of {runs} did (95 % interval {_interval(trapped, runs)}); the highest loss at an end is {losses.max():.2g}",
        trapped == 0,
    )
    down, slopes, high, steepest = _stalls(runs, seed, meters)
    yield Check(
        f"where descent stalls it does not stand in a minimum: a direction leads down (curvature below −{DOWN:g} of the largest, in "
        "more than half of the runs, interval)",
        f"in {down} of {runs} ({_interval(down, runs)}), at gradients around {np.median(slopes):.0e} and losses around {high:.2f}, "
        f"where guessing has {CHANCE:.2f}; the smallest curvature is {steepest:.0e} of the largest in the median",
        wilson(down, runs)[0] > 0.5,
    )
    saddle = _saddle_surface(seed)
    gradient, least, largest = _at(saddle, saddle.theta, meters)
    yield Check(
        "the starting point is a saddle: no gradient, and curvature of both signs",
        f"gradient {gradient:.0e}, curvatures from {least:.2g} to {largest:.2g}",
        gradient < 1e-8 and least < 0 < largest,
    )
    curves, left = _left(saddle, runs, seed, meters, steps)
    for name in ("momentum", "adam"):
        ratio = mean(np.log(left["gd"][1] / left[name][1]).tolist())
        factor, low, top = (math.exp(min(part, 700.0)) for part in ratio)
        yield Check(
            f"{name} leaves the saddle sooner than gradient descent (ratio of steps, interval above 1)",
            f"{np.median(left[name][1]):.0f} steps at rate {left[name][0]:g} against {np.median(left['gd'][1]):.0f} at rate "
            f"{left['gd'][0]:g}; {factor:.1f} times as fast ({low:.1f} to {top:.1f})",
            low > 1,
        )
    wells = landscapes.deep_wells()
    trap = next(well.minimum for well in wells.wells if well.name == "A")
    made = race(wells, list(RATES), start=trap, steps=TRAPPED, seed=seed)
    meters += list(made.meter.values())
    stayed = {name: made.verdicts[name].wells[0] for name in RATES}
    yield Check(
        f"out of a true local minimum none of them gets in {TRAPPED:,} steps",
        ", ".join(f"{name} ends in {well}" for name, well in stayed.items()),
        all(well == "A" for well in stayed.values()),
    )
    yield Ending(
        spent(*meters),
        caveats=(
            "A saddle of a small network is easy to leave. That momentum and Adam were designed for saddles is the note's reading: "
            "momentum is older than the question.",
            "A network too narrow for its data does end in bad minima (G4).",
            f"Runs that stay near the saddle for all {steps} steps count with {steps}.",
        ),
        data={"losses": losses.tolist(), "steps": {name: counts.tolist() for name, (_, counts) in left.items()}},
        pictures={"saddle": _picture(curves, runs)},
    )


def _stalls(runs: int, seed: int, meters: list[Meter]) -> tuple[int, list[float], float, float]:
    """How many stalled networks have a direction down; gradients; medians of the loss, and of the smallest curvature over the largest."""
    x, y = digits("train")
    surface = NetworkSurface(_deep(seed), "cross_entropy", (x[:EXAMPLES].double(), y[:EXAMPLES]))
    starts = torch.stack([surface.vector(_deep(seed + run)) for run in range(runs)])
    made = race(surface, [optimizer("gd", lr=RATE)], start=starts, steps=STALLED, runs=runs, seed=seed)
    meters.append(made.meter["gd"])
    found = [_at(surface, point, meters) for point in made.final("gd")]
    down = sum(least < -DOWN * largest for _, least, largest in found)
    steepest = float(np.median([least / largest for _, least, largest in found]))
    return down, [gradient for gradient, *_ in found], float(made.tracks["gd"].loss.median()), steepest


def _at(surface: NetworkSurface, point: Tensor, meters: list[Meter]) -> tuple[float, float, float]:
    """The length of the gradient at a point, and the smallest and the largest curvature there."""
    probe = Probe(surface)
    gradient = float(probe.evaluate(Gradients(point[None])).gradients.norm())
    found = extremes(surface, k=1, point=point, probe=probe, progress=False)
    meters.append(probe.meter)
    return gradient, float(found.smallest.values[0]), float(found.largest.values[0])


def _saddle_surface(seed: int) -> NetworkSurface:
    """A tanh network at an exact saddle: all weights zero, so that nothing reaches the output but its biases, which are best."""
    x, y = digits("train")
    x, y = x[:EXAMPLES].double(), y[:EXAMPLES]
    model = nn.Sequential(nn.Linear(64, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 10)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        last = model[2]
        assert isinstance(last, nn.Linear)
        last.bias.copy_(torch.bincount(y, minlength=10).double().log())
    return NetworkSurface(model, "cross_entropy", (x, y), name="tanh network at a saddle")


def _left(
    surface: NetworkSurface, runs: int, seed: int, meters: list[Meter], steps: int
) -> tuple[dict[str, Array], dict[str, tuple[float, Array]]]:
    """Losses on the way by optimizer, (runs, T), and the best rate with the steps until half of the saddle's loss."""
    noise = torch.randn(runs, surface.dimension, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    starts = surface.theta + NEAR * noise / noise.norm(dim=1, keepdim=True)
    curves, left = {}, {}
    for name, rates in RATES.items():
        racers = {f"{rate:g}": optimizer(name, lr=rate) for rate in rates}
        made = race(surface, racers, start=starts, steps=steps, runs=runs, seed=seed)
        meters += list(made.meter.values())
        losses = {rate: made.losses[f"{rate:g}"][:, :steps].numpy() for rate in rates}
        counts = {rate: first(rows, surface.loss_at_theta / 2) for rate, rows in losses.items()}
        best = min(counts, key=lambda rate: float(np.median(counts[rate])))
        curves[name], left[name] = losses[best], (best, counts[best])
    return curves, left


def first(losses: Array, target: float) -> Array:
    """The first step at which each run (runs, T) is at the target; T where it never is."""
    below = losses <= target
    found: Array = np.where(below.any(1), below.argmax(1), losses.shape[1]).clip(1).astype(np.float64)
    return found


def _deep(seed: int) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        layers: list[nn.Module] = [nn.Linear(64, HIDDEN), nn.Sigmoid()]
        for _ in range(DEEP - 1):
            layers += [nn.Linear(HIDDEN, HIDDEN), nn.Sigmoid()]
        return nn.Sequential(*layers, nn.Linear(HIDDEN, 10)).double().eval()


def _interval(count: int, runs: int) -> str:
    low, high = wilson(count, runs)
    return f"{low:.0%} to {high:.0%}"


def _picture(curves: dict[str, Array], runs: int) -> Any:
    from lossatlas.draw import CurvesDisplay

    bands = {}
    for name, rows in curves.items():
        low, middle, high = np.nanquantile(rows, [0.0, 0.5, 1.0], axis=0)
        bands[name] = (np.arange(rows.shape[1], dtype=float), middle, low, high)
    return CurvesDisplay(
        bands,
        xlabel="steps",
        ylabel="loss",
        yscale="linear",
        xscale="linear",
        title=f"Starting within {NEAR:g} of a saddle of a tanh network",
        note=f"Median and range of {runs} directions away from the saddle, each optimizer at the best of three rates",
        looks=strokes_of({name: optimizer(name) for name in bands}),
    )


LESSON = Lesson(
    "G3",
    CLAIM,
    experiment,
    runs=20,
    quick=4,
    depends="the width of the network against its data, the rates that are compared, and what counts as standing still.",
)
