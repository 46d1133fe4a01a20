"""C3: on the four wells descent is trapped, momentum escapes, annealing and restarts find the global well."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from lossatlas.lessons._lesson import Check, Ending, Lesson, Row, spent
from lossatlas.optimize import Optimizer, optimizer
from lossatlas.race import basins, race, wilson
from lossatlas.surface import landscapes

CLAIM = (
    "On the four wells plain gradient descent is trapped in A; momentum 0.92 escapes A and usually reaches the global "
    "well; annealing (T₀ = 4, cooling 0.992) usually settles there; five restarts almost always find it."
)
STEPS = 300
ANNEALING_STEPS = 2000
# Learning rates of the deterministic methods: stated, not searched. 25 in even ratios.
RATES = torch.logspace(-2, -1, 25, dtype=torch.float64).tolist()
# What the words mean, fixed before the first run: "usually" is more than half, "almost always" at least nine in ten.
USUALLY, ALMOST_ALWAYS = 0.5, 0.9
FRESH = 10_000
# Runs of which the picture shows the typical one.
SHOWN = 25


def experiment(runs: int, seed: int) -> Iterator[Row]:
    """Deterministic methods over an interval of rates; random ones over seeds; restarts against their prediction."""
    n = len(RATES)
    yield (
        f"On the four wells, from the start in the south-west, gradient descent and momentum take {STEPS} steps at each of {n} learning "
        f"rates from {RATES[0]:.3g} to {RATES[-1]:.3g}; annealing makes {ANNEALING_STEPS:,} proposals and five restarts {STEPS} steps "
        f"each, {runs:,} times."
    )
    surface = landscapes.four_wells()
    sweep: dict[str, Optimizer] = {}
    for rate in RATES:
        sweep[f"gd {rate:.4f}"] = optimizer("gd", lr=rate)
        sweep[f"momentum {rate:.4f}"] = optimizer("momentum", lr=rate, momentum=0.92)
    descents = race(surface, sweep, steps=STEPS, seed=seed)
    ends = {label: verdict.wells[0] for label, verdict in descents.verdicts.items()}
    plain = [well for label, well in ends.items() if label.startswith("gd")]
    heavy = [well for label, well in ends.items() if label.startswith("momentum")]
    trapped, escaped, reached = plain.count("A"), len(heavy) - heavy.count("A"), heavy.count("global")
    yield Check("plain gradient descent ends in A at every rate", f"at {trapped} of {n}", trapped == n)
    yield Check("momentum of 0.92 escapes A (at more than half of the rates)", f"at {escaped} of {n}", escaped > n / 2)
    yield Check("momentum usually reaches the global well (at more than half)", f"at {reached} of {n}", reached > n / 2)

    rule = optimizer("annealing", temperature=4.0, cooling=0.992)
    cooled = race(surface, [rule], steps=ANNEALING_STEPS, runs=runs, seed=seed)
    sa, sa_interval = cooled.rate("annealing", "global"), cooled.interval("annealing", "global")
    yield Check(
        "annealing usually settles in the global basin (in more than half of the runs, interval)",
        f"in {sa:.1%} of them ({sa_interval[0]:.1%} to {sa_interval[1]:.1%})",
        sa_interval[0] > USUALLY,
    )
    again = race(surface, [optimizer("restart", restarts=5)], steps=STEPS, runs=runs, seed=seed)
    rr, rr_interval = again.rate("restart", "global"), again.interval("restart", "global")
    yield Check(
        "five restarts almost always find the global well (in more than nine of ten runs, interval)",
        f"in {rr:.1%} of them ({rr_interval[0]:.1%} to {rr_interval[1]:.1%})",
        rr_interval[0] > ALMOST_ALWAYS,
    )

    assert surface.box is not None
    generator = torch.Generator().manual_seed(seed)
    low, high = surface.box[:, 0], surface.box[:, 1]
    fresh = FRESH * runs // LESSON.runs if runs < LESSON.runs else FRESH
    starts = low + (high - low) * torch.rand(fresh, 2, generator=generator, dtype=torch.float64)
    uniform = race(surface, ["gd"], start=starts, steps=STEPS, runs=fresh, seed=seed)
    # A descent counts for a restart when it has come below all other wells; some are still on their way along the ridge.
    second = sorted(well.value for well in surface.wells)[1]
    p = float((uniform.tracks["gd"].loss < second - 1e-6).double().mean())
    predicted = 1 - (1 - p) ** 4
    wide = wilson(round(rr * runs), runs, 0.999)
    yield Check(
        "restarts succeed as often as 1 − (1 − p)⁴ predicts, p being the success of one uniform start (99.9 % interval)",
        f"p = {p:.1%} of {fresh:,} starts predicts {predicted:.1%}, and {rr:.1%} was measured ({wide[0]:.1%} to {wide[1]:.1%})",
        wide[0] <= predicted <= wide[1],
    )
    shown = {"gd": "gd", "momentum": optimizer("momentum", momentum=0.92), "annealing": rule, "restart": "restart"}
    yield Ending(
        spent(*descents.meter.values(), *cooled.meter.values(), *again.meter.values(), *uniform.meter.values()),
        caveats=(
            "The note names the places of the wells, not their widths or the ridge: these constants are ours, chosen once.",
            "Annealing and restarts are judged by the best point that they evaluated.",
        ),
        data={
            "ends": ends,
            "uniform_share": p,
            "uniform_basin": uniform.rate("gd", "global"),
            # Of the current points, not only the best ones.
            "annealing_last": basins(surface, cooled.last("annealing"))[0].count("global") / runs,
        },
        pictures={"paths": race(surface, shown, steps=STEPS, runs=SHOWN, seed=seed).plot()},
    )


LESSON = Lesson(
    "C3",
    CLAIM,
    experiment,
    runs=1000,
    quick=200,
    depends="the widths and depths of the wells, which the note leaves open, and on the learning rate for momentum.",
)
