"""Tensors kept under their own digest, streamed to disk so that not even a large plane is copied in memory."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from lossatlas import archive
from lossatlas._errors import OutputError
from lossatlas.surface import tensor_digest

digest = tensor_digest
SUFFIX = ".safetensors"

_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def keep(folder: Path, tensors: Mapping[str, Tensor]) -> str:
    """Write tensors into a folder under the SHA-256 of the file, unless they are there already.

    Returns:
        The file's name.

    Raises:
        OutputError: if it cannot be written; nothing is left then.
    """
    sha = hashlib.sha256()
    for part in _parts(tensors):
        sha.update(part)
    name = sha.hexdigest() + SUFFIX
    path = archive.prepare(folder) / name
    if not path.is_file():
        temporary = path.with_name(f".{name}.new")
        try:
            with temporary.open("wb") as file:
                file.writelines(_parts(tensors))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            raise OutputError(
                f"cannot write {str(path)!r}: {error.strerror or error}. Nothing of it was kept; make room or choose "
                "another folder."
            ) from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
    return name


def fetch(folder: Path, name: str) -> dict[str, Tensor]:
    """The tensors that were kept under a name.

    Raises:
        OutputError: if they are not there, or the file is no longer what its name says.
    """
    path = folder / name
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise OutputError(
            f"cannot read {str(path)!r}: {error.strerror or error}; expected a file that a ledger kept. Check the "
            "folder."
        ) from error
    if found + SUFFIX != name:
        raise OutputError(f"{str(path)!r} is damaged: its digest is {found}. Copy it again from where it was written.")
    return safetensors.torch.load_file(path)


def _parts(tensors: Mapping[str, Tensor]) -> Iterator[Any]:
    """A safetensors file, piece by piece."""
    header, offset = {}, 0
    for name, tensor in tensors.items():
        end = offset + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little")
    yield text
    for tensor in tensors.values():
        yield _bytes(tensor)


def _bytes(tensor: Tensor) -> Any:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
