"""The lockstep driver: at every step the queries of all racers are answered in one batch."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterable, Mapping
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from lossatlas._errors import InputError, NotApplicableError, StartError
from lossatlas.optimize import Optimizer, Streams, resolve
from lossatlas.probe import Answer, Budget, Gradients, Meter, Probe, Products, Query, Request, Values, count
from lossatlas.race._ends import kinds
from lossatlas.race._inputs import check
from lossatlas.race._memory import held
from lossatlas.race._race import Race, Track
from lossatlas.race._verdict import Verdict, basins
from lossatlas.surface import Surface

# How often the memory of a racer is measured, and the largest record that is kept.
MEMORY_SAMPLES = 16
LARGEST_RECORD = 2**33


def race(
    surface: Surface,
    optimizers: Iterable[str | Optimizer] | Mapping[str, str | Optimizer],
    *,
    start: Tensor | Iterable[float] | None = None,
    steps: int = 300,
    budget: int | Budget | None = None,
    runs: int = 1,
    seed: int = 0,
) -> Race:
    """Let optimizers walk on one surface, side by side, each query billed.

    Args:
        surface: any surface, a slice of a network included.
        optimizers: names, optimizers, or a mapping of labels to either.
        start: (N,), or (runs, N) for a start per run; the surface's own start by default.
        steps: answers per descent and run. A restarted method gets as many for each of its descents.
        budget: queries per run and racer, checked before answering: never one over.
        runs: how often each racer runs, all at once; run b uses the random stream (seed, racer, b), so that it is
            the same run whatever runs beside it.
        seed: of all randomness.

    Returns:
        A `Race`: trajectories, losses, a meter and a verdict per racer. A racer whose queries the surface cannot
        answer, or that meets a loss that is not finite, ends with that status while the others go on.

    Raises:
        StartError: if the start has another dimension, is not finite, or lies outside the box.
        UnknownNameError: for an optimizer that is not in the catalog.
        InputError: for steps, runs or a budget below one.

    Example:
        >>> import lossatlas as la
        >>> surface = la.landscapes.regression()
        >>> la.race(surface, ["gd"], steps=200).verdicts["gd"].wells
        ('global',)
    """
    check("race", surface, seed, steps=steps, runs=runs)
    limit = budget if isinstance(budget, Budget) else Budget(budget)
    begin = _start(surface, start, runs)
    racers = [_Racer(label, one, surface, begin, steps, seed) for label, one in _labels(optimizers).items()]
    probe = Probe(surface)
    live = [racer for racer in racers if not racer.done]
    while live:
        requests = [Request(racer.ask(), racer.meter, limit) for racer in live]
        try:
            answers = probe.answer(requests)
        except NotApplicableError:
            live = _drop_unanswerable(surface, live)
            continue
        for racer, answer in zip(live, answers, strict=True):
            racer.hear(answer)
        live = [racer for racer in live if not racer.done]
    return _finish(surface, racers, steps, seed)


def _labels(optimizers: Iterable[str | Optimizer] | Mapping[str, str | Optimizer]) -> dict[str, Optimizer]:
    if isinstance(optimizers, str | Optimizer):
        optimizers = [optimizers]
    if not isinstance(optimizers, Iterable):
        raise InputError(f"got optimizers={optimizers!r}; expected names or optimizers in a list, or labels to them.")
    if isinstance(optimizers, Mapping):
        found = {str(label): resolve(given) for label, given in optimizers.items()}
    else:
        found = {}
        for given in optimizers:
            one = resolve(given)
            label, k = one.name, 2
            while label in found:
                label, k = f"{one.name}-{k}", k + 1
            found[label] = one
    if not found:
        raise InputError("got no optimizers; expected at least one name or optimizer to race.")
    return found


def _start(surface: Surface, start: Tensor | Iterable[float] | None, runs: int) -> Tensor:
    given: Any = surface.start if start is None else start
    if given is None:
        raise StartError(f"{surface.name} declares no start; give start=… with {surface.dimension} numbers.")
    try:
        point = torch.as_tensor(given if isinstance(given, Tensor) else np.asarray(list(given), dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise StartError(
            f"got start={given!r}; expected {surface.dimension} numbers, or a row of them per run."
        ) from error
    point = point.detach().to(surface.device, surface.dtype)
    if point.shape not in ((surface.dimension,), (runs, surface.dimension)):
        raise StartError(
            f"got a start of shape {tuple(point.shape)}; expected ({surface.dimension},) for {surface.name}, or "
            f"({runs}, {surface.dimension}) for a start per run."
        )
    if not bool(torch.isfinite(point).all()):
        raise StartError(f"got a start that is not finite: {_shown(point)}; expected finite coordinates.")
    if surface.box is not None:
        low, high = surface.box[:, 0], surface.box[:, 1]
        if not bool(((point >= low) & (point <= high)).all()):
            box = " × ".join(f"[{a:g}, {b:g}]" for a, b in surface.box.tolist()[:4])
            raise StartError(f"got a start outside the box: {_shown(point)}; expected a point of {box}.")
    return point.expand(runs, -1).clone() if point.ndim == 1 else point.clone()


def _shown(point: Tensor) -> str:
    numbers = point.reshape(-1).tolist()
    return ", ".join(f"{x:g}" for x in numbers[:6]) + (", …" if len(numbers) > 6 else "")


@final
class _Racer:
    """One optimizer on its way: its generator, what it asked, and what became of each of its runs."""

    def __init__(self, label: str, given: Optimizer, surface: Surface, start: Tensor, steps: int, seed: int) -> None:
        self.label, self.runs = label, len(start)
        self.optimizer, self.length = given.plan(steps)
        self.meter = Meter(runs=self.runs)
        self.positions: list[Tensor] = []
        self.losses: list[Tensor] = []
        self.seen: list[Tensor] = []
        self.asked_for: list[int] = []
        self.memory: list[tuple[int, float]] = []
        self.measured_every = max(1, self.length // MEMORY_SAMPLES)
        size = 8 * len(start) * self.length * (start.shape[1] + 2)
        if size > LARGEST_RECORD:
            raise InputError(
                f"the record of {len(start):,} runs of {self.length:,} steps in {start.shape[1]:,} dimensions would take "
                f"{size / 2**30:.0f} GiB; expected at most {LARGEST_RECORD / 2**30:.0f}. Take fewer runs or steps, or "
                "basin_map, which keeps only where runs end."
            )
        self.answered = 0
        self.done = False
        self.alive: Tensor | None = None
        self.asked: Tensor | None = None
        self.ends = torch.full((len(start),), -1, dtype=torch.int64, device=start.device)
        self.reasons = ["steps"] * len(start)
        self.best, self.best_value = (
            start,
            torch.full((len(start),), float("inf"), dtype=torch.float64, device=start.device),
        )
        streams = Streams(seed, len(start), salt=zlib.crc32(label.encode()))
        self.walk = self.optimizer.walk(start, surface.layout, streams)
        self.start = start
        try:
            self.query: Query = next(self.walk)
        except NotApplicableError:
            self.refuse()

    def refuse(self) -> None:
        """End because the surface cannot answer what is asked."""
        self.done = True
        self.reasons = ["not applicable"] * len(self.start)
        self.positions = self.positions or [self.start]

    def ask(self) -> Query:
        """The query of the runs that are still on their way."""
        self.asked = self.query.active
        if self.alive is None:
            return self.query
        self.asked = self.alive if self.query.active is None else self.alive & self.query.active
        return _with_active(self.query, self.asked)

    def hear(self, answer: Answer | None) -> None:
        """Record an answer and let the algorithm move on."""
        self._stand()
        if answer is None:
            answer = _nothing(self.query)
        self._note(answer)
        self._stop_rows(answer)
        self.answered += 1
        if self.done:
            return
        begin = time.perf_counter()
        try:
            self.query = self.walk.send(answer)
        except StopIteration:
            self.done = True
            if self.answered < self.length:
                self._freeze(torch.ones(len(self.start), dtype=torch.bool), "finished")
        self.meter.algorithm_seconds += time.perf_counter() - begin
        if self.answered % self.measured_every == 0:
            self.memory.append((sum(self.asked_for), held(self.walk, answer, self.start) / self.runs))
        if not self.done and self.answered >= self.length:
            if self.query.active is not None:
                self._freeze(~self.query.active, "finished")
            self._stand()
            self.losses.append(torch.full((len(self.start),), float("nan"), dtype=torch.float64))
            self.done = True

    def _stand(self) -> None:
        at = self.query.at
        where = at.theta if at is not None else self.query.points
        self.positions.append(where if where.ndim == 2 else where[:, 0])

    def _note(self, answer: Answer) -> None:
        query, runs = self.query, self.runs
        self.asked_for.append(count(query))
        self.seen.append(_billed(query, answer))
        if isinstance(query, Products):
            unknown = torch.full((runs,), float("nan"), dtype=torch.float64)
            self.losses.append(query.at.values if query.at is not None else unknown)
            return
        if query.at is not None:
            self.losses.append(query.at.values)
        else:
            self.losses.append(answer.values if answer.values.ndim == 1 else answer.values[:, 0])
        if not self.optimizer.wanders:
            return
        flat = answer.values.reshape(runs, -1)
        lowest, index = torch.where(flat.isnan(), float("inf"), flat).min(1)
        better = lowest < self.best_value
        points = query.points.reshape(runs, -1, query.points.shape[-1])
        chosen = points[torch.arange(runs, device=points.device), index]
        self.best = torch.where(better[:, None], chosen, self.best)
        self.best_value = torch.where(better, lowest, self.best_value)

    def _stop_rows(self, answer: Answer) -> None:
        """Freeze the runs that were not answered (budget) or were answered with something not finite (diverged).

        A method that wanders takes such an answer as a bad neighbor and goes on.
        """
        if answer.answered is not None:
            refused = ~answer.answered
            if self.asked is not None:
                refused &= self.asked
            self._freeze(refused, "budget")
        if self.optimizer.wanders or answer.sound:
            return
        finite = torch.isfinite(answer.values.reshape(len(self.start), -1)).all(1)
        if answer.gradients is not None:
            finite = finite & torch.isfinite(answer.gradients).all(1)
        met = answer.answered if answer.answered is not None else torch.ones_like(finite)
        self._freeze(met & ~finite, "diverged")

    def _freeze(self, rows: Tensor, reason: str) -> None:
        alive = torch.ones(len(self.start), dtype=torch.bool) if self.alive is None else self.alive
        stopping = alive & rows.to(alive.device)
        for b in torch.nonzero(stopping)[:, 0].tolist():
            self.ends[b], self.reasons[b] = self.answered, reason
        self.alive = alive & ~stopping
        self.done = not bool(self.alive.any())


def _billed(query: Query, answer: Answer) -> Tensor:
    """What each billed query brought, (runs,) or (runs, k): its loss, infinity where that is none; NaN where unbilled."""
    if isinstance(query, Products):
        values = query.points.new_full((len(query.points), count(query)), float("inf"), dtype=torch.float64)
    elif answer.sound:
        values = answer.values
    else:
        values = torch.where(answer.values.isnan(), float("inf"), answer.values)
    if answer.answered is not None:
        billed = answer.answered if values.ndim == 1 else answer.answered[:, None]
        values = torch.where(billed, values, float("nan"))
    return values


def _columns(seen: list[Tensor], runs: int) -> Tensor:
    """Records of one or more columns each, side by side."""
    if not seen:
        return torch.empty(runs, 0, dtype=torch.float64)
    if all(part.ndim == 1 for part in seen):
        return torch.stack(seen, 1)
    return torch.cat([part if part.ndim == 2 else part[:, None] for part in seen], 1)


def _with_active(query: Query, active: Tensor) -> Query:
    match query:
        case Values():
            return Values(query.points, query.at, active)
        case Gradients():
            return Gradients(query.points, query.sample, query.at, active)
        case Products():
            return Products(query.points, query.vectors, query.at, active)


def _nothing(query: Query) -> Answer:
    """The answer of a door that answers no run."""
    values = torch.full(query.points.shape[:-1], float("nan"), dtype=torch.float64, device=query.points.device)
    answered = torch.zeros(len(query.points), dtype=torch.bool, device=query.points.device)
    match query:
        case Values():
            return Answer(values, answered=answered)
        case Gradients():
            return Answer(values, torch.full_like(query.points, float("nan")), answered=answered)
        case Products():
            return Answer(values[:0], products=torch.full_like(query.vectors, float("nan")), answered=answered)


def _drop_unanswerable(surface: Surface, live: list[_Racer]) -> list[_Racer]:
    for racer in live:
        if not isinstance(racer.query, Values):
            racer.refuse()
    return [racer for racer in live if not racer.done]


def _finish(surface: Surface, racers: list[_Racer], steps: int, seed: int) -> Race:
    """Stack the records, and let the referee value the last points and judge."""
    referee = Probe(surface)
    tracks = {}
    for racer in racers:
        positions = torch.stack(racer.positions, 1)
        losses = torch.stack(racer.losses, 1) if racer.losses else torch.full(positions.shape[:2], float("nan"))
        losses = losses.double()
        stop = torch.where(racer.ends >= 0, racer.ends, positions.shape[1] - 1)
        index = torch.minimum(torch.arange(positions.shape[1], device=stop.device)[None], stop[:, None])
        positions = positions.gather(1, index[..., None].expand(-1, -1, positions.shape[2]))
        losses = losses.gather(1, index.clamp_max(losses.shape[1] - 1))
        last = positions[:, -1]
        if racer.reasons[0] != "not applicable":
            unknown = losses[:, -1].isnan()
            if bool(unknown.any()):
                ends = referee.ask(Values(last)).values
                losses = torch.where(losses.isnan() & (index == stop[:, None]), ends[:, None], losses)
        wanders = racer.optimizer.wanders and bool(torch.isfinite(racer.best_value).any())
        final = racer.best if wanders else last
        loss = racer.best_value if wanders else losses[:, -1]
        total = sum(racer.asked_for)
        asked = np.minimum(np.cumsum([*racer.asked_for, 0]) if racer.asked_for else np.zeros(1), total)
        tracks[racer.label] = Track(
            racer.optimizer,
            positions,
            losses,
            last,
            final,
            loss,
            racer.meter,
            tuple(racer.reasons),
            asked[: positions.shape[1]].astype(np.int64),
            _columns(racer.seen, racer.runs),
            tuple(racer.memory),
        )
    return Race(surface, tracks, _judge(surface, referee, tracks), steps, seed, referee.meter)


def _kinds(
    surface: Surface, referee: Probe, tracks: dict[str, Track], points: Tensor, slopes: Tensor
) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    begin = 0
    for label, track in tracks.items():
        here = slice(begin, begin + len(track.final))
        begin = here.stop
        decay = float(getattr(track.optimizer, "decay", 0.0))
        path = None if track.optimizer.wanders else track.positions
        found[label] = kinds(surface, referee, points[here], slopes[here], path, decay, track.stopped)
    return found


def _judge(surface: Surface, referee: Probe, tracks: dict[str, Track]) -> dict[str, Verdict]:
    """Slopes and basins of all final points in one go, then a verdict per racer."""
    lowest = min((well.value for well in surface.wells), default=None)
    ran = [label for label, track in tracks.items() if track.stopped[0] != "not applicable"]
    finals = [tracks[label].final for label in ran]
    slopes: dict[str, Tensor] = {}
    ends: dict[str, tuple[str, ...]] = {}
    places: dict[str, tuple[tuple[str | None, ...], Tensor]] = {}
    if ran and surface.gradients_known:
        sizes = [len(final) for final in finals]
        points = torch.cat(finals)
        found = referee.ask(Gradients(points)).slopes.double()
        norms = found.norm(dim=1)
        ends = _kinds(surface, referee, {label: tracks[label] for label in ran}, points, found)
        names, distance = basins(surface, points, referee)
        slopes = dict(zip(ran, torch.split(norms, sizes), strict=True))
        begin = 0
        for label, size, part in zip(ran, sizes, torch.split(distance, sizes), strict=True):
            places[label] = (names[begin : begin + size], part)
            begin += size
    verdicts = {}
    for label, track in tracks.items():
        runs = len(track.final)
        nothing = torch.full((runs,), float("nan"), dtype=torch.float64, device=track.final.device)
        wells, away = places.get(label, ((None,) * runs, nothing))
        gone = [why == "diverged" for why in track.stopped]
        wells = tuple(None if bad else well for well, bad in zip(wells, gone, strict=True))
        away = torch.where(torch.tensor(gone, device=away.device), float("nan"), away)
        verdicts[label] = Verdict(
            label,
            wells,
            away,
            track.loss,
            slopes.get(label, nothing),
            track.stopped,
            track.meter.per_run,
            bool(surface.wells) and surface.gradients_known,
            lowest,
            ends.get(label, tuple("not run" if why == "not applicable" else "unknown" for why in track.stopped)),
        )
    return verdicts
