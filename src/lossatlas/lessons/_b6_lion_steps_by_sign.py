"""B6: Lion uses the sign of momentum and holds less than Adam. On a bowl, and on an MLP, a CNN and a transformer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from lossatlas.demo import digits, digits_cnn, digits_mlp, digits_transformer
from lossatlas.lessons._lesson import Check, Lesson, Part, spent
from lossatlas.lessons._statistics import interval
from lossatlas.optimize import optimizer
from lossatlas.probe import Meter
from lossatlas.race import race
from lossatlas.surface import NetworkSurface, landscapes

CLAIM = "Lion steps by the sign of its momentum and holds less state than Adam, a quarter of it."
DIMENSION, BOWL_STEPS = 1000, 60
# On networks, fixed before the first run.
STEPS, RATE, ROUNDING = 6, 0.01, 1e-12
MODELS: dict[str, Callable[[int], nn.Module]] = {
    "MLP": lambda seed: digits_mlp(seed=seed),
    "CNN": lambda seed: digits_cnn(seed),
    "transformer": lambda seed: digits_transformer(seed=seed),
}


@dataclass(frozen=True)
class Held:
    """What was measured on one network.

    Attributes:
        parameters: N.
        numbers: per parameter and optimizer, held beyond θ between two queries; the same for every run.
        theirs: numbers per parameter in the state of torch's own Adam.
        moved: per run, the share of coordinates of all of Lion's steps that moved.
        gap: largest distance of such a step from ±η.
        meters: of the race.
    """

    parameters: int
    numbers: dict[str, float]
    theirs: float
    moved: list[float]
    gap: float
    meters: tuple[Meter, ...]


def experiment(runs: int, seed: int) -> tuple[Part, Part]:
    """Bytes in reach of both frames beyond θ itself, and the lengths of Lion's steps; on a bowl, then on networks."""
    return _bowl(seed), _network(runs, seed)


def _bowl(seed: int) -> Part:
    surface = landscapes.quadratic(condition=100.0, dimension=DIMENSION)
    racers = {"lion": optimizer("lion", lr=RATE), "adam": optimizer("adam", lr=RATE)}
    result = race(surface, racers, steps=BOWL_STEPS, seed=seed)
    theta = 8 * DIMENSION
    state = {label: track.memory[-1][1] - theta for label, track in result.tracks.items()}
    steps = result.trajectories["lion"][0].diff(dim=0).abs()
    same = bool(((steps - RATE).abs() < 1e-12).all())
    ratio = state["lion"] / state["adam"]
    checks = (
        Check(
            "every coordinate of every step of Lion is ±η",
            f"{float(steps.min()):.6g} to {float(torch.max(steps)):.6g} at η = {RATE}",
            same,
        ),
        Check(
            "Lion holds less state than Adam",
            f"{state['lion'] / theta:.3g} numbers per parameter against {state['adam'] / theta:.3g}",
            ratio < 1,
        ),
        Check("it holds a quarter", f"{ratio:.3g} of Adam's", abs(ratio - 0.25) < 0.05),
    )
    return Part(
        f"A quadratic of {DIMENSION:,} parameters, {BOWL_STEPS} steps; state is what the frame holds beyond θ.",
        checks,
        spent(*result.meter.values()),
        caveats=(
            "the note's factor of four does not follow from one buffer against two: what is measured is reported",
        ),
    )


def _network(runs: int, seed: int) -> Part:
    """Full-batch steps from several initializations of three kinds of networks."""
    found = {name: _held(name, runs, seed) for name in MODELS}
    ratio = {name: one.numbers["lion"] / one.numbers["adam"] for name, one in found.items()}
    gap = max(one.gap for one in found.values())
    bytes_ = "; ".join(
        f"{name} of {one.parameters:,}: {8 * one.numbers['lion'] * one.parameters:,.0f} bytes against "
        f"{8 * one.numbers['adam'] * one.parameters:,.0f} (torch's Adam {8 * one.theirs * one.parameters:,.0f})"
        for name, one in found.items()
    )
    checks = (
        Check(
            "networks: every coordinate of every step of Lion is ±η or, where the sign is that of 0, nothing",
            f"off by {gap:.1e} at most; share that moved: "
            + "; ".join(f"{name} {interval([100 * m for m in one.moved], '.1f', ' %')}" for name, one in found.items()),
            gap < ROUNDING,
        ),
        Check("networks: Lion holds less state than Adam, on each", bytes_, max(ratio.values()) < 1),
        Check(
            "networks: it holds a quarter, on each",
            ", ".join(f"{name} {r:.3g}" for name, r in ratio.items()) + " of Adam's",
            all(abs(r - 0.25) < 0.05 for r in ratio.values()),
        ),
    )
    whole = [(2 + one.numbers["lion"]) / (2 + one.numbers["adam"]) for one in found.values()]
    return Part(
        f"Digits MLP, CNN and transformer in float64, {runs} initializations, {STEPS} full-batch steps each.",
        checks,
        spent(*(meter for one in found.values() for meter in one.meters)),
        caveats=(
            f"parameters and gradient counted too, Lion's training holds {max(whole):.2f} of what Adam's does, or less: "
            "a quarter less, not a quarter; activations come on top",
        ),
        data={
            "network": {
                name: {"numbers": one.numbers, "torch": one.theirs, "moved": one.moved} for name, one in found.items()
            }
        },
    )


def _held(name: str, runs: int, seed: int) -> Held:
    x, y = digits("test", images=name == "CNN")
    surface = NetworkSurface(MODELS[name](seed).double(), "cross_entropy", (x.double(), y), name=name)
    starts = torch.stack([surface.vector(MODELS[name](seed + run)) for run in range(runs)])
    racers = {"lion": optimizer("lion", lr=RATE), "adam": optimizer("adam", lr=RATE)}
    made = race(surface, racers, start=starts, steps=STEPS, runs=runs, seed=seed)
    theta = surface.dimension * surface.theta.element_size()
    numbers = {label: track.memory[-1][1] / theta - 1 for label, track in made.tracks.items()}
    steps = made.trajectories["lion"].diff(dim=1).abs()
    moving = steps > 0
    return Held(
        surface.dimension,
        numbers,
        _torch(MODELS[name](seed)) / surface.dimension,
        moving.flatten(1).double().mean(1).tolist(),
        float((steps[moving] - RATE).abs().max()),
        tuple(made.meter.values()),
    )


def _torch(model: nn.Module) -> int:
    """Numbers in the state of torch's own Adam after a step; its counters of steps, one per tensor, are left out."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    mind = torch.optim.Adam(parameters)
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    mind.step()
    return sum(t.numel() for state in mind.state.values() for t in state.values() if t.ndim)


LESSON = Lesson("B6", CLAIM, experiment, runs=5)
