"""C3: on the four wells descent is trapped, momentum escapes, annealing and restarts find the global well."""

from __future__ import annotations

import torch

from lossatlas.lessons._lesson import Check, Lesson, Part, spent
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


def experiment(runs: int, seed: int) -> Part:
    """Deterministic methods over an interval of rates; random ones over seeds; restarts against their prediction."""
    surface = landscapes.four_wells()
    sweep: dict[str, Optimizer] = {}
    for rate in RATES:
        sweep[f"gd {rate:.4f}"] = optimizer("gd", lr=rate)
        sweep[f"momentum {rate:.4f}"] = optimizer("momentum", lr=rate, momentum=0.92)
    descents = race(surface, sweep, steps=STEPS, seed=seed)
    ends = {label: verdict.wells[0] for label, verdict in descents.verdicts.items()}
    plain = [well for label, well in ends.items() if label.startswith("gd")]
    heavy = [well for label, well in ends.items() if label.startswith("momentum")]

    cooled = race(
        surface, [optimizer("annealing", temperature=4.0, cooling=0.992)], steps=ANNEALING_STEPS, runs=runs, seed=seed
    )
    again = race(surface, [optimizer("restart", restarts=5)], steps=STEPS, runs=runs, seed=seed)

    assert surface.box is not None
    generator = torch.Generator().manual_seed(seed)
    low, high = surface.box[:, 0], surface.box[:, 1]
    starts = low + (high - low) * torch.rand(FRESH, 2, generator=generator, dtype=torch.float64)
    uniform = race(surface, ["gd"], start=starts, steps=STEPS, runs=FRESH, seed=seed)
    # A descent counts for a restart when it has come below all other wells; some are still on their way along the ridge.
    second = sorted(well.value for well in surface.wells)[1]
    p = float((uniform.tracks["gd"].loss < second - 1e-6).double().mean())
    predicted = 1 - (1 - p) ** 4

    trapped, escaped, reached = plain.count("A"), len(heavy) - heavy.count("A"), heavy.count("global")
    sa, sa_interval = cooled.rate("annealing", "global"), cooled.interval("annealing", "global")
    rr, rr_interval = again.rate("restart", "global"), again.interval("restart", "global")
    wide = wilson(round(rr * runs), runs, 0.999)
    n = len(RATES)
    between = f"rates {RATES[0]:.3g} to {RATES[-1]:.3g}"
    checks = (
        Check("plain gradient descent ends in A at every rate", f"{trapped} of {n} {between}", trapped == n),
        Check(
            "momentum 0.92 escapes A (at more than half of the rates)", f"{escaped} of {n} {between}", escaped > n / 2
        ),
        Check(
            "momentum usually reaches the global well (more than half)", f"{reached} of {n} {between}", reached > n / 2
        ),
        Check(
            "annealing usually settles in the global basin (interval above one half)",
            f"{sa:.1%}, 95 % interval {sa_interval[0]:.1%} to {sa_interval[1]:.1%}",
            sa_interval[0] > USUALLY,
        ),
        Check(
            "five restarts almost always find it (interval above nine in ten)",
            f"{rr:.1%}, 95 % interval {rr_interval[0]:.1%} to {rr_interval[1]:.1%}",
            rr_interval[0] > ALMOST_ALWAYS,
        ),
        Check(
            "restarts succeed as 1 − (1 − p)⁴ predicts (inside the 99.9 % interval)",
            f"p = {p:.1%} of {FRESH:,} uniform starts came below all other wells, predicted {predicted:.1%}, measured {rr:.1%} "
            f"({wide[0]:.1%} to {wide[1]:.1%})",
            wide[0] <= predicted <= wide[1],
        ),
    )
    return Part(
        f"Start {surface.start.tolist() if surface.start is not None else None}; gradient descent and momentum: {STEPS} steps, "
        f"{n} rates in even ratios; annealing: {ANNEALING_STEPS:,} proposals; restarts: 5 × {STEPS} steps at the default rate.",
        checks,
        spent(*descents.meter.values(), *cooled.meter.values(), *again.meter.values(), *uniform.meter.values()),
        caveats=(
            "the note names the places of the wells, not their widths or the ridge: these constants are ours, chosen once",
            "annealing and restarts are judged by the best point they evaluated",
        ),
        data={
            "ends": ends,
            "uniform_share": p,
            "uniform_basin": uniform.rate("gd", "global"),
            # Of the current points, not only the best ones.
            "annealing_last": basins(surface, cooled.last("annealing"))[0].count("global") / runs,
        },
    )


LESSON = Lesson("C3", CLAIM, experiment, runs=1000)
