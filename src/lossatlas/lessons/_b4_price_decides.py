"""B4: many cheap steps or few informed ones; the price of an evaluation decides."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from lossatlas.lessons._lesson import Check, Ending, Lesson, Row, spent
from lossatlas.optimize import optimizer, strokes_of
from lossatlas.probe import Exchange
from lossatlas.race import race
from lossatlas.surface import landscapes

CLAIM = (
    "Gradient descent makes many cheap steps, Bayesian optimization few informed ones: which to choose is decided by the "
    "price of an evaluation."
)
STEPS, FEW = 300, 40


def experiment(runs: int, seed: int) -> Iterator[Row]:
    """Expected queries to a point deeper than all other wells, and the seconds that thinking takes between them."""
    yield (
        f"On the four wells both look for a point deeper than every well but the global one: descents of {STEPS} steps that restart, "
        f"{20 * runs} runs, and Bayesian optimization of {FEW} points, {runs} runs. Queries to the target count failed runs too; the "
        "seconds that each method thinks between two queries are measured."
    )
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
    yield Check(
        "Bayesian optimization needs fewer queries (a gradient counted as what it is worth in values)",
        f"{bo:,.0f} values, against {gd:,.0f} gradients worth {gd * gradient:,.0f} values",
        bo < gd * gradient,
    )
    yield Check(
        "gradient descent with restarts thinks less between two queries",
        f"{thinking['gd'] * 1e6:,.0f} µs, against {thinking['bo'] * 1e3:,.0f} ms",
        thinking["gd"] < thinking["bo"],
    )
    yield Check(
        "so there is a price of an evaluation at which the choice turns",
        f"cheaper than {crossing * 1e6:,.0f} µs a value, descents are done first; dearer, Bayesian optimization is",
        0 < crossing < math.inf,
    )
    yield Ending(
        spent(descents.meter["restart"], informed.meter["bayes"]),
        caveats=(
            "Descents of many runs think in one batch, which flatters them; seconds are those of this machine.",
            "This is with two parameters: in many more dimensions Gaussian processes lose their advantage.",
        ),
        data={"ert": {"restart": gd, "bayes": bo}, "seconds_between_queries": thinking},
        pictures={"price": _picture(gd, bo, gradient, thinking, crossing)},
    )


def _picture(gd: float, bo: float, gradient: float, thinking: dict[str, float], crossing: float) -> Any:
    from lossatlas.draw import CurvesDisplay

    price = np.logspace(-6, 1, 71)
    curves = {
        "gradient descent with restarts": (price, gd * (gradient * price + thinking["gd"])),
        "Bayesian optimization": (price, bo * (price + thinking["bo"])),
    }
    turns = f"the choice turns at {crossing:.2g} s" if 0 < crossing < math.inf else "the choice does not turn"
    return CurvesDisplay(
        curves,
        xlabel="seconds that one evaluation takes",
        ylabel="expected seconds to the target",
        xscale="log",
        yscale="log",
        title="Many cheap steps or few informed ones: the price of an evaluation decides",
        note=f"From measured queries and thinking times on the four wells: {turns} per evaluation",
        looks=strokes_of(dict(zip(curves, map(optimizer, ("restart", "bayes")), strict=True))),
    )


LESSON = Lesson(
    "B4",
    CLAIM,
    experiment,
    runs=10,
    quick=2,
    depends="the number of parameters, the machine, and how fast the price of thinking grows with what was observed.",
)
