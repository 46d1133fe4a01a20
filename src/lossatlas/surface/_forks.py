"""Locks that a forked child finds free: a fork waits until what they guard is whole.

A child has only the thread that forked. A lock that another thread held then would stay locked in it for good, and what the lock
guards, such as a module that holds another θ for the length of a reading, would stay as it was in the middle of that.
"""

from __future__ import annotations

import os
import time
import weakref
from threading import RLock
from typing import Any

# How long a fork waits for readings to end; longer only where a reading waits for the thread that forks.
PATIENCE = 10.0
_LOCKS: weakref.WeakSet[Any] = weakref.WeakSet()
_held: list[list[Any]] = []


def lock() -> Any:
    """A reentrant lock that is free in a child after every fork."""
    made = RLock()
    _LOCKS.add(made)
    return made


def _before() -> None:
    until = time.monotonic() + PATIENCE
    while True:
        taken = []
        for one in list(_LOCKS):
            # In no particular order, so that a thread may hold one of them and wait for another: then all are given back.
            if not one.acquire(timeout=0.05):
                break
            taken.append(one)
        else:
            break
        for one in taken:
            one.release()
        taken = []
        if time.monotonic() > until:
            break
    _held.append(taken)


def _after() -> None:
    for one in _held.pop():
        one.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_after)
