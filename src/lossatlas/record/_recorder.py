"""The recorder: listens to an optimizer's steps and writes down where they lead, without touching the run."""

from __future__ import annotations

import atexit
import os
import sys
import time
import weakref
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lossatlas import _checks, archive
from lossatlas._errors import InputError, LossAtlasError, OutputError
from lossatlas.record import _folder
from lossatlas.record._folder import Row
from lossatlas.record._image import Image
from lossatlas.record._notes import Notes
from lossatlas.record._sketch import Sketch
from lossatlas.record._store import Store
from lossatlas.record._thinning import Thinning
from lossatlas.record._training_loop import (
    Watched,
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
    the training. If it fails (a full disk, a parameter that changed its shape), the recorder stops and says so, and the
    training goes on.

    Memory: one copy of parameters and buffers on the CPU for whole points; with ``sketch``, and between whole points,
    16 bytes per number of the sketch. Disk: a file of the model's size per whole point, 8 bytes per number of a sketch.

    Args:
        model: what is trained; wrappers for several devices or for compilation are looked through.
        optimizer: what steps it; or several that step one after another, counted when the last one steps.
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

    Attributes:
        step: the optimizer's steps so far.
        status: ``waiting`` for the first step, ``recording``, ``closed``, ``stopped`` or ``passive`` (another rank
            writes).
        reason: why it stopped, or None.

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
    ) -> None:
        self.step, self.status = 0, "waiting"
        self.reason: str | None = None
        # A training script may change its directory.
        self.folder = archive.located(folder).absolute()
        self._every = _steps(every)
        keep = _checks.optional(_checks.whole, "keep", keep, 3, do="Two points do not define a plane.")
        self._keep = ANCHORS if keep is None and sketch is not None else keep
        self._optimizers = bare_optimizers(optimizer)
        bare = bare_model(model)
        check_membership(bare, self._optimizers)
        self._watched = Watched(bare)
        seed = _checks.seed(seed)
        self._sketch = None if sketch is None else Sketch(self._watched.layout.dimension, sketch, seed)
        self._start = _checks.optional(_checks.whole, "start", start, 0)
        self._resume, self._quiet = _checks.flag("resume", resume), _checks.flag("quiet", quiet)
        self._process = os.getpid()
        self._image: Image | None = None
        self._notes, self._rows, self._thinning = Notes(), 0, Thinning(self._keep)
        self._recorded: int | None = None
        self._whole: int | None = None
        self._begun, self._cost = 0.0, 0.0
        self._ended: float | None = None
        self._writer, self._store = Writer(), Store(self.folder)
        self._hooks: list[Any] = []
        if rank() != 0:
            self.status = "passive"
            return
        archive.prepare(self.folder)
        _folder.claim(self.folder, self._manifest(bare), resume=resume)
        for one in self._optimizers:
            self._hooks.append(one.register_step_pre_hook(self._before))
        self._hooks.append(self._optimizers[-1].register_step_post_hook(self._after))
        alive = weakref.ref(self)
        self._at_exit = lambda: _close(alive())
        atexit.register(self._at_exit)

    @property
    def memory(self) -> int:
        """Bytes held now, beyond the model's own."""
        staged = len(self._image.content) if self._image else 0
        return staged + (self._sketch.bytes + 8 * self._sketch.size if self._sketch else 0)

    @property
    def overhead(self) -> float:
        """Share of the training time that the recorder took out of the loop, waiting for the disk included."""
        whole = self._elapsed() - self._cost
        return self._cost / whole if whole > 0 else 0.0

    @property
    def sentence(self) -> str:
        """What it did, what it cost, and why it stopped if it did."""
        if self.status == "passive":
            return f"process {rank()} records nothing: process 0 does."
        points = f"{self._rows} point{'s' * (self._rows != 1)}"
        done = f"recorded {points} on the way to step {self.step} into {str(self.folder)!r}"
        cost = (
            f"{self.overhead:.2%} of the training time ({self._cost:.3f} s), {self._writer.seconds:.3f} s of writing on a "
            f"thread beside it, {self.memory / 1e6:.3g} MB held"
        )
        if self.status == "stopped":
            return f"recording stopped at step {self.step}, the training goes on: {self.reason} Before that it {done}; {cost}."
        return f"{done}; {cost}."

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

    def _before(self, *_: object) -> None:
        """Before a step: the first one tells where the run begins."""
        if self.status == "waiting" and os.getpid() == self._process:
            begin = time.perf_counter()
            self._guarded(self._begin)
            self._begun = begin
            self._cost += time.perf_counter() - begin

    def _after(self, optimizer: Optimizer, *_: object) -> None:
        """After a step."""
        if self.status != "recording" or os.getpid() != self._process or was_skipped(optimizer) or is_inner(optimizer):
            return
        begin = time.perf_counter()
        self.step += 1
        due = self.step % self._every == 0 if isinstance(self._every, int) else self.step in self._every
        if due:
            self._guarded(self._record)
        elif self._writer.failure:
            self._stop(self._writer.failure)
        self._cost += time.perf_counter() - begin

    def _guarded(self, action: Any) -> None:
        try:
            action()
        except Exception as error:  # whatever it is, the run must not end by it
            self._stop(str(error) if isinstance(error, LossAtlasError) else f"{type(error).__name__}: {error}")

    def _manifest(self, model: nn.Module) -> dict[str, Any]:
        """What is recorded and how."""
        blocks = [
            {**vars(block), "dtype": str(self._watched.dtypes[block.name]).removeprefix("torch.")}
            for block in self._watched.layout.blocks
        ]
        return {
            "format": _folder.FORMAT,
            "version": _folder.VERSION,
            "model": type(model).__name__,
            "blocks": blocks,
            "optimizers": [_described(one) for one in self._optimizers],
            "every": self._every if isinstance(self._every, int) else sorted(self._every),
            "keep": self._keep,
            "sketch": None if self._sketch is None else {"size": self._sketch.size, "seed": self._sketch.seed},
            "torch": torch.__version__,
        }

    def _begin(self) -> None:
        """Find the step that the run is at, drop what was recorded beyond it, and record the point."""
        rows, _ = _folder.journal(self.folder) if self._resume else ([], [])
        rows = _folder.sound(self.folder, rows, sketched=self._sketch is not None)
        counted = self._start if self._start is not None else steps_made(self._optimizers)
        if counted is None and rows:
            counted = self._recognized(rows)
        self.step = counted or 0
        self._notes.move(self.step)
        rows = [row for row in rows if row.step <= self.step]
        _folder.rewrite(self.folder, rows)
        self._rows = len(rows)
        kept = [(k, r.step) for k, r in enumerate(rows) if _folder.has_point(self.folder, r.step)]
        self._thinning = Thinning(self._keep, rows[-1].stride if rows else 1, kept)
        self.status = "recording"
        self._recorded = rows[-1].step if rows else None
        self._whole = kept[-1][1] if kept else None
        if self._recorded != self.step:
            self._record()

    def _recognized(self, rows: list[Row]) -> int:
        """The recorded step whose point is the model's own, bit for bit."""
        now = {name: tensor.cpu() for name, tensor in self._watched.parameters().items()}
        for row in reversed(rows):
            path = _folder.point_file(self.folder, row.step)
            if _folder.has_point(self.folder, row.step) and all(
                torch.equal(value, now[name]) for name, value in _folder.tensors(path, now)
            ):
                return row.step
        raise InputError(
            f"the folder {str(self.folder)!r} holds a run up to step {rows[-1].step}, and nothing tells at which step this "
            "one goes on: the optimizer counts no steps, and the model is at none of the recorded points. Give start=…, "
            "or the recorder's own state_dict() of the checkpoint to load_state_dict()."
        )

    def _record(self, *, whole: bool = False) -> None:
        """Write a row of where the run is now, or, after one that has no whole point, the same row with one."""
        self._writer.wait()
        if self._writer.failure:
            raise OutputError(self._writer.failure)
        again = self._recorded == self.step
        parameters = self._watched.parameters()
        folded = self._sketch(parameters.values()) if self._sketch and not again else None
        point, dropped = self._thinning.take(self._rows - again, self.step, last=whole)
        staged = self._staged(parameters) if point else None
        row = Row(
            self.step, self._elapsed(), point, self._thinning.stride, self._notes.take(None if whole else self.step)
        )
        if self._store.quick(staged):
            self._store.write(row, staged, folded, dropped)
        else:
            self._writer.run(lambda: self._store.write(row, staged, folded, dropped))
        self._rows += not again
        self._recorded = self.step
        self._whole = self.step if point else self._whole

    def _staged(self, parameters: dict[str, Tensor]) -> Image:
        """The point copied to the CPU, into what held the one before."""
        tensors = {**parameters, **self._watched.buffers()}
        if self._image is None or not self._image.fits(tensors):
            self._image = Image(tensors)
        self._image.fill(tensors)
        return self._image

    def _elapsed(self) -> float:
        until = time.perf_counter() if self._ended is None else self._ended
        return until - self._begun if self._begun else 0.0

    def _stop(self, reason: str) -> None:
        """Give up, without disturbing the run."""
        self.status, self.reason = "stopped", reason.strip().rstrip(".") + "."
        self._unhook()
        self._end("stopped")
        self._say()

    def _close(self, how: str) -> None:
        if self.status not in ("waiting", "recording") or os.getpid() != self._process:
            return
        if self.status == "waiting":
            self._guarded(self._begin)
        if self.status == "recording" and (self._whole != self.step or self._notes):
            self._guarded(lambda: self._record(whole=True))
        self._writer.wait()
        if self.status == "recording" and self._writer.failure:
            self._stop(self._writer.failure)
        if self.status != "recording":
            return
        self.status = how
        self._unhook()
        self._end(how)
        self._say()

    def _end(self, how: str) -> None:
        """The last line, where there is room for one."""
        self._writer.wait()
        self._ended = time.perf_counter()
        line = {
            "end": how,
            "step": self.step,
            "reason": self.reason,
            "overhead": self.overhead,
            "seconds": self._elapsed(),
        }
        try:
            self._store.end(line)
        except OutputError as error:
            self.reason = self.reason or str(error)

    def _unhook(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        atexit.unregister(self._at_exit)

    def _say(self) -> None:
        if not self._quiet:
            print(f"lossatlas: {self.sentence}", file=sys.stderr)


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
