"""Differential evolution: the difference of two members moves a third."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from lossatlas import _checks
from lossatlas._errors import InputError, NotApplicableError
from lossatlas._layout import Layout
from lossatlas.optimize._optimizer import Optimizer, Walk, known
from lossatlas.optimize._ranges import not_negative, probability, whole
from lossatlas.optimize._streams import Streams
from lossatlas.probe import At, Values


@final
@dataclass(frozen=True)
class DifferentialEvolution(Optimizer):
    """best/1/bin: v = x_best + F (x_r1 − x_r2), crossed with its target coordinate by coordinate, kept if not worse.

    F is drawn anew for each generation from `dither`. The first population is a Latin hypercube in the box, with the
    start as one member. A coordinate that leaves the box is drawn anew. A population whose values no longer differ
    (by less than `collapsed` relative to their size) begins again from a new hypercube.

    Args:
        population: members per dimension (15 N in all, and at least 5).
        dither: lowest and highest F.
        crossover: probability that a coordinate comes from the mutant.
        collapsed: relative spread of values below which it begins again; 0 never does.
    """

    population: int = 15
    dither: tuple[float, float] = (0.5, 1.0)
    crossover: float = 0.7
    collapsed: float = 1e-12

    name: ClassVar[str] = "de"
    title: ClassVar[str] = "differential evolution"
    queries: ClassVar[frozenset[type]] = frozenset({Values})
    evaluates: ClassVar[str] = "values of one trial per member"
    remembers: ClassVar[str] = "its population and their values"
    source: ClassVar[str] = "Storn & Price 1997"
    reference: ClassVar[str] = "storn1997"
    wanders: ClassVar[bool] = True

    def __post_init__(self) -> None:
        whole(self, 1, "population")
        probability(self, "crossover")
        not_negative(self, "collapsed")
        pair = tuple(self.dither) if isinstance(self.dither, tuple | list) else (self.dither,)
        pair = tuple(_checks.number("dither", factor, above=0, where=self.name) for factor in pair)
        if len(pair) != 2 or not pair[0] <= pair[1] <= 2:
            raise InputError(f"de got dither={self.dither!r}; expected lowest and highest F, 0 < low ≤ high ≤ 2.")
        object.__setattr__(self, "dither", pair)

    def walk(self, start: Tensor, layout: Layout, rng: Streams) -> Walk:
        """Move every member by the difference of two others from the best."""
        if layout.box is None:
            raise NotApplicableError(
                "it needs a box for its population, and this surface has none. Give the surface a box."
            )
        low, width = layout.box[:, 0].to(start), (layout.box[:, 1] - layout.box[:, 0]).to(start)
        n = start.shape[1]
        size = max(5, self.population * n)
        runs = torch.arange(len(start), device=start.device)
        people = low + width * self._hypercube(rng, size, n).to(start)
        people = torch.cat([start[:, None], people[:, 1:]], 1)
        values = known((yield Values(people)).values)
        while True:
            best = values.argmin(1)
            leader, height = people[runs, best], values[runs, best]
            # Two others, different from each other and from the target: ranks of random keys, the target's last.
            keys = rng.uniform(size, size).to(start.device)
            keys = torch.where(torch.eye(size, dtype=torch.bool, device=keys.device), 2.0, keys)
            one, two = keys.argsort(dim=2)[:, :, :2].unbind(2)
            factor = self.dither[0] + (self.dither[1] - self.dither[0]) * rng.uniform(1, 1).to(start)
            mutant = leader[:, None] + factor * (people[runs[:, None], one] - people[runs[:, None], two])
            forced = (rng.uniform(size, 1) * n).long().clamp_max(n - 1).to(start.device)
            cross = rng.uniform(size, n).to(start.device) < self.crossover
            cross = cross | (torch.arange(n, device=start.device) == forced)
            trial = torch.where(cross, mutant, people)
            again = low + width * rng.uniform(size, n).to(start)
            trial = torch.where((trial < low) | (trial > low + width), again, trial)
            fresh = low + width * self._hypercube(rng, size, n).to(start)
            spent = self._spent(values)
            trial = torch.where(spent[:, None, None], fresh, trial)
            found = known((yield Values(trial, at=At(leader, height))).values)
            better = (found <= values) | spent[:, None]
            people = torch.where(better[..., None], trial, people)
            values = torch.where(better, found, values)

    def _spent(self, values: Tensor) -> Tensor:
        high, low = values.amax(1), values.amin(1)
        return (high - low) <= self.collapsed * torch.maximum(high.abs(), low.abs())

    def _hypercube(self, rng: Streams, size: int, n: int) -> Tensor:
        """Each coordinate's `size` equal slices hold one member each."""
        slices = rng.uniform(n, size).argsort(dim=2).transpose(1, 2)
        return (slices + rng.uniform(size, n)) / size
