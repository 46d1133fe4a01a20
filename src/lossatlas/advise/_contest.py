"""The race that checks the advice inside its budget: heats for the short-list, the rest for the leader, nothing lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from typing import final

import numpy as np
import torch
from torch import Tensor

from lossatlas import archive
from lossatlas.advise import _thresholds as at
from lossatlas.advise._portfolio import Candidate, candidate
from lossatlas.advise._purse import Purse
from lossatlas.advise._walker import Walker
from lossatlas.surface import Layout

# What goes down at the end where the short-list has nothing that does.
FINISHER = "nelder-mead"


@dataclass(frozen=True)
class Leg(archive.Result):
    """One stretch of the race.

    Attributes:
        racer: label.
        part: ``heat``, ``rest``, ``restart``, ``population`` or ``finish``;
            of rates also ``between``, ``finer`` and ``other mini-batches``.
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
    """A race of a short-list on one purse, as a relay: nothing that one racer has found is lost to the next.

    Descents and surrogates go first, each for its share and from the best point so far, so that a later one has to improve on the
    earlier. Then a population moves on what is left, but for a finish, in which descents go down from the best point; where there
    is no room for a population, the leading descent begins again at the next point of the probe. Where the tree advises a
    population, it goes first.

    Args:
        purse: pays for everything.
        layout: of the surface, with its box.
        shortlist: the advised one first; at most one population, where there is room for it.
        hedge: label of the single best for such a budget.
        starts: (k, N) the points of the probe, best first.
        seed: random seed.
        valley: whether the surface is known to be one large valley.
        decided: whether the tree could tell at every question: only then may a population go first.
        ready: racers that have begun in the probe, by label.

    Attributes:
        legs: what was raced.
    """

    purse: Purse
    layout: Layout
    shortlist: list[Candidate]
    hedge: str
    starts: Tensor
    seed: int
    valley: bool = False
    decided: bool = False
    ready: dict[str, Walker] = field(default_factory=dict)
    legs: list[Leg] = field(default_factory=list)

    def run(self) -> None:
        """The relay."""
        whole, n = self.purse.left, self.layout.dimension
        population = next((one for one in self.shortlist if one.kind == "population"), None)
        others = [one for one in self.shortlist if one.kind != "population"]
        descents = [one for one in others if one.kind == "descent"]
        walkers: dict[str, Walker] = {}
        if others and (population is None or self.shortlist[0].kind != "population" or not self.decided):
            for one in others:
                walkers[one.label] = self._begin(one, self.purse.best)
                share: float = n * (at.HEDGE_HEAT if one.label == self.hedge else at.HEAT)
                if one.kind == "surrogate":
                    # It never settles: half is left for the hedge.
                    share = min(share, self.purse.left / 2)
                self._leg(walkers[one.label], one.label, "heat", self.purse.spent + share)
        if population is not None and self.purse.left >= 1:
            reserve = min(at.FINISH * n, whole * at.FINISH_SHARE)
            # In one valley from its best point; else from anywhere, for at a bottom it would look for nothing else.
            walker = self._begin(population, self.purse.best if self.valley else None)
            self._leg(walker, population.label, "population", self.purse.budget - reserve)
        elif others:
            leader = min(others, key=lambda one: (walkers[one.label].loss, walkers[one.label].query is None))
            self._restarts(leader, walkers[leader.label])
        finisher = candidate(FINISHER, "the finish", 1.0)
        self._finish([*(one for one in descents if one.label != FINISHER), finisher], walkers)
        self._restarts(finisher, None)

    def raced(self) -> set[str]:
        """Labels of those of the short-list that evaluated anything but a finish."""
        return {leg.racer for leg in self.legs if leg.part != "finish"} & {one.label for one in self.shortlist}

    def _restarts(self, leader: Candidate, walker: Walker | None) -> None:
        """A descent goes on, and begins again at the next point of the probe where it has settled."""
        part = "rest"
        while self.purse.left >= 1:
            spent = self.purse.spent
            if walker is None or walker.query is None:
                self.starts, part = self.starts[1:], "restart"
                walker = self._begin(leader, self.starts[0] if len(self.starts) else None)
            self._leg(walker, leader.label, part, self.purse.budget)
            if self.purse.spent == spent:
                return

    def _finish(self, descents: list[Candidate], walkers: dict[str, Walker]) -> None:
        """Go down from the best point with what is left; who stands there already need not."""
        share = self.purse.left / len(descents)
        for k, one in enumerate(descents, 1):
            best, stood = self.purse.best, walkers.get(one.label)
            if self.purse.left < 1 or best is None or (stood is not None and torch.equal(stood.best, best)):
                continue
            most = self.purse.budget if k == len(descents) else self.purse.spent + share
            self._leg(self._begin(one, best), one.label, "finish", most)

    def _leg(self, walker: Walker, label: str, part: str, most: float) -> None:
        begin, before = self.purse.spent, self.purse.loss
        try:
            walker.run(self.purse, most)
        finally:
            if self.purse.spent > begin:
                self.legs.append(Leg(label, part, begin, self.purse.spent, before, walker.loss, walker.ended))

    def _begin(self, one: Candidate, start: Tensor | None) -> Walker:
        if one.label in self.ready:
            return self.ready.pop(one.label)
        start = self._drawn() if start is None else start
        return Walker(one.label, one.optimizer, self.layout, start, self.seed + len(self.legs))

    def _drawn(self) -> Tensor:
        assert self.layout.box is not None
        box = self.layout.box.double()
        u = np.random.default_rng((self.seed, 2, len(self.legs))).random(len(box))
        return (box[:, 0] + (box[:, 1] - box[:, 0]) * torch.from_numpy(u)).to(self.starts)


def lowest(legs: Sequence[Leg], shortlist: Sequence[Candidate], noise: float) -> dict[str, float]:
    """The lowest loss that each racer can be given credit for.

    One that began at the best point so far is given credit only where it came lower by more than the noise; a finish is the credit of the
    one whose point it began at.
    """
    found: dict[str, float] = {}
    held, holder = inf, ""
    for leg in legs:
        label = holder if leg.part == "finish" and holder else leg.racer
        if leg.loss < held - (noise if held < inf else 0.0):
            held, holder = leg.loss, label
        relayed = leg.part in ("heat", "finish") and leg.before < inf
        if leg.part == "finish" or not relayed or leg.loss < leg.before - noise:
            found[label] = min(found.get(label, inf), leg.loss)
    return {one.label: found[one.label] for one in shortlist if one.label in found}
