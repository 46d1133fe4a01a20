"""A safetensors file as it lies in memory: filled by copying tensors into place, written by one call.

The header is the same for every point of a run, so that it is made once; what is left beside a training loop is a copy
and a write, neither of which holds the interpreter. Layout of the file: https://github.com/huggingface/safetensors, README.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor

from lossatlas._errors import ModelError

# Where the numbers begin is a multiple of this, so that every type of number lies aligned.
ALIGNED = 64
PAGE = 4096
_NAMES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
    torch.complex64: "C64", torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2",
}  # fmt: skip


@final
class Image:
    """Room for tensors of given names, shapes and types, in one piece of memory.

    Args:
        like: tensors by name; only their shapes and types are looked at.

    Attributes:
        tensors: views into the file, by name, to be filled.

    Raises:
        ModelError: for a type of numbers that safetensors does not know.
    """

    def __init__(self, like: Mapping[str, Tensor]) -> None:
        unknown = {name: tensor.dtype for name, tensor in like.items() if tensor.dtype not in _NAMES}
        if unknown:
            name, kind = next(iter(unknown.items()))
            raise ModelError(f"the tensor {name!r} holds numbers of type {kind}, which a safetensors file cannot hold.")
        self._specs = _specs(like)
        header: dict[str, Any] = {}
        spans: dict[str, tuple[int, int]] = {}
        end = 0
        # Wide types first: then none begins between its own multiples.
        for name in sorted(like, key=lambda name: (-like[name].element_size(), name)):
            begin, end = end, end + math.prod(like[name].shape) * like[name].element_size()
            spans[name] = begin, end
            header[name] = {
                "dtype": _NAMES[like[name].dtype], "shape": list(like[name].shape), "data_offsets": [begin, end],
            }  # fmt: skip
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-(len(text) + 8) % ALIGNED)
        front = len(text).to_bytes(8, "little") + text
        self._bytes = _aligned(len(front) + end)
        self._bytes[: len(front)] = torch.frombuffer(bytearray(front), dtype=torch.uint8)
        self.tensors = {
            name: self._bytes[len(front) + begin : len(front) + end].view(like[name].dtype).view(like[name].shape)
            for name, (begin, end) in spans.items()
        }

    @property
    def content(self) -> memoryview:
        """The whole file."""
        return memoryview(self._bytes.numpy())  # type: ignore[arg-type]

    def fits(self, tensors: Mapping[str, Tensor]) -> bool:
        """Whether tensors have the names, shapes and types that there is room for."""
        return _specs(tensors) == self._specs

    def fill(self, tensors: Mapping[str, Tensor]) -> None:
        """Copy tensors into place."""
        for name, tensor in tensors.items():
            self.tensors[name].copy_(tensor)


def _aligned(size: int) -> Tensor:
    """So many bytes from the beginning of a page: a file can be written from there without another copy."""
    room = torch.empty(size + PAGE, dtype=torch.uint8)
    begin = -room.data_ptr() % PAGE
    return room[begin : begin + size]


def _specs(tensors: Mapping[str, Tensor]) -> dict[str, tuple[Any, ...]]:
    return {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}
