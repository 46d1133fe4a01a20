"""Recording a program that knows nothing of it: the optimizers that step tell which models are trained."""

from __future__ import annotations

import gc
import os
import sys
import weakref
from pathlib import Path
from types import FrameType
from typing import Any, final

from torch import nn
from torch.optim import Optimizer

from lossatlas import archive
from lossatlas._errors import InputError, LossAtlasError
from lossatlas._printable import printable
from lossatlas.record import _steppers
from lossatlas.record._recorder import Recorder
from lossatlas.record._rounds import held
from lossatlas.record._training_loop import bare_model, unwrapped

_TORCH = str(Path(nn.__file__).parents[1])


@final
class Listener:
    """Waits, within its ``with`` block, for torch optimizers to step, and records the models that they step.

    A model is the smallest module that holds all parameters of an optimizer and is no part of another module. All
    optimizers of one model make its steps together. The first model is recorded in the folder itself, and each further
    one in a folder of its name within it; its name is that of the variable that holds it, or of its class.

    Args:
        folder: where to.
        settings: of the `Recorder`.

    Attributes:
        recorders: of the models that were stepped so far, by name.
        problem: why a model is not recorded, or None.
    """

    def __init__(self, folder: str | Path, **settings: Any) -> None:
        self.recorders: dict[str, Recorder] = {}
        self.problem: str | None = None
        self._folder, self._settings, self._process = archive.located(folder).absolute(), settings, os.getpid()
        self._known: set[int] = set()
        self._kept: list[Optimizer] = []
        self._before: weakref.WeakSet[Optimizer] = weakref.WeakSet()
        self._spent = _spent_by_children()
        self._trained = self._folder.with_name(f".{self._folder.name}.{self._process}.trained")

    def __enter__(self) -> Listener:
        self._before = weakref.WeakSet(one for one in gc.get_objects() if issubclass(type(one), Optimizer))
        _steppers.enter(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if os.getpid() != self._process:
            return
        _steppers.leave(self)
        for recorder in self.recorders.values():
            # A program may well end itself: that is no failure.
            failed = kind is not None and not (isinstance(error, SystemExit) and not error.code)
            recorder.__exit__(kind if failed else None, error, trace)

    @property
    def idle(self) -> str:
        """What was seen where no optimizer stepped."""
        every = (one for one in gc.get_objects() if issubclass(type(one), Optimizer))
        found = [one for one in every if id(one) not in self._known and one not in self._before]
        if not found:
            return "No optimizer of torch.optim was found either; expected one, and its step()."
        kinds = ", ".join(sorted({type(one).__name__ for one in found}))
        seen = f"One ({kinds}) was" if len(found) == 1 else f"{len(found)} ({kinds}) were"
        return f"{seen} made but never stepped: check that the training loop ran."

    @property
    def children(self) -> str | None:
        """What child processes did, as far as it was seen: forked ones that stepped an optimizer, or their time; or None."""
        try:
            forked = self._trained.read_bytes().count(b"\n")
            self._trained.unlink()
        except OSError:
            forked = 0
        if forked:
            return f"{forked} forked child process{'es' * (forked != 1)} stepped an optimizer"
        spent = _spent_by_children() - self._spent
        return f"child processes used {spent:.1f} s of processor time" if spent >= 1 else None

    def meet(self, optimizer: Optimizer) -> None:
        """An optimizer is about to step: find its model, unless it is known."""
        if id(optimizer) in self._known:
            return
        # Wrappers that are optimizers themselves step a real one, which comes by here too.
        if isinstance(getattr(optimizer, "optimizer", None), Optimizer):
            return
        self._known.add(id(optimizer))
        if os.getpid() != self._process:
            self._note_child()
            return
        self._kept.append(optimizer)  # while it lives, no other one has its id
        try:
            model = model_of(optimizer)
            if any(bare_model(model) is one.model for one in self.recorders.values()):
                return
            together = together_with(optimizer, model)
            name = self._named(model)
            place = self._folder / name if self.recorders else self._folder
            recorder = Recorder(model, together, place, name=name, **self._settings)
            self.recorders[name] = recorder
            if recorder.status != "passive":
                self._say(f"recording {recorder.subject} into {str(place)!r}")
        except Exception as found:  # whatever it is, the program must not end by it
            self.problem = str(found) if isinstance(found, LossAtlasError) else f"{type(found).__name__}: {found}"
            what = "nothing" if not self.recorders else f"nothing of what {type(optimizer).__name__} steps"
            self._say(f"recording {what}, the program goes on: {self.problem}")

    def _named(self, model: nn.Module) -> str:
        """The name of a model: of a variable of the program that holds it, or of its class; once only."""
        bare = bare_model(model)
        name = _variable(bare, sys._getframe(1)) or type(bare).__name__
        # Names of a recording's own folders are taken.
        taken = {*self.recorders, "points", "sketches"}
        return next(one for one in (name, *(f"{name}-{k}" for k in range(2, 10**6))) if one not in taken)

    def _note_child(self) -> None:
        """Leave word for the parent process that optimizers step here."""
        if self._process != os.getppid():
            return
        try:
            with self._trained.open("a") as file:
                file.write(f"{os.getpid()}\n")
        except OSError:
            return
        self._known.update(id(one) for one in gc.get_objects() if issubclass(type(one), Optimizer))

    def _say(self, what: str) -> None:
        if not self._settings.get("quiet"):
            print(printable(f"lossatlas: {what}"), file=sys.stderr)


def model_of(optimizer: Optimizer) -> nn.Module:
    """The model whose parameters an optimizer steps, among all modules that are alive.

    Raises:
        InputError: if no module holds them all.
    """
    wanted = held([optimizer])
    # type() and not isinstance: proxies answer the latter by loading what they stand for.
    modules = [thing for thing in gc.get_objects() if issubclass(type(thing), nn.Module) and hasattr(thing, "_modules")]
    parts = {id(part) for module in modules for part in module.children()}
    holders: list[tuple[int, int, nn.Module]] = []
    for module in modules:
        own = {id(parameter) for parameter in module.parameters()}
        if id(module) not in parts and wanted <= own:
            holders.append((len(own), len(holders), module))
    if holders:
        return min(holders)[2]
    tops = [module for module in modules if id(module) not in parts]
    several = _covering(wanted, tops)
    if not several:
        raise InputError(
            f"the optimizer {type(optimizer).__name__} steps {len(wanted)} tensors that are not all parameters of one "
            "torch.nn.Module, nor of several; expected a model to record. Use lossatlas.Recorder(model, optimizer, folder) "
            "in the program itself."
        )
    names: dict[str, nn.Module] = {}
    for module in several:
        bare = unwrapped(module)
        name = _variable(bare, sys._getframe(1)) or type(bare).__name__
        names[name if name not in names else f"{name}-{len(names)}"] = bare
    return nn.ModuleDict(names)


def _covering(wanted: frozenset[int], modules: list[nn.Module]) -> list[nn.Module]:
    """Few modules that hold all these parameters together, smallest first; none if some are held by no module."""
    sized = sorted(((list(module.parameters()), module) for module in modules), key=lambda one: len(one[0]))
    found, left = [], set(wanted)
    for parameters, module in sized:
        own = {id(parameter) for parameter in parameters}
        if own & left and own <= wanted:
            found.append(module)
            left -= own
    return found if not left else []


def together_with(optimizer: Optimizer, model: nn.Module) -> list[Optimizer]:
    """All optimizers alive that step parameters of this model and of nothing else; of two over the same ones, the given."""
    own = {id(parameter) for parameter in model.parameters()}
    found = [optimizer]
    taken = set(held(found))
    for one in gc.get_objects():
        if not issubclass(type(one), Optimizer) or one is optimizer or not hasattr(one, "_optimizer_step_post_hooks"):
            continue
        steps = held([one])
        if isinstance(getattr(one, "optimizer", None), Optimizer) or not steps or not steps <= own - taken:
            continue
        found.append(one)
        taken |= steps
    return found


def _variable(model: nn.Module, frame: FrameType | None) -> str | None:
    """The first name that the program's functions, and then its modules, have for a model."""
    while frame is not None:
        if not frame.f_code.co_filename.startswith((_TORCH, str(Path(__file__).parent))):
            for names in (frame.f_locals, frame.f_globals):
                for name, value in names.items():
                    if name.isidentifier() and not name.startswith("__") and _is(value, model):
                        return name
        frame = frame.f_back
    return None


def _is(value: object, model: nn.Module) -> bool:
    return issubclass(type(value), nn.Module) and unwrapped(value) is model


def _spent_by_children() -> float:
    """Seconds of processor time of child processes that have ended, in all of this process's life."""
    times = os.times()
    return times.children_user + times.children_system
