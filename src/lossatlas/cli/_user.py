"""What a user names on the command line, made into objects: a function or an object in a file, numbers, a device's folder."""

from __future__ import annotations

import copy
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lossatlas import _said, archive
from lossatlas._errors import InputError

WEIGHTS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")


def function(spec: str, option: str) -> Callable[..., Any]:
    """The function behind ``file.py:name`` or ``module:name``.

    The file is the user's own program and is run, as Python would run it.

    Raises:
        InputError: if the file, or the name in it, is not there, or its import fails.
    """
    found = named(spec, option)
    if not callable(found):
        raise InputError(
            f"got {option} {spec!r}, which is {_kind(found)}; expected a function. Write one that returns it."
        )
    made: Callable[..., Any] = found
    return made


def call(spec: str, option: str) -> Any:
    """What is behind a name: what the function returns, or the object itself where it is one already.

    Raises:
        InputError: if it fails.
    """
    found = named(spec, option)
    return _called(found, spec, option) if _makes(found) else found


def _called(found: Callable[[], Any], spec: str, option: str) -> Any:
    try:
        with _running(spec.rpartition(":")[0]):
            return found()
    except InputError:
        raise
    except SystemExit as ended:
        raise InputError(
            f"{option} {spec!r} ended the program (sys.exit({ended.code!r})) when it was called; expected a function that "
            "returns the object. Move what reads the command line out of it."
        ) from ended
    except Exception as error:
        raise InputError(
            f"{option} {spec!r} failed when it was called without arguments: {_said.exception(error, __file__)} Expected a "
            "function that returns the object."
        ) from error


def maker(spec: str, option: str) -> Callable[[], Any]:
    """What makes the object behind a name as often as it is needed: the function, or a copy of the object.

    Raises:
        InputError: if there is none; and what it returns does if it fails.
    """
    found = named(spec, option)
    if not _makes(found):
        return lambda: copy.deepcopy(found)
    return lambda: _called(found, spec, option)


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


def own_surface(landscape: str | None, function_: str | None, box: str | None, other: str | None = None) -> Any:
    """The surface that a user's file holds: a function of a vector on a box, or a landscape; None where none is named.

    Args:
        landscape: ``FILE.py:NAME`` of a surface, or of a function that returns one; the name of another is left alone.
        function_: ``FILE.py:FUNCTION`` of a function of a vector.
        box: bounds of each of its coordinates, ``LOW:HIGH,…``.
        other: what else was named to race on.

    Raises:
        InputError: for both, a function without a box, a box without a function, or what is no surface.
    """
    from lossatlas.surface import Function, Surface

    if (function_ is None) != (box is None):
        raise InputError(
            f"got --{'box' if function_ is None else 'function'} alone; expected --function FILE.py:FUNCTION together with "
            "--box LOW:HIGH,…, which says how many numbers the function takes: --box -2:2,-1:3 for two."
        )
    if function_ is not None and box is not None:
        if landscape is not None or other is not None:
            raise InputError(
                f"got --function {function_} and {landscape or other}; expected one to race on. Leave one out."
            )
        bounds = [numbers(part.replace(":", ","), "--box") for part in box.split(",")]
        return _as_typed(Function(function(function_, "--function"), bounds), landscape, function_, box)
    if landscape is None or ":" not in landscape:
        return None
    made = call(landscape, "LANDSCAPE")
    if not isinstance(made, Surface):
        raise InputError(
            f"got {landscape!r}, which is {_kind(made)}; expected a landscape, or a function that returns one. A function of a "
            "vector goes to --function, with --box."
        )
    return _as_typed(made, landscape, function_, box)


def _as_typed(surface: Any, landscape: str | None, function_: str | None, box: str | None) -> Any:
    """The surface, which a worker makes again of what was typed."""
    typed = {"landscape": landscape, "function_": function_, "box": box}
    surface.made_by = ({"make": f"{__name__}:own_surface", "with": typed},)
    return surface


def names_of(paths: tuple[Path, ...]) -> list[str]:
    """What to call checkpoints: the shortest ends of their paths that tell them apart.

    Raises:
        InputError: if the same one is given twice.
    """
    whole = [path.with_suffix("") if path.suffix in WEIGHTS else path for path in paths]
    if len({path.absolute() for path in paths}) < len(paths):
        twice = next(path for k, path in enumerate(paths) if path.absolute() in {p.absolute() for p in paths[:k]})
        raise InputError(f"got the checkpoint {str(twice)!r} twice; expected different ones. Leave one out.")
    for candidates in (whole, list(paths)):
        parts = [path.absolute().parts[1:] for path in candidates]
        for depth in range(1, max(map(len, parts), default=0) + 1):
            names = ["/".join(part[-depth:]) for part in parts]
            if len(set(names)) == len(names):
                return names
    return [str(path) for path in paths]


