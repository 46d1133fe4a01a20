"""D2: on flat ground gradients are tiny, so that plain gradient descent crawls; adaptive methods cross it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from lossatlas.demo import digits
from lossatlas.lessons._lesson import Check, Ending, Lesson, Row, spent
from lossatlas.optimize import Optimizer, optimizer
from lossatlas.probe import Gradients, Meter, Probe
from lossatlas.race import race, wilson
from lossatlas.surface import NetworkSurface, Surface, landscapes

CLAIM = (
    "On flat regions the gradient is so small that plain gradient descent crawls; adaptive methods, which divide by its size, "
    "cross them."
)
QUICK_STEPS = 600
STEPS, RATES = 2000, {"gd": (0.05, 0.5, 1.9), "adam": (0.005, 0.05, 0.5), "rmsprop": (0.001, 0.01, 0.1)}
CORNER, DOWN = (-4.5, -1.5), 0.5
HIDDEN, WIDTH, EXAMPLES, NETWORK_STEPS = 5, 12, 100, 200
NETWORK_RATES = {"gd": (0.1, 1.0, 10.0), "adam": (0.001, 0.01, 0.1)}
CHANCE, LEFT = math.log(10), 0.8


def experiment(runs: int, seed: int, quick: bool = False) -> Iterator[Row]:
    """The plateau landscape from many starts on its plain, and deep sigmoid networks from many initializations."""
    steps = QUICK_STEPS if quick else STEPS
    yield (
        f"On the plateau landscape {runs} runs start on the plain and take {steps:,} steps. {runs} networks of {HIDDEN} sigmoid layers "
        f"of {WIDTH} units, and as many with one layer, take {NETWORK_STEPS} full-batch steps on {EXAMPLES} digits. Each method has three "
        "learning rates, of which the best counts; shares have Wilson's 95 % intervals."
    )
    generator = torch.Generator().manual_seed(seed)
    surface = landscapes.plateau()
    low, high = CORNER
    starts = low + (high - low) * torch.rand(runs, 2, generator=generator, dtype=torch.float64)
    probe = Probe(surface)
    slope = float(probe.evaluate(Gradients(starts)).gradients.norm(dim=1).max())
    arrived: dict[str, float] = {}
    data: dict[str, Any] = {}
    meters = [probe.meter]
    for name, rates in RATES.items():
        shares = []
        for rate in rates:
            # Not by basin: all of the plain belongs to the well's. Crossed is whoever is down in it.
            losses = _final(surface, optimizer(name, lr=rate), starts, steps, seed, meters)
            shares.append(float((losses < DOWN).double().mean()))
        arrived[name] = max(shares)
        data[f"plateau {name}"] = dict(zip(map(str, rates), shares, strict=True))
    yield Check(
        "on the plain the gradient is tiny (below 1e-3 at every start)",
        f"it is {slope:.0e} at most",
        slope < 1e-3,
    )
    yield Check(
        f"gradient descent crawls: in {steps:,} steps it crosses the plain from fewer than half of the starts (interval)",
        f"from {_share(arrived['gd'], runs)} of them",
        wilson(round(arrived["gd"] * runs), runs)[1] < 0.5,
    )
    for name in ("adam", "rmsprop"):
        yield Check(
            f"{optimizer(name).title} crosses it from more than half (interval)",
            f"from {_share(arrived[name], runs)} of them",
            wilson(round(arrived[name] * runs), runs)[0] > 0.5,
        )
    deep, deep_meters, ratios = _networks(HIDDEN, tuple(NETWORK_RATES), runs, seed)
    shallow, shallow_meters, _ = _networks(1, ("gd",), runs, seed)
    meters += deep_meters + shallow_meters
    data["deep"], data["shallow"] = deep, shallow
    middle = sorted(ratios)[len(ratios) // 2]
    best = {name: max(shares.values()) for name, shares in deep.items()}
    control = max(shallow["gd"].values())
    yield Check(
        f"in a network of {HIDDEN} sigmoid layers the first layer has next to no gradient (below a thousandth of the last layer's, "
        "median)",
        f"{middle:.0e} of it in the median ({min(ratios):.0e} to {max(ratios):.0e})",
        middle < 1e-3,
    )
    yield Check(
        f"on it gradient descent stays at the loss of guessing (fewer than half of the runs leave it in {NETWORK_STEPS} steps, interval)",
        f"{_share(best['gd'], runs)} left",
        wilson(round(best["gd"] * runs), runs)[1] < 0.5,
    )
    yield Check(
        "Adam leaves it (in more than half of the runs, interval)",
        f"{_share(best['adam'], runs)} left",
        wilson(round(best["adam"] * runs), runs)[0] > 0.5,
    )
    yield Check(
        "it is the depth that makes the ground flat: with one sigmoid layer gradient descent leaves too (more than half, interval)",
        f"{_share(control, runs)} left",
        wilson(round(control * runs), runs)[0] > 0.5,
    )
    rows = {f"plateau, {name}": share for name, share in arrived.items()}
    rows |= {f"{HIDDEN} sigmoid layers, {name}": share for name, share in best.items()}
    rows["one sigmoid layer, gd"] = control
    yield Ending(
        spent(*meters),
        caveats=(
            "The best of three rates is chosen after the fact, for every method alike.",
            "Gradient descent at a rate of 1.9 is just below 2/λmax = 2 of the well: larger rates cross the plain and cannot stay in the "
            "well.",
            f"Crossed is who has a loss below {DOWN:g}; left is who has one below {LEFT:g} of that of guessing, ln 10.",
        ),
        data=data,
        pictures={"crossed": _picture(rows, runs)},
    )


def _picture(rows: dict[str, float], runs: int) -> Any:
    from lossatlas.draw import BarsDisplay

    ends = torch.tensor([wilson(round(share * runs), runs) for share in rows.values()], dtype=torch.float64).numpy()
    return BarsDisplay(
        list(rows),
        torch.tensor(list(rows.values()), dtype=torch.float64).numpy(),
        *ends.T,
        xlabel="share of runs that crossed the flat ground, 95 % intervals",
        title="Flat ground: who crosses it",
        note=f"{runs} runs each, every method at the best of three rates",
    )


def _networks(
    hidden: int, methods: tuple[str, ...], runs: int, seed: int
) -> tuple[dict[str, dict[str, float]], list[Meter], list[float]]:
    """Share of runs that left the plateau, by method and rate; and ‖g_first‖ / ‖g_last‖ at the beginning."""
    x, y = digits("train")
    data = (x[:EXAMPLES], y[:EXAMPLES])
    surface = NetworkSurface(_sigmoid(hidden, seed), "cross_entropy", data)
    starts = torch.stack([surface.vector(_sigmoid(hidden, seed + run)) for run in range(runs)])
    probe = Probe(surface)
    slopes = probe.evaluate(Gradients(starts)).gradients.double()
    weights = [block for block in surface.layout.blocks if block.kind == "linear"]
    first, last = (slopes[:, block.span].norm(dim=1) for block in (weights[0], weights[-1]))
    left: dict[str, dict[str, float]] = {}
    meters = [probe.meter]
    for name in methods:
        left[name] = {}
        for rate in NETWORK_RATES[name]:
            losses = _final(surface, optimizer(name, lr=rate), starts, NETWORK_STEPS, seed, meters)
            left[name][str(rate)] = float((losses < LEFT * CHANCE).double().mean())
    return left, meters, (first / last).tolist()


def _final(surface: Surface, method: Optimizer, starts: Tensor, steps: int, seed: int, meters: list[Meter]) -> Tensor:
    """The loss at the last point of every run; what it cost to get there and look is added to `meters`."""
    result = race(surface, {"it": method}, start=starts, steps=steps, runs=len(starts), seed=seed)
    probe = Probe(surface)
    losses = probe.evaluate(Gradients(result.last("it"))).values
    meters += [result.meter["it"], probe.meter]
    return losses


def _sigmoid(hidden: int, seed: int) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        layers: list[Any] = [nn.Linear(64, WIDTH), nn.Sigmoid()]
        for _ in range(hidden - 1):
            layers += [nn.Linear(WIDTH, WIDTH), nn.Sigmoid()]
        return nn.Sequential(*layers, nn.Linear(WIDTH, 10)).eval()


def _share(share: float, runs: int) -> str:
    low, high = wilson(round(share * runs), runs)
    return f"{share:.0%} ({low:.0%} to {high:.0%})"


LESSON = Lesson(
    "D2",
    CLAIM,
    experiment,
    runs=20,
    quick=6,
    depends="the learning rates that are compared, and the time that is allowed: on any slope descent arrives in the end.",
)
