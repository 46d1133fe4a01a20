"""How fast this machine is at what a chart takes beside evaluations: timed on a small part of the outputs at hand."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from lossatlas.chart.sampling._adaptive import OutputSampler
from lossatlas.chart.sampling._cost import Beside, Counts, Rates, interpolated, work
from lossatlas.chart.sampling._fill import Filler
from lossatlas.chart.sampling._grid import Grid
from lossatlas.chart.sampling._outputs import Fused, Losses, Scored, Scorer

Clock = Callable[[], float]

# Cells and nodes of three fills, whose times give three rates; cells where the loss is the user's own code.
TIMED = ((64, 25), (256, 25), (256, 100))
FEW = (2, 8)
# Examples whose outputs are timed, and repetitions, of which the median counts.
EXAMPLES, REPEATED = 256, 3
# Rounds of a sampler on a made-up field; the last one is timed.
ROUNDS = 3


@final
@dataclass(frozen=True, eq=False)
class _Part:
    """A scorer of the first batch alone, or of its first examples where one formula serves all."""

    shapes: Sequence[tuple[int, ...]]
    examples: int
    fused: Fused | None
    targets: list[Tensor]
    accurate: bool
    dtype: torch.dtype
    whole: Any

    @classmethod
    def of(cls, scorer: Scorer) -> _Part:
        rows, *rest = scorer.shapes[0]
        if scorer.fused is not None:
            rows = min(rows, EXAMPLES)
        targets = [one[:rows] for one in scorer.targets[:1]]
        return cls([(rows, *rest)], rows, scorer.fused, targets, scorer.accurate, scorer.dtype, scorer)

    @property
    def elements(self) -> int:
        return math.prod(self.shapes[0])

    def score(self, batch: int, outputs: Tensor) -> Scored:
        found: Scored = self.whole.score(batch, outputs)
        return found


def fill_rates(
    scorer: Scorer, outputs: Tensor, *, repeats: int = REPEATED, clock: Clock = time.perf_counter
) -> tuple[float, float, float]:
    """Seconds of the fill, as `Rates` has them: score, multiply, gather.

    Args:
        scorer: the loss.
        outputs: of the first batch at a few points (P, n, …).
        repeats: of each timing.
        clock: in seconds.
    """
    part = _Part.of(scorer)
    like: Any = part
    filler = Filler(like)
    usual = part.fused is not None
    given = outputs[:, : part.shapes[0][0]]
    plan = TIMED if usual else tuple((min(cells, FEW[k > 0]), nodes) for k, (cells, nodes) in enumerate(TIMED))
    rng = np.random.default_rng(0)
    seconds = []
    for cells, nodes in plan:
        held = filler.prepare([given[torch.arange(nodes) % len(given)]])
        # Rows that add up to one, as those of a spline do: the numbers stay in their range.
        weights = rng.dirichlet(np.ones(nodes), cells)
        times = []
        for _ in range(repeats):
            begin = clock()
            filler.losses(weights, held)
            times.append(clock() - begin)
        seconds.append(median(times) / part.elements)
    return solve(plan, seconds)


def solve(plan: Sequence[tuple[int, int]], seconds: Sequence[float]) -> tuple[float, float, float]:
    """Rates s, g, h of t = m (s + n g) + n h, none below zero, from three times t at (m, n): two m, then another n."""
    (few, small), (many, _), (last, large) = plan
    each = max(0.0, (seconds[1] - seconds[0]) / (many - few))
    gather = max(0.0, (seconds[0] - few * each) / small)
    wide = max(0.0, (seconds[2] - large * gather) / last)
    multiply = max(0.0, (wide - each) / (large - small))
    return max(0.0, each - small * multiply), multiply, gather


def algebra_rate(grid: Grid, *, held: int | None, rounds: int = ROUNDS, clock: Clock = time.perf_counter) -> float:
    """Seconds of a sampler's round beside outputs, for each candidate and node, on a made-up field."""
    scorer: Any = Losses(0.0, 1.0)
    sampler = OutputSampler(grid, scorer, tolerance=1e-9, held=held)
    walk = sampler.walk()
    coords, seconds = next(walk), 0.0
    try:
        for _ in range(rounds):
            places = sampler.units(coords)
            losses = torch.from_numpy(1 + (places**2).sum(1) + 0.3 * np.sin(5 * places).prod(1))
            begin = clock()
            coords = walk.send(scorer.outputs(losses, {}))
            seconds = clock() - begin
            nodes = sampler.store.count
    except StopIteration:
        return 0.0
    return seconds / (len(sampler.cells) * nodes)


def live(
    evaluation: float, look: float, sampler: OutputSampler, outputs: Tensor | None, *, clock: Clock = time.perf_counter
) -> Rates:
    """The rates of a chart that is being made, from its first round.

    Args:
        evaluation: seconds of one evaluation.
        look: seconds of the first look.
        sampler: after that look.
        outputs: of the first batch at a few points, or None where losses are interpolated.
        clock: in seconds.
    """
    score = multiply = gather = 0.0
    elements = elements_of(sampler.scorer) if outputs is not None else 0
    if outputs is not None:
        score, multiply, gather = fill_rates(sampler.scorer, outputs, repeats=1, clock=clock)
    nodes = sampler.store.count
    rates = Rates(evaluation, 0.0, score, multiply, gather)
    beside = 2 * rates.fill(nodes, nodes, elements)
    return Rates(evaluation, max(0.0, look - beside) / (len(sampler.cells) * nodes), score, multiply, gather)


def foreseen(
    grid: Grid, sampler: OutputSampler, rates: Rates, tolerance: float, *, whole: int
) -> tuple[Counts, Beside]:
    """How many evaluations a sampler will take, and seconds by part beside them for so many.

    Args:
        grid: the cells.
        sampler: at any time of its life.
        rates: of this machine.
        tolerance: near the minimum.
        whole: as `interpolated` has it.
    """
    first, held, room = len(sampler.first()), sampler.held, sampler.room
    counts = interpolated(grid, tolerance=tolerance, held=held, room=room, first=first, whole=whole)
    elements = 0 if isinstance(sampler.scorer, Losses) else elements_of(sampler.scorer)
    most = max(first, room) + 2 * held

    def beside(evaluations: int) -> dict[str, float]:
        done = work(evaluations, grid=grid, held=held, first=first, elements=elements, most=most)
        return {name: seconds for name, seconds in done.parts(rates).items() if name != "evaluations"}

    return counts, beside


def elements_of(scorer: Scorer) -> int:
    """Numbers in the outputs of one node."""
    return sum(math.prod(shape) for shape in scorer.shapes)
