"""One pass over a callable, its helpers, objects and constants, in an order that is the same in every process."""

from __future__ import annotations

import argparse
import copyreg
import enum
import functools
import hashlib
import types
from collections import deque
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from lossatlas.surface import _bits, _bytecode, _library
from lossatlas.surface._members import BASE, ENTRIES, MAKERS, hooks, order, own_names, silent, state_of

# Functions, classes and objects that are followed at most; what lies beyond counts as not seen.
LIMIT = 10_000
# Containers in containers.
DEPTH = 60

_COMPILERS = ("torch._dynamo.", "torch._inductor.")
_FLAT = frozenset({bool, int, str, bytes, type(None)})
_PLAIN = (bool, int, float, complex, str, bytes, tuple, type(None))
# Of these only what is read counts.
_OPEN = (types.SimpleNamespace, argparse.Namespace)
_MOVING = (torch.Generator, np.random.Generator, np.random.RandomState, np.random.BitGenerator)
_NAMED = (torch.dtype, torch.device, torch.layout, torch.memory_format, torch.Size, range, slice, PurePath)
_METHODS = (
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
)


@final
class Walk:
    """One pass over a callable and what it reads.

    Args:
        names: that are read by the code met so far; grows.
        made: classes (by id) that are called and not only inherited from; grows.
        elsewhere: ids of tensors not to be read.
        own: what classes read and assign themselves, as far as it was found; grows.
    """

    def __init__(
        self,
        names: set[str],
        made: set[int],
        elsewhere: frozenset[int],
        own: dict[type, tuple[frozenset[str], frozenset[str]]],
    ) -> None:
        self.names, self.made, self.elsewhere, self.own = names, made, elsewhere, own
        self.unseen: set[str] = set()
        self._sha = hashlib.sha256()
        self._nodes: list[Any] = []
        self._index: dict[int, int] = {}
        self._open: set[int] = set()

    @property
    def digest(self) -> str:
        """Of everything so far."""
        return self._sha.hexdigest()[:16]

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """Those that were met."""
        return tuple(node for node in self._nodes if isinstance(node, nn.Module))

    def everything(self, root: Any) -> None:
        """The root, and node after node what it refers to."""
        self.value(root)
        for number, node in enumerate(self._nodes):
            self.put("node", number)
            if isinstance(node, types.FunctionType):
                self._function(node)
            elif isinstance(node, type):
                self._class(node)
            else:
                self._instance(node)

    def put(self, *parts: object) -> None:
        """Add names and numbers to the digest."""
        # A tuple's repr tells its parts apart, whatever they hold.
        self._sha.update(repr(parts).encode())

    def skip(self, what: str) -> None:
        """Something that the digest does not cover."""
        self.unseen.add(what)
        self.put("unseen", what)

    def value(self, value: Any, depth: int = 0) -> None:
        """A constant, a container, or a reference to a node."""
        kind = type(value)
        if depth > DEPTH or id(value) in self._open:
            self.put("again")
        elif isinstance(value, nn.Module):
            self._refer(value)
        elif kind is tuple and all(type(one) in _FLAT for one in value):
            self.put("flat", value)
        elif value is None or value is Ellipsis or value is NotImplemented or kind in (bool, int, str, bytes):
            self.put(kind.__name__, value)
        elif kind is float:
            self.put("float", value.hex())
        elif kind is complex:
            self.put("complex", value.real.hex(), value.imag.hex())
        elif isinstance(value, enum.Enum):
            self.put("enum", kind.__name__, value.name)
            self.value(value.value, depth + 1)
        elif isinstance(value, int | float | str | bytes) and not isinstance(value, np.generic):
            base: Any = next(one for one in (int, float, str, bytes) if isinstance(value, one))
            self.put(kind.__name__)
            self.value(base(value), depth + 1)
        elif isinstance(value, Tensor | np.ndarray | np.generic):
            self._array(value)
        elif isinstance(value, _NAMED):
            self.put(kind.__name__, str(value))
        elif isinstance(value, types.CodeType):
            self._code(value, depth)
        elif isinstance(value, tuple | list | set | frozenset | deque | Mapping):
            self._container(value, depth)
        else:
            self._callable(value, depth)

    def _array(self, value: Any) -> None:
        if id(value) in self.elsewhere:
            self.put("tensor known otherwise", tuple(value.shape))
        elif isinstance(value, Tensor):
            self.put("tensor", tuple(value.shape), value.dtype)
            if not _library.holds(type(value)):
                self._refer(type(value))
            if not _bits.feed(self._sha, value):
                self.skip(f"a tensor on {value.device}")
        elif value.dtype.hasobject:
            self.value(value.tolist(), DEPTH // 2)
        else:
            self.put("array", value.shape, value.dtype.str)
            self._sha.update(value.tobytes())

    def _container(self, value: Any, depth: int) -> None:
        kind = type(value)
        self._open.add(id(value))
        try:
            if isinstance(value, Mapping):
                self.put("mapping", len(value))
                for key in sorted(value, key=order):
                    self.value(key, depth + 1)
                    self.value(value[key], depth + 1)
            else:
                sets = isinstance(value, set | frozenset)
                self.put("set" if sets else "sequence", kind.__name__, len(value))
                for item in sorted(value, key=order) if sets else value:
                    self.value(item, depth + 1)
        finally:
            self._open.discard(id(value))
        if not _library.holds(kind):
            self._refer(kind)
            self._attributes(state_of(value) or {}, frozenset())

    def _callable(self, value: Any, depth: int) -> None:
        if isinstance(value, types.FunctionType):
            self._refer(value)
        elif isinstance(value, functools.partial):
            self.put("partial", len(value.args))
            self.value([value.func, value.args, value.keywords], depth + 1)
        elif isinstance(value, types.MethodType):
            self.put("method")
            self.value(value.__func__, depth + 1)
            self.value(value.__self__, depth + 1)
        elif isinstance(value, types.BuiltinFunctionType | types.MethodWrapperType):
            self.put("builtin", value.__qualname__, getattr(value, "__module__", None))
            if value.__self__ is not None and not isinstance(value.__self__, types.ModuleType):
                self.value(value.__self__, depth + 1)
        elif isinstance(value, _METHODS):
            self.put("descriptor", value.__objclass__.__qualname__, value.__name__)
        elif isinstance(value, staticmethod | classmethod):
            self.put(type(value).__name__)
            self.value(value.__func__, depth + 1)
        elif isinstance(value, property):
            self.put("property")
            self.value([value.fget, value.fset, value.fdel], depth + 1)
        elif isinstance(value, functools.cached_property):
            self.put("cached property")
            self.value(value.func, depth + 1)
        elif isinstance(value, types.ModuleType):
            self.put("python module")
            if _library.holds(value):
                self.put(_library.label(value))
        elif isinstance(value, torch.jit.ScriptFunction):
            self.put("script", value.code)
        elif type(value).__module__ in ("torch._ops", "torch._C"):
            self.put("operator", str(value)) if type(value).__module__ == "torch._ops" else self.skip(
                type(value).__name__
            )
        elif _library.holds(kind := type(value)) and callable(getattr(value, "__wrapped__", None)):
            self.put("wrapped", kind.__qualname__)
            self.value(value.__wrapped__, depth + 1)
        elif isinstance(value, _MOVING) or type(value).__module__ in ("_weakref", "weakref", "_random", "random"):
            # It moves while the code runs, so that the same code would get another digest the next time.
            self.skip(f"the state of a {type(value).__name__}")
        else:
            if isinstance(value, type):
                self.made.add(id(value))
            self._refer(value)

    def _refer(self, node: Any) -> None:
        """Name a node, which is written down later: functions may refer to each other in circles."""
        if id(node) not in self._index:
            if isinstance(node, type) and _library.holds(node):
                self._index[id(node)] = -1 - len(self._index)
                self._patched(node)
                return
            if len(self._nodes) >= LIMIT:
                self.skip(f"more than {LIMIT} objects")
                return
            self._index[id(node)] = len(self._nodes)
            self._nodes.append(node)
        self.put("refers to", self._index[id(node)])

    def _patched(self, kind: type) -> None:
        """A library's class by name, what it has of the user's own, and what was put in the place of its entries."""
        self.put("library", _library.label(kind))
        for base in kind.__mro__[1:]:
            if not _library.holds(base):
                self._refer(base)
        for name in sorted(ENTRIES):
            found = getattr(kind, name, None)
            if isinstance(found, types.FunctionType) and not _library.holds(found):
                self.put("replaced", name)
                self.value(found)

    def _code(self, code: types.CodeType, depth: int = 0) -> None:
        found = _bytecode.read(code)
        self.names |= found.reads
        self.put("code", found.shape, found.instructions, code.co_exceptiontable, *code.co_names)
        for constant in found.constants:
            self.value(constant, depth + 1)

    def _function(self, function: types.FunctionType) -> None:
        if _library.holds(function):
            self._library_function(function)
            return
        found = _bytecode.read(function.__code__)
        self._code(function.__code__)
        self.value(function.__defaults__)
        self.value(function.__kwdefaults__)
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            self.put("closure")
            if name in found.stores:
                self.skip(f"the variable {name} that the code itself assigns")
            else:
                self._cell(name, cell, found.reads)
        for name in sorted(found.globals):
            self.put("global", name)
            if name in found.stores:
                self.skip(f"the global {name} that the code itself assigns")
            elif name in function.__globals__:
                self._global(function.__globals__[name], found.reads)
        for name in sorted(found.imports):
            self._imported(name, function.__globals__, found)
        self._attributes(vars(function), frozenset())

    def _cell(self, name: str, cell: types.CellType, reads: frozenset[str]) -> None:
        try:
            content = cell.cell_contents
        except ValueError:
            self.put("empty")
            return
        # The cell that super() looks into: the class itself is not called for it.
        if name == "__class__" and isinstance(content, type):
            self._refer(content)
        else:
            self._global(content, reads)

    def _global(self, value: Any, reads: frozenset[str], seen: tuple[types.ModuleType, ...] = ()) -> None:
        """A global or a variable of an outer function; of a module, what is read of it."""
        self.value(value)
        if not isinstance(value, types.ModuleType) or value in seen:
            return
        own = not _library.holds(value)
        for name in sorted(reads & vars(value).keys()):
            part = vars(value)[name]
            replaced = isinstance(part, types.FunctionType) and not _library.holds(part)
            if own or replaced or isinstance(part, types.ModuleType):
                self.put("of the module", name)
                self._global(part, reads, (*seen, value))

    def _imported(self, name: str, around: Mapping[str, Any], found: _bytecode.Found) -> None:
        """A module that a function imports when it runs: its source's code, whether or not it was imported yet."""
        self.put("imports", name)
        code = _library.code_of(name, around.get("__package__") or "")
        if code is not None:
            self._code(code)
        elif code is None and not _library.known(name):
            self.skip(f"the module {name}")

    def _library_function(self, function: types.FunctionType) -> None:
        self.put("library", _library.label(function))
        inner = getattr(function, "_torchdynamo_orig_callable", getattr(function, "__wrapped__", None))
        if callable(inner):
            self.value(inner)
            if str(function.__globals__.get("__name__", "")).startswith(_COMPILERS):
                return
        # A wrapper, such as of no_grad or vmap, holds what it wraps.
        for cell in function.__closure__ or ():
            self._cell("", cell, frozenset())

    def _class(self, kind: type) -> None:
        for base in kind.__bases__:
            self._refer(base)
        wanted = self.names | (MAKERS if id(kind) in self.made else set())
        for name in sorted(vars(kind)):
            dunder = name.startswith("__") and name.endswith("__") and name not in MAKERS
            if not silent(name) and (name in wanted or dunder):
                self.put("member", name)
                self.value(vars(kind)[name])

    def _instance(self, thing: Any) -> None:
        kind = type(thing)
        self.put("instance")
        if isinstance(thing, torch.jit.ScriptModule):
            self._scripted(thing)
            return
        self._refer(kind)
        if kind.__module__.startswith(_COMPILERS):
            # A compiler's state grows as it runs; what it compiles is all that counts.
            if isinstance(thing, nn.Module):
                self._module(thing)
            return
        state = state_of(thing)
        if state is None:
            self._opaque(thing)
            return
        if _library.standard(kind) and all(isinstance(value, _PLAIN) for value in state.values()):
            self.names |= state.keys() if kind not in _OPEN else set()
        reads, writes = self.own[kind] = self.own.get(kind) or own_names(kind)
        if isinstance(thing, nn.Module):
            self._module(thing)
            state = {name: value for name, value in state.items() if name not in BASE}
            # Older weight and spectral norm put the weight that they compute among the attributes.
            writes |= {str(getattr(hook, "name", "")) for hook in hooks(thing) if _library.holds(type(hook))}
        self.names |= reads
        # Whether it was assigned already must not count.
        for name in sorted(writes & self.names - BASE):
            self.skip(f"the attribute {name} that {kind.__name__} itself assigns")
        self._attributes(state, writes)

    def _attributes(self, state: Mapping[str, Any], writes: frozenset[str]) -> None:
        for name in sorted(name for name in state if name in self.names and name not in writes):
            value = state[name]
            self.put("attribute", name)
            if isinstance(value, Tensor) and value.grad_fn is not None:
                self.skip(f"the tensor {name} that was computed")
            else:
                self.value(value)

    def _module(self, module: nn.Module) -> None:
        for part in ("_parameters", "_buffers", "_modules"):
            for name, value in vars(module)[part].items():
                if id(value) in self.elsewhere:
                    self.put(part, name, tuple(value.shape))
                else:
                    self.put(part, name)
                    self.value(value)
        for hook in hooks(module):
            self.put("hook")
            self.value(hook)

    def _scripted(self, module: torch.jit.ScriptModule) -> None:
        for name, part in module.named_modules():
            code = getattr(part, "code", None) if hasattr(part, "forward") else None
            self.put("scripted", name, getattr(part, "original_name", ""), code or "")
        for name, value in module.state_dict(keep_vars=True).items():
            self.put(name)
            self.value(value)

    def _opaque(self, thing: Any) -> None:
        """An object without attributes of its own: what it is rebuilt from, for those of the standard library."""
        kind = type(thing)
        if _library.standard(kind):
            try:
                reducer = copyreg.dispatch_table.get(kind)
                rebuilt: Any = reducer(thing) if reducer else thing.__reduce_ex__(2)
                parts = [list(part) if hasattr(part, "__next__") else part for part in rebuilt[1:]]
            except Exception:
                parts = None
            if parts is not None:
                self.put(getattr(rebuilt[0], "__qualname__", ""))
                self.value(parts)
                return
        self.skip(f"an object of type {kind.__name__}")
