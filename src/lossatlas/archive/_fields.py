"""How the fields of a result become plain JSON and arrays, and how they come back by the types they are declared with."""

from __future__ import annotations

import enum
import inspect
import sys
import types
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import Field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lossatlas import _said
from lossatlas._errors import InputError, LossAtlasError, OutputError

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


translate(Path, str, lambda record, _: Path(record))


def needs(kind: type[Any], name: str) -> bool:
    """Whether a field of a result is made again with what `Result.restore` is given under a name."""
    try:
        return any(how.name == name for _, _, hint in saved(kind) if (how := _translation(hint)) is not None)
    except InputError:  # a class that cannot be saved: nothing of it is there to be loaded
        return False


_known: dict[type[Any], tuple[tuple[str, str, Any], ...]] = {}


def saved(kind: type[Any]) -> tuple[tuple[str, str, Any], ...]:
    """(attribute, name in the record, type) of every saved field."""
    if kind in _known:
        return _known[kind]
    names = dict(kind._names()) if hasattr(kind, "_names") else {}
    _known[kind] = tuple((field.name, field.name.lstrip("_"), _hint(kind, field.name, names)) for field in kept(kind))
    return _known[kind]


def kept(kind: type[Any]) -> list[Field[Any]]:
    """The fields that are saved."""
    return [field for field in fields(kind) if field.metadata.get("saved", True)]


def _hint(kind: type[Any], name: str, names: Mapping[str, Any]) -> Any:
    """The type that a field is declared with."""
    home = next(base for base in kind.__mro__ if name in inspect.get_annotations(base))
    declared = types.SimpleNamespace(__annotations__={name: inspect.get_annotations(home)[name]})
    known = {**vars(home), **getattr(sys.modules.get(home.__module__), "__dict__", {}), **names}
    try:
        return typing.get_type_hints(declared, known)[name]
    except NameError as missing:
        raise InputError(
            f"the field {name!r} of {kind.__qualname__} is declared with {missing.name!r}, which its module does not know "
            "when it runs; expected types that the field can be read back by. Import it there, return it by name from the "
            "class method _names, or mark the field with metadata=archive.UNSAVED."
        ) from None


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
    if _is_tensor(value):
        kind = str(value.dtype).removeprefix("torch.")
        arrays[place] = _numpy(value, place, kind)
        return _leaf(arrays[place], kind, listed if kind != "bfloat16" else -1)
    return value


def _is_tensor(value: Any) -> bool:
    return type(value).__module__.startswith("torch") and hasattr(value, "detach")


def _numpy(tensor: Any, place: str, kind: str) -> NDArray[Any]:
    try:
        plain = tensor.detach().cpu().resolve_conj().resolve_neg()
        # NumPy has no bfloat16; every one of its numbers is one of float32.
        found: NDArray[Any] = (plain.float() if kind == "bfloat16" else plain).numpy()
    except (TypeError, RuntimeError):
        layout = str(tensor.layout).removeprefix("torch.")
        raise OutputError(
            f"the tensor {place!r} is {layout} {kind} on {tensor.device}, which cannot be stored; expected dense numbers of "
            "a type that NumPy or bfloat16 has. Convert it with to_dense() or float()."
        ) from None
    return found


def lost(hint: Any, value: Any, place: str) -> Iterator[str]:
    """What `read` would not bring back of a value under the type it is declared with, in words."""
    if _is_union(hint):
        yield from min((list(lost(one, value, place)) for one in typing.get_args(hint)), key=len)
        return
    kind, lead = _kind(hint), f"{place}/" if place else ""
    if isinstance(value, np.ndarray) or _is_tensor(value):
        if not _holds_arrays(kind):
            yield f"{place!r} is an array under the type {_name(hint)}"
    elif _translation(type(value)) is not None or (is_dataclass(value) and not isinstance(value, type)):
        if not isinstance(kind, type) or (_translation(kind) is None and named(kind) != named(type(value))):
            yield f"{place!r} is {_said.an(type(value).__qualname__)} under the type {_name(hint)}"
        elif _translation(kind) is None:
            for field, name, how in saved(kind):
                yield from lost(how, getattr(value, field), lead + _key(name))
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield from lost(_entry(hint), one, lead + _key(str(key)))
    elif isinstance(value, list | tuple):
        hints = _hints(hint, len(value))
        for k, one in enumerate(value):
            yield from lost(hints[k] if k < len(hints) else Any, one, f"{lead}{k}")
    elif kind is float and isinstance(value, int) and abs(value) > sys.float_info.max:
        yield f"{place!r} is a number beyond the largest float"


def _leaf(array: NDArray[Any], kind: str, listed: float) -> Any:
    if array.size <= listed and array.dtype.kind in "biuf":
        return array.tolist()
    return {"shape": list(array.shape), "dtype": kind}


