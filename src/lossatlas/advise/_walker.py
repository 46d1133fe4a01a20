"""One optimizer of the race: it stops where its share ends, and goes on from there if it is given more."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf, isfinite
from typing import final

import torch
from torch import Tensor

from lossatlas.advise._purse import Purse
from lossatlas.optimize import Optimizer, Streams, begun, planned
from lossatlas.probe import Answer, Gradients, Query, Values, standing
from lossatlas.surface import Layout

# Queries that a walk is planned for: more than any budget of an advice.
LENGTH = 10**6


@final
@dataclass(eq=False)
class Walker:
    """An optimizer on its way, one run of it.

    Args:
        label: its name in the race; part of its random stream.
        optimizer: with its settings.
        layout: of the surface.
        start: (N,).
        seed: random seed.

    Attributes:
        loss: the lowest that it has met.
        best: (N,) where; the start before its first answer.
        spent: what it has cost.
        progress: (its own cost, its lowest loss) each time that this fell.
        ended: why it makes no more queries, or empty.
    """

    label: str
    optimizer: Optimizer
    layout: Layout
    start: Tensor
    seed: int
    loss: float = inf
    spent: float = 0.0
    progress: list[tuple[float, float]] = field(default_factory=list)
    ended: str = ""

    def __post_init__(self) -> None:
        self.best = self.start
        one, _ = planned(self.optimizer, LENGTH)
        streams = Streams(self.seed, 1, salt=self.label)
        self._walk = begun(one, self.start[None], self.layout, streams)
        self.query: Query | None = next(self._walk)

    @property
    def stands(self) -> Tensor:
        """(N,) where it stands now."""
        return self.best if self.query is None else standing(self.query)[0]

    def first(self, purse: Purse) -> tuple[Tensor, Tensor]:
        """Pay for the first query alone: its points (k, N) and their losses (k,), which the walk keeps."""
        assert isinstance(self.query, Values)
        points = self.query.points.reshape(-1, self.query.points.shape[-1])
        answer = purse.pay(self.query)
        values = answer.values.reshape(-1)
        self._hear(answer, purse.price(self.query))
        return points, values

    def run(self, purse: Purse, most: float) -> None:
        """Go on until the next query would take what was spent, by all, beyond `most`, or the walk ends."""
        while self.query is not None and purse.affords(self.query, most):
            self._hear(purse.pay(self.query), purse.price(self.query))

    def _hear(self, answer: Answer, price: float) -> None:
        query = self.query
        assert query is not None
        self.spent += price
        if isinstance(query, Values | Gradients):
            values = torch.where(answer.values.isnan(), inf, answer.values).reshape(-1)
            k = int(values.argmin())
            if float(values[k]) < self.loss:
                self.loss, self.best = float(values[k]), query.points.reshape(-1, query.points.shape[-1])[k].clone()
                self.progress.append((self.spent, self.loss))
            if not (self.optimizer.wanders or _finite(answer)):
                self.query, self.ended = None, "diverged"
                return
        try:
            self.query = self._walk.send(answer)
        except StopIteration:
            self.query, self.ended = None, "settled"


def _finite(answer: Answer) -> bool:
    return answer.sound or (isfinite(float(answer.values.sum())) and bool(answer.gradients.isfinite().all()))
