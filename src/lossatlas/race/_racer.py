"""One optimizer on its way through a race: its generator, what it evaluated, and what became of each of its runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import inf, nan
from typing import final

import numpy as np
import torch
from torch import Tensor

from lossatlas import _said
from lossatlas._errors import NotApplicableError
from lossatlas.optimize import Optimizer, Streams, Walk, begun, planned
from lossatlas.probe import Answer, At, Gradients, Meter, Probe, Products, Query, Values, count, standing
from lossatlas.race._inputs import check_record
from lossatlas.race._memory import held
from lossatlas.race._queries import lowest, nothing, valid
from lossatlas.race._track import Track
from lossatlas.surface import Surface

# How often the memory of a racer is measured.
MEMORY_SAMPLES = 16


@final
class Racer:
    """One optimizer on its way.

    Args:
        label: its name in the race; part of its random streams.
        given: the optimizer.
        surface: what is raced on; only its layout is handed to the walk.
        start: (runs, N).
        steps: per descent.
        seed: random seed.

    Attributes:
        query: what it queries next.
        meter: what it cost.
        answered: answers heard.
        length: answers it will hear at most.
        done: whether it has ended in all runs.
        why: the sentence of what ended it, where it did not end by itself.
        failure: the exception that it raised, or None.
    """

    def __init__(self, label: str, given: Optimizer, surface: Surface, start: Tensor, steps: int, seed: int) -> None:
        self.label, self.runs = label, len(start)
        self.optimizer, self.length = given, steps
        self.meter = Meter(runs=self.runs)
        self.positions: list[Tensor] = []
        self.losses: list[Tensor] = []
        self.seen: list[Tensor] = []
        self.counts: list[int] = []
        self.memory: list[tuple[int, float]] = []
        self.given = [start] if surface.box is None else [start, surface.box]
        self.answered = 0
        self.done = False
        self.alive: Tensor | None = None
        self.queried: Tensor | None = None
        self.ends = torch.full((len(start),), -1, dtype=torch.int64, device=start.device)
        self.reasons = ["steps"] * len(start)
        self.best = start
        self.best_value = torch.full((len(start),), inf, dtype=torch.float64, device=start.device)
        self.start = start
        self.why = ""
        self.failure: Exception | None = None
        self.query: Query = Values(start)
        self.walk: Walk
        self._move(partial(self._begin, surface, seed))
        check_record(len(start), self.length, start.shape[1])
        self.measured_every, self.measured_next = max(1, self.length // MEMORY_SAMPLES), 1

    def refuse(self, why: str) -> None:
        """End in all runs before the first answer: it cannot run on this surface, or here at all."""
        self.done, self.why = True, why
        self.reasons = ["not applicable"] * self.runs
        self.positions = self.positions or [self.start]

    def next_query(self) -> Query:
        """The query of the runs that are still on their way."""
        self.queried = self.query.active
        if self.alive is None:
            return self.query
        self.queried = self.alive if self.query.active is None else self.alive & self.query.active
        return replace(self.query, active=self.queried)

    def hear(self, answer: Answer | None) -> None:
        """Record an answer and let the algorithm move on; None if no run could be answered within the budget."""
        self._stand()
        if answer is None:
            self.counts.append(0)
            self.losses.append(self.query.at.values if self.query.at is not None else self._unknown())
            answer = nothing(self.query)
        else:
            self._note(answer)
        self._stop_rows(answer)
        self.answered += 1
        if self.done:
            return
        begin = time.perf_counter()
        self._move(partial(self.walk.send, answer))
        self.meter.algorithm_seconds += time.perf_counter() - begin
        if self.answered == self.measured_next and not self.done:
            self.measured_next += min(self.answered, self.measured_every)
            self.memory.append((sum(self.counts), held(self.walk, answer, self.given) / self.runs))
        if not self.done and self.answered >= self.length:
            if self.query.active is not None:
                self._freeze(~self.query.active, "finished")
            self._stand()
            self.losses.append(self._unknown())
            self.done = True

    def stopped_at(self, where: Tensor) -> Tensor:
        """Where each run stopped, (runs, N); `where` for those that have not."""
        for b in torch.nonzero(self.ends >= 0)[:, 0].tolist():
            where = where.clone()
            where[b] = self.positions[min(int(self.ends[b]), len(self.positions) - 1)][b]
        return where

    @property
    def ran(self) -> bool:
        """Whether it could run at all."""
        return self.reasons[0] != "not applicable"

    def track(self, referee: Probe) -> Track:
        """The record, each run held where it stopped.

        Args:
            referee: values the last points where the racer never learned their loss, and all of a racer that learned none.
        """
        positions = torch.stack(self.positions, 1)
        losses = torch.stack(self.losses, 1).double() if self.losses else positions.new_full(positions.shape[:2], nan)
        stop = torch.where(self.ends >= 0, self.ends, positions.shape[1] - 1)
        index = torch.minimum(torch.arange(positions.shape[1], device=stop.device)[None], stop[:, None])
        positions = positions.gather(1, index[..., None].expand(-1, -1, positions.shape[2]))
        losses = losses.gather(1, index.clamp_max(losses.shape[1] - 1))
        last = positions[:, -1]
        if self.ran and self.meter.gradients and bool(losses.isnan().all()):
            # It never stood where it queried, as schedule-free methods do not.
            losses = referee.evaluate(Values(positions)).values.double()
        if self.ran and bool(losses[:, -1].isnan().any()):
            values = referee.evaluate(Values(last)).values
            losses = torch.where(losses.isnan() & (index == stop[:, None]), values[:, None], losses)
        wanders = self.optimizer.wanders and bool(torch.isfinite(self.best_value).any())
        return Track(
            optimizer=self.optimizer,
            start=self.start,
            positions=positions,
            losses=losses,
            last=last,
            final=self.best if wanders else last,
            loss=self.best_value if wanders else losses[:, -1],
            meter=self.meter,
            stopped=tuple(self.reasons),
            queries=np.cumsum([*self.counts, 0], dtype=np.int64)[: positions.shape[1]],
            seen=_columns(self.seen, self.runs),
            memory=tuple(self.memory),
            why=self.why,
        )

    def _begin(self, surface: Surface, seed: int) -> Query:
        """Plan the race, begin the walk, and make its first query."""
        self.optimizer, self.length = planned(self.optimizer, self.length)
        streams = Streams(seed, self.runs, salt=self.label)
        self.walk = begun(self.optimizer, self.start, surface.layout, streams)
        return next(self.walk)

    def _move(self, step: Callable[[], Query]) -> None:
        """Let the algorithm make its next query. What it raises ends it, and it alone."""
        try:
            self.query = valid(step(), self.label, self.start)
            return
        except StopIteration as end:
            why, reason = "", "finished"
            self._leave(end.value)
        except NotApplicableError as error:
            why, reason = str(error), "not applicable"
        except Exception as error:
            why, reason, self.failure = _said.exception(error), "failed", error
        if reason == "not applicable" and not self.positions:
            self.refuse(why)
            return
        self.positions, self.why = self.positions or [self.start], why
        if self.answered < self.length or reason != "finished":
            self._freeze(torch.ones(self.runs, dtype=torch.bool), "finished" if reason == "finished" else "failed")
        self.done = True

    def _leave(self, at: object) -> None:
        """Stand where a walk says that its runs are at its end; one that says nothing stands where it was."""
        if isinstance(at, At) and self.positions and self.answered == len(self.positions):
            valid(Values(at.theta, at=at), self.label, self.start)
            self.positions.append(at.theta)
            self.losses.append(at.values)

    def _unknown(self) -> Tensor:
        return torch.full((self.runs,), nan, dtype=torch.float64)

    def _stand(self) -> None:
        self.positions.append(standing(self.query))

    def _note(self, answer: Answer) -> None:
        query = self.query
        self.counts.append(count(query))
        self.seen.append(_counted(query, answer))
        if isinstance(query, Products):
            self.losses.append(query.at.values if query.at is not None else self._unknown())
            return
        if query.at is not None:
            self.losses.append(query.at.values)
        else:
            self.losses.append(answer.values if answer.values.ndim == 1 else answer.values[:, 0])
        if not self.optimizer.wanders:
            return
        values, points = lowest(query, answer)
        better = values < self.best_value
        self.best = torch.where(better[:, None], points, self.best)
        self.best_value = torch.where(better, values, self.best_value)

    def _stop_rows(self, answer: Answer) -> None:
        """Freeze the runs that were not answered (budget) or were answered with something not finite (diverged).

        A method that wanders takes such an answer as a bad neighbor and goes on.
        """
        if answer.answered is not None:
            refused = ~answer.answered
            if self.queried is not None:
                refused &= self.queried
            self._freeze(refused, "budget")
        if self.optimizer.wanders or answer.sound:
            return
        finite = torch.isfinite(answer.values.reshape(self.runs, -1)).all(1)
        if isinstance(self.query, Gradients):
            finite = finite & torch.isfinite(answer.gradients).all(1)
        met = answer.answered if answer.answered is not None else torch.ones_like(finite)
        self._freeze(met & ~finite, "diverged")

    def _freeze(self, rows: Tensor, reason: str) -> None:
        alive = torch.ones(self.runs, dtype=torch.bool) if self.alive is None else self.alive
        stopping = alive & rows.to(alive.device)
        for b in torch.nonzero(stopping)[:, 0].tolist():
            self.ends[b], self.reasons[b] = self.answered, reason
        self.alive = alive & ~stopping
        self.done = not bool(self.alive.any())


def _counted(query: Query, answer: Answer) -> Tensor:
    """What each counted query brought, (runs,) or (runs, k): its loss, infinity where that is none; NaN where it was not counted."""
    if isinstance(query, Products):
        values = query.points.new_full((len(query.points), count(query)), inf, dtype=torch.float64)
    elif answer.sound:
        values = answer.values
    else:
        values = torch.where(answer.values.isnan(), inf, answer.values)
    if answer.answered is not None:
        counted = answer.answered if values.ndim == 1 else answer.answered[:, None]
        values = torch.where(counted, values, nan)
    return values


def _columns(seen: list[Tensor], runs: int) -> Tensor:
    """Records of one or more columns each, side by side."""
    if not seen:
        return torch.empty(runs, 0, dtype=torch.float64)
    if all(part.ndim == 1 for part in seen):
        return torch.stack(seen, 1)
    return torch.cat([part if part.ndim == 2 else part[:, None] for part in seen], 1)
