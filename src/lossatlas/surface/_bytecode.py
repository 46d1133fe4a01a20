"""What a code object does, without where it stands: its instructions with their constants, and the names that it reads."""

from __future__ import annotations

import dis
import functools
import sys
import types
from typing import NamedTuple

# Code compiled by another version of Python is other code, whatever it computes.
VERSION = f"py{sys.version_info.major}.{sys.version_info.minor}"

_CONSTANTS = frozenset(dis.hasconst)
_EXTENDED = dis.opmap["EXTENDED_ARG"]
_ATTRIBUTE_STORES = frozenset({dis.opmap["STORE_ATTR"], dis.opmap["DELETE_ATTR"]})
# The lowest bit of a global's argument is none of the name's number.
_GLOBAL_LOADS = {dis.opmap["LOAD_GLOBAL"]: 1, dis.opmap["LOAD_NAME"]: 0}
_GLOBAL_LOADS |= {dis.opmap[name]: 0 for name in ("LOAD_FROM_DICT_OR_GLOBALS",) if name in dis.opmap}
_NAMES = frozenset(dis.hasname)
# How far the number of a name lies up in the argument.
_SHIFTS = {dis.opmap["LOAD_ATTR"]: 1 if sys.version_info >= (3, 12) else 0, dis.opmap.get("LOAD_SUPER_ATTR", -1): 2}
_GLOBAL_STORES = frozenset({dis.opmap["STORE_GLOBAL"], dis.opmap["DELETE_GLOBAL"]})
_CELL_STORES = frozenset({dis.opmap["STORE_DEREF"], dis.opmap["DELETE_DEREF"]})
_IMPORT = dis.opmap["IMPORT_NAME"]
_SMALL = dis.opmap.get("LOAD_SMALL_INT", -1)
# Of the flags of a code object those that change what it does.
_FLAGS = 0x04 | 0x08 | 0x20 | 0x80 | 0x100 | 0x200


class Found(NamedTuple):
    """What a code object says of itself and of the code objects within it.

    Attributes:
        shape: its arguments and flags.
        instructions: pairs of operation and argument; constants are numbered as they are first used, so that a
            docstring does not count.
        constants: in that order.
        reads: every name that is looked up somewhere, and constants that may be names for ``getattr``.
        globals: names that are looked up among the globals.
        stores: globals and variables of an outer function that are assigned.
        assigned: attributes that are assigned.
        imports: modules that are imported when it runs, with a dot for each level of a relative one.
    """

    shape: str
    instructions: str
    constants: tuple[object, ...]
    reads: frozenset[str]
    globals: frozenset[str]
    stores: frozenset[str]
    assigned: frozenset[str]
    imports: frozenset[str]


class _Held:
    """A code object by identity: two equal ones may differ in the constants 0.0 and -0.0."""

    __slots__ = ("code",)

    def __init__(self, code: types.CodeType) -> None:
        self.code = code

    def __hash__(self) -> int:
        return id(self.code)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Held) and other.code is self.code


def read(code: types.CodeType) -> Found:
    """What a code object does, and the names that it and the functions within it read."""
    return _read(_Held(code))


@functools.lru_cache(maxsize=4096)
def _read(held: _Held) -> Found:
    return _parsed(held.code)


def _parsed(code: types.CodeType) -> Found:
    numbers: dict[int, int] = {}
    pairs: list[tuple[int, int]] = []
    loads, reads, stores, assigned, imports = set[str](), set[str](), set[str](), set[str](), set[str]()
    raw, extended, level = code.co_code, 0, 0
    outer = len(code.co_varnames) + len(set(code.co_cellvars) - set(code.co_varnames))
    for operation, argument in zip(raw[::2], raw[1::2], strict=True):
        argument |= extended
        extended = argument << 8 if operation == _EXTENDED else 0
        if operation == _EXTENDED:
            continue
        if operation in _GLOBAL_LOADS:
            loads.add(code.co_names[argument >> _GLOBAL_LOADS[operation]])
        elif operation in _GLOBAL_STORES:
            stores.add(code.co_names[argument])
        elif operation in _CELL_STORES and argument >= outer:
            stores.add(code.co_freevars[argument - outer])
        elif operation in _ATTRIBUTE_STORES:
            assigned.add(code.co_names[argument])
        elif operation in _NAMES:
            reads.add(code.co_names[argument >> _SHIFTS.get(operation, 0)])
        if operation == _IMPORT:
            imports.add("." * level + code.co_names[argument])
        if operation in _CONSTANTS:
            constant = code.co_consts[argument]
            # An import loads its level two instructions before, and the names that it takes in between.
            level = constant if isinstance(constant, int) and not isinstance(constant, bool) else level
            argument = numbers.setdefault(argument, len(numbers))
        elif operation == _SMALL:
            level = argument
        pairs.append((operation, argument))
    constants = tuple(code.co_consts[k] for k in numbers)
    inner = [read(part) for part in constants if isinstance(part, types.CodeType)]
    texts = {part for part in constants if isinstance(part, str) and part.isidentifier()}
    parameters = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & 4) + bool(code.co_flags & 8)
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & _FLAGS)
    # A variable of this function that an inner one assigns is no state of the outside.
    escaping = {name for one in inner for name in one.stores if name not in code.co_cellvars}
    return Found(
        f"{counts} {code.co_varnames[:parameters]} {len(code.co_cellvars)} {len(code.co_freevars)}",
        str(pairs),
        constants,
        frozenset((reads | loads | texts).union(*(one.reads for one in inner))),
        frozenset(loads.union(*(one.globals for one in inner))),
        frozenset(stores | escaping),
        frozenset(assigned.union(*(one.assigned for one in inner))),
        frozenset(imports.union(*(one.imports for one in inner))),
    )
