"""Queries answered by workers: what every engine with workers does, whatever they are and however they are reached."""

from __future__ import annotations

import abc
import math
import queue
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Self, TypeAlias

import numpy as np
import torch
from torch import Tensor

from lossatlas._errors import InputError, WorkerError
from lossatlas._layout import Sample
from lossatlas.probe import _manifest
from lossatlas.probe._recipe import Recipe, identity_of, recipe_of
from lossatlas.probe.engine._base import Part, Rows, Work, assembled, reading_of
from lossatlas.probe.engine._dispatch import MOST, Batch, Breaker, Dispatch
from lossatlas.probe.engine._evaluate import evaluate, steadied
from lossatlas.probe.engine._station import is_worker
from lossatlas.probe.engine._wire import Message, raised
from lossatlas.surface import Reading, Surface

# A batch: long enough that sending it costs nothing, short enough that little is lost with a worker.
BATCH_SECONDS = 0.25
# What is done sooner than a message has gone to and fro is done here; so is what is quick as long as nobody is ready.
WORTH, QUICK, SLICE = 0.02, 1.0, 0.05
# Surfaces that a worker holds.
HELD = 4
# Surfaces that the driver remembers.
REMEMBERED = 8
# How long an interrupt waits for what has begun, at least; once more for each batch that takes longer.
GRACE = 1.0


@dataclass(eq=False)
class Job:
    """A surface that workers evaluate.

    Attributes:
        on: read with bits of its own.
        source: of outputs, or None.
        rate: seconds per row by kind of query, as it was last seen.
        recipe: made when it is first sent.
        identity: of it, made with the recipe.
        digest: of the recipe.
    """

    on: Surface
    source: Any
    rate: dict[str, float] = field(default_factory=dict)
    recipe: Recipe | None = None
    identity: Any = None
    digest: str = ""


@dataclass(eq=False)
class Slot:
    """One worker.

    Attributes:
        name: for messages.
        state: ``starting``, ``idle``, ``building``, ``busy`` or ``gone``.
        jobs: digests of the surfaces that it has made and that agree with the driver's, the last used last.
        task: number of what it was last given.
    """

    name: str
    state: str = "starting"
    jobs: list[str] = field(default_factory=list)
    task: int = 0


# Which worker, or None for an interrupt; what it said, or None where it ended.
Event: TypeAlias = tuple[Slot | None, Message | None]


