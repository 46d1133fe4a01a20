"""B6: Lion uses the sign of momentum and holds less than Adam. On a bowl, and on an MLP, a CNN and a transformer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lossatlas.demo import digits, digits_cnn, digits_mlp, digits_transformer
from lossatlas.lessons._lesson import Check, Ending, Lesson, Row, spent
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


def experiment(runs: int, seed: int) -> Iterator[Row]:
    """Bytes in reach of both frames beyond θ itself, and the lengths of Lion's steps; on a bowl, then on networks."""
    yield from _bowl(seed)
    yield from _network(runs, seed)


def _bowl(seed: int) -> Iterator[Row]:
    yield (
        f"Lion and Adam take {BOWL_STEPS} steps on a quadratic of {DIMENSION:,} parameters, and what each holds beyond the parameters is "
        "measured."
    )
    surface = landscapes.quadratic(condition=100.0, dimension=DIMENSION)
    racers = {"lion": optimizer("lion", lr=RATE), "adam": optimizer("adam", lr=RATE)}
    result = race(surface, racers, steps=BOWL_STEPS, seed=seed)
    theta = 8 * DIMENSION
    state = {label: track.memory[-1][1] - theta for label, track in result.tracks.items()}
    steps = result.trajectories["lion"][0].diff(dim=0).abs()
    same = bool(((steps - RATE).abs() < 1e-12).all())
    ratio = state["lion"] / state["adam"]
    yield Check(
        f"every coordinate of every step of Lion is plus or minus the learning rate, η = {RATE}",
        f"of absolute values from {float(steps.min()):.4g} to {float(steps.max()):.4g}",
        same,
    )
    yield Check(
        "Lion holds less than Adam",
        f"{state['lion'] / theta:.3g} number per parameter, against {state['adam'] / theta:.3g}",
        ratio < 1,
    )
    yield Check("it holds a quarter of what Adam does", f"{ratio:.3g} of it", abs(ratio - 0.25) < 0.05)
    yield Ending(
        spent(*result.meter.values()),
        caveats=("A factor of four does not follow from one buffer against two; what is measured is reported.",),
    )


def _network(runs: int, seed: int) -> Iterator[Row]:
    """Full-batch steps from several initializations of three kinds of networks."""
    yield f"The same on a digits MLP, a CNN and a transformer, {STEPS} full-batch steps from {runs} initializations each."
    found = {name: _held(name, runs, seed) for name in MODELS}
    ratio = {name: one.numbers["lion"] / one.numbers["adam"] for name, one in found.items()}
    gap = max(one.gap for one in found.values())
    bytes_ = ", ".join(
        f"{name} {8 * one.numbers['lion'] * one.parameters:,.0f} against {8 * one.numbers['adam'] * one.parameters:,.0f} bytes"
        for name, one in found.items()
    )
    theirs = all(one.theirs == one.numbers["adam"] for one in found.values())
    yield Check(
        "on networks every step of Lion is ±η in every coordinate that has a gradient, and nothing in the others",
        f"off by {gap:.0e} at most; "
        + ", ".join(
            f"{interval([100 * m for m in one.moved], '.0f', ' %')} of the {name} moved" for name, one in found.items()
        ),
        gap < ROUNDING,
    )
    yield Check(
        "on each of them Lion holds less than Adam",
        bytes_ + ("; torch's own Adam holds as much as ours" if theirs else ""),
        max(ratio.values()) < 1,
    )
    yield Check(
        "on each of them it holds a quarter",
        ", ".join(f"{name} {r:.3g}" for name, r in ratio.items()) + " of what Adam holds",
        all(abs(r - 0.25) < 0.05 for r in ratio.values()),
    )
    whole = [(2 + one.numbers["lion"]) / (2 + one.numbers["adam"]) for one in found.values()]
    yield Ending(
        spent(*(meter for one in found.values() for meter in one.meters)),
        caveats=(
            f"With parameters and gradient counted too, training with Lion holds {max(whole):.2f} of what it does with Adam: a quarter "
            "less, not a quarter; activations come on top.",
        ),
        data={
            "network": {
                name: {"numbers": one.numbers, "torch": one.theirs, "moved": one.moved} for name, one in found.items()
            }
        },
        pictures={"state": _picture(found)},
    )


def _picture(found: dict[str, Held]) -> Any:
    from lossatlas.draw import BarsDisplay

    rows = {
        f"{name}, {rule.capitalize()}": one.numbers[rule] for name, one in found.items() for rule in ("lion", "adam")
    }
    numbers = torch.tensor(list(rows.values())).numpy()
    return BarsDisplay(
        list(rows),
        numbers,
        numbers,
        numbers,
        xlabel="numbers held per parameter, beyond the parameters",
        title="Lion holds one buffer, Adam two",
        note="Measured in reach of the running optimizer on networks for digits; a quarter of Adam's would be 0.5",
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


LESSON = Lesson(
    "B6",
    CLAIM,
    experiment,
    runs=5,
    quick=2,
    depends="what is counted: state alone, or parameters, gradients and activations too.",
)
