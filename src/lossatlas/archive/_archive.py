"""Results to folders and back: arrays as safetensors, the rest as strict JSON, nothing pickled, all or nothing.

A result of kind ``chart`` is the pair ``chart.json`` and ``chart.safetensors``. The JSON file is written last and
holds a digest of the other, so that a pair that does not belong together is noticed, and the versions that wrote it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from lossatlas import _said
from lossatlas._errors import OutputError
from lossatlas._versions import versions
from lossatlas.archive._files import Location, commit, located, prepare, read, write_bytes
from lossatlas.archive._plain import dump, parse

FORMAT = "lossatlas result"
VERSION = 2
# Names the schema that every record follows, ``schema.json`` beside this file; its number changes with the meaning of a field.
SCHEMA = "urn:lossatlas:result:1"

_KIND = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_INTEGERS = (f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
_DTYPES = frozenset({"bool", "complex64", "float16", "float32", "float64", *_INTEGERS})


def save(folder: Location, kind: str, arrays: Mapping[str, NDArray[Any]], record: Mapping[str, Any]) -> Path:
    """Write one result, all or nothing: if anything fails, an earlier result of that kind is still there.

    Args:
        folder: created if needed.
        kind: what the result is, and the stem of its two files: letters, digits, ``-`` and ``_``.
        arrays: of real numbers, truth values or complex64.
        record: the rest, of dicts with string keys, lists, strings, numbers, truth values and None. Numpy and torch
            scalars become plain numbers, tuples lists; a non-finite float is kept as ``{"$float": "nan"}``.

    Returns:
        Path: the JSON file.

    Raises:
        OutputError: if something given cannot be stored, or the folder cannot be written.
    """
    _check_kind(kind)
    stored = {name: _storable(name, array) for name, array in arrays.items()}
    try:
        blob = safetensors.numpy.save(stored)
    except (safetensors.SafetensorError, UnicodeEncodeError) as error:
        raise OutputError(
            f"the arrays {', '.join(map(repr, stored))} cannot be stored ({error}); expected plain names and numbers. "
            "Rename or convert them."
        ) from None
    content = {
        "schema": SCHEMA,
        "format": FORMAT,
        "version": VERSION,
        "versions": versions(),
        "kind": kind,
        "arrays": {name: {"dtype": array.dtype.name, "shape": list(array.shape)} for name, array in stored.items()},
        "digest": hashlib.sha256(blob).hexdigest(),
        "record": dict(record),
    }
    text = dump(content)
    folder = prepare(folder)
    path = folder / f"{kind}.json"
    commit([(folder / f"{kind}.safetensors", blob), (path, text)])
    return path


def load(folder: Location, kind: str | None = None) -> tuple[str, dict[str, NDArray[Any]], dict[str, Any]]:
    """Read one result back.

    Args:
        folder: where it was saved, or the JSON file of the pair where there are several.
        kind: which one; may be left out if the folder holds only one.

    Returns:
        tuple: its kind, its arrays (the caller's own) and its record.

    Raises:
        OutputError: if there is no such result, several to choose from, or its files are damaged.
    """
    folder = located(folder)
    if kind is None and folder.suffix == ".json" and folder.is_file():
        folder, kind = folder.parent, folder.stem
    if kind is None:
        kind = only(folder, kinds(folder)).stem
    _check_kind(kind)
    path, weights = folder / f"{kind}.json", folder / f"{kind}.safetensors"
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise OutputError(f"{str(path)!r} is JSON, but no result of lossatlas. Give the folder of a saved result.")
    if content.get("version") != VERSION:
        raise OutputError(
            f"{str(path)!r} has format version {content.get('version')!r}; expected {VERSION}. It was written by "
            "another version of lossatlas: load it with that version, or make the result again."
        )
    blob = read(weights)
    record = content.get("record")
    if content.get("digest") != hashlib.sha256(blob).hexdigest() or not isinstance(record, dict):
        raise OutputError(
            f"{str(weights)!r} is damaged or does not belong to {path.name!r}: its digest is not the one recorded "
            "there. Copy both files again from where they were saved, or make the result again."
        )
    return str(content.get("kind")), safetensors.numpy.load(blob), record


def only(folder: Path, found: Sequence[str]) -> Path:
    """The JSON file of the one result in a folder.

    Args:
        folder: where it is.
        found: the kinds of results that there are.

    Raises:
        OutputError: if there is none, or several.
    """
    if len(found) == 1:
        return folder / f"{found[0]}.json"
    if found:
        files = [repr(str(folder / f"{kind}.json")) for kind in found]
        raise OutputError(
            f"the folder {str(folder)!r} holds results of the kinds {', '.join(found)}; expected one. Give the JSON file of "
            f"one of them: {', '.join(files[:-1])} or {files[-1]}."
        )
    if not folder.exists():
        raise OutputError(f"there is no {str(folder)!r}; expected a folder that a result was saved in. Check the path.")
    raise OutputError(
        f"{str(folder)!r} holds no result; expected a pair of files KIND.json and KIND.safetensors. Give the folder that "
        "a result was saved in."
    )


def kinds(folder: Location) -> list[str]:
    """The kinds of results that a folder holds, sorted; none for a folder that is not there."""
    found = {path.stem for path in located(folder).glob("*.json") if path.with_suffix(".safetensors").is_file()}
    return sorted(name for name in found if _KIND.fullmatch(name))


def write_json(path: Location, obj: Any) -> Path:
    """Write a JSON file, all or nothing; values are taken as in the record of ``save``.

    Raises:
        OutputError: if something in it cannot be stored, or the file cannot be written.
    """
    return write_bytes(path, dump(obj))


def headed(command: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a command with what says how to read it.

    Args:
        command: that measured it.
        record: plain JSON values.

    Returns:
        dict: ``schema``, ``command`` and ``versions``, then the record.
    """
    return {"schema": SCHEMA, "command": command, "versions": versions(), **record}


def schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of everything that is saved, and that commands write with ``--json``."""
    found: dict[str, Any] = json.loads(Path(__file__).with_name("schema.json").read_text(encoding="utf-8"))
    return found


def read_json(path: Location) -> Any:
    """Read what ``write_json`` wrote, non-finite floats included.

    Raises:
        OutputError: if the file is missing or damaged.
    """
    path = located(path, "path")
    text = read(path)
    try:
        return parse(text)
    except ValueError as error:
        raise OutputError(
            f"{str(path)!r} is damaged: it is no strict JSON ({error}). Copy it again from where it was saved, or "
            "make the result again."
        ) from None


def _check_kind(kind: str) -> None:
    if not isinstance(kind, str) or not _KIND.fullmatch(kind):
        raise OutputError(
            f"got the kind {kind!r}; expected a name of letters, digits, '-' and '_', since files are named after it. "
            "Choose such a name."
        )


def _storable(name: str, array: NDArray[Any]) -> NDArray[Any]:
    if not isinstance(name, str) or name == "__metadata__" or not isinstance(array, np.ndarray):
        raise OutputError(
            f"got {name!r} with {_said.an(type(array).__name__)} among the arrays; expected a name (not '__metadata__') and a "
            "numpy array. Convert with numpy.asarray."
        )
    if array.dtype.name not in _DTYPES:
        raise OutputError(
            f"the array {name!r} is of type {array.dtype}; expected one of {', '.join(sorted(_DTYPES))}. Convert it; "
            "text belongs into the record."
        )
    # safetensors writes the memory behind an array as it lies there: a transposed one would come back scrambled.
    return np.asarray(array, dtype=array.dtype.newbyteorder("="), order="C")
