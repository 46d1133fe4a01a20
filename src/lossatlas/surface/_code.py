"""What a callable computes, as a digest: its code and all that the code can read by name, in a canonical order.

Line numbers, file names, comments, docstrings and the names of functions do not enter; neither does anything that
changes from one process to the next (addresses, orders of sets). Code of libraries enters by its name.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from torch import nn

from lossatlas.surface import _bytecode
from lossatlas.surface._members import ENTRIES
from lossatlas.surface._walk import Walk

# Passes until no further name is read; each one costs as much as the first.
PASSES = 30


class Code(NamedTuple):
    """What was found of a callable.

    Attributes:
        digest: a short SHA-256, after the version of Python: code compiled by another one cannot be compared.
        unseen: what the digest does not cover, in words; the values of a surface alone can tell whether it matters.
    """

    digest: str
    unseen: tuple[str, ...]


def code_digest(thing: Any) -> str:
    """A short SHA-256 of what a callable computes, the same in every process: the digest of `read_code`."""
    return read_code(thing).digest


def read_code(thing: Any, *, entries: Iterable[str] = (), elsewhere: Iterable[Any] = ()) -> Code:
    """Digest what a callable computes.

    Covered are the bytecode and constants of functions with their defaults, the values in their closures, the globals
    and helper functions that they load, arguments of partials, the instances of bound methods, and of objects and
    modules the methods and attributes whose names are read by any of this code. What a function itself assigns outside
    (counters, caches) is its state and not its definition, and counts as not seen. torch, NumPy and the standard library
    enter by name alone, since a ledger records their versions apart; other libraries by name and version.

    Args:
        thing: a function, partial, bound method, object with ``__call__``, module, or a value.
        entries: names of further methods that are called from outside.
        elsewhere: tensors that are known by other means, not to be read.

    Returns:
        The digest, and what it does not cover.
    """
    walk = _walked(thing, entries, elsewhere)
    return Code(_versioned(walk), tuple(sorted(walk.unseen)))


def code_with_modules(thing: Any) -> tuple[str, tuple[nn.Module, ...]]:
    """The digest of a callable, and the modules that its code reads: a teacher, a loss with weights of its own."""
    walk = _walked(thing, (), ())
    return _versioned(walk), walk.modules


def _versioned(walk: Walk) -> str:
    return f"{_bytecode.VERSION}:{walk.digest}"


def _walked(thing: Any, entries: Iterable[str], elsewhere: Iterable[Any]) -> Walk:
    names, made = set(ENTRIES) | set(entries), set[int]()
    known = frozenset(id(one) for one in elsewhere)
    own: dict[type, tuple[frozenset[str], frozenset[str]]] = {}
    for _ in range(PASSES):
        before = len(names), len(made)
        walk = Walk(names, made, known, own)
        walk.everything(thing)
        if (len(names), len(made)) == before:
            break
    return walk
