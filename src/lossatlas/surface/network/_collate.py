"""Samples, one by one, as one batch: what `torch.utils.data.default_collate` does, and what it does not.

It takes dataclasses and lists of numbers (as Hugging Face datasets give them) as well, names the sample that does not
fit, and holds no second copy of a large data set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lossatlas._errors import DataError
from lossatlas.surface.network import _nested
from lossatlas.surface.network._digest import shapes
from lossatlas.surface.network._private import is_array, tensor_of

# Samples that are copied and then stacked at once.
_AT_ONCE = 256
_ADVICE = (
    "Give samples of one shape, for example padded, or a DataLoader with a collate_fn that makes batches of them; "
    "where each item is a batch already, give DataLoader(data, batch_size=None) or a list of them."
)


def collated(samples: Iterable[Any], count: int, device: torch.device, named: Callable[[int], str]) -> Any:
    """All samples as one structure on a device, stacked along a new first dimension.

    Args:
        samples: of one structure: tensors and arrays of one shape, numbers, texts, lists of numbers, containers.
        count: how many there are.
        device: where the result is to be.
        named: what to call sample k in messages.

    Raises:
        DataError: for samples of different shapes or structures.
    """
    rest: Iterator[Any] = iter(samples)
    first, done, whole = None, 0, None
    while chunk := [_kept(plain(sample)) for sample in islice(rest, _AT_ONCE)]:
        first = chunk[0] if done == 0 else first
        stacked = _Stack(first, named, done)(chunk)
        whole = _Whole(stacked, count, device) if whole is None else whole
        whole.add(stacked, len(chunk))
        done += len(chunk)
    return None if whole is None else whole.structure()


def _kept(sample: Any) -> Any:
    """A sample as it is now: a dataset may write its next one into the same tensors."""
    return _nested.mapped(sample, lambda leaf: leaf.detach().clone() if isinstance(leaf, Tensor) else leaf)


def plain(sample: Any) -> Any:
    """A sample whose arrays and lists of numbers are tensors."""

    def change(value: Any, top: bool) -> Any:
        if type(value) is list and not top:
            numbers = _numbers(value)
            if numbers is not None:
                return numbers
        found = _nested.parts(value)
        if found is not None:
            return _nested.assembled(value, [key for key, _ in found], [change(inner, False) for _, inner in found])
        if is_array(value):
            tensor = tensor_of(value)
            return value if tensor is None else tensor
        return value

    return change(sample, True)


def _numbers(value: list[Any]) -> Tensor | None:
    """A list of numbers, or of such lists of one length, as a tensor."""
    inner: Any = value
    while type(inner) is list and inner:
        inner = inner[0]
    if not isinstance(inner, int | float | complex | np.number):
        return None
    try:
        return torch.tensor(value)
    except (ValueError, TypeError, RuntimeError):
        return None


class _Stack:
    """Stacks some samples; each is compared with the first of all."""

    def __init__(self, first: Any, named: Callable[[int], str], before: int) -> None:
        self._first, self._named, self._before = first, named, before

    def __call__(self, chunk: Sequence[Any]) -> Any:
        return self._stack(self._first, chunk)

    def _stack(self, first: Any, values: Sequence[Any]) -> Any:
        if isinstance(first, Tensor):
            for k, value in enumerate(values):
                if not isinstance(value, Tensor) or value.shape != first.shape:
                    raise self._refusal(k, first, value)
            return torch.stack([value.detach() for value in values])
        if isinstance(first, np.generic) and first.dtype.kind in "biufc":
            self._same(first, values, np.generic | int | float | complex)
            return torch.from_numpy(np.array(values))
        if isinstance(first, bool | int | float | complex):
            self._same(first, values, np.generic | int | float | complex)
            return torch.tensor(values, dtype=torch.float64 if isinstance(first, float) else None)
        found = _nested.parts(first)
        if found is None or (type(first) is list and not _stackable(first)):
            return None if first is None and all(value is None for value in values) else _Items(values)
        keys = [key for key, _ in found]
        for k, value in enumerate(values):
            if {key for key, _ in _nested.parts(value) or []} != set(keys) or type(value) is not type(first):
                raise self._refusal(k, first, value)
        columns = [self._stack(inner, [_nested.part(value, key) for value in values]) for key, inner in found]
        return _nested.assembled(first, keys, columns)

    def _same(self, first: Any, values: Sequence[Any], kinds: Any) -> None:
        for k, value in enumerate(values):
            if not isinstance(value, kinds):
                raise self._refusal(k, first, value)

    def _refusal(self, k: int, first: Any, value: Any) -> DataError:
        return DataError(
            f"{self._named(0)} is of the form {shapes(first)}, {self._named(self._before + k)} of the form {shapes(value)}; expected "
            f"samples of one form and shape, which can be stacked. {_ADVICE}"
        )


class _Whole:
    """Gathers stacked parts in memory for all of them, so that no second copy is held."""

    def __init__(self, first: Any, count: int, device: torch.device) -> None:
        self._like, self._count, self._device, self._done = first, count, device, 0
        self._columns: list[Any] = []

    def add(self, part: Any, rows: int) -> None:
        for k, leaf in enumerate(_columns(part)):
            if self._done == 0:
                self._columns.append(self._begun(leaf))
            if not isinstance(leaf, Tensor):
                if leaf is not None:
                    self._columns[k].extend(leaf)
            else:
                kind = torch.promote_types(self._columns[k].dtype, leaf.dtype)
                self._columns[k] = self._columns[k].to(kind)
                self._columns[k][self._done : self._done + rows] = leaf.to(self._device)
        self._done += rows

    def structure(self) -> Any:
        return _placed(self._like, iter(self._columns))

    def _begun(self, leaf: Any) -> Any:
        if isinstance(leaf, Tensor):
            return torch.empty(self._count, *leaf.shape[1:], dtype=leaf.dtype, device=self._device)
        return None if leaf is None else []


def _stackable(value: list[Any]) -> bool:
    """Whether a list in a sample is a structure of numbers; texts and other objects stay lists, one per sample."""
    return any(isinstance(leaf, Tensor | int | float | complex | np.generic) for leaf in _nested.leaves(value))


def _columns(stacked: Any) -> list[Any]:
    found = None if type(stacked) is _Items else _nested.parts(stacked)
    return [stacked] if found is None else [leaf for _, inner in found for leaf in _columns(inner)]


def _placed(like: Any, rest: Iterator[Any]) -> Any:
    found = None if type(like) is _Items else _nested.parts(like)
    if found is None:
        return next(rest)
    return _nested.assembled(like, [key for key, _ in found], [_placed(inner, rest) for _, inner in found])


class _Items(list[Any]):
    """One item per sample, of what cannot be stacked."""
