"""The probe. It answers queries, counts them, stops at the budget, and joins what many algorithms query into one call."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lossatlas import _checks
from lossatlas._errors import BudgetError, InputError, NotApplicableError
from lossatlas._layout import Sample
from lossatlas.probe._channel import Lasting, Memory
from lossatlas.probe._meter import Budget, Meter
from lossatlas.probe._queries import Answer, Gradients, Products, Query, Values
from lossatlas.probe.engine import Engine, Inline, Part, chosen
from lossatlas.probe.engine._base import assembled
from lossatlas.surface import Reading, Surface, need_surface


class Outputs(Protocol):
    """What can evaluate a network's outputs on a frame."""

    def read(self, coords: NDArray[np.float64]) -> list[Tensor]:
        """By batch, outputs (P, n_b, …) at coordinates (P, k)."""
        ...


@dataclass(eq=False)
class Request:
    """One algorithm's query with the meter it goes on and the budget it must keep.

    Attributes:
        query: what is queried.
        meter: counts it when the query is answered.
        budget: checked before; runs that would overrun are not answered.
    """

    query: Query
    meter: Meter
    budget: Budget = field(default_factory=Budget)


@final
class Probe:
    """The only code that calls a surface.

    Args:
        surface: what is probed.
        engine: where answers are computed; by default the one that `lossatlas.engine` chose, or else this process.
        ledger: what remembers across crashes, a channel of a `Ledger`, or None. Losses that it knows are recalled, not
            evaluated; what is new is kept before it is handed on, part by part as the engine finishes it.

    Attributes:
        meter: what was evaluated through `evaluate`.
    """

    def __init__(self, surface: Surface, *, engine: Engine | None = None, ledger: Memory | None = None) -> None:
        need_surface(surface)
        self.surface = surface
        if engine is not None and not (hasattr(engine, "stream") and hasattr(engine, "width")):
            raise InputError(
                f"a probe got engine={_checks.shown(engine)}; expected an engine such as lossatlas.Pool(), or None."
            )
        self.engine: Engine = engine or chosen() or Inline()
        self.ledger = ledger
        self.meter = Meter()
        self._confirmed = False

    def confirm(self) -> None:
        """Evaluate a few cells again that the ledger remembers, before anything of it is used; once, and on the meter.

        Files that a loss reads, globals that it was given, or a library may have changed while everything has the same
        name. It is done by itself before the first losses are evaluated.

        Raises:
            OutputError: if the surface gives other losses now.
        """
        if self._confirmed or not isinstance(self.ledger, Lasting):
            return
        sampled = self.ledger.sample(self.surface.dimension)
        if not len(sampled.points):
            self._confirmed = True
            return
        begin = time.perf_counter()
        now = self.engine.read(self.surface, sampled.points.to(self.surface.device))
        self.meter.surface_seconds += time.perf_counter() - begin
        self.meter.confirmed += len(sampled.points)
        self.meter.examples += len(sampled.points) * self.surface.examples * self.surface.passes
        steady = self.surface.steady or self.surface.rows_alone
        self.ledger.confirm(sampled, now, self.surface.rounding, steady=steady)
        self._confirmed = True

    def evaluate(self, query: Query, budget: Budget | None = None) -> Answer:
        """Answer one query, counted on this probe's own meter.

        Raises:
            InputError: for what is no query, or points that the surface does not have.
            BudgetError: if no run of it may be answered within the budget.
        """
        _check(query, self.surface)
        if not isinstance(budget, Budget | None):
            raise InputError(
                f"got budget={_checks.shown(budget)}; expected a Budget or None. Give Budget({_checks.shown(budget)})."
            )
        (answer,) = self.answer([Request(query, self.meter, budget or Budget())])
        if answer is None:
            raise BudgetError(f"the next query would overrun the budget of {budget}; nothing was evaluated.")
        return answer

    def outputs(
        self, source: Outputs, coords: NDArray[np.float64], keep: Callable[[Part], None] | None = None
    ) -> list[Tensor]:
        """A network's outputs at coordinates (P, k), counted as so many values.

        Args:
            source: of the outputs, on this probe's surface.
            coords: shape (P, k).
            keep: called with each part as soon as it is known.
        """
        begin, before = time.perf_counter(), self._spent()
        parts = []
        for part in self.engine.outputs(self.surface, source, coords):
            if keep is not None:
                keep(part)
            parts.append(part)
        found = assembled(iter(parts), len(coords))
        query = Values(torch.from_numpy(np.ascontiguousarray(coords)))
        self.meter.count(query, None, self.surface.examples * self.surface.passes)
        self._account(self.meter, before)
        self.meter.surface_seconds += time.perf_counter() - begin
        return [found[str(k)] for k in range(len(found))]

    def answer(self, requests: Sequence[Request]) -> list[Answer | None]:
        """Answer many algorithms at once, alike queries joined into one call of the surface.

        Returns:
            One answer per request, None where the budget leaves no run that may query.

        Raises:
            NotApplicableError: if gradients or products are queried of a surface that has none.
        """
        for request in _checks.instance(
            "requests", requests, (list, tuple), "a list of requests", where="Probe.answer"
        ):
            _checks.instance("a request", request, Request, "requests, as Request(query)", where="Probe.answer")
        answers: list[Answer | None] = [None] * len(requests)
        joined: dict[object, list[tuple[int, Tensor | None]]] = {}
        for i, request in enumerate(requests):
            query, rows = request.query, _rows(request)
            if rows is not None and not bool(rows.any()):
                continue
            if not isinstance(query, Values) and not self.surface.gradients_known:
                raise NotApplicableError(
                    f"{self.surface.name} answers values only, and {type(query).__name__.lower()} were queried."
                )
            alone = isinstance(query, Products) or (isinstance(query, Gradients) and query.sample is not None)
            joined.setdefault(i if alone else type(query), []).append((i, rows))
        for members in joined.values():
            self._together([(requests[i], rows) for i, rows in members], [i for i, _ in members], answers)
        return answers

    def _together(
        self, members: list[tuple[Request, Tensor | None]], places: list[int], answers: list[Answer | None]
    ) -> None:
        flat = []
        for request, rows in members:
            points = request.query.points
            points = points if rows is None else points[rows]
            flat.append(points if points.ndim == 2 else points.reshape(-1, points.shape[-1]))
        points = flat[0] if len(flat) == 1 else torch.cat(flat)
        sizes = [part.shape[0] for part in flat]
        begin, before = time.perf_counter(), self._spent()
        parts, known = self._evaluate(members[0][0].query, members[0][1], points, sizes)
        seconds = (time.perf_counter() - begin) / max(1, points.shape[0])
        self._account(members[0][0].meter, before)
        for (request, rows), place, size, answer, recalled in zip(members, places, sizes, parts, known, strict=True):
            answers[place] = _spread(request.query, rows, answer)
            request.meter.count(request.query, rows, self.surface.examples * self.surface.passes, recalled)
            request.meter.surface_seconds += seconds * size

    def _evaluate(
        self, query: Query, rows: Tensor | None, points: Tensor, sizes: list[int]
    ) -> tuple[list[Answer], list[int]]:
        """One answer per part of the points, and how many points of each were recalled."""
        none = [0] * len(sizes)
        match query:
            case Values():
                reading, known = self._read(points)
                sound = _finite(reading.values)
                extras = {name: torch.split(channel, sizes) for name, channel in reading.extras.items()}
                found = [
                    Answer(values, extras={name: parts[k] for name, parts in extras.items()}, sound=sound)
                    for k, values in enumerate(torch.split(reading.values, sizes))
                ]
                return found, none if known is None else [int(part.sum()) for part in torch.split(known, sizes)]
            case Gradients():
                sample = query.sample
                if sample is not None and rows is not None:
                    sample = Sample(sample.size, sample.seeds[rows])
                values, gradients = self.engine.gradients(self.surface, points, sample)
                sound = _finite(values) and _finite(gradients)
                found = [
                    Answer(v, g, sound=sound)
                    for v, g in zip(values.split_with_sizes(sizes), gradients.split_with_sizes(sizes), strict=True)
                ]
                return found, none
            case Products():
                vectors = query.vectors if rows is None else query.vectors[rows]
                samples = _one_each(query.sample, rows, len(points))
                products = torch.stack(
                    [self.engine.products(self.surface, *one) for one in zip(points, vectors, samples, strict=True)]
                )
                return [Answer(points.new_empty(0), products=products, sound=_finite(products))], none

    def _read(self, points: Tensor) -> tuple[Reading, Tensor | None]:
        """The readings of points (B, N), and which of them (B,) were not evaluated; None without a ledger."""
        if self.ledger is None or not len(points):
            return self.engine.read(self.surface, points), None
        self.confirm()
        known, reading = self.ledger.recall(points)
        missing = (~known).nonzero()[:, 0].numpy()
        # A point that is named twice in one query is evaluated once.
        first = np.sort(missing[np.unique(points.detach().cpu().numpy()[missing], axis=0, return_index=True)[1]])
        if len(first):
            self._keep(points[torch.from_numpy(first).to(points.device)])
            _, reading = self.ledger.recall(points)
            known[:] = True
            known[first] = False
        device = self.surface.device
        extras = {name: channel.to(device) for name, channel in reading.extras.items()}
        return Reading(reading.values.to(device), extras), known

    def _keep(self, points: Tensor) -> None:
        """Evaluate points in parts, each kept before the next one is waited for: a crash costs what is not finished."""
        assert self.ledger is not None
        for part in self.engine.stream(self.surface, points):
            rows = part.rows.to(points.device)
            self.ledger.record(points[rows], part.reading, self.surface.examples * self.surface.passes, part.seconds)

    def _spent(self) -> tuple[int, int, float]:
        """Examples read for proofs, points lost and seconds of workers, so far."""
        engine = self.engine
        return self.surface.proof_examples + engine.proof_examples, engine.lost, engine.worker_seconds

    def _account(self, meter: Meter, before: tuple[int, int, float]) -> None:
        """Put on a meter what came on top."""
        proofs, lost, seconds = (now - then for now, then in zip(self._spent(), before, strict=True))
        meter.proof_examples += int(proofs)
        meter.lost += int(lost)
        meter.worker_seconds += seconds


