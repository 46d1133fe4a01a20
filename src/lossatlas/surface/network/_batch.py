"""One batch of examples in the user's own form, and what may be done with it: cut, joined, drawn from, or left alone.

Which parts of a batch hold one row per example is decided once, for all of them together: they are cut everywhere or
nowhere. A batch in which that cannot be told (a graph, sparse tensors, objects) has no rows and is only used whole.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple, Self, final

import numpy as np
import torch
from torch import Tensor

from lossatlas._errors import DataError
from lossatlas.surface.network import _nested
from lossatlas.surface.network._digest import digest_of, same, shapes
from lossatlas.surface.network._rows import Node, built, flat, plan_of, without_rows

TARGET_KEYS = ("labels", "label", "targets", "target", "y")


class Fields(NamedTuple):
    """How an ordinary model and loss read a batch: model(*inputs, **keywords) and loss(output, target)."""

    inputs: tuple[Any, ...]
    keywords: dict[str, Any]
    target: Any


def fields(given: Any) -> Fields:
    """The inputs and the target of a batch.

    A tuple or list: the last item is the target, the others are inputs. A mapping: the target is found under one of
    ``labels``, ``label``, ``targets``, ``target``, ``y``, the others are keywords; a named tuple likewise, with its last
    field for want of such a name. Anything else (a tensor, a graph, a dataclass) is the one input, and its attribute of
    such a name the target.
    """
    if isinstance(given, Mapping):
        keywords = dict(given)
        key = next((key for key in TARGET_KEYS if key in keywords), None)
        return Fields((), keywords, None) if key is None else Fields((), keywords, keywords.pop(key))
    if isinstance(given, tuple | list) and _nested.parts(given) is not None:
        names = getattr(given, "_fields", ())
        last = next((names.index(key) for key in TARGET_KEYS if key in names), len(given) - 1)
        if len(given) < 2:
            return Fields(tuple(given), {}, None)
        return Fields((*given[:last], *given[last + 1 :]), {}, given[last])
    if isinstance(given, Tensor | np.ndarray) or given is None:
        return Fields((given,), {}, None)
    found = (getattr(given, key, None) for key in TARGET_KEYS)
    return Fields((given,), {}, next((value for value in found if value is not None), None))


@final
@dataclass(frozen=True, eq=False)
class Batch:
    """One batch: what the user's own code gets, and how many examples it holds.

    Attributes:
        given: the batch in the user's own form: a tuple, list, dictionary, dataclass, or an object that holds tensors.
        size: number of examples; for a batch without rows the rows of the target, or 1 where that has none.
        rows_known: whether every tensor has one row per example (or is a constant), so that the batch can be cut.
    """

    given: Any
    size: int
    rows_known: bool
    _plan: Node | None = field(default=None, repr=False)

    @classmethod
    def of(cls, given: Any, size: int | None = None) -> Self:
        """The batch of a structure; its tensors are used as they are.

        Args:
            given: the structure.
            size: number of examples where it is known; found in the structure otherwise.

        Raises:
            DataError: for no tensors, or tensors that do not belong together.
        """
        if not any(True for _ in _nested.tensors(given)) and not any(_nested.opaque(x) for x in _nested.leaves(given)):
            raise DataError(
                f"a batch ({shapes(given)}) holds no tensors; expected inputs and targets as tensors or arrays, for "
                "example a pair (X, y) or a dictionary of tensors."
            )
        target = fields(given).target
        plan, rows = plan_of(given, target, size)
        if plan is not None:
            return cls(given, rows, True, plan)
        return cls(given, without_rows(given, target), False)

    @cached_property
    def _fields(self) -> Fields:
        return fields(self.given)

    @property
    def inputs(self) -> tuple[Any, ...]:
        """Positional arguments of an ordinary model."""
        return self._fields.inputs

    @property
    def keywords(self) -> dict[str, Any]:
        """Keyword arguments of an ordinary model (batches that come as mappings)."""
        return self._fields.keywords

    @property
    def target(self) -> Any:
        """Second argument of an ordinary loss, or None where the batch has no target."""
        return self._fields.target

    @property
    def width(self) -> int:
        """Numbers in the inputs of one example, at least 1."""
        found = _nested.tensors((self.inputs, self.keywords))
        rows = [t for t in found if not t.is_nested and t.ndim > 0 and t.layout == torch.strided]
        return max(1, sum(t.numel() for t in rows) // max(1, self.size))

    @property
    def stacked(self) -> bool:
        """Whether all that differs from example to example is rows of tensors, so that `rebuilt` makes whole batches."""
        return self._plan is not None and all(role != "examples" for role, _ in flat(self._plan, self.given))

    def rows(self, index: Tensor) -> Batch:
        """The batch that holds only some of the examples, copied.

        Args:
            index: (n,) whole numbers.

        Raises:
            DataError: if the examples have no rows.
        """
        listed: list[int] = []

        def pick(value: Any) -> Any:
            if isinstance(value, Tensor):
                return value[index.to(value.device)]
            if not listed:
                listed.extend(index.tolist())
            return value[listed] if isinstance(value, np.ndarray) else type(value)(value[k] for k in listed)

        return self._picked(pick, len(index))

    def part(self, begin: int, end: int) -> Batch:
        """The examples from begin to end, without a copy of any tensor.

        Raises:
            DataError: if the examples have no rows.
        """
        return self._picked(lambda value: value[begin:end], max(0, min(end, self.size) - begin))

    def leaves(self) -> list[Tensor]:
        """The tensors that hold one row per example, in a fixed order; none for a batch without rows."""
        if self._plan is None:
            return []
        return [leaf for role, leaf in flat(self._plan, self.given) if role == "rows"]

    def rebuilt(self, leaves: Sequence[Tensor]) -> Batch:
        """The same structure with other tensors in the place of `leaves`, all of them with as many rows as the first.

        Raises:
            DataError: if the batch has no rows, or lists of examples that are no tensors.
        """
        if self._plan is None or not self.stacked:
            raise self._refusal()
        rest = iter(leaves)
        values = [next(rest) if role == "rows" else leaf for role, leaf in flat(self._plan, self.given)]
        return replace(self, given=built(self._plan, self.given, values), size=len(leaves[0]))

    @cached_property
    def counts(self) -> dict[int, Tensor]:
        """How many labels are not a number that is ignored, for each such number that was counted so far."""
        return {}

    def counted(self, ignored: int) -> Tensor:
        """How many labels of the target are not this number, at least 1; counted once for all fresh batches."""
        if ignored not in self.counts:
            self.counts[ignored] = (self.target != ignored).sum().clamp_min(1)
        return self.counts[ignored]

    def fresh(self, clone: bool = False) -> Batch:
        """The same batch in new containers, for code that writes into what it gets.

        Args:
            clone: copy the tensors too; otherwise they are aliases, whose ``requires_grad`` is their own.
        """

        def change(leaf: Any) -> Any:
            if isinstance(leaf, np.ndarray):
                return leaf.copy() if clone else leaf
            return _nested.with_tensors(leaf, lambda t: t.detach().clone() if clone else t.detach())

        plain = type(self.given) is tuple and all(type(item) is Tensor for item in self.given) and not clone
        # The plain case is taken at every point of a chart.
        given = tuple([t.detach() for t in self.given]) if plain else _nested.mapped(self.given, change)
        found = Batch(given, self.size, self.rows_known, self._plan)
        if plain and len(given) > 1:
            found.__dict__["_fields"] = Fields(given[:-1], {}, given[-1])
        found.__dict__["counts"] = self.counts
        return found

    def _picked(self, pick: Any, size: int) -> Batch:
        if self._plan is None:
            raise self._refusal()
        found = flat(self._plan, self.given)
        values = [leaf if role == "constant" else pick(leaf) for role, leaf in found]
        return replace(self, given=built(self._plan, self.given, values), size=size)

    def _refusal(self) -> DataError:
        return DataError(
            f"a batch ({describe(self)}) has no rows that could be taken apart: its tensors do not all hold one row for "
            f"each of {self.size} examples; expected tensors whose first dimension counts the examples. Use it whole."
        )


def cut(batch: Batch, size: int) -> tuple[Batch, ...]:
    """A batch in pieces of so many examples, the last one with what is left; views, no copies.

    A batch without rows stays whole.
    """
    if not batch.rows_known or size >= batch.size:
        return (batch,)
    return tuple(batch.part(begin, min(begin + size, batch.size)) for begin in range(0, batch.size, size))


def join(batches: Sequence[Batch]) -> Batch | None:
    """Several batches as one, or None where that is not possible.

    It is not where one has no rows, where structures, types or shapes differ (texts of different lengths), and where
    what is constant in one is something else in another.
    """
    first, plan = batches[0], batches[0]._plan
    if len(batches) == 1:
        return first
    if plan is None or any(batch._plan != plan for batch in batches):
        return None
    values = []
    for column in zip(*(flat(plan, batch.given) for batch in batches), strict=True):
        merged = _merged(column[0][0], [leaf for _, leaf in column])
        if merged is None:
            return None
        values.append(merged[0])
    return replace(first, given=built(plan, first.given, values), size=sum(batch.size for batch in batches))


def subset(batches: Sequence[Batch], size: int, seed: int) -> tuple[Batch, ...] | None:
    """Some of the examples, drawn without replacement from a seed, in their own order.

    Batches that can be joined become one, up to the size of the largest; those of different shapes stay apart.

    Args:
        batches: all examples.
        size: how many to keep.
        seed: of the draw.

    Returns:
        The subset, or None where examples have no rows.
    """
    if not all(batch.rows_known for batch in batches):
        return None
    total = sum(batch.size for batch in batches)
    chosen = torch.randperm(total, generator=torch.Generator().manual_seed(seed))[:size].sort().values
    width, begin = max(batch.size for batch in batches), 0
    groups: list[Batch] = []
    for batch in batches:
        inside = chosen[(chosen >= begin) & (chosen < begin + batch.size)] - begin
        begin += batch.size
        if not len(inside):
            continue
        drawn = batch.rows(inside)
        fits = bool(groups) and groups[-1].size + drawn.size <= width
        both = join([groups[-1], drawn]) if fits else None
        groups[-1:] = [*(groups[-1:] if both is None else []), drawn if both is None else both]
    return tuple(groups)


def digest(batches: Sequence[Batch]) -> str:
    """A short SHA-256 of all data, for provenance: keys, types, shapes and values of whatever is nested, in order."""
    return digest_of([batch.given for batch in batches])


def describe(batch: Batch) -> str:
    """The shapes of a batch, for messages."""
    listed = [f"input {shapes(value)}" for value in batch.inputs]
    listed += [f"{key} {shapes(value)}" for key, value in batch.keywords.items()]
    listed += [] if batch.target is None else [f"target {shapes(batch.target)}"]
    return ", ".join(listed)


def _merged(role: str, values: list[Any]) -> tuple[Any] | None:
    first = values[0]
    if role == "constant":
        return (first,) if all(same(first, value) for value in values[1:]) else None
    if any(type(value) is not type(first) for value in values):
        return None
    if isinstance(first, Tensor):
        alike = all(v.shape[1:] == first.shape[1:] and v.dtype == first.dtype for v in values)
        return (torch.cat(values),) if alike else None
    if isinstance(first, np.ndarray):
        return (np.concatenate(values),) if all(v.shape[1:] == first.shape[1:] for v in values) else None
    return (type(first)(itertools.chain.from_iterable(values)),)
