"""A genetic algorithm on real vectors: selection, crossover, mutation, and an elite that is not evaluated again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from lossatlas._errors import InputError
from lossatlas._layout import Layout
from lossatlas.optimize._optimizer import Optimizer, Walk, known, scatter, within
from lossatlas.optimize._ranges import positive, probability, whole
from lossatlas.optimize._streams import Streams
from lossatlas.probe import At, Values


@final
@dataclass(frozen=True)
class Genetic(Optimizer):
    """Parents drawn in proportion to fitness, children blended coordinate by coordinate, some coordinates mutated.

    Fitness is the rank turned round, so that it does not depend on the loss's units: with P individuals the best has P
    tickets, the worst one (Baker 1985). A child's coordinate lies uniformly between its parents' (stretched by a
    quarter to both sides, BLX-0.25 of Eshelman & Schaffer 1993); each is mutated with probability `mutation` by a
    Gaussian of standard deviation `spread` times that of the population there, and never below `floor` of the box.

    Args:
        population: individuals P.
        elite: best of them that live on; their values are remembered.
        mutation: probability per coordinate.
        spread: of a mutation, relative to the population's own.
        floor: least mutation, as a share of the box's width (of one unit where there is no box).
    """

    population: int = 20
    elite: int = 2
    mutation: float = 0.3
    spread: float = 1.0
    floor: float = 1e-9

    name: ClassVar[str] = "genetic"
    title: ClassVar[str] = "genetic algorithm"
    queries: ClassVar[frozenset[type]] = frozenset({Values})
    evaluates: ClassVar[str] = "values of its population, all but the elite"
    remembers: ClassVar[str] = "its population and their values"
    source: ClassVar[str] = "Holland 1975; Russell & Norvig 2020, section 4.1.4"
    reference: ClassVar[str] = "holland1975"
    wanders: ClassVar[bool] = True

    def __post_init__(self) -> None:
        positive(self, "spread", "floor")
        probability(self, "mutation")
        whole(self, 2, "population")
        whole(self, 0, "elite")
        if self.elite >= self.population:
            raise InputError(
                f"genetic got population={self.population!r}, elite={self.elite!r}; expected an elite smaller than the "
                "population."
            )

    def walk(self, start: Tensor, layout: Layout, rng: Streams) -> Walk:
        """Breed generation after generation."""
        p, e, n = self.population, self.elite, start.shape[1]
        runs = torch.arange(len(start), device=start.device)
        people = scatter(start, p, layout, rng, 1.0)
        values = known((yield Values(people)).values)
        width = 1.0 if layout.box is None else (layout.box[:, 1] - layout.box[:, 0]).to(start)
        while True:
            order = values.argsort(dim=1, stable=True)
            people = people.gather(1, order[..., None].expand(-1, -1, n))
            values = values.gather(1, order)
            parents = [self._draw(rng, p - e) for _ in range(2)]
            mother, father = (people[runs[:, None], chosen.to(runs.device)] for chosen in parents)
            blend = 1.5 * rng.uniform(p - e, n).to(start) - 0.25
            children = mother + blend * (father - mother)
            own = people.amax(1, keepdim=True) - people.amin(1, keepdim=True)
            size = torch.maximum(self.spread * own / 4, torch.as_tensor(self.floor * width).to(start))
            mutated = rng.uniform(p - e, n).to(start) < self.mutation
            children = within(children + mutated * size * rng.normal(p - e, n).to(start), layout)
            found = known((yield Values(children, at=At(people[:, 0], values[:, 0]))).values)
            people, values = torch.cat([people[:, :e], children], 1), torch.cat([values[:, :e], found], 1)

    def _draw(self, rng: Streams, count: int) -> Tensor:
        """Places in the sorted population, the k-th with P − k tickets."""
        p = self.population
        tickets = torch.arange(p, 0, -1, dtype=torch.float64).cumsum(0) / (p * (p + 1) / 2)
        return torch.searchsorted(tickets, rng.uniform(count)).clamp_max(p - 1)
