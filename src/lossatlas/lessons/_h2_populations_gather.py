"""H2: beams and populations look at several basins at once, generation after generation, and gather in one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import Tensor

from lossatlas.lessons._h1_fitness_is_minus_loss import _subject
from lossatlas.lessons._lesson import Check, Ending, Lesson, Row, spent
from lossatlas.lessons._statistics import interval, mean
from lossatlas.optimize import optimizer
from lossatlas.probe import Meter, Probe, Values
from lossatlas.race import basins, steps, wilson
from lossatlas.surface import Surface, landscapes

CLAIM = (
    "A population or a beam looks at several basins at once; from generation to generation it gathers in one of them, usually the "
    "deepest, where climbers on their own would stay in theirs."
)
# Fixed before the first run; "several" is more than two of the four, "one" fewer than one and a half on average.
GENERATIONS, SEVERAL, ONE = 40, 2.0, 1.5
DRAWN = (0, 2, 5, GENERATIONS)


def experiment(runs: int, seed: int) -> Iterator[Row]:
    """In how many basins the points of each generation lie, at first and at last, and in which."""
    rules = {"genetic": optimizer("genetic"), "beam": optimizer("beam", beams=10)}
    yield (
        f"On the deep wells a genetic algorithm of {rules['genetic'].settings()['population']} individuals and a local beam search of 10 "
        f"states live through {GENERATIONS} generations, {runs} times. Every point that a generation evaluates is traced to its basin by "
        "descent."
    )
    surface = landscapes.deep_wells()
    meters = []
    found: dict[str, list[Tensor]] = {}
    data = {}
    for name, rule in rules.items():
        found[name], meter = _generations(surface, name, runs, seed, DRAWN)
        meters.append(meter)
        first, last = (_basins(surface, points, meters) for points in (found[name][0], found[name][-1]))
        several, one = ([len(set(row)) for row in rows] for rows in (first, last))
        home = sum(max(set(row), key=row.count) == "global" for row in last)
        low, high = wilson(home, runs)
        data[name] = {"basins_at_first": several, "basins_at_last": one, "global": home}
        yield Check(
            f"{_subject(rule.title)} begins in several basins (more than {SEVERAL:g} of 4 on average, interval)",
            f"the first generation lies in {interval([float(n) for n in several], '.1f')} of them",
            mean(several)[1] > SEVERAL,
        )
        yield Check(
            f"{_subject(rule.title)} gathers: after {GENERATIONS} generations it lies in one (fewer than {ONE:g} on average, interval)",
            f"in {interval([float(n) for n in one], '.1f')}",
            mean(one)[2] < ONE,
        )
        yield Check(
            "it gathers in the deepest well (in more than half of the runs, interval)",
            f"in {home} of {runs} runs ({low:.0%} to {high:.0%})",
            low > 0.5,
        )
    yield Ending(
        spent(*meters),
        caveats=(
            "Where a point lies is where gradient descent would lead from there: climbers on their own, one from each point of the "
            "first generation, would end in as many wells as that generation has basins.",
            "Who gathers cannot look back: a population that has gathered in the wrong well stays there.",
        ),
        data=data,
        pictures={"generations": _picture(surface, found["genetic"])},
    )


def _generations(surface: Surface, name: str, runs: int, seed: int, at: tuple[int, ...]) -> tuple[list[Tensor], Meter]:
    """The points of some generations, (runs, individuals, N) each, and what all of them cost."""
    rule = optimizer("genetic") if name == "genetic" else optimizer("beam", beams=10)
    walk = steps(rule, surface, steps=max(at) + 1, runs=runs, seed=seed, label=name)
    probe, kept = Probe(surface), []
    for k, query in enumerate(walk):
        points = query.points.reshape(runs, -1, surface.dimension)
        if k in at:
            kept.append(points.clone())
        walk.tell(probe.evaluate(Values(points)).values)
    return kept, probe.meter


def _basins(surface: Surface, points: Tensor, meters: list[Meter]) -> list[list[str | None]]:
    """Basin by basin the names for points (runs, individuals, N)."""
    probe = Probe(surface)
    names, _ = basins(surface, points.reshape(-1, points.shape[-1]), probe)
    meters.append(probe.meter)
    each = points.shape[1]
    return [list(names[k : k + each]) for k in range(0, len(names), each)]


def _picture(surface: Surface, kept: list[Tensor]) -> Any:
    from lossatlas.draw import PathsDisplay
    from lossatlas.race import field_under

    # An empty first piece: these are no starts.
    points = {
        f"generation {number}": [np.empty((0, 2)), *(point[None].numpy() for point in people[0])]
        for number, people in zip(DRAWN, kept, strict=True)
    }
    return PathsDisplay(
        field_under(surface, {}, 161), points, title="A genetic algorithm on the deep wells, generation by generation",
        note="What the first run evaluated in each of these generations",
    )  # fmt: skip


LESSON = Lesson(
    "H2",
    CLAIM,
    experiment,
    runs=100,
    quick=20,
    depends="the size of the population and of its mutations: small steps gather sooner, and more often in the wrong well.",
)
