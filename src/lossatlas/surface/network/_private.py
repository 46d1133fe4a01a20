"""Copies of the user's data on the surface's device: what the user changes later does not change the surface."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lossatlas._errors import DataError
from lossatlas.surface.network import _nested

_NUMBERS = "biufc"


def private(value: Any, device: torch.device) -> Any:
    """A structure with tensors of its own on a device; arrays of numbers become tensors, other arrays are copied.

    What was one tensor in two places stays one.

    Raises:
        DataError: for arrays and objects that cannot be copied, and tensors without numbers.
    """
    done: dict[int, Tensor] = {}

    def copied(tensor: Tensor) -> Tensor:
        if tensor.is_meta and device.type != "meta":
            raise DataError(
                f"got data with a tensor of shape {tuple(tensor.shape)} on the meta device, which has no numbers; expected tensors "
                "with numbers. Make them on the CPU or a GPU."
            )
        if id(tensor) not in done:
            done[id(tensor)] = tensor.detach().to(device, copy=True)
        return done[id(tensor)]

    def change(leaf: Any) -> Any:
        if isinstance(leaf, Tensor):
            return copied(leaf)
        if is_array(leaf):
            if id(leaf) not in done:
                found = tensor_of(leaf)
                if found is None:
                    return np.array(leaf)
                done[id(leaf)] = found.to(device)
            return done[id(leaf)]
        if not _nested.opaque(leaf):
            return leaf
        return _moved(_nested.with_tensors(leaf, copied), leaf, device)

    return _nested.mapped(value, change)


def moved(value: Any, device: torch.device) -> Any:
    """A structure with its tensors on a device; those that are there are used as they are."""
    return _nested.mapped(value, lambda leaf: _nested.with_tensors(leaf, lambda tensor: tensor.to(device)))


def is_array(value: Any) -> bool:
    """Whether a value is an array, of NumPy or of another package (pandas, JAX), but no tensor and no single number."""
    if isinstance(value, Tensor | np.generic | type):
        return False
    return isinstance(value, np.ndarray) or (hasattr(value, "__array__") and hasattr(value, "shape"))


def tensor_of(value: Any) -> Tensor | None:
    """A tensor with the numbers of an array, in memory of its own; None for an array of texts or objects.

    Raises:
        DataError: for masked arrays, and number types that torch lacks.
    """
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise DataError(
            f"got a masked array of shape {value.shape}; expected plain numbers, as a tensor has no mask. Fill it with "
            ".filled(value), or leave out the rows with masked entries."
        )
    array = np.asarray(value)
    if array.dtype == object:
        try:
            array = np.array(array.tolist())
        except ValueError:
            return None  # rows of different lengths
    if array.dtype.kind not in _NUMBERS:
        return None
    try:
        # Copied with its numbers in this machine's order of bytes and in increasing order in memory.
        return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), order="C", copy=True))
    except TypeError as error:
        raise DataError(
            f"got an array of type {array.dtype}, which torch has no tensors of; expected float32, float64 or integers. "
            "Convert it with .astype."
        ) from error


def _moved(mine: Any, theirs: Any, device: torch.device) -> Any:
    """An object's own way to a device, for what it holds beside the tensors that were found."""
    move = getattr(mine, "to", None)
    if not callable(move) or isinstance(mine, torch.nn.utils.rnn.PackedSequence):
        return mine
    try:
        if mine is theirs:
            mine = copy.deepcopy(theirs)
            move = mine.to
        found = move(device)
    except Exception as error:
        raise DataError(
            f"got an object of type {type(theirs).__name__} in the data that could not be copied to {device} "
            f"({type(error).__name__}: {error}); expected one whose .to(device) works. Give its tensors in a tuple or a "
            "dictionary instead."
        ) from error
    return found if isinstance(found, type(mine)) else mine
