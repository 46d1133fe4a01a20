"""Which code is the user's own, to be read, and which belongs to a library, known by its name and version."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import sys
import sysconfig
import types
from pathlib import Path
from typing import Any

# Their versions are on record with every session of a ledger, and answers across them agree to rounding.
_OURS = frozenset({"torch", "numpy", "lossatlas"})
_STANDARD = frozenset({*sys.stdlib_module_names, *sys.builtin_module_names}) - {"__main__"}
_FOLDERS = tuple({sysconfig.get_paths()[kind] for kind in ("stdlib", "platstdlib")})


def holds(thing: Any) -> bool:
    """Whether a function, class, or module belongs to a library.

    A function is judged by the module that its code was compiled in, which wrappers cannot disguise as another, and by
    that module's file, since users name their files as libraries do (``code.py``, ``statistics.py``).
    """
    if isinstance(thing, types.FunctionType):
        return _by_module(str(thing.__globals__.get("__name__", "")), thing.__globals__.get("__file__"))
    if isinstance(thing, types.ModuleType):
        return _by_module(thing.__name__, getattr(thing, "__file__", None))
    name = str(getattr(thing, "__module__", ""))
    for part in vars(thing).values() if isinstance(thing, type) else ():
        if isinstance(part, types.FunctionType) and part.__globals__.get("__name__") == name:
            return holds(part)
    return _by_module(name, getattr(sys.modules.get(name), "__file__", None))


def standard(kind: type) -> bool:
    """Whether a class is one of the standard library."""
    return holds(kind) and str(kind.__module__).partition(".")[0] in _STANDARD


def label(thing: Any) -> str:
    """What a part of a library is called, with the version of one whose version is not on record elsewhere."""
    if isinstance(thing, types.ModuleType):
        where, name = thing.__name__, ""
    elif isinstance(thing, types.FunctionType):
        where, name = str(thing.__globals__.get("__name__", "")), thing.__code__.co_qualname
    else:
        where = str(getattr(thing, "__module__", ""))
        name = str(getattr(thing, "__qualname__", type(thing).__qualname__))
    top = where.partition(".")[0]
    # Our own modules may move from one version to the next; their names mean the same.
    where = top if top == "lossatlas" else where
    return f"{where} {name} {'' if top in _OURS | _STANDARD else _version(top)}"


def known(name: str) -> bool:
    """Whether a module of this name, perhaps relative, belongs to a library."""
    return not name.startswith(".") and _is_library(name)


def code_of(name: str, package: str) -> types.CodeType | None:
    """The code of a module's file, which is not run; None for one of a library, or without a file of Python code.

    Args:
        name: with dots in front where it is relative.
        package: that it is relative to.
    """
    try:
        whole = importlib.util.resolve_name(name, package)
        if _is_library(whole):
            return None
        spec = importlib.util.find_spec(whole)
        find = getattr(spec.loader, "get_code", None) if spec is not None else None
        code = find(whole) if find is not None else None
    except (ImportError, ValueError, AttributeError, SyntaxError, OSError):
        return None
    return code if isinstance(code, types.CodeType) else None


def _is_library(name: str) -> bool:
    return _by_module(name, getattr(sys.modules.get(name), "__file__", None))


def _by_module(name: str, file: Any) -> bool:
    top = name.partition(".")[0]
    if top in _OURS:
        return True
    return _installed(file) if isinstance(file, str) and file else top in _STANDARD


@functools.lru_cache(maxsize=4096)
def _installed(file: str) -> bool:
    path = Path(file)
    return bool({"site-packages", "dist-packages"} & set(path.parts)) or any(map(path.is_relative_to, _FOLDERS))


@functools.lru_cache(maxsize=256)
def _version(top: str) -> str:
    found = getattr(sys.modules.get(top), "__version__", None)
    if isinstance(found, str):
        return found
    try:
        return importlib.metadata.version(top)
    except importlib.metadata.PackageNotFoundError:
        return ""
