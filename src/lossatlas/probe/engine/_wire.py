"""Messages between a driver and its workers: JSON and the bytes of tensors. Nothing in them can run code."""

from __future__ import annotations

import builtins
import json
import struct
import traceback
from collections.abc import Mapping
from typing import IO, Any, NamedTuple

import torch
from torch import Tensor

from lossatlas import _errors
from lossatlas._errors import LossAtlasError, WorkerError

_LENGTH = struct.Struct(">Q")


class Message(NamedTuple):
    """One message.

    Attributes:
        head: plain JSON values.
        tensors: by name.
    """

    head: dict[str, Any]
    tensors: Mapping[str, Tensor]


def packed(message: Message) -> bytes:
    """A message as bytes."""
    listed, blobs = [], []
    for name, given in message.tensors.items():
        tensor = given.detach().to("cpu").clone(memory_format=torch.contiguous_format)
        blobs.append(tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
        listed.append([name, str(tensor.dtype).removeprefix("torch."), list(tensor.shape), len(blobs[-1])])
    head = json.dumps([message.head, listed]).encode()
    return b"".join([_LENGTH.pack(len(head)), head, *blobs])


def unpacked(raw: bytes | bytearray) -> Message:
    """The message in bytes."""
    (length,) = _LENGTH.unpack_from(raw)
    begin = _LENGTH.size + length
    head, listed = json.loads(bytes(raw[_LENGTH.size : begin]))
    tensors = {}
    for name, dtype, shape, size in listed:
        blob = bytearray(raw[begin : begin + size])
        flat = torch.frombuffer(blob, dtype=torch.uint8) if size else torch.empty(0, dtype=torch.uint8)
        tensors[name] = flat.view(getattr(torch, dtype)).reshape(shape)
        begin += size
    return Message(head, tensors)


def write(stream: IO[bytes], message: Message) -> None:
    """Send a message.

    Raises:
        OSError: if nobody listens any more.
    """
    raw = packed(message)
    stream.write(_LENGTH.pack(len(raw)))
    stream.write(raw)
    stream.flush()


def read(stream: IO[bytes]) -> Message | None:
    """The next message; None at the end, also in the middle of one."""
    first = stream.read(_LENGTH.size)
    if len(first) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(first)
    raw = stream.read(length)
    return unpacked(raw) if len(raw) == length else None


def told(error: BaseException) -> dict[str, str]:
    """An exception in words: which of our classes it is, which of Python's, what it says, and where it came from."""
    classes = type(error).__mro__
    own = next((c for c in classes if getattr(_errors, c.__name__, None) is c), None)
    ours, known = ("", ()) if own is None else (own.__name__, own.__mro__)
    pythons = next((c.__name__ for c in classes if getattr(builtins, c.__name__, None) is c and c not in known), "")
    said = str(error) or type(error).__name__
    return {"ours": ours, "pythons": pythons, "says": said, "trace": "".join(traceback.format_exception(error))}


def raised(words: Mapping[str, str], worker: str) -> Exception:
    """The exception that a worker told of, of the same class of ours and of Python's."""
    pythons: Any = getattr(builtins, words["pythons"] or "Exception")
    ours: Any = getattr(_errors, words["ours"], WorkerError)
    says = words["says"] if words["ours"] else f"{words['pythons']} in the worker {worker}: {words['says']}"

    def text(self: Exception) -> str:
        return says

    try:
        both = (ours,) if issubclass(ours, pythons) else (ours, pythons)
        made: LossAtlasError = type(ours.__name__, both, {"__str__": text, "__module__": ours.__module__})(says)
    except TypeError:  # classes whose objects are laid out differently
        made = WorkerError(says)
    made.add_note(f"In the worker {worker}:\n{words['trace']}")
    return made
