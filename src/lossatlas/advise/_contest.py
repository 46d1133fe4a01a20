"""The race that checks the advice inside its budget: heats for the short-list, the rest for the leader, nothing lost."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import final

import numpy as np
import torch
from torch import Tensor

from lossatlas import archive
from lossatlas.advise import _thresholds as at
from lossatlas.advise._portfolio import Candidate
from lossatlas.advise._purse import Purse
from lossatlas.advise._walker import Walker
from lossatlas.surface import Layout


@dataclass(frozen=True)
class Leg(archive.Result):
    """One stretch of the race.

    Attributes:
        racer: label.
        part: ``heat``, ``rest``, ``restart`` or ``finish``.
        begin: what had been spent when it began.
        end: and when it ended.
        before: lowest loss of all when it began.
        loss: lowest of this racer when it ended.
        ended: why it makes no more queries, or empty.
    """

    racer: str
    part: str
    begin: float
    end: float
    before: float
    loss: float
    ended: str


@final
@dataclass(eq=False)
class Contest:
    """A race of a short-list on one purse.

    Args:
        purse: pays for everything.
        layout: of the surface, with its box.
        entries: the short-list, the advised one first.
        starts: (k, N) the points of the probe, best first.
        seed: random seed.
        ready: walkers that have begun in the probe, by label.
    """

    purse: Purse
    layout: Layout
    entries: list[Candidate]
    starts: Tensor
    seed: int
    ready: dict[str, Walker] = field(default_factory=dict)
    legs: list[Leg] = field(default_factory=list)
    walkers: dict[str, Walker] = field(default_factory=dict)
    lowest: dict[str, float] = field(default_factory=dict)

    def run(self) -> None:
        """Heats, then the leader, restarts or the population, and a finish."""
        whole, n = self.purse.left, self.layout.dimension
        for one in self.entries:
            self.leg(one, "heat", self.purse.spent + (at.HEAT if one.descends else at.HEAT_POPULATION) * whole)
        self.starts = self.starts[1:]
        reserve = min(at.FINISH * n * (1 + any(one.label == "nelder-mead" for one in self.entries)), whole / 4)
        population = [one for one in self.entries if not one.descends]
        while self.purse.left >= 1:
            spent = self.purse.spent
            leader = min(self.entries, key=lambda one: self.lowest.get(one.label, inf))
            live = self.walkers[leader.label].query is not None
            if not live and leader.descends and population and self.purse.left > at.ROOM * n:
                leader = min(population, key=lambda one: self.lowest.get(one.label, inf))
            if leader.descends:
                self.leg(leader, "rest" if live else "restart", self.purse.budget, fresh=not live)
            else:
                self.leg(leader, "rest", self.purse.budget - reserve)
                self.finish(leader)
                break
            if self.purse.spent == spent:
                break
        self.finish(None)

    def finish(self, leader: Candidate | None) -> None:
        """Descend from the best point with what is left."""
        descents = [one for one in self.entries if one.descends]
        for one in descents:
            if self.purse.left < 1 or self.purse.best is None:
                return
            self.leg(one, "finish", self.purse.budget, fresh=True, start=self.purse.best)

    def leg(self, one: Candidate, part: str, most: float, *, fresh: bool = False, start: Tensor | None = None) -> None:
        """Let one racer go on, or begin again, until so much has been spent by all."""
        if fresh or one.label not in self.walkers:
            self.walkers[one.label] = self.begun(one, start)
        walker, begin, before = self.walkers[one.label], self.purse.spent, self.purse.loss
        walker.run(self.purse, most)
        self.lowest[one.label] = min(self.lowest.get(one.label, inf), walker.loss)
        self.legs.append(Leg(one.label, part, begin, self.purse.spent, before, walker.loss, walker.ended))

    def begun(self, one: Candidate, start: Tensor | None) -> Walker:
        """A racer at its start: the best point there is, the next of the probe, or one that is drawn."""
        if one.label in self.ready:
            return self.ready.pop(one.label)
        if start is None and not len(self.starts):
            start = self.drawn()
        if start is None:
            start = self.starts[0] if one.label not in self.lowest or one.descends else self.purse.best
            if one.label in self.lowest:
                self.starts = self.starts[1:]
        assert start is not None
        return Walker(one.label, one.optimizer, self.layout, start, self.seed + len(self.legs))

    def drawn(self) -> Tensor:
        """A point uniform in the box."""
        assert self.layout.box is not None
        box = self.layout.box.double()
        u = np.random.default_rng((self.seed, 2, len(self.legs))).random(len(box))
        return box[:, 0] + (box[:, 1] - box[:, 0]) * torch.from_numpy(u)
