"""B2: what the search methods evaluate at each step."""

from __future__ import annotations

import numpy as np

from lossatlas.lessons._lesson import Check, Lesson, Part, spent
from lossatlas.optimize import optimizer
from lossatlas.race import race
from lossatlas.surface import landscapes

CLAIM = (
    "Hill climbing evaluates its point's neighbors; annealing one random neighbor; a genetic algorithm its "
    "population; local beam search all successors of its k states; Bayesian optimization one new point, "
    "from all past observations."
)
STEPS = 15


def experiment(runs: int, seed: int) -> Part:
    """Count the values behind every answer, after the first."""
    surface = landscapes.four_wells()
    genetic, beam = optimizer("genetic"), optimizer("beam")
    racers = {"hill climbing": optimizer("hill-climbing", step=0.02), "annealing": "annealing", "genetic": genetic}
    racers |= {"beam": beam, "bayes": "bayes"}
    result = race(surface, racers, steps=STEPS, seed=seed)
    expected = {
        "hill climbing": (2 * surface.dimension, "its 2N neighbors; the value of its own point is remembered"),
        "annealing": (1, "one random neighbor; the value of its own point is remembered"),
        "genetic": (genetic.settings()["population"] - genetic.settings()["elite"], "its population but the elite"),
        "beam": (beam.settings()["beams"] * beam.settings()["successors"], "all successors of all states, pooled"),
        "bayes": (1, "one new point"),
    }
    checks = []
    for label, (count, words) in expected.items():
        track = result.tracks[label]
        each = np.diff(track.queries[:STEPS])
        checks.append(
            Check(
                f"{label}: {words} ({count} values a step)",
                f"{each.min()} to {each.max()} values a step, first {int(track.queries[0])}, no gradients: "
                f"{track.meter.gradients == 0}",
                bool((each == count).all()) and track.meter.gradients == track.meter.products == 0,
            )
        )
    past = result.tracks["bayes"].memory
    checks.append(
        Check(
            "bayes: from all past observations (what it holds grows)",
            f"{past[0][1]:,.0f} bytes after {past[0][0]} queries, {past[-1][1]:,.0f} after {past[-1][0]}",
            past[-1][1] > past[0][1],
        )
    )
    return Part(f"{STEPS} answers each on the four wells.", tuple(checks), spent(*result.meter.values()))


LESSON = Lesson("B2", CLAIM, experiment)
