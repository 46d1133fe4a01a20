"""One base for what public functions return: saved and loaded whole, said in one line, shown in a notebook."""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from lossatlas import _said
from lossatlas._errors import OutputError
from lossatlas.archive._archive import save
from lossatlas.archive._files import Location

# Metadata of a field that is at hand only where the result was made: ``field(default=None, metadata=UNSAVED)``.
UNSAVED = {"saved": False}

results: dict[str, type[Result]] = {}


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


class Result:
    """What a public function returns: a dataclass that is saved and loaded field by field.

    Arrays and tensors, wherever they stand in fields, nested dataclasses, dicts and tuples, go to the safetensors file of the
    pair, everything else to its JSON. They come back by the types that the fields are declared with; what is read never
    chooses a class or runs code. A subclass says what it holds by its fields, and in words by ``sentence`` or ``reading``.

    Attributes:
        KIND: stem of the two files, and the name under which `lossatlas.load` knows the class; empty for parts of results.
        SAYS: further attributes, or methods without arguments, whose values the record holds for its readers.
        LISTED: arrays of at most so many numbers are listed in the record as well, for its readers.
    """

    KIND: ClassVar[str] = ""
    SAYS: ClassVar[tuple[str, ...]] = ()
    LISTED: ClassVar[float] = 64

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        if "__repr__" not in vars(cls):
            # A dataclass makes a repr of its own, arrays and all, where its class has none.
            type.__setattr__(cls, "__repr__", cls.__repr__)
        if vars(cls).get("KIND"):
            results[cls.KIND] = cls

    @classmethod
    def _names(cls) -> dict[str, Any]:
        """Classes in the fields' types that the module imports for type checkers only."""
        return {}

    def reading(self) -> list[str]:
        """What the record says, in sentences."""
        sentence = getattr(self, "sentence", "")
        return [sentence] if sentence else []

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays by name, as they are saved: ``field``, ``field/key`` or ``field/0/field``."""
        arrays: dict[str, NDArray[Any]] = {}
        _written(self, "", arrays, self.LISTED)
        return arrays

    def record(self) -> dict[str, Any]:
        """Everything but large arrays, as plain JSON values."""
        found: dict[str, Any] = _written(self, "", {}, self.LISTED)
        return found

    def save(self, folder: Location) -> Path:
        """Write it into a folder: a JSON file and a safetensors file, all or nothing. `lossatlas.load` reads them back.

        Args:
            folder: created if needed.

        Returns:
            Path: the JSON file.

        Raises:
            OutputError: if the folder cannot be written, nothing is then half-written; or if this is but a part of a result.
        """
        if not self.KIND:
            name = type(self).__name__
            raise OutputError(f"a {name} is saved as a part of the result it belongs to. Save that, or use record().")
        arrays: dict[str, NDArray[Any]] = {}
        record = _written(self, "", arrays, self.LISTED)
        return save(folder, self.KIND, arrays, record)

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[Any]], record: Mapping[str, Any], **given: Any) -> Self:
        """The result that was saved.

        Args:
            arrays: as they were saved.
            record: as it was saved.
            **given: what was not saved whole: the ``surface`` that a race was run on.

        Raises:
            OutputError: if what was saved is not what this version expects.
            InputError: if the surface is another one.
        """
        try:
            found: Self = _read(cls, record, "", arrays, given)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            what = str(error) if isinstance(error, TypeError | ValueError) else f"no {error}"
            raise OutputError(
                f"the record of a {cls.KIND or cls.__name__} is damaged, or another version wrote it ({what}). Load it with "
                "that version, copy it again from where it was saved, or make it again."
            ) from error
        return found

    def __repr__(self) -> str:
        return _said.line(self, next(iter(self.reading()), "") or _sizes(self))

    def _repr_html_(self) -> str:
        title, table = getattr(self, "title", ""), getattr(self, "table", None)
        body = table()._repr_html_() if callable(table) else ""
        return _said.block(self.reading() or [_sizes(self)], title if isinstance(title, str) and not body else "", body)


def needs(kind: type[Result], name: str) -> bool:
    """Whether a field of a result is made again with what `Result.restore` is given under a name."""
    return any(how.name == name for _, _, hint in _saved(kind) if (how := _translation(hint)) is not None)


_known: dict[type[Any], tuple[tuple[str, str, Any], ...]] = {}


def _saved(kind: type[Any]) -> tuple[tuple[str, str, Any], ...]:
    """(attribute, name in the record, type) of every saved field."""
    if kind in _known:
        return _known[kind]
    names = dict(kind._names()) if issubclass(kind, Result) else {}
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


def _written(value: Any, place: str, arrays: dict[str, NDArray[Any]], listed: float) -> Any:
    """A value as plain JSON; its arrays are put aside under their places."""
    if value is None or (isinstance(value, str | bool | int | float) and not isinstance(value, enum.Enum)):
        return value
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, np.ndarray):
        arrays[place] = value
        return _leaf(value, str(value.dtype), listed)
    how = _translation(type(value))
    if how is not None:
        return how.write(value)
    lead = f"{place}/" if place else ""
    if is_dataclass(value) and not isinstance(value, type):
        limit = value.LISTED if isinstance(value, Result) else listed
        found = {
            name: _written(getattr(value, field), lead + _key(name), arrays, limit)
            for field, name, _ in _saved(type(value))
        }
        return found | _told(value, found, limit)
    if isinstance(value, Mapping):
        return {key: _written(one, lead + _key(str(key)), arrays, listed) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_written(one, f"{lead}{k}", arrays, listed) for k, one in enumerate(value)]
    if type(value).__module__.startswith("torch") and hasattr(value, "detach"):
        kept, kind = value.detach().cpu(), str(value.dtype).removeprefix("torch.")
        # NumPy has no bfloat16; every one of its numbers is one of float32.
        arrays[place] = (kept.float() if kind == "bfloat16" else kept).numpy()
        return _leaf(arrays[place], kind, listed if kind != "bfloat16" else -1)
    return value.item() if getattr(value, "ndim", None) == 0 else value


def _told(value: Any, found: Mapping[str, Any], listed: float) -> dict[str, Any]:
    """What the record says beside the fields: sentences, and numbers that follow from them."""
    if not isinstance(value, Result):
        return {}
    says = ["sentence"] if hasattr(type(value), "sentence") else []
    says += ["reading"] if type(value).reading is not Result.reading else []
    told = {}
    for name in (*says, *type(value).SAYS):
        one = getattr(value, name)
        told[name] = _written(one() if callable(one) else one, "", {}, listed)
    return {name: one for name, one in told.items() if name not in found}


def _leaf(array: NDArray[Any], kind: str, listed: float) -> Any:
    if array.size <= listed and array.dtype.kind in "biuf":
        return array.tolist()
    return {"shape": list(array.shape), "dtype": kind}


def _read(hint: Any, record: Any, place: str, arrays: Mapping[str, NDArray[Any]], given: Mapping[str, Any]) -> Any:
    """The value of a declared type that was written so."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    kind, lead = origin or hint, f"{place}/" if place else ""

    def part(how: Any, one: Any, key: object) -> Any:
        return _read(how, one, f"{lead}{_key(str(key))}", arrays, given)

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
        return kind(**{field: part(how, record[name], name) for field, name, how in _saved(kind)})
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


