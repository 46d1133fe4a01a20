"""B2: what the search methods evaluate at each step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from lossatlas.lessons._lesson import Check, Ending, Lesson, Row, spent
from lossatlas.optimize import Optimizer, optimizer
from lossatlas.probe import Probe, Values
from lossatlas.race import field_under, race, steps
from lossatlas.surface import Surface, landscapes

CLAIM = (
    "Hill climbing evaluates its point's neighbors; annealing one random neighbor; a genetic algorithm its "
    "population; local beam search all successors of its k states; Bayesian optimization one new point, "
    "from all past observations."
)
STEPS = 15
# The generation whose points are drawn.
SHOWN = 4


def experiment(runs: int, seed: int) -> Iterator[Row]:
    """Count the values behind every answer, after the first."""
    yield f"Five methods take {STEPS} steps each on the four wells, and the points that each evaluates at a step are counted."
    surface = landscapes.four_wells()
    genetic, beam = optimizer("genetic"), optimizer("beam")
    racers = {"hill climbing": optimizer("hill-climbing", step=0.02), "annealing": optimizer("annealing")}
    racers |= {"genetic": genetic, "beam": beam, "bayes": optimizer("bayes")}
    result = race(surface, racers, steps=STEPS, seed=seed)
    population, elite = genetic.settings()["population"], genetic.settings()["elite"]
    beams, successors = beam.settings()["beams"], beam.settings()["successors"]
    expected = {
        "hill climbing": (2 * surface.dimension, "hill climbing evaluates the 2N neighbors of its point"),
        "annealing": (1, "annealing evaluates one random neighbor"),
        "genetic": (
            population - elite,
            f"a genetic algorithm evaluates its population of {population}, all but its elite of {elite}",
        ),
        "beam": (
            beams * successors,
            f"local beam search evaluates all {successors} successors of each of its {beams} states",
        ),
        "bayes": (1, "Bayesian optimization evaluates one new point"),
    }
    for label, (count, words) in expected.items():
        track = result.tracks[label]
        each = np.diff(track.queries[:STEPS])
        gradients = track.meter.gradients + track.meter.products
        found = f"{each.min()}" if each.min() == each.max() else f"{each.min()} to {each.max()}"
        yield Check(
            f"{words}: {count} values a step, and no gradient",
            f"{found} value{'s' * (found != '1')} a step and {gradients} gradients, after {int(track.queries[0])} at first",
            bool((each == count).all()) and gradients == 0,
        )
    past = result.tracks["bayes"].memory
    yield Check(
        "Bayesian optimization chooses that point from all past observations, which it keeps: what it holds grows",
        f"{past[0][1]:,.0f} bytes after {past[0][0]} queries, {past[-1][1]:,.0f} after {past[-1][0]}",
        past[-1][1] > past[0][1],
    )
    yield Ending(
        spent(*result.meter.values()),
        caveats=("The value of the point where a method stands is remembered, not evaluated again.",),
        pictures={"points": _picture(surface, racers, seed)},
    )


def _picture(surface: Surface, racers: dict[str, Optimizer], seed: int) -> Any:
    """The points that each method evaluates at one step, over the surface."""
    from lossatlas.draw import PathsDisplay

    probe, points = Probe(surface), {}
    for label, one in {**racers, "hill climbing": optimizer("hill-climbing")}.items():
        walk = steps(one, surface, steps=SHOWN + 1, seed=seed, label=label)
        for k, query in enumerate(walk):
            rows = query.points.reshape(-1, surface.dimension)
            if k == SHOWN:
                # An empty first piece: these are no starts.
                points[label] = [rows[:0].numpy(), *(row[None].numpy() for row in rows)]
            walk.tell(probe.evaluate(Values(torch.as_tensor(rows))).values)
    return PathsDisplay(
        field_under(surface, {}, 161),
        points,
        title=f"What each method evaluates at its step {SHOWN} on the four wells",
    )


LESSON = Lesson(
    "B2",
    CLAIM,
    experiment,
    depends="the settings of each method, which fix how many points a step takes; not on the surface.",
)
