"""C5: on the deep wells every gradient method ends in A; annealing and restarts reach the global well."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from lossatlas.lessons._lesson import Check, Ending, Lesson, Row, spent
from lossatlas.optimize import Optimizer, optimizer
from lossatlas.race import race
from lossatlas.surface import landscapes

CLAIM = (
    "On the deep wells gradient descent, RMSprop, Nesterov, Adam and AdamW all end in A, in one cluster; annealing and "
    "random restart reach the global well."
)
METHODS = ("gd", "rmsprop", "nesterov", "adam", "adamw")
RATES = torch.logspace(-2, -1, 15, dtype=torch.float64).tolist()
STEPS, ANNEALING_STEPS, RESTART_STEPS, RADIUS = 1000, 2000, 300, 0.25
# Runs of which the picture shows the typical one.
SHOWN = 25


def experiment(runs: int, seed: int) -> Iterator[Row]:
    """A range of rates for the deterministic methods, many seeds for the random ones."""
    yield (
        f"On the deep wells, from the start in the south-west, five gradient methods take {STEPS:,} steps at each of {len(RATES)} learning "
        f"rates from 0.01 to 0.1; annealing makes {ANNEALING_STEPS:,} proposals and five restarts {RESTART_STEPS} steps each, {runs:,} "
        "times."
    )
    surface = landscapes.deep_wells()
    meters = []
    ends: dict[str, Any] = {}
    trap = next(well.minimum for well in surface.wells if well.name == "A")
    for method in METHODS:
        sweep: dict[str, Optimizer] = {f"{method} {r:.4f}": optimizer(method, lr=r) for r in RATES}
        descents = race(surface, sweep, steps=STEPS, seed=seed)
        meters += list(descents.meter.values())
        ends |= {label: verdict.wells[0] for label, verdict in descents.verdicts.items()}
        wells = [ends[label] for label in sweep]
        far = max(float((descents.final(label)[0] - trap).norm()) for label in sweep)
        inside = sum(float((descents.final(label)[0] - trap).norm()) < RADIUS for label in sweep)
        yield Check(
            f"{next(iter(sweep.values())).title} ends in A at every rate, within {RADIUS} of its bottom",
            f"in A at {wells.count('A')} of {len(RATES)} rates, and within {RADIUS} at {inside}; the farthest end is {far:.2g} away",
            wells.count("A") == inside == len(RATES),
        )
    for label, steps in (("annealing", ANNEALING_STEPS), ("restart", RESTART_STEPS)):
        result = race(surface, [label], steps=steps, runs=runs, seed=seed)
        meters += list(result.meter.values())
        rate, (low, high) = result.rate(label, "global"), result.interval(label, "global")
        yield Check(
            f"{optimizer(label).title} reaches the global well (in more than half of the runs, interval)",
            f"in {rate:.1%} of them ({low:.1%} to {high:.1%})",
            low > 0.5,
        )
    shown = race(surface, [*METHODS, "annealing", "restart"], steps=RESTART_STEPS, runs=SHOWN, seed=seed)
    yield Ending(
        spent(*meters),
        caveats=("Annealing and restarts are judged by the best point that they evaluated.",),
        data={"ends": ends},
        pictures={"paths": shown.plot()},
    )


LESSON = Lesson(
    "C5",
    CLAIM,
    experiment,
    runs=1000,
    quick=100,
    depends="the learning rate: momentum that is fast enough would leave a shallower well; and on the temperature of annealing.",
)
