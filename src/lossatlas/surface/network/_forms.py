"""What the user gave: one record of tensors, a sequence of records, or something that is no data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.utils.data import Dataset

from lossatlas._errors import DataError
from lossatlas.surface.network import _nested
from lossatlas.surface.network._collate import plain
from lossatlas.surface.network._digest import shapes
from lossatlas.surface.network._private import is_array

WANTED = "expected a pair (X, y) of tensors, a dictionary of tensors, a Dataset, a DataLoader, or a list of samples or batches"


def refuse(data: Any) -> None:
    """Refuse plausible objects that are no data.

    Raises:
        DataError: for paths, classes, modules, functions, and dictionaries of loaders.
    """
    advice = None
    if isinstance(data, str | bytes):
        advice = "Load the file first, for example with torch.load or numpy.load."
    elif isinstance(data, type):
        advice = f"Make one: {data.__name__}(…)."
    elif isinstance(data, nn.Module):
        advice = "Model, loss and data come in this order."
    elif callable(data) and not isinstance(data, Iterable | Dataset) and not hasattr(data, "__getitem__"):
        if not _nested.opaque(data) and _nested.parts(data) is None:
            advice = "Call it, and give what it returns."
    elif isinstance(data, Mapping) and not any(map(has_numbers, data.values())):
        keys = ", ".join(repr(key) for key in [*data][:6])
        advice = (
            f"Its keys are {keys}; give one of its values, as in data[{next(iter(data))!r}]."
            if data
            else "It is empty."
        )
    if advice is not None:
        raise DataError(f"got data of type {type(data).__name__}; {WANTED}. {advice}")


def has_numbers(value: Any) -> bool:
    """Whether anything in a structure could be an input: tensors, arrays, numbers, objects that hold tensors."""
    return any(
        isinstance(leaf, Tensor | int | float) or is_array(leaf) or _nested.opaque(leaf)
        for leaf in _nested.leaves(value)
    )


def is_record(data: Any) -> bool:
    """Whether data are one structure of inputs and target, not a sequence of such.

    A tuple with a tensor, with unlike items or of one item is a record; a list is one if it holds a tensor and more than
    that. What is neither tuple nor list is a record if it is no dataset and cannot be iterated.

    Raises:
        DataError: for a tuple of two structures that could be two batches or one record.
    """
    if isinstance(data, Tensor | Mapping) or is_array(data):
        return True
    if isinstance(data, nn.utils.rnn.PackedSequence):
        return True
    if not isinstance(data, tuple | list):
        iterable = isinstance(data, Iterable | Dataset) and not callable(getattr(data, "to", None))
        return not iterable and (_nested.parts(data) is not None or _nested.opaque(data))
    arrays = [isinstance(item, Tensor) or is_array(item) for item in data]
    if not data or (isinstance(data, list) and len(data) == 1):
        return False
    if all(arrays) or hasattr(data, "_fields"):
        return True
    if isinstance(data, list):
        # A list of unlike things is no sequence: a dictionary of inputs beside a target.
        return any(arrays)
    if any(arrays) or len(data) == 1 or all(_numeric(item) for item in data):
        return True
    forms = {_form(item) for item in data}
    if len(forms) > 1:
        return True
    return _one_nested(data)


def _one_nested(data: tuple[Any, ...]) -> bool:
    """Whether a tuple of items that are alike in kind is one record ((a, b), (c, d)), not two batches."""
    tails = {tuple(leaf.shape[1:] for leaf in _nested.tensors(item) if not leaf.is_nested) for item in data}
    heads = {len(leaf) for leaf in _nested.tensors(data) if not leaf.is_nested and leaf.ndim > 0}
    if len(tails) == 1 or len(data) != 2 or len(heads) != 1:
        return False
    raise DataError(
        f"got a tuple of two structures {shapes(data)}, which could be two batches or the inputs and targets of one; "
        "expected a list where there are several batches. Give [first, second] for two batches, or [(inputs, targets)] "
        "for one."
    )


def _form(value: Any) -> Any:
    found = _nested.parts(value)
    if found is not None:
        return (type(value).__name__, *((key, _form(inner)) for key, inner in found))
    return (value.dtype, value.ndim) if isinstance(value, Tensor) and not value.is_nested else type(value).__name__


def _numeric(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and isinstance(plain((value,))[0], Tensor)


def listed(data: Any) -> Any:
    """A record whose lists of numbers, one entry per example, are tensors."""
    found = _nested.parts(data)
    if found is None:
        return data
    sizes = {len(v) for _, v in found if is_array(v) or (isinstance(v, Tensor) and not v.is_nested and v.ndim)}
    values = [plain((v,))[0] if type(v) is list and (not sizes or len(v) in sizes) else v for _, v in found]
    return _nested.assembled(data, [key for key, _ in found], values)