def named(spec: str, option: str) -> Any:
    """The object behind ``file.py:name`` or ``module:name``, whatever it is.

    Raises:
        InputError: if the file, or the name in it, is not there, or its import fails.
    """
    place, _, name = spec.rpartition(":")
    windows = len(place) == 1 and place.isalpha() and name[:1] in ("\\", "/")
    if not place or not name or windows:
        hint = f" Write {spec}:NAME." if windows or spec.endswith(".py") else ""
        raise InputError(f"got {option} {spec!r}; expected FILE.py:FUNCTION, for example my.py:make_model.{hint}")
    file = Path(place).absolute()
    try:
        with _running(place):
            module = _from_file(file, place) if place.endswith(".py") else _from_path(place)
    except InputError:
        raise
    except SystemExit as ended:
        raise InputError(
            f"{option} {spec!r} could not be imported: {place} ended the program (sys.exit({ended.code!r})) when it was run. "
            "Expected a file whose functions can be imported. Put what reads the command line or trains under "
            "if __name__ == '__main__':."
        ) from ended
    except Exception as error:
        relative = isinstance(error, ImportError) and "relative import" in str(error)
        advice = (
            f"It is a part of a package: name it as one, {_as_package(Path(place))}:{name}, from the folder that holds the "
            "package."
            if relative
            else f"Expected a file that runs with 'python {place}'."
            if place.endswith(".py")
            else "Expected a file, or a module that can be imported from this folder."
        )
        raise InputError(
            f"{option} {spec!r} could not be imported: {_said.exception(error, __file__)} {advice}"
        ) from error
    if not hasattr(module, name):
        names = [n for n in vars(module) if not n.startswith("_") and callable(getattr(module, n))]
        raise InputError(f"{place} has no function {name!r}; it has {', '.join(names[:12]) or 'none'}.")
    return getattr(module, name)


def _makes(found: Any) -> bool:
    """Whether an object is to be called for what is meant: functions and classes, but no modules and no data."""
    if not callable(found):
        return False
    torch = sys.modules.get("torch")
    return torch is None or isinstance(found, type) or not isinstance(found, torch.nn.Module)


def _kind(found: Any) -> str:
    return f"of type {type(found).__name__}"


# Where a file of the user's has gone while it ran, by its whole path: its functions are called there.
_went: dict[Path, Path] = {}


@contextmanager
def _running(place: str) -> Iterator[None]:
    """The user's code sees its own name for arguments and its own folder for imports, as if it were run alone.

    A working directory that it changes is its own, too: what was typed beside it is meant from where it was typed.
    """
    whole, here, before = Path(place).absolute(), Path.cwd(), sys.argv
    folder = str(whole.parent.resolve()) if place.endswith(".py") else None
    sys.argv = [place]
    if folder is not None:
        sys.path.insert(0, folder)
    try:
        if (there := _went.get(whole)) is not None and there.is_dir():
            os.chdir(there)
        yield
    finally:
        sys.argv = before
        if folder in sys.path:
            sys.path.remove(str(folder))
        if (now := Path.cwd()) != here:
            _went[whole] = now
            os.chdir(here)


def _as_package(path: Path) -> str:
    parts = [path.stem]
    for folder in path.absolute().parents:
        if not (folder / "__init__.py").is_file():
            break
        parts.insert(0, folder.name)
    return ".".join(parts if len(parts) > 1 else [path.absolute().parent.name, path.stem])


def _from_path(name: str) -> Any:
    """A module by name, also from the working directory, as ``python -m`` finds it."""
    here = str(Path.cwd())
    added = here not in sys.path and "" not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    finally:
        if added and here in sys.path:
            sys.path.remove(here)


def _from_file(path: Path, typed: str) -> Any:
    try:
        there = path.is_file()
    except (OSError, ValueError):
        there = False
    if not there:
        shown = typed if len(typed) <= 100 else f"{typed[:80]}…"
        raise InputError(f"there is no file {shown!r}; expected FILE.py:FUNCTION with a file that exists.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Registered and on the path as Python does for a script: the file may import its neighbors and itself.
    sys.modules.setdefault(path.stem, module)
    spec.loader.exec_module(module)
    return module
