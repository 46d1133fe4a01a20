"""The race of learning rates: heats that double in length, and the best of them again on other mini-batches."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf, isfinite
from typing import final

import numpy as np
from torch import Tensor

from lossatlas.advise import _thresholds as at
from lossatlas.advise._contest import Leg
from lossatlas.advise._portfolio import Candidate
from lossatlas.advise._purse import Purse
from lossatlas.advise._walker import Walker
from lossatlas.optimize import MiniBatches, Optimizer, optimizer
from lossatlas.probe import Values
from lossatlas.surface import NetworkSurface

# Rates of each optimizer that go on to twice the steps, and how often the neighbors of the best are tried there.
KEPT, AROUND = 3, 2
# Of all rates at the end so many run again, with the best of each optimizer, on so many other mini-batches: the loss after some
# steps at one rate differs from one order of the data to the next by as much as from rate to rate.
AGAIN, OTHERS = 3, 1
SETTINGS = {"kept": KEPT, "around": AROUND, "again": AGAIN, "others": OTHERS}
# Rates are the same that differ by less than this share.
SAME = 1e-3


@final
@dataclass(eq=False)
class Racing:
    """One optimizer at one rate.

    Attributes:
        loss: over all data where it stands; infinite once it diverged.
        steps: that it has made.
        others: losses after as many steps on other mini-batches.
    """

    candidate: Candidate
    name: str
    lr: float
    walker: Walker
    loss: float = inf
    steps: int = 0
    others: list[float] = field(default_factory=list)
    legs: list[Leg] = field(default_factory=list)

    @property
    def score(self) -> float:
        """The geometric mean of its losses over what it ran on."""
        losses = [self.loss, *self.others]
        return float(np.exp(np.mean(np.log(losses)))) if min(losses) > 0 else float(np.mean(losses))


@final
@dataclass(eq=False)
class Rates:
    """Optimizers at learning rates, from one point and on the same mini-batches, raced for as long as a budget allows.

    The best rate of a short training is not that of a long one: where curvature grows, what was best after 20 steps may have
    diverged after 40. So the steps double until the budget ends, the better rates go on, and the neighbors of the best
    are tried at each length.

    Args:
        surface: the network's loss.
        purse: what pays.
        theta: (N,) where all begin.
        size: examples of a mini-batch, or None for all data.
        seed: random seed.
        reserve: values that are left for what comes after the race.

    Attributes:
        racing: all that were entered.
        steps: how long the last heat was that every optimizer had.
        last: who was compared in the end.
    """

    surface: NetworkSurface
    purse: Purse
    theta: Tensor
    size: int | None
    seed: int
    reserve: float
    racing: list[Racing] = field(default_factory=list)
    steps: int = 0
    last: list[Racing] = field(default_factory=list)

    def enter(self, name: str, lr: float, why: str) -> Racing:
        """An optimizer at a rate; the one that is there already if the two are the same."""
        for one in self.racing:
            if one.name == name and abs(one.lr / lr - 1) < SAME:
                return one
        rule = optimizer(name, lr=lr)
        new = Racing(Candidate(f"{name} {lr:.3g}", rule, why=why), name, lr, self._walker(rule, ""))
        self.racing.append(new)
        return new

    def run(self) -> Racing:
        """Race all that were entered; who came lowest."""
        try:
            for one in list(self.racing):
                self._move(one, "heat", at.RACED)
            for name in self._names():
                best = self._ranked(name)[0]
                for factor in at.BETWEEN:
                    self._move(self.enter(name, best.lr * factor, best.candidate.why), "between", at.RACED)
            self.steps = at.RACED
            # The first round is part of the least budget; a further one begins only if all of it can be paid.
            self._round(2 * at.RACED)
            while self._affords(self._prices(self.steps) + self._repeats(2 * self.steps)):
                self._round(2 * self.steps)
        finally:
            self.last = [one for one in self.racing if one.steps >= self.steps and isfinite(one.loss)]
        self._repeat()
        return min(self.last or self.racing, key=lambda one: one.score)

    def best(self, name: str) -> Racing:
        """The best rate of one optimizer."""
        own = [one for one in self.last if one.name == name]
        return min(own, key=lambda one: one.score) if own else self._ranked(name)[0]

    def finish(self, one: Racing) -> None:
        """Go on with what is left; what it was compared by stays the loss at the end of the race."""
        if one.walker.query is not None:
            self._leg(one, one.walker, "rest", inf, one.loss)

    def _round(self, steps: int) -> None:
        """The better rates of each optimizer on to so many steps, then the neighbors of the best."""
        # What is set aside for the other mini-batches at the end.
        again = self._repeats(steps)
        names = self._names()
        order = {name: self._ranked(name) for name in names}
        for rank in range(KEPT):
            for name in names:
                if rank < len(order[name]) and (rank < at.GO_ON or self._affords(self._price(steps) + again)):
                    self._on(order[name][rank], steps, "heat")
        self.steps = steps
        for _ in range(AROUND):
            for name in sorted(names, key=lambda name: self._ranked(name)[0].loss):
                best = self._ranked(name)[0]
                for factor in at.FINER:
                    if self._affords(self._price(steps) + again) and isfinite(best.loss):
                        self._on(self.enter(name, best.lr * factor, best.candidate.why), steps, "finer")

    def _repeat(self) -> None:
        """The best again on other mini-batches, where the budget has room; all else is out of the comparison then."""
        if self.size is None or not self.last or not self._affords(self._repeats(self.steps)):
            return
        first = {id(self.best(name)) for name in self._names()}
        ranked = sorted(self.last, key=lambda one: one.loss)
        self.last = [one for k, one in enumerate(ranked) if k < AGAIN or id(one) in first]
        for one in self.last:
            for k in range(OTHERS):
                walker = self._walker(one.candidate.optimizer, f"other mini-batches {k}")
                one.others.append(self._leg(one, walker, "other mini-batches", self.steps))

    def _names(self) -> list[str]:
        return list(dict.fromkeys(one.name for one in self.racing))

    def _ranked(self, name: str) -> list[Racing]:
        """The rates of one optimizer that got as far as any, the lowest loss first; then the others."""
        own = [one for one in self.racing if one.name == name]
        return sorted(own, key=lambda one: (one.steps < self.steps, one.loss))

    def _walker(self, rule: Optimizer, label: str) -> Walker:
        # One stream for all: every racer sees the same mini-batches.
        moved = rule if self.size is None else MiniBatches(rule, self.size)
        return Walker(label, moved, self.surface.layout, self.theta, self.seed)

    def _price(self, steps: float) -> float:
        query = self.racing[0].walker.query or self._walker(self.racing[0].candidate.optimizer, "").query
        assert query is not None
        return steps * self.purse.price(query) + 1

    def _prices(self, steps: int) -> float:
        """What the round from so many steps to twice as many takes."""
        return len(self._names()) * (KEPT * self._price(steps) + len(at.FINER) * self._price(2 * steps))

    def _repeats(self, steps: int) -> float:
        return 0.0 if self.size is None else (AGAIN + len(self._names()) - 1) * OTHERS * self._price(steps)

    def _affords(self, price: float) -> bool:
        return self.purse.left - self.reserve >= price

    def _on(self, one: Racing, steps: int, part: str) -> None:
        if one.steps < steps:
            self._move(one, part, steps - one.steps)

    def _move(self, one: Racing, part: str, gradients: int) -> None:
        """So many gradients, then the loss over all data where it stands."""
        if one.walker.query is None:
            return
        before = self.purse.spent
        one.loss = self._leg(one, one.walker, part, gradients, one.loss)
        if self.purse.spent > before:
            one.steps += gradients

    def _leg(self, one: Racing, walker: Walker, part: str, gradients: float, loss: float = inf) -> float:
        purse = self.purse
        assert walker.query is not None
        begin, before = purse.spent, min([purse.loss, loss])
        walker.run(purse, min(purse.budget - 1, begin + gradients * purse.price(walker.query)))
        stands = Values(walker.stands[None])
        if purse.spent == begin or not purse.affords(stands):
            return loss
        # A rate that diverges is no better for the points that it met on the way.
        diverged = walker.ended == "diverged"
        loss = inf if diverged else float(purse.pay(stands).values[0])
        loss = loss if isfinite(loss) else inf
        one.legs.append(Leg(one.candidate.label, part, begin, purse.spent, before, loss, walker.ended))
        return loss
