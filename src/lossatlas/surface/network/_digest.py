"""What data are, as one short digest, and how they look, for messages."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lossatlas.surface.network import _nested

# More parts of one container than so many are not listed in a message.
_LISTED = 6


def digest_of(values: Any) -> str:
    """SHA-256 of a structure, 16 hexadecimal digits: keys, types, shapes, values, whatever is nested, in order."""
    sha = hashlib.sha256()
    _feed(sha, values, set())
    return sha.hexdigest()[:16]


def same(a: Any, b: Any) -> bool:
    """Whether two structures are equal in everything that a digest covers."""
    return a is b or digest_of(a) == digest_of(b)


def shapes(value: Any) -> str:
    """The shapes of a structure, in one line."""
    if isinstance(value, Tensor):
        return _shape(value)
    if isinstance(value, np.ndarray):
        return f"{tuple(value.shape)}"
    found = _nested.parts(value)
    if found is None:
        inner = _nested.inside(value)
        return type(value).__name__ + (f" of {', '.join(_shape(t) for t in inner[:_LISTED])}" if inner else "")
    if isinstance(value, tuple | list) and not any(True for _ in _nested.tensors(value)):
        return f"{type(value).__name__} of {len(value)}"
    named = isinstance(value, Mapping) or not isinstance(value, tuple | list)
    listed = [f"{key} {shapes(inner)}" if named else shapes(inner) for key, inner in found[:_LISTED]]
    listed += [f"… {len(found)} in all"] if len(found) > _LISTED else []
    return f"{'{' if named else '('}{', '.join(listed)}{'}' if named else ')'}"


def _shape(tensor: Tensor) -> str:
    if tensor.is_nested:
        return f"nested tensor of {tensor.size(0)}"
    kind = "" if tensor.layout == torch.strided else "sparse "
    return f"{kind}{tuple(tensor.shape)}"


def _feed(sha: Any, value: Any, above: set[int]) -> None:
    if isinstance(value, Tensor):
        _feed_tensor(sha, value)
        return
    if isinstance(value, np.ndarray):
        _feed_array(sha, value, above)
        return
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        _mark(sha, type(value).__name__, repr(value))
        return
    if isinstance(value, set | frozenset):
        _mark(sha, type(value).__name__, *sorted(digest_of(item) for item in value))
        return
    if id(value) in above:
        _mark(sha, "again")
        return
    held = _nested.attributes(value) if not callable(value) or _nested.inside(value) else None
    # Anything else has no value that another run would see alike; its name is all that counts.
    _mark(sha, type(value).__name__, getattr(value, "__qualname__", ""), -1 if held is None else len(held))
    for key, inner in held or []:
        _mark(sha, repr(key) if isinstance(key, str | int | float | bool | tuple) else type(key).__name__)
        _feed(sha, inner, above | {id(value)})


def _feed_tensor(sha: Any, tensor: Tensor) -> None:
    tensor = tensor.detach()
    if tensor.is_nested:
        rows = tensor.unbind()
        _mark(sha, "nested", len(rows))
        for row in rows:
            _feed_tensor(sha, row)
        return
    _mark(sha, "tensor", tuple(tensor.shape), tensor.dtype, tensor.layout)
    if tensor.layout == torch.sparse_coo:
        tensor = tensor.coalesce()
        inner = [tensor.indices(), tensor.values()]
    elif tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        inner = [tensor.crow_indices(), tensor.col_indices(), tensor.values()]
    elif tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
        inner = [tensor.ccol_indices(), tensor.row_indices(), tensor.values()]
    elif tensor.is_quantized:
        inner = [tensor.dequantize()]
    else:
        plain = tensor.resolve_conj().resolve_neg().cpu().contiguous().reshape(-1)
        sha.update(plain.view(torch.uint8).numpy())
        return
    for part in inner:
        _feed_tensor(sha, part)


def _feed_array(sha: Any, array: np.ndarray, above: set[int]) -> None:
    _mark(sha, "array", array.shape, array.dtype.str)
    if array.dtype.hasobject:
        for item in array.reshape(-1).tolist():
            _feed(sha, item, above)
    else:
        sha.update(np.ascontiguousarray(array).tobytes())


def _mark(sha: Any, *words: Any) -> None:
    # Each word with its length: ("ab", "c") and ("a", "bc") differ.
    for word in words:
        text = str(word).encode("utf-8", "surrogatepass")
        sha.update(f"{len(text)}:".encode() + text)
