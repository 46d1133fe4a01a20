"""Global random states, given back as they were, and fixed while data are read."""

from __future__ import annotations

import ctypes
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

# Data are read under this seed; another one shows whether it matters.
SEED, OTHER_SEED = 0, 1
# Bytes of a Mersenne twister in NumPy: 624 words and a position.
_TWISTER = 625 * 4
# How deep a dataset is searched for random generators of its own.
_DEPTH = 4
_last_numpy: tuple[bytes, dict[str, Any]] | None = None


@contextmanager
def untouched_randomness(device: torch.device | None = None) -> Iterator[None]:
    """Give back the global random states of torch, NumPy and Python as they were.

    Args:
        device: an accelerator whose state is given back too.
    """
    state, python_state = torch.get_rng_state(), random.getstate()
    words, numpy_state = _numpy_state()
    cuda = torch.cuda.get_rng_state(device) if device is not None and device.type == "cuda" else None
    mps = torch.mps.get_rng_state() if device is not None and device.type == "mps" else None
    try:
        yield
    finally:
        torch.set_rng_state(state)
        random.setstate(python_state)
        if words is None or numpy_state["has_gauss"] or _numpy_words() != words:
            np.random.set_state(numpy_state)  # noqa: NPY002
        if cuda is not None and device is not None:
            torch.cuda.set_rng_state(cuda, device)
        if mps is not None:
            torch.mps.set_rng_state(mps)


def draws(work: Callable[[], object]) -> bool:
    """Whether some work moves a global generator of torch's, NumPy's or Python's; they are given back as they were.

    Work that seeds a generator by itself, each time alike, is found because it begins elsewhere each of the two times.
    """
    with untouched_randomness():
        for seed in (SEED, OTHER_SEED):
            torch.default_generator.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed)  # noqa: NPY002
            before = _states()
            work()
            if _states() != before:
                return True
    return False


def _states() -> tuple[object, ...]:
    words = np.random.get_state(legacy=False)["state"]  # noqa: NPY002
    return torch.get_rng_state().numpy().tobytes(), random.getstate(), words["key"].tobytes(), words["pos"]


@contextmanager
def seeded(seed: int, source: Any, device: torch.device | None = None) -> Iterator[None]:
    """Fix the global random states and the generators that a source of data holds, and give all of them back.

    Args:
        seed: of all of them.
        source: a loader or dataset; generators of torch, NumPy and Python are found in its attributes.
        device: an accelerator that is seeded too.
    """
    with untouched_randomness(device), ExitStack() as later:
        torch.default_generator.manual_seed(seed)
        if device is not None and device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        elif device is not None and device.type == "mps":
            torch.mps.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        random.seed(seed)
        for number, generator in enumerate(_generators(source)):
            later.enter_context(_reseeded(generator, seed + number))
        if isinstance(source, DataLoader):
            later.enter_context(_own_workers(source))
        yield


@contextmanager
def _reseeded(generator: Any, seed: int) -> Iterator[None]:
    give_back: Callable[[], object]
    if isinstance(generator, torch.Generator):
        give_back = partial(generator.set_state, generator.get_state())
        generator.manual_seed(seed)
    elif isinstance(generator, random.Random):
        give_back = partial(generator.setstate, generator.getstate())
        generator.seed(seed)
    elif isinstance(generator, np.random.RandomState):
        give_back = partial(generator.set_state, generator.get_state(legacy=False))
        generator.seed(seed)
    else:
        bits = generator.bit_generator
        give_back = partial(setattr, bits, "state", bits.state)
        bits.state = type(bits)(seed).state
    try:
        yield
    finally:
        give_back()


@contextmanager
def _own_workers(loader: DataLoader[Any]) -> Iterator[None]:
    """Persistent workers of the user's own, with whatever they are in the middle of, are left alone."""
    mine = getattr(loader, "persistent_workers", False) and hasattr(loader, "_iterator")
    if not mine:
        yield
        return
    theirs, loader._iterator = loader._iterator, None
    try:
        yield
    finally:
        ours, loader._iterator = loader._iterator, theirs
        stop = getattr(ours, "_shutdown_workers", None)
        if stop is not None:
            stop()


def _generators(source: Any) -> list[Any]:
    """The random generators in an object's attributes, each once."""
    found: dict[int, Any] = {}
    seen: set[int] = set()
    everywhere = (torch.default_generator, random._inst, np.random.mtrand._rand)

    def search(value: Any, depth: int) -> None:
        if isinstance(value, torch.Generator | random.Random | np.random.Generator | np.random.RandomState):
            if not isinstance(value, random.SystemRandom) and not any(value is one for one in everywhere):
                found.setdefault(id(value), value)
            return
        if depth == 0 or id(value) in seen or isinstance(value, torch.Tensor | np.ndarray | str | bytes | type):
            return
        seen.add(id(value))
        # Long containers hold examples, not transforms.
        if isinstance(value, dict):
            inner = list(value.values()) if len(value) <= 100 else []
        elif isinstance(value, list | tuple):
            inner = list(value) if len(value) <= 100 else []
        else:
            inner = list(getattr(value, "__dict__", {}).values())
        for one in inner:
            search(one, depth - 1)

    search(source, 2 * _DEPTH)
    return list(found.values())


def _numpy_state() -> tuple[bytes | None, dict[str, Any]]:
    """NumPy's global state, and its bytes where they tell whether it moved.

    NumPy takes 0.1 ms to tell its state, longer than a small network takes; so it is read only when the bytes have
    moved since the last time. They tell nothing of the second normal number that a draw leaves over.
    """
    global _last_numpy
    words = _numpy_words()
    if words is not None and _last_numpy is not None and _last_numpy[0] == words:
        return words, _last_numpy[1]
    state: Any = np.random.get_state(legacy=False)  # noqa: NPY002
    if words is not None and not state["has_gauss"]:
        _last_numpy = words, state
    return words, state


def _numpy_words() -> bytes | None:
    bits = np.random.get_bit_generator()  # type: ignore[attr-defined]
    if type(bits) is not np.random.MT19937:
        return None
    return ctypes.string_at(bits.ctypes.state_address, _TWISTER)
