"""How the fields of a result become plain JSON and arrays, and how they come back by the types they are declared with."""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]
# Metadata of a field that is at hand only where the result was made: ``field(default=None, metadata=UNSAVED)``.
UNSAVED = {"saved": False}


class _Translation(NamedTuple):
    write: Callable[[Any], Any]
    read: Callable[[Any, Any], Any]
    name: str


_translations: dict[type, _Translation] = {}


def translate(kind: type, write: Callable[[Any], Any], read: Callable[[Any, Any], Any], name: str = "") -> None:
    """Tell how values of a class that is no dataclass of numbers are recorded inside results, and made again.

    Args:
        kind: the class; its subclasses are treated alike.
        write: value to plain JSON values.
        read: these, and what the caller of `Result.restore` gave under `name` (or None), to the value.
        name: of a keyword of `Result.restore`.
    """
    _translations[kind] = _Translation(write, read, name)


def needs(kind: type[Any], name: str) -> bool:
    """Whether a field of a result is made again with what `Result.restore` is given under a name."""
    return any(how.name == name for _, _, hint in saved(kind) if (how := _translation(hint)) is not None)


_known: dict[type[Any], tuple[tuple[str, str, Any], ...]] = {}


def saved(kind: type[Any]) -> tuple[tuple[str, str, Any], ...]:
    """(attribute, name in the record, type) of every saved field."""
    if kind in _known:
        return _known[kind]
    names = dict(kind._names()) if hasattr(kind, "_names") else {}
    while True:
        try:
            hints = typing.get_type_hints(kind, localns=names)
            break
        except NameError as missing:
            # A class that is imported for type checkers only, of a field that is not saved.
            names[str(missing.name)] = Any
    kept = [field for field in fields(kind) if field.metadata.get("saved", True)]
    _known[kind] = tuple((field.name, field.name.lstrip("_"), hints[field.name]) for field in kept)
    return _known[kind]


def _translation(hint: Any) -> _Translation | None:
    return next((how for kind, how in _translations.items() if isinstance(hint, type) and issubclass(hint, kind)), None)


def _key(name: str) -> str:
    return name.replace("%", "%25").replace("/", "%2F")


def written(value: Any, place: str, arrays: dict[str, NDArray[Any]], listed: float) -> Any:
    """A value as plain JSON; its arrays are put aside under their places."""
    if isinstance(value, enum.Enum | np.generic):
        return value.value if isinstance(value, enum.Enum) else value.item()
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, np.ndarray):
        arrays[place] = value
        return _leaf(value, str(value.dtype), listed)
    how = _translation(type(value))
    if how is not None:
        return how.write(value)
    lead = f"{place}/" if place else ""
    if is_dataclass(value) and not isinstance(value, type):
        limit = getattr(value, "LISTED", listed)
        found = {
            name: written(getattr(value, field), lead + _key(name), arrays, limit)
            for field, name, _ in saved(type(value))
        }
        beside = value._beside() if hasattr(value, "_beside") else {}
        return found | {key: written(one, "", {}, limit) for key, one in beside.items() if key not in found}
    if isinstance(value, Mapping):
        return {key: written(one, lead + _key(str(key)), arrays, listed) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [written(one, f"{lead}{k}", arrays, listed) for k, one in enumerate(value)]
    if type(value).__module__.startswith("torch") and hasattr(value, "detach"):
        kept, kind = value.detach().cpu(), str(value.dtype).removeprefix("torch.")
        # NumPy has no bfloat16; every one of its numbers is one of float32.
        arrays[place] = (kept.float() if kind == "bfloat16" else kept).numpy()
        return _leaf(arrays[place], kind, listed if kind != "bfloat16" else -1)
    return value


def _leaf(array: NDArray[Any], kind: str, listed: float) -> Any:
    if array.size <= listed and array.dtype.kind in "biuf":
        return array.tolist()
    return {"shape": list(array.shape), "dtype": kind}


def read(hint: Any, record: Any, place: str, arrays: Arrays, given: Mapping[str, Any]) -> Any:
    """The value of a declared type that was written so."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    kind, lead = origin or hint, f"{place}/" if place else ""

    def part(how: Any, one: Any, key: object) -> Any:
        return read(how, one, f"{lead}{_key(str(key))}", arrays, given)

    if kind in (typing.Union, types.UnionType):
        return _one_of(parts, record, place, arrays, given)
    if kind is Literal:
        return _expected(record in parts, record, hint, place)
    if not isinstance(kind, type) or kind in (Any, object):
        return record
    how = _translation(kind)
    if how is not None:
        return how.read(record, given.get(how.name))
    if issubclass(kind, np.ndarray) or kind.__module__.startswith("torch"):
        if place not in arrays:
            raise KeyError(f"array {place!r}")
        return arrays[place] if issubclass(kind, np.ndarray) else _tensor(arrays[place], record)
    if issubclass(kind, enum.Enum):
        return kind(record)
    if is_dataclass(kind):
        _expected(isinstance(record, Mapping), record, hint, place)
        return kind(**{field: part(how, record[name], name) for field, name, how in saved(kind)})
    if issubclass(kind, Mapping):
        _expected(isinstance(record, Mapping), record, hint, place)
        return {key: part(parts[1] if parts else Any, one, key) for key, one in record.items()}
    if issubclass(kind, tuple | list):
        _expected(isinstance(record, list | tuple), record, hint, place)
        hints = list(typing.get_type_hints(kind).values()) or [p for p in parts if p is not Ellipsis] or [Any]
        hints = hints * len(record) if kind is list or Ellipsis in parts or (not parts and len(hints) == 1) else hints
        _expected(len(hints) == len(record), record, hint, place)
        each = [part(how, one, k) for k, (how, one) in enumerate(zip(hints, record, strict=True))]
        return kind(*each) if hasattr(kind, "_fields") else kind(each)
    if kind is float:
        return float(_expected(isinstance(record, int | float) and not isinstance(record, bool), record, hint, place))
    return _expected(isinstance(record, kind) and (kind is bool) == isinstance(record, bool), record, hint, place)


def _one_of(hints: tuple[Any, ...], record: Any, place: str, arrays: Arrays, given: Mapping[str, Any]) -> Any:
    if record is None:
        return None
    hints = tuple(hint for hint in hints if hint is not type(None))
    for hint in hints[:-1]:
        try:
            return read(hint, record, place, arrays, given)
        except (KeyError, TypeError):
            continue
    return read(hints[-1], record, place, arrays, given)


def _tensor(array: NDArray[Any], record: Any) -> Any:
    import torch

    kind = record["dtype"] if isinstance(record, Mapping) else array.dtype.name
    return torch.from_numpy(array).to(torch.bfloat16) if kind == "bfloat16" else torch.from_numpy(array)


def _expected(fits: bool, record: Any, hint: Any, place: str) -> Any:
    if not fits:
        raise TypeError(f"{place or 'it'} is a {type(record).__name__}, expected {getattr(hint, '__name__', hint)}")
    return record
