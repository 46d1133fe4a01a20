"""D2: on flat ground gradients are tiny, so that plain gradient descent crawls; adaptive methods cross it."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from lossatlas.demo import digits
from lossatlas.lessons._lesson import Check, Lesson, Part, spent
from lossatlas.optimize import Optimizer, optimizer
from lossatlas.probe import Gradients, Meter, Probe
from lossatlas.race import race, wilson
from lossatlas.surface import NetworkSurface, Surface, landscapes

CLAIM = (
    "On flat regions the gradient is so small that plain gradient descent crawls; adaptive methods, which divide by its size, "
    "cross them."
)
STEPS, RATES = 2000, {"gd": (0.05, 0.5, 1.9), "adam": (0.005, 0.05, 0.5), "rmsprop": (0.001, 0.01, 0.1)}
CORNER, DOWN = (-4.5, -1.5), 0.5
HIDDEN, WIDTH, EXAMPLES, NETWORK_STEPS = 5, 12, 100, 200
NETWORK_RATES = {"gd": (0.1, 1.0, 10.0), "adam": (0.001, 0.01, 0.1)}
CHANCE, LEFT = math.log(10), 0.8


def experiment(runs: int, seed: int) -> Part:
    """The plateau landscape from many starts on its plain, and deep sigmoid networks from many initializations."""
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
            losses = _final(surface, optimizer(name, lr=rate), starts, STEPS, seed, meters)
            shares.append(float((losses < DOWN).double().mean()))
        arrived[name] = max(shares)
        data[f"plateau {name}"] = dict(zip(map(str, rates), shares, strict=True))
    deep, deep_meters, ratios = _networks(HIDDEN, tuple(NETWORK_RATES), runs, seed)
    shallow, shallow_meters, _ = _networks(1, ("gd",), runs, seed)
    meters += deep_meters + shallow_meters
    data["deep"], data["shallow"] = deep, shallow
    middle = sorted(ratios)[len(ratios) // 2]
    best = {name: max(shares.values()) for name, shares in deep.items()}
    control = max(shallow["gd"].values())
    checks = (
        Check(
            "landscape: on the plain the gradient is below 1e-3 at every start",
            f"largest {slope:.1e}",
            slope < 1e-3,
        ),
        Check(
            f"landscape: gradient descent crosses (is below a loss of {DOWN:g}) from fewer than half of the starts in {STEPS:,} "
            "steps, at the best of three rates (upper end below 1/2)",
            _share(arrived["gd"], runs),
            wilson(round(arrived["gd"] * runs), runs)[1] < 0.5,
        ),
        *(
            Check(
                f"landscape: {name} crosses from more than half, at the best of three rates (lower end above 1/2)",
                _share(arrived[name], runs),
                wilson(round(arrived[name] * runs), runs)[0] > 0.5,
            )
            for name in ("adam", "rmsprop")
        ),
        Check(
            f"network of {HIDDEN} sigmoid layers: the first layer's gradient is below a thousandth of the last one's (median)",
            f"{middle:.1e} ({min(ratios):.1e} to {max(ratios):.1e})",
            middle < 1e-3,
        ),
        Check(
            f"deep network: gradient descent stays on the plateau of guessing, at the best of three rates (loss above {LEFT:g} "
            f"ln 10 after {NETWORK_STEPS} steps in more than half of the runs, upper end of leaving below 1/2)",
            f"left: {_share(best['gd'], runs)}",
            wilson(round(best["gd"] * runs), runs)[1] < 0.5,
        ),
        Check(
            "deep network: adam leaves it, at the best of three rates (lower end above 1/2)",
            f"left: {_share(best['adam'], runs)}",
            wilson(round(best["adam"] * runs), runs)[0] > 0.5,
        ),
        Check(
            "the depth makes the flat ground: with one sigmoid layer gradient descent leaves (lower end above 1/2)",
            f"left: {_share(control, runs)}",
            wilson(round(control * runs), runs)[0] > 0.5,
        ),
    )
    return Part(
        f"The plateau landscape from {runs} starts in [{low:g}, {high:g}]², {STEPS:,} steps; {runs} networks of {HIDDEN} sigmoid "
        f"layers of {WIDTH} on {EXAMPLES} digits, and as many with one layer, {NETWORK_STEPS} full-batch steps; three rates for every "
        "method, the best counts; shares with Wilson's 95 % intervals.",
        checks,
        spent(*meters),
        caveats=(
            "the best of three rates is chosen after the fact, for every method alike",
            "gd at 1.9 is just below 2/λmax = 2 of the well: larger rates cross the plain and cannot stay in the well",
        ),
        data=data,
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
    return f"{share:.0%} [{low:.0%}, {high:.0%}]"


LESSON = Lesson("D2", CLAIM, experiment, runs=20)
