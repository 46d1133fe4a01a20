"""What a user names on the command line, made into objects: a function in a file, numbers, a device's folder."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lossatlas import archive
from lossatlas._errors import InputError


def function(spec: str, option: str) -> Callable[[], Any]:
    """The function behind ``file.py:name`` or ``module:name``.

    The file is the user's own program and is run, as Python would run it.

    Raises:
        InputError: if the file, or the name in it, is not there, or its import fails.
    """
    place, _, name = spec.rpartition(":")
    if not place or not name:
        raise InputError(f"got {option} {spec!r}; expected FILE.py:FUNCTION, for example my.py:make_model.")
    try:
        module = _from_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{option} {spec!r} could not be imported: {type(error).__name__}: {error}. Expected a file that runs "
            f"with 'python {place}'."
        ) from error
    found = getattr(module, name, None)
    if not callable(found):
        names = [n for n in vars(module) if not n.startswith("_") and callable(getattr(module, n))]
        raise InputError(f"{place} has no function {name!r}; it has {', '.join(names[:12]) or 'none'}.")
    made: Callable[[], Any] = found
    return made


def call(spec: str, option: str) -> Any:
    """What the function behind a name returns.

    Raises:
        InputError: if it fails.
    """
    make = function(spec, option)
    try:
        return make()
    except Exception as error:
        raise InputError(
            f"{option} {spec!r} failed when it was called without arguments: {type(error).__name__}: {error}. Expected "
            "a function that returns the object."
        ) from error


def prepare(out: Path | None, *files: Path | None) -> None:
    """Check where results will go before the work begins.

    Raises:
        OutputError: if a folder or file cannot be written.
    """
    if out is not None:
        archive.prepare(out)
    for file in files:
        if file is not None:
            archive.prepare_file(file)


def numbers(text: str, option: str) -> list[float]:
    """Comma-separated numbers.

    Raises:
        InputError: if they are not.
    """
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(
            f"got {option} {text!r}; expected numbers separated by commas, for example -3.8,-3.5."
        ) from error


def _from_file(path: Path) -> Any:
    if not path.is_file():
        raise InputError(f"there is no file {str(path)!r}; expected FILE.py:FUNCTION with a file that exists.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Registered and on the path as Python does for a script: the file may import its neighbors and itself.
    sys.modules.setdefault(path.stem, module)
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent.resolve()))
    return module
