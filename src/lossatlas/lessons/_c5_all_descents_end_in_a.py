"""C5: on the deep wells every gradient method ends in A; annealing and restarts reach the global well."""

from __future__ import annotations

import torch

from lossatlas.lessons._lesson import Check, Lesson, Part, spent
from lossatlas.optimize import Optimizer, optimizer
from lossatlas.race import race
from lossatlas.surface import landscapes

CLAIM = (
    "On the deep wells gradient descent, RMSprop, Nesterov, Adam and AdamW all end in A, in one cluster; annealing and "
    "random restart reach the global well."
)
METHODS = ("gd", "rmsprop", "nesterov", "adam", "adamw")
RATES = torch.logspace(-2, -1, 15, dtype=torch.float64).tolist()
STEPS, ANNEALING_STEPS, RADIUS = 1000, 2000, 0.25


def experiment(runs: int, seed: int) -> Part:
    """A range of rates for the deterministic methods, many seeds for the random ones."""
    surface = landscapes.deep_wells()
    sweep: dict[str, Optimizer] = {f"{m} {r:.4f}": optimizer(m, lr=r) for m in METHODS for r in RATES}
    descents = race(surface, sweep, steps=STEPS, seed=seed)
    trap = next(well.minimum for well in surface.wells if well.name == "A")
    checks = []
    for method in METHODS:
        labels = [label for label in sweep if label.startswith(f"{method} ")]
        wells = [descents.verdicts[label].wells[0] for label in labels]
        far = max(float((descents.final(label)[0] - trap).norm()) for label in labels)
        inside = sum(float((descents.final(label)[0] - trap).norm()) < RADIUS for label in labels)
        checks.append(
            Check(
                f"{method} ends in A, within {RADIUS} of its minimum, at every rate",
                f"{wells.count('A')} of {len(RATES)} in A, {inside} within the radius; the farthest {far:.3g} away",
                wells.count("A") == inside == len(RATES),
            )
        )
    cooled = race(surface, ["annealing"], steps=ANNEALING_STEPS, runs=runs, seed=seed)
    again = race(surface, ["restart"], steps=300, runs=runs, seed=seed)
    for label, result in (("annealing", cooled), ("restart", again)):
        rate, (low, high) = result.rate(label, "global"), result.interval(label, "global")
        checks.append(
            Check(
                f"{label} reaches the global well (interval above one half)",
                f"{rate:.1%}, 95 % interval {low:.1%} to {high:.1%}",
                low > 0.5,
            )
        )
    return Part(
        f"{len(RATES)} rates from 0.01 to 0.1 in even ratios, {STEPS:,} steps; annealing at its defaults, "
        f"{ANNEALING_STEPS:,} proposals; five restarts of 300 steps.",
        tuple(checks),
        spent(*descents.meter.values(), *cooled.meter.values(), *again.meter.values()),
        caveats=("annealing and restarts are judged by the best point they evaluated",),
        data={"ends": {label: verdict.wells[0] for label, verdict in descents.verdicts.items()}},
    )


LESSON = Lesson("C5", CLAIM, experiment, runs=1000)
