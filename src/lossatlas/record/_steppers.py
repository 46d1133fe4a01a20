"""One hook before the steps of all optimizers of this process, for whoever wants to meet those it was not given."""

from __future__ import annotations

import weakref
from typing import Any, Protocol

from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook


class Meets(Protocol):
    """What wants to know."""

    def meet(self, optimizer: Optimizer) -> None:
        """An optimizer is about to step."""
        ...


_meeting: weakref.WeakSet[Any] = weakref.WeakSet()
_hooks: list[Any] = []
# Torch goes through its table of hooks while they run: the table must not change then.
_running = 0


def enter(one: Meets) -> None:
    """Tell this one of every optimizer that is about to step, as long as it lives."""
    _meeting.add(one)
    if not _hooks:
        _hooks.append(register_optimizer_step_pre_hook(_met))


def leave(one: Meets) -> None:
    """Tell it no more."""
    _meeting.discard(one)
    if not _meeting and not _running and _hooks:
        _hooks.pop().remove()


def _met(optimizer: Optimizer, *_: object) -> None:
    global _running
    _running += 1
    try:
        for one in list(_meeting):
            one.meet(optimizer)
    finally:
        _running -= 1