class Workers(abc.ABC):
    """Gives rows of queries to workers, takes their answers, and gives back what a worker that ended leaves.

    A query that is done sooner than it is sent is answered here. Each row has bits of its own, so that it does not
    matter who answers it.

    Args:
        count: of workers.

    Attributes:
        lost: rows that were being evaluated by workers that ended, and were given to others.
        worker_seconds: spent on answers by all workers together.
        deaths: workers that ended by themselves.
        proof_examples: examples that workers read to prove their shortcuts.
        clock_seconds: that answers take by the clock once all workers are at work.
        workers: how many there are.
    """

    steady = True
    kind = "a pool"

    def __init__(self, count: int) -> None:
        if is_worker():
            raise InputError(
                f"got {self.kind} of workers inside a worker: the script that began the work ran again in it. Put what the script "
                "does under if __name__ == '__main__':."
            )
        self.lost = self.deaths = self.proof_examples = 0
        self.worker_seconds = self.clock_seconds = 0.0
        self.workers, self._tasks, self._closed = count, 0, False
        self._slots = {f"{number + 1}": Slot(f"{number + 1}") for number in range(count)}
        self._breaker, self._environments = Breaker(), dict[str, str]()
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._jobs: dict[int, tuple[Any, Job]] = {}
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.workers})"

    @property
    def width(self) -> int:
        """One point per worker."""
        return self.workers

    @property
    def speed(self) -> int:
        """One point per worker."""
        return self.workers

    @property
    def notes(self) -> tuple[str, ...]:
        """Whether workers compute as the driver does."""
        others = {words for words in self._environments.values() if words != _here()}
        if not others:
            return ()
        return (
            f"some workers compute with other libraries or instructions than the driver, whose answers agree with its own to "
            f"rounding only: {'; '.join(sorted(others))}, and here {_here()}",
        )

    # --- what an engine answers -------------------------------------------------------------------------------------

    def read(self, surface: Surface, points: Tensor) -> Reading:
        """Losses and channels at points (B, N)."""
        if not len(points):
            return surface.read(points)
        return reading_of(assembled(self.stream(surface, points), len(points)))

    def stream(self, surface: Surface, points: Tensor) -> Iterator[Part]:
        """The same in parts, each as soon as it is known."""
        return self._answer(Work(surface, "values", {"points": points}))

    def gradients(self, surface: Surface, points: Tensor, sample: Sample | None) -> tuple[Tensor, Tensor]:
        """Losses (B,) and gradients (B, N)."""
        if not len(points):
            return surface.gradients(points, sample)
        rows = {"points": points} if sample is None else {"points": points, "seeds": sample.seeds}
        work = Work(surface, "gradients", rows, size=None if sample is None else sample.size)
        found = assembled(self._answer(work), len(points))
        return found["values"].to(surface.device), found["gradients"].to(surface.device)

    def products(self, surface: Surface, point: Tensor, vectors: Tensor, sample: Sample | None = None) -> Tensor:
        """Hessian at a point (N,) times vectors (K, N), of all data or of one mini-batch."""
        shared = {"point": point} if sample is None else {"point": point, "seed": sample.seeds}
        work = Work(surface, "products", {"vectors": vectors}, shared, None if sample is None else sample.size)
        return assembled(self._answer(work), len(vectors))["products"].to(surface.device)

    def outputs(self, surface: Surface, source: Any, coords: Any) -> Iterator[Part]:
        """By batch, a network's outputs at coordinates (P, k)."""
        points = torch.from_numpy(np.ascontiguousarray(coords, dtype=np.float64))
        if not getattr(source, "made_by", ()) or not len(points):
            begin = time.perf_counter()
            found = {str(k): part for k, part in enumerate(source.read(points.numpy()))}
            return iter([Part(torch.arange(len(points)), found, time.perf_counter() - begin)])
        return self._answer(Work(surface, "outputs", {"points": points}, source=source))

    # --- how workers are reached ------------------------------------------------------------------------------------

    @abc.abstractmethod
    def _start(self, slot: Slot) -> None:
        """Start a worker; it says ``ready`` by an event."""

    @abc.abstractmethod
    def _send(self, slot: Slot, message: Message) -> None:
        """Send a worker a message, without waiting; one that has ended is told of by an event."""

    def _send_recipe(self, slot: Slot, head: dict[str, Any], job: Job) -> None:
        """Send a message with what a recipe holds."""
        self._send(slot, Message(head, held(job)))

    @abc.abstractmethod
    def _end(self, slot: Slot) -> None:
        """End a worker now."""

    def _last_words(self, slot: Slot) -> str:
        """What a worker that ended said, as far as is known."""
        return ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all workers."""
        if not self._closed:
            self._closed = True
            for slot in self._slots.values():
                self._end(slot)

    # --- the loop ---------------------------------------------------------------------------------------------------

    def _answer(self, work: Work) -> Iterator[Part]:
        """Parts of the answer as they are known, until all rows are."""
        if self._closed:
            raise InputError(
                f"got a query for {self!r}, which is closed; expected it within its with block. Make a new one."
            )
        self._need_workers()
        with self._lock, _Interrupt(self._events) as interrupt:
            yield from self._parts(work, self._job(work), Dispatch(len(work)), interrupt)

    def _parts(self, work: Work, job: Job, dispatch: Dispatch, interrupt: _Interrupt) -> Iterator[Part]:
        tasks: set[int] = set()
        until = math.inf
        while not dispatch.finished:
            if interrupt.heard and until == math.inf:
                dispatch.cancelled()
                longest = max((job.rate.get(work.kind, 0.0), BATCH_SECONDS))
                until = time.perf_counter() + GRACE + longest
            rate = job.rate.get(work.kind)
            short = rate is not None and rate * dispatch.waiting < WORTH
            if dispatch.waiting and not short and rate is not None:
                self._give(work, job, dispatch, tasks)
            if dispatch.waiting and (rate is None or short or (rate < QUICK and not self._ready(job))):
                yield self._here(work, job, dispatch)
                patience = 0.0
            else:
                patience = max(0.0, min(until - time.perf_counter(), 1.0))
            if dispatch.finished:
                break
            event = self._next(patience)
            if event is not None:
                part = self._heard(*event, work=work, job=job, dispatch=dispatch, tasks=tasks)
                if part is not None:
                    yield part
            elif time.perf_counter() >= until:
                break
        if interrupt.heard:
            # Those that are still at it have used up their grace.
            for slot in list(self._slots.values()):
                if slot.state == "busy" and slot.task in tasks:
                    self._restart(slot)
            raise KeyboardInterrupt

    def _job(self, work: Work) -> Job:
        key = work.on if work.source is None else work.source
        # Held beside its job: a number of an object is its own as long as it is there.
        known = self._jobs.pop(id(key), None) or (key, Job(steadied(work.on), work.source))
        self._jobs[id(key)] = known
        if len(self._jobs) > REMEMBERED:
            del self._jobs[next(iter(self._jobs))]
        return known[1]

    def _here(self, work: Work, job: Job, dispatch: Dispatch) -> Part:
        rate = job.rate.get(work.kind)
        short = rate is not None and rate * dispatch.waiting < WORTH
        size = 1 if rate is None else dispatch.waiting if short else int(SLICE / max(rate, 1e-9))
        batch = dispatch.give("here", max(1, size))
        begin = time.perf_counter()
        answer = self._rows(work, job, batch)
        seconds = time.perf_counter() - begin
        dispatch.took("here")
        job.rate[work.kind] = seconds / len(batch)
        self.clock_seconds += seconds / self.speed
        return Part(torch.tensor(batch), answer, seconds)

    def _rows(self, work: Work, job: Job, batch: Batch) -> Rows:
        rows = torch.tensor(batch)
        chosen = {name: t[rows.to(t.device)] for name, t in work.rows.items()}
        return evaluate(job.on, job.source, work.kind, chosen, work.shared, work.size)

    def _ready(self, job: Job) -> bool:
        """Whether a worker can evaluate rows of a surface."""
        return any(job.digest in slot.jobs for slot in self._slots.values() if slot.state in ("idle", "busy"))

    def _give(self, work: Work, job: Job, dispatch: Dispatch, tasks: set[int]) -> None:
        """Give rows to every worker that waits for some, or the surface first."""
        if job.recipe is None:
            recipe = recipe_of(job.on, job.source)
            job.recipe, job.identity, job.digest = recipe, identity_of(job.on, job.source), recipe.digest
        live = [slot for slot in self._slots.values() if slot.state != "gone"]
        for slot in live:
            if slot.state != "idle":
                continue
            if not dispatch.waiting:
                return
            if job.digest not in slot.jobs:
                self._build(slot, job)
                tasks.add(slot.task)
                continue
            each = job.rate.get(work.kind, BATCH_SECONDS)
            fair = math.ceil(dispatch.waiting / (2 * len(live)))
            batch = dispatch.give(slot.name, max(1, min(int(BATCH_SECONDS / max(each, 1e-9)), fair)))
            slot.jobs.remove(job.digest)
            slot.jobs.append(job.digest)
            rows = torch.tensor(batch)
            tensors = {name: t[rows.to(t.device)] for name, t in work.rows.items()}
            tensors |= {f"shared {name}": t for name, t in work.shared.items()}
            self._tasks += 1
            slot.state, slot.task = "busy", self._tasks
            tasks.add(slot.task)
            head = {"kind": "work", "task": slot.task, "digest": job.digest, "query": work.kind, "size": work.size}
            self._send(slot, Message(head, tensors))

    def _build(self, slot: Slot, job: Job) -> None:
        assert job.recipe is not None
        slot.jobs = slot.jobs[-(HELD - 1) :]
        self._tasks += 1
        slot.state, slot.task = "building", self._tasks
        head = {
            "kind": "build",
            "task": slot.task,
            "digest": job.digest,
            "steps": list(job.recipe.steps),
            "outputs": list(job.recipe.outputs),
            "script": job.recipe.script,
            "files": dict(job.recipe.files),
        }
        self._send_recipe(slot, head, job)

    def _next(self, patience: float) -> Event | None:
        try:
            return self._events.get(timeout=patience) if patience > 0 else self._events.get_nowait()
        except queue.Empty:
            return None

    def _heard(
        self,
        slot: Slot | None,
        message: Message | None,
        *,
        work: Work,
        job: Job,
        dispatch: Dispatch,
        tasks: set[int],
    ) -> Part | None:
        if slot is None or slot is not self._slots[slot.name]:
            return None
        if message is None:
            self._died(slot, work, dispatch)
            return None
        head = message.head
        if head["kind"] == "ready":
            dispatch.returned(slot.name)  # nothing, but for one that was out of reach
            slot.state = "idle"
            return None
        if head["task"] != slot.task:
            return None
        slot.state = "idle"
        if head["kind"] == "raised":
            if head["task"] not in tasks:
                return None  # of a query that was given up
            dispatch.took(slot.name)
            raise raised(head["error"], slot.name)
        self._breaker.answered(slot.name)
        if head["kind"] == "built":
            self._agreed(slot, job, head)
            return None
        batch = dispatch.took(slot.name) if head["task"] in tasks else ()
        if not batch:
            return None
        self.worker_seconds += head["seconds"]
        self.clock_seconds += head["seconds"] / self.workers
        self.proof_examples += head["proofs"]
        job.rate[work.kind] = head["seconds"] / len(batch)
        return Part(torch.tensor(batch), dict(message.tensors), head["seconds"], slot.name)

    def _agreed(self, slot: Slot, job: Job, head: dict[str, Any]) -> None:
        """Note that a worker made the surface of the driver.

        Raises:
            WorkerError: if it is another one; what differs is named.
        """
        if head["digest"] != job.digest:
            return  # of a query that was given up
        self.proof_examples += head["proofs"]
        found = list(_manifest.differing(job.identity, head["identity"]))
        if found:
            named = "; ".join(f"{one.where} is {one.was} here and {one.now} there" for one in found[:4])
            raise WorkerError(
                f"the worker {slot.name} makes another surface than this process: {named}. Expected the same: a file may have "
                "changed meanwhile, or the model or data are drawn at random. Fix their seeds and run the same again."
            )
        slot.jobs.append(job.digest)
        self._environments[slot.name] = _words(head["with"])

    def _died(self, slot: Slot, work: Work, dispatch: Dispatch) -> None:
        """Give back what a worker had when it ended, and start another in its place.

        Raises:
            WorkerError: if its rows have ended too many workers, or no worker is left.
        """
        if slot.state == "gone" or self._closed:
            return
        self.deaths += 1
        words = self._last_words(slot)
        death = dispatch.died(slot.name)
        self.lost += len(death.rows)
        self._end(slot)
        if death.fatal:
            # The rows are to blame, not the worker: there is one for what is queried next.
            self._restart(slot, ended=True)
            raise WorkerError(
                f"{MOST} workers ended while they evaluated {_place(work, death.fatal)}{words}. Expected an answer, or an "
                "exception: the model's code may use too much memory there, or crash. Evaluate this point alone to see."
            )
        if self._breaker.died(slot.name):
            self._restart(slot, ended=True)
        else:
            slot.state = "gone"
        self._need_workers(words)

    def _need_workers(self, words: str = "") -> None:
        """Refuse to go on where no worker is left.

        Raises:
            WorkerError: then.
        """
        if all(one.state == "gone" for one in self._slots.values()):
            which = f"all {self.workers} workers" if self.workers > 1 else "the only worker"
            raise WorkerError(
                f"{which} ended {MOST} times in a row without an answer{words}. Expected processes that stay: "
                "there may be too little memory for so many copies of the model. Use fewer workers, or none."
            )

    def _restart(self, slot: Slot, *, ended: bool = False) -> None:
        if not ended:
            self._end(slot)
        fresh = replace(slot, state="starting", jobs=[], task=0)
        self._slots[slot.name] = fresh
        self._start(fresh)


class _Interrupt:
    """Ctrl-C while workers are at work: heard, not raised, the first time.

    Args:
        events: woken up by it.
    """

    def __init__(self, events: queue.SimpleQueue[Event]) -> None:
        self._events, self.heard = events, False
        self._before: Any = None

    def __enter__(self) -> _Interrupt:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.getsignal(signal.SIGINT)
            if callable(self._before):
                signal.signal(signal.SIGINT, self._hear)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if callable(self._before) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._before)
        if self.heard and kind is None:
            # Heard after the last answer: nobody else would raise it.
            raise KeyboardInterrupt

    def _hear(self, *_: object) -> None:
        if self.heard:
            raise KeyboardInterrupt
        self.heard = True
        self._events.put((None, None))


def held(job: Job) -> dict[str, Tensor]:
    """The tensors that a recipe is sent with."""
    assert job.recipe is not None
    tensors = dict(job.recipe.tensors)
    if job.recipe.pickled:
        tensors["pickled"] = torch.frombuffer(bytearray(job.recipe.pickled), dtype=torch.uint8)
    return tensors


def _place(work: Work, batch: Batch) -> str:
    """Where rows are, in words."""
    rows = work.shared["point"][None] if work.kind == "products" else work.rows["points"][list(batch)]
    numbers = ", ".join(f"{c:.6g}" for c in rows[0][:4].tolist()) + (", …" if rows.shape[1] > 4 else "")
    return f"the point ({numbers})"


def _words(environment: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in environment.items())


def _here() -> str:
    return _words(_manifest.environment())
