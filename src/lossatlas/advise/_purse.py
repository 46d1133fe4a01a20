"""One budget and one meter for everything that an advice takes: the probe, the race, and the rest of the run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from typing import TypeVar, final

import torch
from torch import Tensor

from lossatlas.probe import Answer, Budget, Exchange, Gradients, Probe, Query, Request, Values, count

T = TypeVar("T")
# Of a budget that was used up in steps that are not whole numbers.
ROUNDING = 1e-9


@final
@dataclass(eq=False)
class Purse:
    """Answers queries for as long as they fit the budget, in units of one value of all data.

    A gradient costs as many values as `Exchange` says, a product too; on a mini-batch, its share of the examples.

    Args:
        probe: what evaluates.
        budget: what may be spent in all.
        report: called with what was spent, after each answer.

    Attributes:
        spent: so far.
        seen: losses of the values and gradients that were answered, in order.
        costs: what had been spent by then.
        best: (N,) the lowest point among them, or None before the first.
        loss: there.
    """

    probe: Probe
    budget: float
    report: Callable[[int], None] = lambda spent: None
    spent: float = 0.0
    seen: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)
    best: Tensor | None = None
    loss: float = inf

    @property
    def left(self) -> float:
        """What may still be spent."""
        return self.budget - self.spent

    def price(self, query: Query) -> float:
        """What a query of one run costs."""
        rates, examples = Exchange(), self.probe.surface.examples
        each = {Values: rates.value, Gradients: rates.gradient}.get(type(query), rates.product)
        sample = None if isinstance(query, Values) else query.sample
        return each * count(query) * (1.0 if sample is None or not examples else sample.size / examples)

    def affords(self, query: Query, most: float = inf) -> bool:
        """Whether a query fits what is left, and what may have been spent after it."""
        return self.spent + self.price(query) <= min(self.budget, most) + ROUNDING

    def pay(self, query: Query) -> Answer:
        """The answer to a query of one run that fits the budget."""
        assert self.affords(query)
        (answer,) = self.probe.answer([Request(query, self.probe.meter, Budget())])
        assert answer is not None
        price, many = self.price(query), count(query)
        if isinstance(query, Values | Gradients):
            self._note(query, answer, price / many)
        # Prices are fractions: their sum may come out above the budget by its rounding.
        self.spent = min(self.spent + price, self.budget)
        self.report(int(self.spent))
        return answer

    def measured(self, job: Callable[[], T]) -> T:
        """What a job returns that evaluates through this purse's probe; what it took is counted after it, as `least` has foreseen."""
        before = self.probe.meter.cost()
        found = job()
        self.spent += self.probe.meter.cost() - before
        self.report(int(self.spent))
        return found

    def _note(self, query: Values | Gradients, answer: Answer, each: float) -> None:
        values = answer.values.reshape(-1)
        self.seen += values.tolist()
        self.costs += [min(self.spent + each * (k + 1), self.budget) for k in range(len(values))]
        if not isinstance(query, Values) and query.sample is not None:
            # The loss of a mini-batch is not the loss of the surface.
            return
        known = torch.where(values.isnan(), inf, values)
        k = int(known.argmin())
        if float(known[k]) < self.loss:
            self.loss, self.best = float(known[k]), query.points.reshape(-1, query.points.shape[-1])[k].clone()
