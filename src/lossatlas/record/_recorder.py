"""The recorder: listens to an optimizer's steps and writes down where they lead, without touching the run."""

from __future__ import annotations

import atexit
import os
import sys
import time
import weakref
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, final

from torch import Tensor, nn
from torch.optim import Optimizer

from lossatlas import _checks, archive
from lossatlas._errors import InputError, LossAtlasError, OutputError, PlaneError
from lossatlas._printable import printable
from lossatlas.record import _folder, _steppers
from lossatlas.record._logs import Logs
from lossatlas.record._notes import Notes
from lossatlas.record._recording import Recording
from lossatlas.record._rounds import Rounds, held
from lossatlas.record._scalars import NAMES, Scalars
from lossatlas.record._track import Track
from lossatlas.record._training_loop import (
    Changed,
    bare_model,
    bare_optimizers,
    check_membership,
    is_inner,
    rank,
    steps_made,
    was_skipped,
)
from lossatlas.record._writer import Writer

# Whole points kept beside a sketch, unless another number is given.
ANCHORS = 9


@final
class Recorder:
    """Records where a training run goes: whole points at chosen steps, or sketches of them, into a folder.

    It hooks the optimizer's step and reads the parameters; it changes neither them nor any random state, so that the run
    is bit for bit the one it would be. Gradient accumulation needs nothing (the optimizer steps once), steps that a
    gradient scaler skips are not counted, and of several processes rank 0 writes. Writing is done on a thread beside
    the training. If it fails (a full disk), the recorder stops and says so, and the training goes on.

    Of several optimizers a step counts when all have stepped, in whatever order: also one per parameter, stepped from
    hooks within the backward pass. One that makes no step while another makes ten is not waited for. An optimizer of the
    model that is made later on is listened to when it first steps. The last point is the model as it is when recording
    ends.

    Where the model changes its shape on the way, or frozen parameters are trained from some step on, a new segment
    begins: a recording in the folder ``segment-2`` of this one, and so on (`Recording.segments`, `Recording.joined`).

    Memory: one copy of parameters and buffers on the CPU for whole points; with ``sketch``, and between whole points,
    16 bytes per number of the sketch. Disk: a file of the model's size per whole point, 8 bytes per number of a sketch.

    Args:
        model: what is trained; wrappers for several devices or for compilation are looked through.
        optimizer: what steps it; or several, in any order.
        folder: where to; made if needed.
        every: record each so many steps; or the steps to record. The point before the first step and the one at the
            end are always recorded.
        keep: at most about so many whole points, evenly spread (every other one is dropped whenever they are more);
            None for all. With a sketch, 9 unless given.
        sketch: numbers in a sketch of every recorded point, or None for whole points only. A sketch of m numbers gives
            principal components of the path, its coordinates and its distances to a relative error of about 2/√m, for a
            model of any size.
        seed: of the sketch.
        resume: go on with the recording that the folder holds, at the step that the optimizer's own state counts (or
            `load_state_dict`, or ``start``); what was recorded after that step is dropped.
        start: the step at which this run begins, where nothing else counts it.
        quiet: do not print what it cost, nor why it stopped.
        pack: write points of up to 1 MiB into one file, ``points.tar``, for thousands of them; with ``keep`` or
            ``sketch`` there are few, and it is refused.
        name: of the model in the record; that of its class unless given.
        log: where numbers of the recorded steps go besides the record: a TensorBoard ``SummaryWriter``, a W&B run, the
            module ``mlflow``, a Lightning logger, or a function of the step and a dictionary of numbers (or of one
            figure); or several in a list. When recording ends, a figure of the path is sent too. One that raises gets
            nothing more, and recording and training go on.
        scalars: which numbers: ``"distance"`` from the start, ``"step_length"``, ``"noise_scale"`` and
            ``"sharpness"``, as defined in docs/recording.md; they are noted too (`Recording.curve`). Unless given, all that
            can be had if there is a ``log``, and none otherwise.
        loss: for the sharpness: a function that returns the loss of the model on a batch that is always the same.

    Attributes:
        step: the optimizer's steps so far.
        status: ``waiting`` for the first step, ``recording``, ``closed``, ``stopped`` or ``passive`` (another rank
            writes).
        reason: why it stopped, or None.
        model: what is recorded, bare of wrappers.
        folder: where to.

    Raises:
        InputError: for an optimizer over other parameters than the model's, or steps that are none.
        ModelError: for a model without trainable parameters, or one that is sharded.
        OutputError: if the folder cannot be written, or holds another recording.

    Example:
        >>> import tempfile, torch, lossatlas as la
        >>> model = torch.nn.Linear(3, 1)
        >>> optimizer = torch.optim.Adam(model.parameters())
        >>> folder = tempfile.mkdtemp()
        >>> with la.Recorder(model, optimizer, folder, every=2, quiet=True) as recorder:
        ...     for _ in range(5):
        ...         loss = model(torch.ones(4, 3)).square().mean()
        ...         loss.backward()
        ...         recorder.note(loss=loss)
        ...         optimizer.step()
        >>> la.Recording.load(folder).steps.tolist()
        [0, 2, 4, 5]
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | Sequence[Optimizer],
        folder: str | Path,
        *,
        every: int | Iterable[int] = 10,
        keep: int | None = None,
        sketch: int | None = None,
        seed: int = 0,
        resume: bool = False,
        start: int | None = None,
        quiet: bool = False,
        pack: bool = False,
        name: str | None = None,
        log: Any = None,
        scalars: Collection[str] | None = None,
        loss: Callable[[], Tensor] | None = None,
    ) -> None:
        self.step, self.status = 0, "waiting"
        self.reason: str | None = None
        # A training script may change its directory.
        self.folder = archive.located(folder).absolute()
        self._every = _steps(every)
        keep = _checks.optional(_checks.whole, "keep", keep, 3, do="Two points do not define a plane.")
        self._room: dict[str, Any] = {
            "keep": ANCHORS if keep is None and sketch is not None else keep,
            "sketch": sketch,
            "seed": _checks.seed(seed),
            "pack": _checks.flag("pack", pack),
        }
        if pack and self._room["keep"] is not None:
            raise InputError(
                "got pack=True with keep=… or sketch=…; expected one: a pack keeps all points. Leave one out."
            )
        optimizers = bare_optimizers(optimizer)
        self.model = bare_model(model)
        check_membership(self.model, optimizers)
        self._name = _checks.optional(_checks.instance, "name", name, str, "the model's name, text")
        self._logs = Logs(log)
        if scalars is None:
            scalars = NAMES[: 3 + (loss is not None)] if self._logs else ()
        self._scalars = Scalars(scalars, loss)
        self._rounds = Rounds(optimizers)
        self._writer = Writer()
        self._track = Track(self.folder, self.model, self._writer, **self._room)
        self._start = _checks.optional(_checks.whole, "start", start, 0)
        self._resume, self._quiet = _checks.flag("resume", resume), _checks.flag("quiet", quiet)
        self._process = os.getpid()
        self._notes, self._points, self._segment = Notes(), 0, 1
        self._turned: list[str] = []
        self._seen: weakref.WeakSet[Optimizer] = weakref.WeakSet(optimizers)
        self._strangers = self._skipped = 0
        self._begun, self._cost = 0.0, 0.0
        self._ended: float | None = None
        self._hooks: dict[int, list[Any]] = {}
        if rank() != 0:
            self.status = "passive"
            return
        archive.prepare(self.folder)
        self._claim()
        self._held = held(optimizers)
        for one in optimizers:
            self._listen(one)
        alive = weakref.ref(self)
        _steppers.enter(self)
        self._at_exit = lambda: _close(alive())
        atexit.register(self._at_exit)

    @property
    def memory(self) -> int:
        """Bytes held now, beyond the model's own."""
        return self._track.memory + self._scalars.memory

    @property
    def overhead(self) -> float:
        """Share of the training time that the recorder took out of the loop, waiting for the disk included."""
        whole = self._elapsed() - self._cost
        return self._cost / whole if whole > 0 else 0.0

    @property
    def subject(self) -> str:
        """What is recorded: the model by its name, and what steps it."""
        kinds = list(dict.fromkeys(type(one).__name__ for one in self._rounds.optimizers))
        count, kind = len(self._rounds.optimizers), type(self.model).__name__
        by = f"{kinds[0]} steps" if count == 1 else f"{count} optimizers ({', '.join(kinds)}) step"
        name = kind if self._name in (None, kind) else f"{self._name} ({kind})"
        return f"{name} as {by} it"

    @property
    def sentence(self) -> str:
        """What it did, what it cost, and why it stopped if it did."""
        if self.status == "passive":
            return f"process {rank()} records nothing: process 0 does."
        name = f"{self._name}: " if self._name else ""
        done = (
            f"{name}recorded {_number(self._points, 'point')} on the way to step {self.step} into {str(self.folder)!r}"
        )
        if self._turned:
            done += f", in {_number(len(self._turned) + 1, 'segment')} ({'; '.join(self._turned)})"
        cost = (
            f"{self.overhead:.2%} of the training time ({self._cost:.3f} s), {self._writer.seconds:.3f} s of writing on a "
            f"thread beside it, {self.memory / 1e6:.3g} MB held"
        )
        if self.status == "stopped":
            return f"recording stopped at step {self.step}, the training goes on: {self.reason} Before that it {done}; {cost}."
        aside = "".join(f" {problem}." for problem in self._logs.problems)
        return f"{done}; {cost}.{aside}{self._idle()}"

    def note(self, **values: float | Tensor) -> None:
        """Keep numbers of this step, such as ``loss=…``; they are written with the next recorded step.

        Called before ``optimizer.step()``, the loss belongs to the point it was taken at. Several notes of one step
        (gradient accumulation) are averaged.

        Args:
            values: single numbers by name.

        Raises:
            InputError: for anything but one real number.
        """
        if self.status in ("waiting", "recording"):
            for name, value in values.items():
                self._notes.add(self.step, name, value)

    def state_dict(self) -> dict[str, Any]:
        """The step counter, for the user's own checkpoint where the optimizer's state counts no steps.

        Empty once the recorder has stopped listening before the run ended: its count is not the run's any more.
        """
        if self.status == "waiting":
            return {} if self._start is None else {"step": self._start}
        return {"step": self.step} if self.status in ("recording", "closed") else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the step counter from a checkpoint; before the first step.

        Raises:
            InputError: for what is no such state.
        """
        if not isinstance(state, Mapping):
            raise InputError(
                f"load_state_dict got {_checks.shown(state)}; expected what state_dict() returned. Give that part of the checkpoint."
            )
        if "step" in state:
            self._start = _checks.whole("step", state["step"], 0, where="load_state_dict")

    def close(self) -> None:
        """Record where the run ended, wait until all is written, and stop listening. Closing twice does nothing."""
        self._close("closed")

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        self._close("closed" if kind is None else f"ended by {kind.__name__}")

    def _before(self, optimizer: Optimizer, *_: object) -> None:
        """Before a step: the first one tells where the run begins, and each whether the model is still the same."""
        if self.status not in ("waiting", "recording") or os.getpid() != self._process:
            return
        begin = time.perf_counter()
        if self.status == "waiting":
            self._guarded(self._begin)
            self._begun = begin
        elif not self._rounds.begun:
            self._guarded(self._look)
        if self._scalars.names and self.status == "recording":
            self._scalars.gradients(optimizer)
            if not self._rounds.begun and self._due(self.step + 1):
                self._guarded(lambda: self._scalars.before(self._track.watched.parameters()))
        self._cost += time.perf_counter() - begin

    def _after(self, optimizer: Optimizer, *_: object) -> None:
        """After a step."""
        if self.status != "recording" or os.getpid() != self._process or is_inner(optimizer):
            return
        if was_skipped(optimizer):
            self._skipped += 1
            self._scalars.stepped(skipped=True)
            return
        begin = time.perf_counter()
        made = self._rounds.stepped(optimizer)
        self.step += made
        if made:
            self._scalars.stepped()
        if made and any(self._due(self.step - k) for k in range(made)):
            self._guarded(self._record)
            self._measure()
        elif self._writer.failure:
            self._stop(self._writer.failure)
        self._cost += time.perf_counter() - begin

    def _due(self, step: int) -> bool:
        return step % self._every == 0 if isinstance(self._every, int) else step in self._every

    def meet(self, optimizer: Optimizer) -> None:
        """An optimizer is about to step that this recorder may not have been given: perhaps it steps this model."""
        if self.status not in ("waiting", "recording") or os.getpid() != self._process or optimizer in self._rounds:
            return
        if optimizer in self._seen or isinstance(getattr(optimizer, "optimizer", None), Optimizer):
            return
        own = {id(parameter) for parameter in self.model.parameters()}
        if not held([optimizer]) or not held([optimizer]) <= own:
            # Looked at once: it may well be a model of its own.
            self._seen.add(optimizer)
            self._strangers += 1
            return
        for replaced in self._rounds.adopt(optimizer, own):
            for hook in self._hooks.pop(id(replaced), ()):
                hook.remove()
        self._listen(optimizer)
        self._before(optimizer)

    def _listen(self, optimizer: Optimizer) -> None:
        self._hooks[id(optimizer)] = [
            optimizer.register_step_pre_hook(self._before),
            optimizer.register_step_post_hook(self._after),
        ]

    def _guarded(self, action: Any) -> None:
        try:
            try:
                action()
            except Changed as change:
                self._turn(str(change))
        except Exception as error:  # whatever it is, the run must not end by it
            self._stop(str(error) if isinstance(error, LossAtlasError) else f"{type(error).__name__}: {error}")

    def _look(self) -> None:
        """Whether the model that is about to step has other trainable parameters than before."""
        changed = self._track.watched.unfrozen()
        now = held(self._rounds.optimizers)
        if changed is None and now != self._held:
            changed = self._track.watched.grown()
        self._held = now
        if changed:
            raise Changed(changed)

    def _turn(self, why: str) -> None:
        """The model is another surface's point from here on: end this segment, and begin the next one where it is."""
        why = why.strip().rstrip(".")
        self._segment += 1
        place = _folder.segment(self.folder, self._segment)
        self._track.end({**self._line("continued"), "reason": f"{why}.", "next": place.name})
        self._turned.append(f"from step {self.step} on {why}")
        self._track = Track(place, self.model, self._writer, **self._room)
        archive.prepare(place)
        _folder.claim(place, self._track.manifest({**self._settings(), "after": f"{why}."}), resume=False)
        self._record()
        self._scalars.begin(self._track.watched.parameters())

    def _settings(self) -> dict[str, Any]:
        """What the manifest says of the recorder itself."""
        return {
            "name": self._name or type(self.model).__name__,
            "segment": self._segment,
            "optimizers": [_described(one) for one in self._rounds.optimizers],
            "every": self._every if isinstance(self._every, int) else sorted(self._every),
        }

    def _claim(self) -> None:
        """Take the folder; where a run is resumed whose model has changed since it began, the segment of this model."""
        for number, place in reversed(_folder.segments(self.folder) if self._resume else []):
            if not _folder.layout(_folder.manifest(place)).difference(self._track.watched.layout):
                self._segment = number
                if number > 1:
                    self._track = Track(place, self.model, self._writer, **self._room)
                break
        _folder.claim(self._track.folder, self._track.manifest(self._settings()), resume=self._resume)

    def _begin(self) -> None:
        """Find the step that the run is at, drop what was recorded beyond it, and record the point."""
        rows = self._track.earlier() if self._resume else []
        counted = self._start if self._start is not None else steps_made(self._rounds.optimizers)
        if counted is None and rows:
            counted = self._track.recognized(rows)
        self.step = counted or 0
        self._notes.move(self.step)
        known = self._track.go_on(rows, self.step)
        self._points = self._track.rows
        for number, place in _folder.segments(self.folder):
            if number > self._segment:
                _folder.remove(place)
        self.status = "recording"
        if not known:
            self._record()
        if self._scalars.names:
            self._writer.wait()
            self._scalars.begin(self._track.first() or self._track.watched.parameters())

    def _record(self, *, whole: bool = False) -> None:
        """Write a row of where the run is now."""
        before = self._track.rows
        self._track.record(
            self.step, self._elapsed(), lambda: self._notes.take(None if whole else self.step), whole=whole
        )
        self._points += self._track.rows - before

    def _elapsed(self) -> float:
        until = time.perf_counter() if self._ended is None else self._ended
        return until - self._begun if self._begun else 0.0

    def _stop(self, reason: str) -> None:
        """Give up, without disturbing the run."""
        # Hooks stay until the recorder is closed: torch is going through its table of them.
        self.status, self.reason = "stopped", reason.strip().rstrip(".") + "."
        self._end("stopped")
        self._say()

    def _close(self, how: str) -> None:
        if self.status == "passive" or os.getpid() != self._process:
            return
        self._unhook()
        if self.status not in ("waiting", "recording"):
            return
        if self.status == "waiting":
            self._guarded(self._begin)
        if self.status == "recording":
            # Some optimizers have stepped once more than others: where they stand is a point after the last counted step.
            self.step += self._rounds.begun
            self._guarded(self._finish)
        self._writer.wait()
        if self.status == "recording" and self._writer.failure:
            self._stop(self._writer.failure)
        if self.status != "recording":
            return
        self.status = how
        self._end(how)
        if self._logs:
            try:
                self._draw()
            except Exception as error:  # a picture is not worth a run
                self._tell(f"the path was not drawn: {type(error).__name__}: {error}")
        self._say()

    def _measure(self) -> None:
        """Take the numbers of the step that was recorded, note them and send them on."""
        if self.status != "recording" or not self._scalars.names:
            return
        try:
            values = self._scalars.take(self._track.watched.parameters(), self.model, self._elapsed())
        except Exception as error:  # the loss is the user's, and memory may not suffice
            said = str(error) if isinstance(error, LossAtlasError) else f"{type(error).__name__}: {error}"
            self._scalars = Scalars((), None)
            self._tell(f"no more scalars are taken, recording and training go on: {said}")
            return
        for name, value in values.items():
            self._notes.add(self.step, name, value)
        if values:
            self._send(lambda: self._logs.numbers(self.step, values))

    def _send(self, action: Callable[[], None]) -> None:
        told = len(self._logs.problems)
        action()
        for problem in self._logs.problems[told:]:
            self._tell(f"{problem}; recording and training go on.")

    def figure(self, name: str, figure: Any) -> None:
        """Send a picture to where the numbers go, at the step that the run is at.

        Args:
            name: of the picture there, after ``lossatlas/``.
            figure: a matplotlib figure, or anything of this package that is drawn (``chart.plot()``).

        Raises:
            InputError: for anything else.
        """
        drawn = figure
        if not hasattr(drawn, "savefig"):
            drawn = getattr(
                figure if hasattr(figure, "figure_") or not hasattr(figure, "plot") else figure.plot(), "figure_", None
            )
        if not hasattr(drawn, "savefig"):
            raise InputError(
                f"got the figure {_checks.shown(figure)}; expected a matplotlib figure, or a display such as chart.plot()."
            )
        self._send(lambda: self._logs.figure(self.step, name, drawn))

    def _draw(self) -> None:
        """The path on its own two components, for where the numbers went."""
        found = Recording.load(self._track.folder)
        if len(found.rows if found.sketched else found.kept) >= 3:
            try:
                self.figure("path", found.coordinates().plot())
            except PlaneError:  # a path on a line, or one that is not finite
                return

    def _finish(self) -> None:
        """Write the model as it is, unless the last point that was written is it."""
        if self._notes or self._track.differs(self.step):
            self._record(whole=True)

    def _end(self, how: str) -> None:
        """The last line, where there is room for one."""
        self._writer.wait()
        self._ended = time.perf_counter()
        try:
            self._track.end(self._line(how))
        except OutputError as error:
            self.reason = self.reason or str(error)

    def _line(self, how: str) -> dict[str, Any]:
        return {
            "end": how,
            "step": self.step,
            "reason": self.reason,
            "overhead": self.overhead,
            "seconds": self._elapsed(),
            "made": self._rounds.made,
        }

    def _idle(self) -> str:
        """What was seen where optimizers made no step."""
        made = self._rounds.made
        if all(made):
            return ""
        names = ", ".join(sorted({type(one).__name__ for one in self._rounds.optimizers}))
        if any(made):
            return f" {_number(made.count(0), 'optimizer')} of {len(made)} ({names}) never stepped; no step waited for that."
        own = [p for one in self._rounds.optimizers for group in one.param_groups for p in group["params"]]
        having = sum(parameter.grad is not None for parameter in own)
        seen = [f"{having} of its {_number(len(own), 'parameter')} have a gradient"]
        if self._skipped:
            seen.append(f"a gradient scaler skipped {_number(self._skipped, 'step')}, since gradients were not finite")
        if self._strangers:
            seen.append(f"{_number(self._strangers, 'other optimizer')} stepped, over parameters of another model")
        return (
            f" Its optimizer ({names}) never stepped: {'; '.join(seen)}. Expected optimizer.step() of the optimizer that the "
            "recorder was given, while it records. Check that it is the one the training loop steps, that its parameters are "
            "this model's, and that the loop runs before the recorder is closed."
        )

    def _unhook(self) -> None:
        for hooks in self._hooks.values():
            for hook in hooks:
                hook.remove()
        self._hooks = {}
        _steppers.leave(self)
        atexit.unregister(self._at_exit)

    def _say(self) -> None:
        self._tell(self.sentence)

    def _tell(self, what: str) -> None:
        if not self._quiet:
            print(printable(f"lossatlas: {what}"), file=sys.stderr)


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def _close(recorder: Recorder | None) -> None:
    if recorder is not None:
        recorder.close()


def _steps(every: int | Iterable[int]) -> int | frozenset[int]:
    if isinstance(every, Iterable) and not isinstance(every, str) and getattr(every, "ndim", None) != 0:
        steps = frozenset(_checks.whole("every", step, 0, do="These are the steps to record.") for step in every)
        if steps:
            return steps
    return _checks.whole("every", every, do="Or give the steps to record.")


def _described(optimizer: Optimizer) -> dict[str, Any]:
    """A class and its settings, as plain values."""
    kind = type(optimizer)
    settings = {
        name: value if isinstance(value, int | float | str | bool | None) else repr(value)
        for name, value in optimizer.defaults.items()
    }
    return {"class": f"{kind.__module__}.{kind.__qualname__}", **settings}
