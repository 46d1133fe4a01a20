"""Forward passes of one model at several points, led through it module by module together.

Each pass runs the user's own forward on a thread of its own, and exactly one thread runs at any time. A module that holds
moved weights stops every pass at its door; once all have come, its directions are made once, and pass after pass gets its
weights, runs the module, and goes on to the next. The user's parameters are never written: a module's entry is another tensor
while it runs, and its own again after.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from lossatlas._memory import Kept

Point = tuple[float, ...]


@dataclass(eq=False)
class Unit:
    """A module whose run needs moved weights.

    Attributes:
        module: it runs them.
        entries: (holder, attribute, name) of its moved parameters; the holder is the module itself or one inside.
        by_rows: what kind of layer it is, where it is too large to be made at once: ``embedding``, ``linear``; else empty.
    """

    module: nn.Module
    entries: list[tuple[nn.Module, str, str]] = field(default_factory=list)
    by_rows: str = ""


@dataclass(eq=False)
class Held:
    """A moved tensor that stands in a module's entry while a pass runs that module.

    Attributes:
        holder: the module.
        name: of the entry.
        moved: the tensor.
        own: the module's, while the other is in its place.
    """

    holder: nn.Module
    name: str
    moved: Tensor
    own: Any = None

    def enter(self) -> None:
        """Put the moved one in place."""
        self.own = self.holder._parameters[self.name]
        self.holder._parameters[self.name] = self.moved  # type: ignore[assignment]

    def leave(self) -> None:
        """Put the module's own back."""
        self.holder._parameters[self.name] = self.own


class _Stopped(BaseException):
    """Ends a pass whose result nobody waits for any more."""


class Pass:
    """One forward pass on a thread, which pauses at units.

    Args:
        point: where.
        batch: of what.
        run: the pass; its result is kept.

    Attributes:
        judged: what a layer found out on the way that stands for the result.
    """

    def __init__(self, point: Point, batch: Any, run: Callable[[Pass], Any]) -> None:
        self.point, self.batch = point, batch
        self.result: Any = None
        self.judged: Any = None
        self.unit: Unit | None = None
        self.given: tuple[Any, ...] = ()
        self.answer: Any = None
        self.answered = self.done = self.stopped = False
        self.error: BaseException | None = None
        self.held: list[Held] = []
        self._run, self._go, self._back = run, threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._main, daemon=True)
        self._thread.start()

    def resume(self) -> None:
        """Run it to its next unit, or to its end; with the weights that it holds at that time."""
        for one in self.held:
            one.enter()
        try:
            self._go.release()
            self._back.acquire()
        finally:
            # Of a module that has ended meanwhile they were taken out as it ended.
            for one in reversed(self.held):
                one.leave()

    def stop(self) -> None:
        """End it where it waits."""
        self.stopped = True
        if not self.done:
            self._go.release()
            self._thread.join()

    def arrive(self, unit: Unit, given: tuple[Any, ...]) -> bool:
        """On its own thread: wait at a unit; whether it was answered there instead of run."""
        self.unit, self.given, self.answered, self.answer = unit, given, False, None
        self._pause()
        self.unit, self.given = None, ()
        return self.answered

    def _pause(self) -> None:
        self._back.release()
        self._go.acquire()
        if self.stopped:
            raise _Stopped

    def _main(self) -> None:
        self._go.acquire()
        try:
            if not self.stopped:
                _HERE.now = self
                with torch.no_grad():
                    self.result = self._run(self)
        except BaseException as error:  # handed to the thread that waits
            self.error = error
        finally:
            self.done = True
            self._back.release()


_HERE = threading.local()


class Touched(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes parameters whose own numbers an operation read, though they should have been moved."""

    def __init__(self, places: Mapping[int, str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.places, self.names = places, set[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for one in tree_iter((args, kwargs or {})):
            if isinstance(one, Tensor) and not one.is_meta:
                name = self.places.get(one.untyped_storage().data_ptr())
                if name is not None:
                    self.names.add(name)
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def at_the_door(units: Sequence[Unit]) -> Iterator[None]:
    """Every unit stops the pass that comes to it, as long as this is open; whatever hooks the model has stay."""
    replaced: list[tuple[nn.Module, str, Any]] = []
    try:
        for unit in units:
            # Accelerate's hooks load a module's weights around its old forward: inside of that the moved ones must stand.
            name = "_old_forward" if hasattr(unit.module, "_hf_hook") else "forward"
            replaced.append((unit.module, name, vars(unit.module).get(name)))
            setattr(unit.module, name, _stopping(unit, getattr(unit.module, name)))
        yield
    finally:
        for module, name, before in replaced:
            if before is None:
                vars(module).pop(name, None)
            else:
                setattr(module, name, before)


def _stopping(unit: Unit, inner: Callable[..., Any]) -> Callable[..., Any]:
    def forward(*args: Any, **kwargs: Any) -> Any:
        now: Pass | None = getattr(_HERE, "now", None)
        if now is None:
            return inner(*args, **kwargs)
        if now.arrive(unit, (args, kwargs)):
            return now.answer
        held = len(now.held)
        try:
            return inner(*args, **kwargs)
        finally:
            # What it was given for this run went in last. Hooks around it, as accelerate's, must find the module's own.
            for one in reversed(now.held[held - len(unit.entries) :]):
                one.leave()
            del now.held[held - len(unit.entries) :]

    return forward


def together(
    passes: Sequence[Pass],
    weights: Callable[[Unit], Callable[[Point], list[Tensor]]],
    answers: Callable[[Unit, Sequence[Pass]], list[Any] | None],
) -> None:
    """Lead passes to their ends.

    Args:
        passes: all at their beginning.
        weights: of a unit, a function of the point: its moved parameters in the order of its entries.
        answers: what a unit gives to passes that wait at it, where that is not left to the module; else None.

    Raises:
        BaseException: the first that a pass raised; the others are ended.
    """
    # Each pass has a thread of its own, and one runs at a time.
    kept = Kept()
    try:
        for one in passes:
            one.resume()
            kept.give_back()
            _raise(one)
        while waiting := [one for one in passes if not one.done]:
            unit = waiting[0].unit
            assert unit is not None
            group = [one for one in waiting if one.unit is unit]
            found = answers(unit, group)
            made = weights(unit) if found is None else None
            last: Point | None = None
            moved: list[Tensor] = []
            for k, one in enumerate(group):
                if found is not None:
                    one.answer, one.answered = found[k], True
                    found[k] = None
                elif made is not None:
                    if one.point != last:
                        last, moved = one.point, made(one.point)
                    entries = zip(unit.entries, moved, strict=True)
                    one.held += [Held(holder, name, tensor) for (holder, name, _), tensor in entries]
                one.resume()
                kept.give_back()
                _raise(one)
    finally:
        for one in passes:
            one.stop()


def _raise(one: Pass) -> None:
    if one.error is not None:
        raise one.error