def _one_of(
    hints: tuple[Any, ...], record: Any, place: str, arrays: Mapping[str, NDArray[Any]], given: Mapping[str, Any]
) -> Any:
    if record is None:
        return None
    hints = tuple(hint for hint in hints if hint is not type(None))
    for hint in hints[:-1]:
        try:
            return _read(hint, record, place, arrays, given)
        except (KeyError, TypeError):
            continue
    return _read(hints[-1], record, place, arrays, given)


def _tensor(array: NDArray[Any], record: Any) -> Any:
    import torch

    kind = record["dtype"] if isinstance(record, Mapping) else array.dtype.name
    return torch.from_numpy(array).to(torch.bfloat16) if kind == "bfloat16" else torch.from_numpy(array)


def _expected(fits: bool, record: Any, hint: Any, place: str) -> Any:
    if not fits:
        raise TypeError(f"{place or 'it'} is a {type(record).__name__}, expected {getattr(hint, '__name__', hint)}")
    return record


def _sizes(result: Result) -> str:
    """Numbers as they are, shapes of arrays, lengths of the rest."""
    said = []
    for field, name, _ in _saved(type(result)):
        value = getattr(result, field)
        if isinstance(value, str | bool | int | float):
            said.append(f"{name} {value:.6g}" if isinstance(value, float) else f"{name} {value}")
        elif hasattr(value, "shape"):
            said.append(f"{name} {tuple(value.shape)}")
    return ", ".join(said) or "of several parts"