def _check(query: Any, surface: Surface) -> None:
    """Refuse what is no query, or one of no points of the surface."""
    if not isinstance(query, Query):
        raise InputError(
            f"got {_checks.shown(query)}; expected a query. Give Values(points), Gradients(points) or Products(points, vectors)."
        )
    points, several = query.points, isinstance(query, Values)
    if not isinstance(points, Tensor) or not 2 <= points.ndim <= 2 + several or points.shape[-1] != surface.dimension:
        shape = f"of shape {tuple(points.shape)}" if isinstance(points, Tensor) else f"as {type(points).__name__}"
        raise InputError(
            f"got points {shape} on {surface.name}; expected a tensor (B, {surface.dimension}), one row per point. A single "
            "point goes in as point[None], an array as torch.from_numpy(array)."
        )


def _one_each(sample: Sample | None, rows: Tensor | None, count: int) -> list[Sample | None]:
    """The mini-batch of each row that queries."""
    if sample is None:
        return [None] * count
    seeds = sample.seeds if rows is None else sample.seeds[rows]
    return [Sample(sample.size, seed) for seed in torch.split(seeds, 1)]


def _finite(numbers: Tensor) -> bool:
    # A sum is finite only if every term is; that it may overflow only makes the answer be looked at closely.
    return math.isfinite(numbers.sum())


