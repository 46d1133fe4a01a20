"""Recording a program that knows nothing of it: the first optimizer that steps tells which model is trained."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from typing import Any, final

from torch import nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook

from lossatlas import archive
from lossatlas._errors import InputError, LossAtlasError
from lossatlas.record._recorder import Recorder


@final
class Listener:
    """Waits, within its ``with`` block, for any torch optimizer to step, and records the model that it steps.

    The model is the smallest one that holds all parameters of the optimizer and is no part of another module. Further
    optimizers are not counted: what they change is in the recorded points, one step later.

    Args:
        folder: where to.
        settings: of the `Recorder`.

    Attributes:
        recorder: once an optimizer has stepped; else None.
        problem: why nothing is recorded, or None.
    """

    def __init__(self, folder: str | Path, **settings: Any) -> None:
        self.recorder: Recorder | None = None
        self.problem: str | None = None
        self._folder, self._settings, self._process = archive.located(folder), settings, os.getpid()
        self._seen: set[int] = set()
        self._hook: Any = None

    def __enter__(self) -> Listener:
        self._hook = register_optimizer_step_pre_hook(self._before)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        self._hook.remove()
        if self.recorder is not None:
            # A program may well end itself: that is no failure.
            failed = kind is not None and not (isinstance(error, SystemExit) and not error.code)
            self.recorder.__exit__(kind if failed else None, error, trace)

    def _before(self, optimizer: Optimizer, *_: object) -> None:
        # Wrappers that are optimizers themselves step a real one, which comes by here too.
        if os.getpid() != self._process or isinstance(getattr(optimizer, "optimizer", None), Optimizer):
            return
        if self.recorder is None and self.problem is None:
            self._seen.add(id(optimizer))
            try:
                model = model_of(optimizer)
                self.recorder = Recorder(model, optimizer, self._folder, **self._settings)
                self._say(f"recording {type(model).__name__} as {type(optimizer).__name__} steps it")
            except Exception as found:  # whatever it is, the program must not end by it
                self.problem = str(found) if isinstance(found, LossAtlasError) else f"{type(found).__name__}: {found}"
                self._say(f"recording nothing, the program goes on: {self.problem}")
        elif self.recorder is not None and id(optimizer) not in self._seen:
            self._seen.add(id(optimizer))
            self._say(
                f"a second optimizer ({type(optimizer).__name__}) is not counted: its steps show in the points alone"
            )

    def _say(self, what: str) -> None:
        if not self._settings.get("quiet"):
            print(f"lossatlas: {what}", file=sys.stderr)


def model_of(optimizer: Optimizer) -> nn.Module:
    """The model whose parameters an optimizer steps, among all modules that are alive.

    Raises:
        InputError: if no module holds them all.
    """
    wanted = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    # type() and not isinstance: proxies answer the latter by loading what they stand for.
    modules = [thing for thing in gc.get_objects() if issubclass(type(thing), nn.Module) and hasattr(thing, "_modules")]
    parts = {id(part) for module in modules for part in module.children()}
    holders: list[tuple[int, int, nn.Module]] = []
    for module in modules:
        own = {id(parameter) for parameter in module.parameters()}
        if id(module) not in parts and wanted <= own:
            holders.append((len(own), len(holders), module))
    if not holders:
        raise InputError(
            f"the optimizer {type(optimizer).__name__} steps {len(wanted)} tensors that are not all parameters of one "
            "torch.nn.Module; expected a model to record. Use lossatlas.Recorder(model, optimizer, folder) in the "
            "program itself."
        )
    return min(holders)[2]
