"""The user's data, whatever their form, as a fixed tuple of batches that stay on the device."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from lossatlas._errors import DataError

TARGET_KEYS = ("labels", "label", "targets", "target", "y")
ELEMENTS_PER_BATCH = 2**19


@dataclass(frozen=True)
class Batch:
    """One batch: what the model is called with, what the loss compares with, and how many examples it holds.

    Attributes:
        inputs: positional arguments of the model.
        keywords: keyword arguments of the model (batches that come as dictionaries).
        target: second argument of the loss, or None where the model computes its own loss.
        size: number of examples.
    """

    inputs: tuple[Any, ...]
    keywords: dict[str, Any]
    target: Any
    size: int

    def rows(self, index: Tensor) -> Batch:
        """The batch that holds only some of the examples."""

        def pick(value: Any) -> Any:
            return value[index] if isinstance(value, Tensor) and len(value) == self.size else value

        inputs = tuple(pick(value) for value in self.inputs)
        keywords = {key: pick(value) for key, value in self.keywords.items()}
        return Batch(inputs, keywords, pick(self.target), len(index))


def join(parts: Sequence[Batch]) -> Batch:
    """Several batches as one; what is no tensor of examples is taken from the first."""
    first = parts[0]

    def merge(values: Sequence[Any]) -> Any:
        per_example = all(isinstance(v, Tensor) and len(v) == p.size for v, p in zip(values, parts, strict=True))
        return torch.cat(list(values)) if per_example else values[0]

    inputs = tuple(merge(values) for values in zip(*(part.inputs for part in parts), strict=True))
    keywords = {key: merge([part.keywords[key] for part in parts]) for key in first.keywords}
    return Batch(inputs, keywords, merge([part.target for part in parts]), sum(part.size for part in parts))


@contextmanager
def untouched_randomness(device: torch.device | None = None) -> Iterator[None]:
    """Give back the global random states of torch, NumPy and Python as they were."""
    state, numpy_state, python_state = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    cuda = torch.cuda.get_rng_state(device) if device is not None and device.type == "cuda" else None
    try:
        yield
    finally:
        torch.set_rng_state(state)
        np.random.set_state(numpy_state)  # noqa: NPY002
        random.setstate(python_state)
        if cuda is not None and device is not None:
            torch.cuda.set_rng_state(cuda, device)


def load(data: Any, device: torch.device, batch_size: int | None = None) -> tuple[Batch, ...]:
    """Read data once and keep it.

    Args:
        data: a pair (X, y) or longer tuple of tensors or arrays, the last one the target; a dictionary of such,
            the target under one of ``labels``, ``label``, ``targets``, ``target``, ``y``; a `Dataset`; a
            `DataLoader` or another iterable of such batches, read once in its own order.
        device: where the batches are to stay.
        batch_size: examples per batch for tensors and datasets; by default as many as make half a million input
            elements. A loader keeps its own batches.

    Returns:
        The batches, in order.

    Raises:
        DataError: for no data, tensors of unequal length, or a form that is none of these.
    """
    if batch_size is not None and batch_size < 1:
        raise DataError(f"got batch_size={batch_size}; expected at least 1.")
    if _is_record(data) and not isinstance(data, Mapping):
        data = tuple(data)
    if isinstance(data, Mapping) or (_is_record(data) and all(_is_array(item) for item in data)):
        whole = _batch(_to_device(data, device))
        return tuple(_slices(whole, batch_size))
    with untouched_randomness(device):
        if isinstance(data, DataLoader):
            batches = _from_loader(data, device)
        elif isinstance(data, list | tuple) or (isinstance(data, Iterable) and not isinstance(data, Dataset)):
            batches = tuple(_batch(_to_device(item, device)) for item in data)
        elif isinstance(data, Dataset) or (hasattr(data, "__getitem__") and hasattr(data, "__len__")):
            batches = _from_dataset(data, device, batch_size)
        else:
            raise DataError(
                f"got data of type {type(data).__name__}; expected a pair (X, y) of tensors, a dictionary of "
                "tensors, a Dataset, or a DataLoader."
            )
    if not batches or not any(batch.size for batch in batches):
        raise DataError(
            f"the {type(data).__name__} gave no examples; expected at least one. A loss surface is fixed by its "
            "data: give a loader or dataset that is not empty (a loader made of a generator can be read only once)."
        )
    return batches


def digest(batches: tuple[Batch, ...]) -> str:
    """A short SHA-256 of all data, for provenance."""
    sha = hashlib.sha256()
    for batch in batches:
        for value in (*batch.inputs, *batch.keywords.values(), batch.target):
            if isinstance(value, Tensor):
                sha.update(str((tuple(value.shape), value.dtype)).encode())
                sha.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()[:16]


def describe(batch: Batch) -> str:
    """The shapes of a batch, for messages."""

    def shape(value: Any) -> str:
        return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__

    parts = [f"input {shape(value)}" for value in batch.inputs]
    parts += [f"{key} {shape(value)}" for key, value in batch.keywords.items()]
    if batch.target is not None:
        parts.append(f"target {shape(batch.target)}")
    return ", ".join(parts)


def _is_array(value: Any) -> bool:
    return isinstance(value, Tensor | np.ndarray)


def _is_record(data: Any) -> bool:
    return isinstance(data, tuple | list) and len(data) >= 2 and _is_array(data[0])


def _to_device(value: Any, device: torch.device) -> Any:
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(value)
    if isinstance(value, Tensor):
        # A copy: the surface is fixed even if the user's array changes later.
        return value.detach().to(device, copy=True)
    if isinstance(value, Mapping):
        return {key: _to_device(item, device) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return tuple(_to_device(item, device) for item in value)
    return value


def _batch(item: Any) -> Batch:
    if isinstance(item, Mapping):
        keywords = dict(item)
        key = next((key for key in TARGET_KEYS if key in keywords), None)
        target = keywords.pop(key) if key is not None else None
        lengths = {name: len(v) for name, v in item.items() if isinstance(v, Tensor) and v.ndim > 0}
        inputs: tuple[Any, ...] = ()
    elif isinstance(item, tuple) and len(item) >= 2:
        *first, target = item
        inputs, keywords = tuple(first), {}
        lengths = {f"item {k}": len(v) for k, v in enumerate(item) if isinstance(v, Tensor) and v.ndim > 0}
    else:
        raise DataError(
            f"got a batch of type {type(item).__name__}; expected inputs and targets: a pair (X, y), or a "
            f"dictionary with the target under one of {', '.join(TARGET_KEYS)}."
        )
    if len(set(lengths.values())) > 1:
        raise DataError(
            f"the tensors of one batch hold different numbers of examples: {lengths}; expected one target per "
            "input. Check that X and y belong together."
        )
    if not lengths:
        raise DataError("a batch holds no tensors; expected inputs and targets as tensors or arrays.")
    return Batch(inputs, keywords, target, next(iter(lengths.values())))


def _slices(whole: Batch, batch_size: int | None) -> Iterator[Batch]:
    if whole.size == 0:
        raise DataError("the data hold 0 examples; expected at least one. A loss surface is fixed by its data.")
    if batch_size is None:
        tensors = [v for v in (*whole.inputs, *whole.keywords.values()) if isinstance(v, Tensor)]
        per_example = max(1, sum(v[0].numel() for v in tensors))
        batch_size = max(1, ELEMENTS_PER_BATCH // per_example)
    if batch_size >= whole.size:
        yield whole
        return
    device = whole.target.device if isinstance(whole.target, Tensor) else None
    for begin in range(0, whole.size, batch_size):
        yield whole.rows(torch.arange(begin, min(begin + batch_size, whole.size), device=device))


def _from_loader(loader: DataLoader[Any], device: torch.device) -> tuple[Batch, ...]:
    generator = loader.generator
    state = generator.get_state() if generator is not None else None
    try:
        return tuple(_batch(_to_device(item, device)) for item in loader)
    finally:
        if generator is not None and state is not None:
            generator.set_state(state)


def _from_dataset(data: Any, device: torch.device, batch_size: int | None) -> tuple[Batch, ...]:
    if len(data) == 0:
        return ()
    items = default_collate([data[i] for i in range(len(data))])
    if isinstance(items, list):
        items = tuple(items)
    return tuple(_slices(_batch(_to_device(items, device)), batch_size))