def _rows(request: Request) -> Tensor | None:
    """The runs that may be answered; None for all."""
    rows = request.query.active
    allowed = request.budget.allows(request.meter, request.query)
    if allowed is not None:
        allowed = allowed.expand(len(request.query.points))
        rows = allowed if rows is None else rows & allowed
    return None if rows is None or bool(rows.all()) else rows


def _spread(query: Query, rows: Tensor | None, answer: Answer) -> Answer:
    """Put the answered rows back among all runs, NaN elsewhere, in the shape of the query."""
    if rows is None and query.points.ndim == 2 and not isinstance(query, Products):
        return answer
    runs, shape = query.points.shape[0], query.points.shape[1:-1]

    def place(part: Tensor, tail: tuple[int, ...]) -> Tensor:
        if rows is None:
            return part.reshape(runs, *tail)
        whole = part.new_full((runs, *tail), float("nan"))
        whole[rows] = part.reshape(-1, *tail)
        return whole

    if isinstance(query, Products):
        products = place(answer.products, tuple(query.vectors.shape[1:]))
        return Answer(answer.values, products=products, answered=rows, sound=answer.sound)
    if isinstance(query, Gradients):
        n = query.points.shape[-1]
        return Answer(place(answer.values, ()), place(answer.gradients, (n,)), answered=rows, sound=answer.sound)
    extras = {name: place(channel, tuple(shape)) for name, channel in answer.extras.items()}
    return Answer(place(answer.values, tuple(shape)), extras=extras, answered=rows, sound=answer.sound)
