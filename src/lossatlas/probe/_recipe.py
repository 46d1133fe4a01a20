"""How another process makes the same surface: steps in plain JSON and tensors; what has no steps travels as it is."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import importlib.util
import io
import json
import pickle
import runpy
import sys
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from lossatlas import archive
from lossatlas._errors import InputError
from lossatlas.surface import Frame, Slice, Surface, tensor_digest

_TENSOR = "a tensor"


@final
@dataclass(frozen=True, eq=False)
class Recipe:
    """What is sent to a worker once, for all queries on a surface.

    Attributes:
        steps: one after another. ``{"make": "module:function", "with": {…}}`` calls a function, with what the steps
            before made as its first argument where there is some; ``{"call": "method", "with": {…}}`` calls a method
            of it. Arguments are JSON values, and ``{"a tensor": name}`` for tensors.
        outputs: further steps, which make a source of outputs on it; none where only the surface is wanted.
        tensors: by name.
        pickled: what the steps begin with, where no function makes it. It goes from a process to its own worker only,
            and is never read from a file.
        script: the driver's program, whose classes and functions it may use.
        files: modules that it uses and that no search finds, as a file that was named by its path, by name.
    """

    steps: tuple[Mapping[str, Any], ...] = ()
    outputs: tuple[Mapping[str, Any], ...] = ()
    tensors: Mapping[str, Tensor] = field(default_factory=dict, repr=False)
    pickled: bytes = field(default=b"", repr=False)
    script: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)

    def then(self, *steps: Mapping[str, Any]) -> Recipe:
        """With further steps, whose arguments may be tensors and mappings of tensors."""
        tensors = dict(self.tensors)
        plain = [{**step, "with": {k: _put(v, tensors) for k, v in step.get("with", {}).items()}} for step in steps]
        return replace(self, steps=(*self.steps, *plain), tensors=tensors)

    @property
    def digest(self) -> str:
        """Of everything in it."""
        told = [
            self.steps,
            self.outputs,
            {name: tensor_digest(t) for name, t in self.tensors.items()},
            self.script,
            self.files,
        ]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode() + self.pickled).hexdigest()[:32]

    def build(self) -> tuple[Surface, Any]:
        """The surface, and the source of outputs or None.

        Raises:
            Exception: what the user's own code raises.
        """
        made = _unpickled(self.pickled, self.script, self.files) if self.pickled else None
        surface: Surface = self._done(made, self.steps)
        return surface, self._done(surface, self.outputs) if self.outputs else None

    def _done(self, made: Any, steps: Iterable[Mapping[str, Any]]) -> Any:
        for step in steps:
            given = {name: _got(value, self.tensors) for name, value in step.get("with", {}).items()}
            if "make" in step:
                module, _, name = step["make"].partition(":")
                function = getattr(importlib.import_module(module), name)
                made = function(**given) if made is None else function(made, **given)
            else:
                made = getattr(made, step["call"])(**given)
        return made


def recipe_of(on: Surface, source: Any = None) -> Recipe:
    """How a worker makes a surface, read with bits of its own, or a source of outputs on it.

    Raises:
        InputError: for what cannot travel; the message says what to write instead.
    """
    made_by: tuple[Mapping[str, Any], ...] = getattr(on, "made_by", ())
    if isinstance(on, Slice):
        parts = {"origin": on.frame.origin, "directions": on.frame.directions, "statistics": on.frame.statistics}
        found = recipe_of(on.base).then({"make": f"{__name__}:sliced", "with": parts})
    elif made_by:
        found = Recipe().then(*made_by)
    else:
        found = _pickled(on)
    return found if source is None else replace(found, outputs=tuple(source.made_by))


def sliced(base: Surface, origin: Tensor, directions: Tensor, statistics: Tensor | None) -> Slice:
    """The slice of a surface on a frame, read with bits of its own."""
    return base.on(Frame(origin, directions, statistics), steady=True)


def identity_of(on: Surface, source: Any = None) -> Any:
    """What driver and worker must agree about before the first answer: plain JSON values."""
    told: dict[str, Any] = {"surface": on.fingerprint()}
    if source is not None:
        told["outputs"] = [list(shape) for shape in source.shapes]
    return archive.parse(archive.dump(told))


def _put(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach()
        return {_TENSOR: name}
    if isinstance(value, Mapping):
        return {name: _put(inner, tensors) for name, inner in value.items()}
    return value


def _got(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if set(value) == {_TENSOR}:
            return tensors[value[_TENSOR]]
        return {name: _got(inner, tensors) for name, inner in value.items()}
    return value


def _pickled(on: Surface) -> Recipe:
    try:
        stream = io.BytesIO()
        torch.save(on, stream)
    except Exception as error:  # whatever a user's object raises: pickle.PicklingError, AttributeError, TypeError
        raise InputError(_stays(on, f"{type(error).__name__}: {error}")) from error
    names, script = _modules(on), _script()
    if "__main__" in names:
        if script is None:
            raise InputError(_stays(on, "it uses classes or functions that were written in a notebook or console"))
        if not _guarded(Path(script)):
            raise InputError(
                _stays(on, "it uses classes or functions of the running script, which would run again in each worker")[
                    :-1
                ]
                + "; or put what the script does under if __name__ == '__main__':."
            )
    return Recipe(pickled=stream.getvalue(), script=script, files=_beside_the_path(names))


def _modules(on: Surface) -> set[str]:
    """Modules whose classes and functions a pickle of it refers to."""
    seen: set[str] = set()

    class Watched(pickle.Pickler):
        def reducer_override(self, given: Any) -> Any:
            if isinstance(given, type | types.FunctionType):
                seen.add(given.__module__)
            return (bytes, ()) if type(given) is Tensor else NotImplemented

    Watched(io.BytesIO()).dump(on)
    return seen


def _beside_the_path(names: Iterable[str]) -> dict[str, str]:
    """Of modules, those that another process would not find by their names."""
    found = {}
    for name in sorted(names):
        file = getattr(sys.modules.get(name), "__file__", None)
        if file is None or "." in name or name == "__main__":
            continue
        spec = PathFinder.find_spec(name)
        if spec is None or spec.origin is None or Path(spec.origin).resolve() != Path(file).resolve():
            found[name] = str(Path(file).resolve())
    return found


def _stays(on: Surface, why: str) -> str:
    return (
        f"got {on.name}, which cannot be sent to workers ({' '.join(why.split())[:300]}); expected a model, loss and data whose "
        "classes and functions another process can import. Write them with class and def in a file, say net.py, and "
        "'from net import …' here; on the command line, --model net.py:make_model does it."
    )


def _script() -> str | None:
    """The file of the running program, where it is one."""
    found = getattr(sys.modules.get("__main__"), "__file__", None)
    return str(Path(found).resolve()) if found and Path(found).suffix == ".py" else None


def _guarded(script: Path) -> bool:
    """Whether a script does what it does only when it is run, not when it is imported."""
    tests = (node.test for node in ast.parse(script.read_bytes()).body if isinstance(node, ast.If))
    return any("__name__" in ast.unparse(test) and "__main__" in ast.unparse(test) for test in tests)


def _unpickled(raw: bytes, script: str | None, files: Mapping[str, str]) -> Any:
    for name, file in files.items():
        if name not in sys.modules:
            spec = importlib.util.spec_from_file_location(name, file)
            assert spec is not None and spec.loader is not None
            sys.modules[name] = module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)

    class Names(pickle.Unpickler):
        """Where names of the driver's own program are found in its file."""

        def find_class(self, module: str, name: str) -> Any:
            if module != "__main__" or script is None:
                return super().find_class(module, name)
            found: Any = _program(script)
            for part in name.split("."):
                found = getattr(found, part)
            return found

    ours = types.SimpleNamespace(__name__="pickle", Unpickler=Names, load=pickle.load)
    return torch.load(io.BytesIO(raw), weights_only=False, pickle_module=ours)


@functools.cache
def _program(script: str) -> types.SimpleNamespace:
    return types.SimpleNamespace(**runpy.run_path(script, run_name="__mp_main__"))
