"""Arrays of a scene as bytes and back: little-endian, packed where that is smaller, checked before anything is unpacked."""

from __future__ import annotations

import base64
import binascii
import math
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lossatlas._errors import OutputError

Array = NDArray[Any]
TYPES = {"f4": "<f4", "f8": "<f8", "u1": "u1", "i4": "<i4"}
# Bytes of one array, unpacked; what is larger is refused before memory is asked for it.
LARGEST = 256 * 2**20
# Below this many bytes packing gains nothing.
SMALL = 256


def packed(array: Array) -> tuple[str, bytes]:
    """The coding and the bytes of an array.

    Bytes are shuffled first (all first bytes, then all second ones, …): neighbors in a smooth field share their leading
    bytes, and deflate finds that.
    """
    raw = np.ascontiguousarray(array)
    plain = raw.tobytes()
    if len(plain) < SMALL:
        return "raw", plain
    shuffled = raw.reshape(-1).view(np.uint8).reshape(-1, raw.itemsize).T.tobytes()
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    small = squeeze.compress(shuffled) + squeeze.flush()
    return ("shuffled-deflate", small) if len(small) < len(plain) else ("raw", plain)


def entry(array: Array) -> tuple[dict[str, Any], bytes]:
    """What the head says of an array, and its bytes."""
    kind = next(name for name, dtype in TYPES.items() if array.dtype == np.dtype(dtype))
    coding, data = packed(array)
    return {"dtype": kind, "shape": list(array.shape), "coding": coding}, data


def unpacked(said: Mapping[str, Any], data: bytes, where: str) -> Array:
    """The array that a head tells of.

    Args:
        said: its ``dtype``, ``shape`` and ``coding``.
        data: its bytes.
        where: for messages.

    Raises:
        OutputError: if the bytes are not what the head says, or would unpack to too much.
    """
    kind, coding = said.get("dtype"), said.get("coding")
    shape: Any = said.get("shape")
    sound = isinstance(shape, list) and all(type(n) is int and n >= 0 for n in shape) and len(shape) <= 4
    if kind not in TYPES or not sound or coding not in ("raw", "shuffled-deflate"):
        raise damaged(f"{where} has no type, shape and coding that this version knows")
    dtype, count = np.dtype(TYPES[kind]), math.prod(shape)
    size = count * dtype.itemsize
    if size > LARGEST:
        raise damaged(f"{where} would unpack to {size:,} bytes, more than the {LARGEST:,} that are allowed")
    if coding == "shuffled-deflate":
        plain = _inflated(data, size, where)
        return np.frombuffer(plain, np.uint8).reshape(dtype.itemsize, count).T.copy().view(dtype).reshape(shape)
    if len(data) != size:
        raise damaged(f"{where} has {len(data):,} bytes; its shape says {size:,}")
    return np.frombuffer(data, dtype).reshape(shape).copy()


def from_text(text: Any, where: str) -> bytes:
    """Bytes from base64.

    Raises:
        OutputError: if it is none.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise damaged(f"{where} is no base64") from None


def damaged(why: str) -> OutputError:
    """The one paragraph for a scene that cannot be read."""
    return OutputError(
        f"this scene is damaged: {why}. Copy the file again from where it was written, or make it again with lossatlas.scene."
    )


def _inflated(data: bytes, size: int, where: str) -> bytes:
    pump = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        # One byte more than is expected tells that there is more.
        plain = pump.decompress(data, size + 1)
    except zlib.error as error:
        raise damaged(f"{where} cannot be unpacked ({error})") from None
    if len(plain) != size or pump.unused_data:
        raise damaged(f"{where} does not unpack to the {size:,} bytes that its shape says")
    return plain
