"""What a class or an object has that can decide what it computes: attributes, hooks, and the names that its code reads."""

from __future__ import annotations

import types
from typing import Any

import torch
from torch import nn

from lossatlas.surface import _bytecode

# What Python itself calls, beside what is called by name.
ENTRIES = frozenset({"forward", "__call__"})
MAKERS = frozenset({"__init__", "__new__", "__post_init__", "__init_subclass__", "__set_name__"})
# States of torch's own modules that are no settings, or are read apart.
BASE = frozenset(vars(nn.Module()))
_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
# Members of a class that say how it is written, printed or copied, not what it computes.
_SILENT = frozenset(
    {
        *("__module__", "__doc__", "__dict__", "__weakref__", "__qualname__", "__name__", "__firstlineno__"),
        *("__static_attributes__", "__annotations__", "__annotate__", "__annotate_func__", "__annotations_cache__"),
        *(
            "__abstractmethods__",
            "__parameters__",
            "__orig_bases__",
            "__slots__",
            "__match_args__",
            "__repr__",
            "__str__",
        ),
        *("__dataclass_fields__", "__dataclass_params__", "__format__", "__reduce__", "__reduce_ex__", "__getstate__"),
        *(
            "__setstate__",
            "__copy__",
            "__deepcopy__",
            "__del__",
            "__sizeof__",
            "__dir__",
            "__class_getitem__",
            "_abc_impl",
        ),
    }
)


def silent(name: str) -> bool:
    """Whether a member of a class says nothing of what it computes."""
    return name in _SILENT


def hooks(module: nn.Module) -> list[Any]:
    """Hooks of a module, in the order in which they run; the numbers that torch gives them depend on the process."""
    state = vars(module)
    return [hook for part in _HOOKS if state.get(part) for hook in state[part].values()]


def order(key: Any) -> tuple[str, str]:
    """What to sort keys by, and members of sets: the same in every process."""
    plain = key is None or isinstance(key, bool | int | float | str | bytes | complex)
    return type(key).__name__, repr(key) if plain else _canonical(key)


def _canonical(key: Any) -> str:
    if isinstance(key, tuple | frozenset):
        return str([order(part) for part in key] if isinstance(key, tuple) else sorted(map(order, key)))
    if isinstance(key, torch.dtype | torch.device):
        return str(key)
    return str(getattr(key, "__qualname__", getattr(key, "name", "")))


def state_of(thing: Any) -> dict[str, Any] | None:
    """Attributes of an object, whatever it does when they are read; None where it has none."""
    state: dict[str, Any] = {}
    try:
        state |= object.__getattribute__(thing, "__dict__")
        found = True
    except AttributeError:
        found = False
    for kind in type(thing).__mro__:
        slots = vars(kind).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else tuple(slots):
            if name not in ("__dict__", "__weakref__"):
                found = True
                try:
                    state[name] = object.__getattribute__(thing, name)
                except AttributeError:
                    continue
    return state if found else None


def own_names(kind: type) -> tuple[frozenset[str], frozenset[str]]:
    """Names that a class reads when it is called, and those of attributes that it then assigns."""
    classes = [one for one in kind.__mro__ if one not in (nn.Module, object)]
    reads, writes, todo, done = set[str](), set[str](), list(ENTRIES), set[str]()
    while todo:
        name = todo.pop()
        if name in done:
            continue
        done.add(name)
        for one in classes:
            member = vars(one).get(name)
            member = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
            if isinstance(member, types.FunctionType):
                found = _bytecode.read(member.__code__)
                reads |= found.reads
                writes |= found.assigned
                todo.extend(found.reads)
    return frozenset(reads), frozenset(writes)