def read(hint: Any, record: Any, place: str, arrays: Arrays, given: Mapping[str, Any]) -> Any:
    """The value of a declared type that was written so."""
    parts, kind, lead = typing.get_args(hint), _kind(hint), f"{place}/" if place else ""

    def part(how: Any, one: Any, key: object) -> Any:
        return read(how, one, f"{lead}{_key(str(key))}", arrays, given)

    if _is_union(hint):
        return _one_of(parts, record, place, arrays, given)
    if place in arrays and not _holds_arrays(kind):
        raise TypeError(f"{place} is an array, expected {_name(hint)}")
    if kind is Literal:
        return _expected(record in parts, record, hint, place)
    if not isinstance(kind, type) or kind in (Any, object):
        inside = (
            next((name for name in arrays if name.startswith(lead)), None) if isinstance(record, dict | list) else None
        )
        if inside is not None:
            raise TypeError(f"{inside} is an array, expected {_name(hint)}")
        return record
    how = _translation(kind)
    if how is not None:
        return how.read(record, given.get(how.name))
    if _holds_arrays(kind):
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
        return {key: part(_entry(hint), one, key) for key, one in record.items()}
    if _is_sequence(kind):
        _expected(isinstance(record, list | tuple), record, hint, place)
        hints = _hints(hint, len(record))
        _expected(len(hints) == len(record), record, hint, place)
        each = [part(how, one, k) for k, (how, one) in enumerate(zip(hints, record, strict=True))]
        if hasattr(kind, "_fields"):
            return kind(*each)
        return kind(each) if issubclass(kind, tuple | list) else tuple(each)
    if kind is float:
        _expected(isinstance(record, int | float) and not isinstance(record, bool), record, hint, place)
        try:
            return float(record)
        except OverflowError:
            raise ValueError(f"{place} is beyond the largest float") from None
    return _expected(isinstance(record, kind) and (kind is bool) == isinstance(record, bool), record, hint, place)


def _one_of(hints: tuple[Any, ...], record: Any, place: str, arrays: Arrays, given: Mapping[str, Any]) -> Any:
    if record is None:
        return None
    errors: list[Exception] = []
    for hint in hints:
        try:
            if hint is not type(None):
                return read(hint, record, place, arrays, given)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            errors.append(error)
    raise next((error for error in errors if isinstance(error, LossAtlasError)), errors[-1])


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


def _kind(hint: Any) -> Any:
    """The class behind a type, without what stands in its brackets; Any where there is no class."""
    found = typing.get_origin(hint) or hint
    # From Python 3.12 on NumPy's NDArray is an alias, which has its type as a value.
    while hasattr(found, "__value__"):
        found = typing.get_origin(found.__value__) or found.__value__
    return found


def _name(hint: Any) -> str:
    return getattr(hint, "__name__", "") if isinstance(hint, type) and not typing.get_args(hint) else str(hint)


def named(kind: type[Any]) -> tuple[str, str]:
    """A class by name: doctests import modules a second time."""
    return kind.__module__, kind.__qualname__


def _holds_arrays(kind: Any) -> bool:
    return isinstance(kind, type) and (issubclass(kind, np.ndarray) or kind.__module__.startswith("torch"))


def _is_sequence(kind: Any) -> bool:
    return isinstance(kind, type) and (issubclass(kind, tuple | list) or kind in (Sequence, Collection, Iterable))


def _entry(hint: Any) -> Any:
    """The type of a mapping's values."""
    kind, parts = _kind(hint), typing.get_args(hint)
    return parts[1] if parts and isinstance(kind, type) and issubclass(kind, Mapping) else Any


def _hints(hint: Any, count: int) -> list[Any]:
    """The types of a sequence's entries: as many as are declared, or as there are where any number may be."""
    kind, parts = _kind(hint), typing.get_args(hint)
    if not _is_sequence(kind):
        return [Any] * count
    hints = list(typing.get_type_hints(kind).values()) or [p for p in parts if p is not Ellipsis] or [Any]
    fixed = issubclass(kind, tuple) and Ellipsis not in parts and (parts or len(hints) > 1 or hasattr(kind, "_fields"))
    return hints if fixed else hints * count


def _tensor(array: NDArray[Any], record: Any) -> Any:
    import torch

    kind = record["dtype"] if isinstance(record, Mapping) else array.dtype.name
    return torch.from_numpy(array).to(torch.bfloat16) if kind == "bfloat16" else torch.from_numpy(array)


def _expected(fits: bool, record: Any, hint: Any, place: str) -> Any:
    if not fits:
        raise TypeError(f"{place or 'it'} is {_said.an(type(record).__name__)}, expected {_name(hint)}")
    return record
