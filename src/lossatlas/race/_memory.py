"""What an algorithm holds between two queries, in bytes: the tensors and arrays its generator frame can reach."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch

from lossatlas._layout import Layout
from lossatlas.optimize import Optimizer, Streams
from lossatlas.probe import Answer, At, Gradients, Products, Values

# What passes through (the query just made, the answer just heard) or was there before is not remembered.
_PASSING = (Answer, At, Gradients, Products, Values, Layout, Optimizer, Streams, ModuleType, type)
_DEPTH = 12


def held(walk: Generator[Any, Any, Any], answer: Answer, given: Sequence[torch.Tensor]) -> int:
    """Bytes of all distinct tensors and arrays in the frames of a walk and of the walks inside it.

    Random numbers drawn ahead, the layout, the query and the answer do not count. Arrays that share memory count once.

    Args:
        walk: the generator, between two queries.
        answer: what it heard last.
        given: what it was handed at the start (where to begin, the box); it need not keep that.
    """
    stores: dict[int, int] = {}
    seen: set[int] = set()
    _frames(walk, stores, seen)
    for heard in (answer.values, answer.gradients, answer.products, *given):
        if heard is not None:
            stores.pop(heard.untyped_storage().data_ptr(), None)
    return sum(stores.values())


def _frames(walk: Any, stores: dict[int, int], seen: set[int]) -> None:
    while walk is not None and getattr(walk, "gi_frame", None) is not None:
        seen.add(id(walk))
        _collect(dict(walk.gi_frame.f_locals), stores, seen, 0)
        walk = walk.gi_yieldfrom


def _collect(thing: Any, stores: dict[int, int], seen: set[int], depth: int) -> None:
    if id(thing) in seen or depth > _DEPTH or isinstance(thing, _PASSING):
        return
    seen.add(id(thing))
    if isinstance(thing, torch.Tensor):
        storage = thing.untyped_storage()
        stores[storage.data_ptr()] = storage.nbytes()
    elif isinstance(thing, np.ndarray):
        base = thing
        while isinstance(base.base, np.ndarray):
            base = base.base
        stores[base.__array_interface__["data"][0]] = base.nbytes
    elif isinstance(thing, dict):
        for value in list(thing.values()):
            _collect(value, stores, seen, depth + 1)
    elif isinstance(thing, list | tuple | set | frozenset):
        for value in thing:
            _collect(value, stores, seen, depth + 1)
    elif isinstance(thing, Generator):
        _frames(thing, stores, seen)
    elif hasattr(thing, "__dict__") and not isinstance(thing, FunctionType | MethodType):
        _collect(vars(thing), stores, seen, depth + 1)
