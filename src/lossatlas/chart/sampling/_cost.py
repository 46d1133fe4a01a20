"""What a chart costs: how many evaluations to expect, and what they, the splines and the fill take.

The model is additive: evaluations, the algebra of the splines in each round, predictions of nodes from one another, and
the fill of all cells. Its rates are measured by whoever uses it, on the machine and the outputs at hand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from lossatlas.chart.sampling._adaptive import CANDIDATES, GENEROUS, HELD, ROUND
from lossatlas.chart.sampling._dense import CHECKED, LATTICE
from lossatlas.chart.sampling._grid import Grid

# Seconds by part of the work beside evaluations, for so many of them.
Beside = Callable[[int], dict[str, float]]

# Nodes, held-out cells aside, that charts took in the mean at a tolerance of 2 %: planes of residual and plain networks,
# perceptrons and transformers between 25 and 245; lines between 5 and 20.
NODES = (0, 7, 64)
TOLERANCE, ORDER = 0.02, 3.0
# Exponents of splines that are compared in each round.
EXPONENTS = 2
# Values that a field of a formula is bisected at first, and the share of its cells that it took in the mean.
BISECTED, SHARE = {1: 9, 2: 81}, 0.15


@final
@dataclass(frozen=True)
class Rates:
    """Seconds.

    Attributes:
        evaluation: of one evaluation.
        algebra: of splines, for each cell that is looked at and each node.
        score: of the loss, for each cell and each element of the outputs.
        multiply: of interpolation, for each cell, node and element.
        gather: of what is done once for all cells, for each node and element.
    """

    evaluation: float
    algebra: float = 0.0
    score: float = 0.0
    multiply: float = 0.0
    gather: float = 0.0

    def fill(self, cells: int, nodes: int, elements: int) -> float:
        """Seconds for losses at cells from outputs of so many elements at nodes."""
        return elements * (cells * (self.score + nodes * self.multiply) + nodes * self.gather)


@final
@dataclass(frozen=True)
class Work:
    """What there is to do for a chart, once its number of evaluations is known.

    Attributes:
        evaluations: of the network.
        looks: nodes at each look of the sampler; empty where every cell is evaluated.
        candidates: cells that each look is at.
        cells: of the chart, which the last step fills.
        filled: cells that are filled from outputs; the others from those.
        elements: of the outputs of one node, over all examples; 0 where losses are interpolated.
    """

    evaluations: int
    looks: tuple[int, ...] = ()
    candidates: int = 0
    cells: int = 0
    filled: int = 0
    elements: int = 0

    def parts(self, rates: Rates) -> dict[str, float]:
        """Seconds by part."""
        found = {"evaluations": self.evaluations * rates.evaluation}
        if self.looks:
            last = self.looks[-1]
            found["nodes"] = sum(
                rates.algebra * self.candidates * n + EXPONENTS * rates.fill(n, n, self.elements) for n in self.looks
            )
            found["fill"] = (
                rates.algebra * self.cells * last
                + rates.fill(self.filled, last, self.elements)
                + rates.fill(last, last, self.elements)
            )
        return found


@final
@dataclass(frozen=True)
class Counts:
    """How many evaluations: expected, and the fewest and most there can be."""

    expected: int
    least: int
    most: int

    def without(self, known: int) -> Counts:
        """What is left where a ledger knows so many answers."""
        return Counts(*(max(0, count - known) for count in (self.expected, self.least, self.most)))


def exactly(count: int) -> Counts:
    """So many, and not one more or less."""
    return Counts(count, count, count)


def interpolated(grid: Grid, *, tolerance: float, held: int | None, room: int, first: int, whole: int) -> Counts:
    """Evaluations of a chart whose nodes are placed by error.

    Args:
        grid: the cells.
        tolerance: near the minimum. The error falls as n^-3 with n nodes.
        held: held-out cells of each stratum, or None for the sampler's own number.
        room: nodes that there is room for.
        first: nodes of the first round.
        whole: a chart of no more than this many times its evaluations is evaluated whole if it misses its tolerance.
    """
    out = 2 * (HELD[grid.dimension] if held is None else held)
    more = ROUND[grid.dimension]
    room = min(room, int(GENEROUS * grid.cells))
    wanted = NODES[grid.dimension] * (TOLERANCE / tolerance) ** (1 / ORDER)
    rounds = max(0, round((wanted - first) / more))
    expected = min(first + more * rounds, max(first, room - out)) + out
    most = max(first, room) + out
    fallback = grid.cells if grid.cells <= whole * most else 0
    return Counts(expected, min(first + out, expected), most + fallback)


def looks(evaluations: int, *, grid: Grid, held: int | None, first: int) -> tuple[int, ...]:
    """Nodes at each look of a sampler that ends with so many evaluations."""
    out = 2 * (HELD[grid.dimension] if held is None else held)
    return (*range(first, max(first, evaluations - out) + 1, ROUND[grid.dimension]), evaluations)


def work(evaluations: int, *, grid: Grid, held: int | None, first: int, elements: int, most: int) -> Work:
    """What a chart of so many evaluations does beside them.

    Args:
        evaluations: in all; those beyond ``most`` are of a full grid that takes the chart's place.
        grid: the cells.
        held: held-out cells of each stratum, or None for the sampler's own number.
        first: nodes of the first round.
        elements: of the outputs of one node; 0 where losses are interpolated.
        most: nodes and held-out cells at most.
    """
    candidates = min(grid.cells, CANDIDATES) if grid.dimension == 2 else grid.cells
    filled = min(grid.cells, LATTICE**2 + 2 * CHECKED) if grid.dimension == 2 else grid.cells
    seen = looks(min(evaluations, most), grid=grid, held=held, first=first)
    return Work(evaluations, seen, candidates, grid.cells, filled, elements)


def bisected(grid: Grid, probes: int) -> Counts:
    """Evaluations of the field of a formula, or of the full one where a subset resolves the shape."""
    first = BISECTED[grid.dimension]
    if first + probes > GENEROUS * grid.cells:
        return exactly(grid.cells)
    # Held-out cells that fall on one another, or on a node, are evaluated once.
    least, expected = first + probes // 2, max(first + probes, int(SHARE * grid.cells))
    return Counts(expected, least, int(1.5 * grid.cells))
