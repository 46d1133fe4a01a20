"""A Python program as its user starts it: a file, a module, or an installed command."""

from __future__ import annotations

import importlib.util
import runpy
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from lossatlas._errors import InputError

# Endings of files that are something else, and would fail at their first line.
OTHERS = frozenset(
    [
        ".cfg",
        ".csv",
        ".html",
        ".ini",
        ".ipynb",
        ".json",
        ".md",
        ".npz",
        ".pt",
        ".pth",
        ".safetensors",
        ".sh",
        ".toml",
        ".txt",
        ".yaml",
    ]
)
# They start the program in processes of their own.
LAUNCHERS = ("torchrun", "accelerate", "deepspeed", "mpirun", "mpiexec", "srun", "horovodrun", "ray")


@dataclass(frozen=True)
class Program:
    """What to run, and with what arguments.

    Attributes:
        name: as the user typed it.
        args: after it.
        file: its source.
        module: whether the name is that of a module.
    """

    name: str
    args: tuple[str, ...]
    file: str
    module: bool

    @classmethod
    def found(cls, name: str, args: Sequence[str], *, module: bool) -> Self:
        """Find a program.

        Raises:
            InputError: if there is none, or it is no Python program.
        """
        if module:
            return cls(name, tuple(args), _source(name), True)
        if _is_file(name):
            if Path(name).suffix.lower() in OTHERS and not _is_python(name):
                raise InputError(
                    f"the script {name!r} is no Python program; expected a Python file, or -m and a module, with its arguments "
                    "after it. A shell script names this command inside it; a notebook uses lossatlas.Recorder."
                )
            return cls(name, tuple(args), name, False)
        installed = shutil.which(name) if Path(name).name == name else None
        if Path(name).name in LAUNCHERS:
            raise InputError(
                f"{name!r} starts the program in processes of its own, where nothing would be recorded; expected the "
                f"launcher first. Run it as: {name} [its options] -m lossatlas record [options] SCRIPT."
            )
        if installed and _is_python(installed):
            return cls(name, tuple(args), installed, False)
        what = f"; {installed} is no Python program" if installed else ""
        raise InputError(
            f"there is no script {name!r}{what}; expected a Python file, or -m and a module, with its arguments after it."
        )

    @contextmanager
    def arguments(self) -> Iterator[None]:
        """The arguments and the search path that Python would give it, within the block."""
        before = sys.argv, sys.path[:]
        first = str(Path.cwd()) if self.module else str(Path(self.file).parent.resolve())
        sys.argv, sys.path[0:0] = [self.file, *self.args], [first]
        try:
            yield
        finally:
            sys.argv, sys.path[:] = before

    def run(self) -> dict[str, Any]:
        """Run it as the main program; returns its variables."""
        if self.module:
            return runpy.run_module(self.name, run_name="__main__", alter_sys=True)
        return runpy.run_path(self.file, run_name="__main__")


def _source(name: str) -> str:
    """The file of a module that Python would run with -m."""
    before = sys.path[:]
    sys.path[0:0] = [str(Path.cwd())]
    try:
        found = importlib.util.find_spec(name)
        if found is not None and found.submodule_search_locations is not None:
            found = importlib.util.find_spec(f"{name}.__main__")
    except (ImportError, ValueError):
        found = None
    finally:
        sys.path[:] = before
    if found is None or found.origin is None:
        raise InputError(
            f"there is no module {name!r} to run; expected one that python -m would find from {str(Path.cwd())!r}, with its "
            "arguments after it."
        )
    return found.origin


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except (OSError, ValueError):  # a name that is too long is none
        return False


def _is_python(path: str) -> bool:
    try:
        with Path(path).open("rb") as file:
            first = file.readline(200)
    except OSError:
        return False
    return first.startswith(b"#!") and b"python" in first
