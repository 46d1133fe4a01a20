"""Which parts of a nested structure hold one row per example, and what to make of structures that have no rows."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lossatlas._errors import DataError
from lossatlas.surface.network import _nested


@dataclass(frozen=True, slots=True)
class Node:
    """What one part of a structure is.

    Attributes:
        role: ``rows``, a tensor with one row per example; ``examples``, a list or array with one item per example;
            ``constant``, the same for all examples; ``inner``, a container of further parts.
        keys: of the parts.
        parts: in the order of the keys.
    """

    role: str
    keys: tuple[Hashable, ...] = ()
    parts: tuple[Node, ...] = ()

    @property
    def varies(self) -> bool:
        """Whether anything in it belongs to single examples."""
        return self.role in ("rows", "examples") or any(part.varies for part in self.parts)


_ROWS, _EXAMPLES, _CONSTANT = Node("rows"), Node("examples"), Node("constant")


def plan_of(given: Any, target: Any, size: int | None = None) -> tuple[Node | None, int]:
    """The plan by which all parts of a structure have as many rows, and how many; (None, 0) where there is none.

    Args:
        given: the structure.
        target: the part that is the target: its number of rows is tried first.
        size: the number of rows, where it is known.
    """
    candidates = dict.fromkeys([*_lengths(target), *_lengths(given)] if size is None else [size])
    if size is None:
        candidates.update(dict.fromkeys([*_list_lengths(target), *_list_lengths(given, top=True)]))
    for rows in candidates:
        listed = type(target) in (list, tuple) and len(target) == rows
        plan = _plan(given, rows, listed, top=True)
        if plan is not None and plan.varies:
            return plan, rows
    return None, 0


def flat(plan: Node, given: Any) -> list[tuple[str, Any]]:
    """The parts of a structure by its plan, each with its role, in order."""
    return list(_flat(plan, given))


def built(plan: Node, like: Any, values: Sequence[Any]) -> Any:
    """The structure with other parts, in the order of `flat`."""
    return _built(plan, like, iter(values))


def without_rows(given: Any, target: Any) -> int:
    """How many examples a structure holds whose tensors have no common number of rows.

    Such a structure is a batch if there is a sign that it is meant to be one: an object that holds tensors, a sparse,
    nested or packed tensor, a structure inside of the structure, or a graph's edges, that is an integer tensor of
    shape (2, E) that numbers the rows of another input. Plain tensors of different lengths are a mistake.

    Returns:
        The rows of the target, or 1 where it has none.

    Raises:
        DataError: for a mistake.
    """
    if not has_sign(given, target):
        found = _nested.parts(given) or []
        word = "" if isinstance(given, Mapping) else "item "
        lengths = {f"{word}{key}": len(v) for key, v in found if isinstance(v, Tensor) and v.ndim > 0}
        if len(set(lengths.values())) > 1:
            raise DataError(
                f"the tensors of one batch hold different numbers of examples: {lengths}; expected one target per "
                "input. Check that X and y belong together. If these are no rows of examples, nest the inputs, as in "
                "((x, edges), y): such a batch is used whole."
            )
    for tensor in _nested.tensors(target):
        if tensor.is_nested:
            return int(tensor.size(0))
        if tensor.ndim > 0:
            return len(tensor)
    return 1


def has_sign(given: Any, target: Any) -> bool:
    """Whether a structure is meant to be a batch without rows: `without_rows` says by what."""
    found = _nested.parts(given)
    if found is None:
        return True
    if has_no_rows(given):
        return True
    if any(_nested.parts(inner) is not None and _has_tensors(inner) for _, inner in found):
        return True
    return has_edges(given, target)


def has_no_rows(given: Any) -> bool:
    """Whether it holds anything that can have no rows: an object with tensors, a sparse, nested or packed tensor."""
    return any(
        _nested.opaque(leaf) or (isinstance(leaf, Tensor) and (leaf.is_nested or leaf.layout != torch.strided))
        for leaf in _nested.leaves(given)
    )


def has_edges(given: Any, target: Any) -> bool:
    """Whether an input is (2, E) whole numbers that count the rows of another input: the edges of a graph."""
    skipped = {id(tensor) for tensor in _nested.tensors(target)}
    inputs = [x for x in _nested.leaves(given) if isinstance(x, Tensor) and id(x) not in skipped and not x.is_nested]
    for edges in inputs:
        whole = not (edges.is_floating_point() or edges.is_complex()) and edges.dtype != torch.bool
        if whole and edges.ndim == 2 and len(edges) == 2 and edges.layout == torch.strided:
            most = int(edges.max()) if edges.numel() else -1
            if any(x is not edges and x.ndim > 1 and len(x) > most for x in inputs):
                return True
    return False


def _plan(value: Any, rows: int, listed: bool, top: bool = False) -> Node | None:
    """What a value is where there are so many examples; None where that does not fit."""
    if isinstance(value, Tensor):
        if value.is_nested or value.layout != torch.strided:
            return None
        return _CONSTANT if value.ndim == 0 else _ROWS if len(value) == rows else None
    if isinstance(value, np.ndarray):
        return _EXAMPLES if value.ndim and len(value) == rows else _CONSTANT
    found = _nested.parts(value)
    if found is None:
        return None if _nested.opaque(value) else _CONSTANT
    parts = [_plan(inner, rows, listed) for _, inner in found]
    if not top and type(value) in (list, tuple) and value:
        scalars = all(isinstance(inner, Tensor) and inner.ndim == 0 for inner in value)
        if len(value) == rows and (scalars or _one_each(value, parts, listed)):
            return _EXAMPLES
        if scalars:
            return None
    fitting = [part for part in parts if part is not None]
    if len(fitting) < len(parts):
        return None
    if not top and all(part is _CONSTANT for part in fitting):
        return _CONSTANT
    return Node("inner", tuple(key for key, _ in found), tuple(fitting))


def _one_each(value: Any, parts: list[Node | None], listed: bool) -> bool:
    """Whether a list that is as long as there are examples holds one item for each."""
    if all(part is _CONSTANT for part in parts):
        # Tuples of numbers are sizes and the like.
        return type(value) is list or all(isinstance(inner, str | bytes) for inner in value)
    kinds = {(type(v), v.dtype, v.ndim) if isinstance(v, Tensor) else (type(v),) for v in value}
    return len(kinds) == 1 and (listed or any(part is None for part in parts))


def _flat(plan: Node, given: Any) -> Iterator[tuple[str, Any]]:
    if plan.role != "inner":
        yield plan.role, given
        return
    for key, part in zip(plan.keys, plan.parts, strict=True):
        yield from _flat(part, _nested.part(given, key))


def _built(plan: Node, like: Any, values: Iterator[Any]) -> Any:
    if plan.role != "inner":
        return next(values)
    inner = [_built(p, _nested.part(like, key), values) for key, p in zip(plan.keys, plan.parts, strict=True)]
    return _nested.assembled(like, plan.keys, inner)


def _lengths(value: Any) -> list[int]:
    """Leading sizes of the plain tensors, in order."""
    plain = (x for x in _nested.leaves(value) if isinstance(x, Tensor) and not x.is_nested)
    return [len(x) for x in plain if x.layout == torch.strided and x.ndim > 0]


def _list_lengths(value: Any, top: bool = False) -> list[int]:
    found = _nested.parts(value)
    if found is None:
        return []
    own = [len(value)] if not top and type(value) in (list, tuple) and value else []
    return own + [length for _, inner in found for length in _list_lengths(inner)]


def _has_tensors(value: Any) -> bool:
    return any(True for _ in _nested.tensors(value)) or any(_nested.opaque(leaf) for leaf in _nested.leaves(value))
