"""Structures that hold tensors: dictionaries, lists, tuples, dataclasses and objects, walked in one fixed order.

Containers are taken apart by `parts` and put together again by `assembled`, in the type that the user chose. What is no
container is a leaf: a tensor, an array, a number, a text, or an object that holds tensors as attributes (a graph of
PyTorch Geometric or DGL).
"""

from __future__ import annotations

import copy
import dataclasses
import types
from collections.abc import Callable, Hashable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils.data import DataLoader, Dataset

from lossatlas._errors import DataError

Key = Hashable
# How deep the attributes of an object are searched for tensors.
_DEPTH = 8
_PLAIN: tuple[type, ...] = (
    *(str, bytes, int, float, complex, bool, type(None), np.ndarray, np.generic, type, nn.Module, torch.Generator),
    *(types.ModuleType, types.FunctionType, types.MethodType, types.BuiltinFunctionType, Dataset, DataLoader),
)


def parts(value: Any) -> list[tuple[Key, Any]] | None:
    """What a container holds, with its keys, or None for a leaf."""
    kind = type(value)
    if kind is tuple or kind is list:
        return list(enumerate(value))
    if isinstance(value, (Tensor, *_PLAIN)):
        return None
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, PackedSequence):
        return None
    if isinstance(value, tuple | list):
        names = getattr(value, "_fields", None)
        return list(zip(names, value, strict=True)) if names is not None else list(enumerate(value))
    if dataclasses.is_dataclass(value):
        return [(f.name, getattr(value, f.name)) for f in dataclasses.fields(value) if hasattr(value, f.name)]
    return None


def part(value: Any, key: Key) -> Any:
    """One part of a container, by a key of `parts`."""
    if isinstance(value, Mapping):
        return value[key]
    if isinstance(key, int) and isinstance(value, tuple | list):
        return value[key]
    return getattr(value, str(key))


def assembled(like: Any, keys: Sequence[Key], values: Sequence[Any]) -> Any:
    """A container of the same type with other parts.

    No constructor of a dataclass or of a mapping of the user's own is run: it is copied, and its parts are set.
    """
    kind = type(like)
    if kind is tuple or kind is list:
        return kind(values)
    if kind is dict:
        return dict(zip(keys, values, strict=True))
    if isinstance(like, Mapping):
        return _filled(like, keys, values)
    if isinstance(like, tuple):
        # A named tuple takes its fields one by one, the structs of torch.return_types take them as one sequence.
        return kind._make(values) if hasattr(kind, "_make") else kind(values)
    if isinstance(like, list):
        twin = copy.copy(like)
        twin[:] = values
        return twin
    twin = copy.copy(like)
    for key, value in zip(keys, values, strict=True):
        object.__setattr__(twin, str(key), value)
    return twin


def mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """The same structure with every leaf changed."""
    found = parts(value)
    if found is None:
        return change(value)
    return assembled(value, [key for key, _ in found], [mapped(inner, change) for _, inner in found])


def leaves(value: Any) -> Iterator[Any]:
    """Every leaf, in order."""
    found = parts(value)
    if found is None:
        yield value
    else:
        for _, inner in found:
            yield from leaves(inner)


def tensors(value: Any) -> Iterator[Tensor]:
    """Every tensor of a structure, those inside of objects included."""
    for leaf in leaves(value):
        yield from inside(leaf)


def inside(leaf: Any) -> list[Tensor]:
    """The tensors of one leaf: itself, or those that an object holds in its attributes, each once."""
    if isinstance(leaf, Tensor):
        return [leaf]
    if isinstance(leaf, _PLAIN) or (callable(leaf) and not hasattr(leaf, "to")):
        return []
    found: dict[int, Tensor] = {}
    _search(leaf, found, set(), _DEPTH)
    return list(found.values())


def opaque(leaf: Any) -> bool:
    """Whether a leaf is an object that holds tensors, or moves between devices as if it held some: it has no rows."""
    if isinstance(leaf, (Tensor, torch.device, torch.dtype, *_PLAIN)):
        return False
    return bool(inside(leaf)) or callable(getattr(leaf, "to", None))


def with_tensors(leaf: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A leaf with its tensors changed: a tensor itself, a copy of an object that holds some, anything else as it is."""
    if isinstance(leaf, Tensor):
        return change(leaf)
    if isinstance(leaf, PackedSequence):
        order = [None if index is None else change(index) for index in (leaf.sorted_indices, leaf.unsorted_indices)]
        # The sizes stay on the CPU, where torch wants them.
        return PackedSequence(change(leaf.data), leaf.batch_sizes.clone(), *order)
    held = inside(leaf)
    if not held:
        return leaf
    # A deep copy that finds its tensors done already: right for every class, with its own rules of copying.
    memo: dict[int, Any] = {id(tensor): change(tensor) for tensor in held}
    try:
        return copy.deepcopy(leaf, memo)
    except Exception as error:
        raise DataError(
            f"got an object of type {type(leaf).__name__} in the data that cannot be copied ({type(error).__name__}: "
            f"{error}); expected one that copy.deepcopy takes, as a surface keeps data of its own. Give its tensors in "
            "a tuple or a dictionary instead."
        ) from error


def _filled(like: Mapping[Any, Any], keys: Sequence[Key], values: Sequence[Any]) -> Any:
    plain = dict(zip(keys, values, strict=True))
    if not isinstance(like, MutableMapping):
        return plain
    twin: Any = copy.copy(like)
    try:
        for key, value in plain.items():
            twin[key] = value
    except Exception:
        return plain  # a mapping that guards its values; the model gets what can be made of it
    return twin


def _search(value: Any, found: dict[int, Tensor], seen: set[int], depth: int) -> None:
    if isinstance(value, Tensor):
        found.setdefault(id(value), value)
        return
    if depth == 0 or isinstance(value, _PLAIN) or id(value) in seen:
        return
    seen.add(id(value))
    inner = attributes(value)
    for _, held in inner or []:
        _search(held, found, seen, depth - 1)


def attributes(value: Any) -> list[tuple[Key, Any]] | None:
    """The parts of a container, or the attributes of an object, or None for what has neither."""
    found = parts(value)
    if found is not None:
        return found
    if isinstance(value, PackedSequence):
        return list(zip(value._fields, value, strict=True))
    named = getattr(value, "__dict__", None)
    slots = [name for kind in type(value).__mro__ for name in _slots(kind) if hasattr(value, name)]
    if not isinstance(named, dict) and not slots:
        return None
    return [*(named.items() if isinstance(named, dict) else ()), *((name, getattr(value, name)) for name in slots)]


def _slots(kind: type) -> list[str]:
    names = vars(kind).get("__slots__", ())
    names = (names,) if isinstance(names, str) else tuple(names)
    return [name for name in names if name not in ("__dict__", "__weakref__") and not name.startswith("__")]
