"""H1: a fitness surface is a loss surface upside down, and a method that only compares points needs no more than their order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from lossatlas.lessons._lesson import Check, Ending, Lesson, Row, spent
from lossatlas.optimize import Optimizer, optimizer
from lossatlas.probe import Meter, Probe, Values
from lossatlas.race import Race, race
from lossatlas.surface import Function, Surface, landscapes

CLAIM = (
    "Fitness is minus loss: maximizing the fitness takes the same steps as minimizing the loss, and methods that only compare "
    "points take the same steps for every increasing function of the fitness."
)
# Few enough that no method has come so close to a minimum that its points differ by rounding alone.
STEPS, STEP = 40, 0.1
COMPARE = ("hill-climbing", "beam", "genetic", "de", "evolution", "cma")
MEASURE = ("annealing",)


def experiment(runs: int, seed: int) -> Iterator[Row]:
    """A climber of −L written out, beside the descent of L; then every method on L and on exp L."""
    yield (
        "On the four wells, a textbook climb of the fitness −L, written out for this lesson, runs beside our hill climbing on L. Then "
        f"{len(COMPARE) + len(MEASURE)} methods take {STEPS} steps on L and on exp L, {runs} times with the same random numbers: the "
        "second surface has the same order of points and other differences between them."
    )
    surface = landscapes.four_wells()
    assert surface.start is not None
    climbed, climber = _climb(surface, surface.start, STEP, STEPS)
    down = race(surface, [optimizer("hill-climbing", step=STEP)], steps=STEPS, seed=seed)
    path = torch.unique_consecutive(down.trajectories["hill-climbing"][0], dim=0)
    shared = min(len(path), len(climbed))
    yield Check(
        "climbing the fitness −L and descending the loss L are the same walk, point for point",
        f"{len(climbed)} points of the climb and {len(path)} of the descent, of which "
        f"{int((path[:shared] == climbed[:shared]).all(1).sum())} are the same",
        torch.equal(path, climbed),
    )
    other = Function(
        lambda points: surface.values(points).exp(),
        surface.box,
        batched=True,
        start=surface.start,
        name="exp of four-wells",
    )
    racers: dict[str, Optimizer] = {name: optimizer(name) for name in (*COMPARE, *MEASURE)}
    plain, bent = (race(one, racers, steps=STEPS, runs=runs, seed=seed) for one in (surface, other))
    agree = {name: _same(plain.trajectories[name], bent.trajectories[name]) for name in racers}
    for name in COMPARE:
        yield Check(
            f"{_subject(racers[name].title)} only compares points: it takes the same steps on L and on exp L",
            f"the same in {agree[name]} of {runs} runs",
            agree[name] == runs,
        )
    for name in MEASURE:
        yield Check(
            f"{_subject(racers[name].title)} does not: how much higher a point lies decides whether it goes there",
            f"other steps in {runs - agree[name]} of {runs} runs",
            agree[name] < runs,
        )
    yield Ending(
        spent(climber, *down.meter.values(), *plain.meter.values(), *bent.meter.values()),
        caveats=(
            "A genetic algorithm that draws parents in proportion to the fitness itself would take other steps; ours ranks them.",
        ),
        data={"agree": agree},
        pictures={"paths": _picture(plain, bent)},
    )


def _subject(title: str) -> str:
    """A method's title as the subject of a sentence."""
    return (
        f"a {title}" if title.endswith("algorithm") else title.replace("evolution strategies", "an evolution strategy")
    )


def _same(ones: Tensor, others: Tensor) -> int:
    """In how many runs two sets of walks (runs, T, N) are the same, bit for bit."""
    if ones.shape != others.shape:
        return 0
    return int((torch.eq(ones, others) | (ones.isnan() & others.isnan())).flatten(1).all(1).sum())


def _climb(surface: Surface, start: Tensor, step: float, steps: int) -> tuple[Tensor, Meter]:
    """Steepest ascent of the fitness −L over the neighbors one step away along an axis, until none is higher (T, N)."""
    probe = Probe(surface)
    assert surface.box is not None

    def fitness(points: Tensor) -> Tensor:
        return -probe.evaluate(Values(points)).values

    here, best = start, float(fitness(start[None]))
    path = [here]
    while len(path) <= steps:
        eye = torch.eye(len(here), dtype=here.dtype)
        neighbors = torch.cat([here + step * eye, here - step * eye])
        neighbors = torch.minimum(torch.maximum(neighbors, surface.box[:, 0]), surface.box[:, 1])
        heights = fitness(neighbors)
        if float(heights.max()) <= best:
            break
        best, here = float(heights.max()), neighbors[int(heights.argmax())]
        path.append(here)
    return torch.stack(path), probe.meter


def _picture(plain: Race, bent: Race) -> Any:
    from lossatlas.draw import PathsDisplay
    from lossatlas.race import field_under

    ones, others = (made.trajectories["annealing"] for made in (plain, bent))
    run = int((ones != others).flatten(1).sum(1).argmax())
    paths = {}
    for name in ("hill-climbing", "annealing"):
        for what, made in (("L", plain), ("exp L", bent)):
            paths[f"{name} on {what}"] = made.trajectories[name][run].numpy()
    return PathsDisplay(
        field_under(plain.surface, {}, 161),
        paths,
        title="On L and on exp L: hill climbing walks alike, annealing does not",
        note=f"Run {run}, with the same random numbers on both surfaces; all are drawn over L",
    )


LESSON = Lesson(
    "H1",
    CLAIM,
    experiment,
    runs=20,
    quick=5,
    depends="how a method uses values: whether it ranks them, or computes with their differences.",
)
