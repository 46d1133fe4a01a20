"""B4: many cheap steps or few informed ones; the price of an evaluation decides."""

from __future__ import annotations

import math

from lossatlas.lessons._lesson import Check, Lesson, Part, spent
from lossatlas.optimize import optimizer
from lossatlas.probe import Exchange
from lossatlas.race import race
from lossatlas.surface import landscapes

CLAIM = (
    "Gradient descent makes many cheap steps, Bayesian optimization few informed ones: which to choose is decided by the "
    "price of an evaluation."
)
STEPS, FEW = 300, 40


def experiment(runs: int, seed: int) -> Part:
    """Expected queries to a point deeper than all other wells, and the seconds that thinking takes between them."""
    surface = landscapes.four_wells()
    target = sorted(well.value for well in surface.wells)[1] - 1e-9
    descents = race(surface, [optimizer("restart", restarts=10)], steps=STEPS, runs=20 * runs, seed=seed)
    informed = race(surface, ["bayes"], steps=FEW, runs=runs, seed=seed)
    gradient = Exchange().gradient
    gd, bo = descents.ert("restart", target), informed.ert("bayes", target)
    thinking = {
        label: meter.algorithm_seconds / meter.queries
        for label, meter in (("gd", descents.meter["restart"]), ("bo", informed.meter["bayes"]))
    }
    # Seconds to the target at p seconds per value: queries × (worth in values × p + thinking).
    slope = gd * gradient - bo
    crossing = (bo * thinking["bo"] - gd * thinking["gd"]) / slope if math.isfinite(gd + bo) and slope > 0 else math.inf
    checks = (
        Check(
            "Bayesian optimization needs fewer queries (in units of values)",
            f"{bo:,.1f} values against {gd:,.0f} gradients worth {gd * gradient:,.0f} values",
            bo < gd * gradient,
        ),
        Check(
            "gradient descent with restarts thinks less between two queries",
            f"{thinking['gd'] * 1e6:,.1f} µs against {thinking['bo'] * 1e3:,.1f} ms",
            thinking["gd"] < thinking["bo"],
        ),
        Check(
            "so there is a price per value at which the choice turns",
            f"below {crossing * 1e6:,.0f} µs per value descents are done first, above it Bayesian optimization",
            0 < crossing < math.inf,
        ),
    )
    return Part(
        f"Target: deeper than every well but the global one ({target:.4g}). Restarted descents of {STEPS} steps, "
        f"{20 * runs} runs; Bayesian optimization of {FEW} points, {runs} runs. Expected running time counts failures.",
        checks,
        spent(descents.meter["restart"], informed.meter["bayes"]),
        caveats=(
            "descents of many runs think in one batch, which flatters them; seconds are those of this machine",
            "two parameters: in many more dimensions Gaussian processes lose their advantage",
        ),
        data={"ert": {"restart": gd, "bayes": bo}, "seconds_between_queries": thinking},
    )


LESSON = Lesson("B4", CLAIM, experiment, runs=10)
