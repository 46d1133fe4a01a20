"""The bits of a tensor, of any layout and on any device, piece by piece: what digests are made of."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

# Bytes that are copied at a time where a tensor does not lie in one piece in main memory.
PIECE = 2**24


def tensor_digest(tensor: Tensor) -> str:
    """A short SHA-256 of a tensor's shape, type and bits."""
    sha = hashlib.sha256(str((tuple(tensor.shape), tensor.dtype)).encode())
    feed(sha, tensor)
    return sha.hexdigest()[:16]


def feed(sha: Any, tensor: Tensor) -> bool:
    """Add the bits of a tensor to a hash, without a copy of more than `PIECE` bytes where that can be avoided.

    An ordinary tensor adds its entries in row-major order and nothing else. A sparse one adds its layout, indices and
    values, a quantized one its integers with their scale. A tensor on the meta device has no bits.

    Args:
        sha: anything with ``update``.
        tensor: of any layout, type and device.

    Returns:
        Whether the content was read; False for a tensor that has none or does not give it away.
    """
    try:
        for piece in _pieces(tensor.detach()):
            sha.update(piece)
    except (RuntimeError, TypeError, NotImplementedError, AttributeError):
        # Subclasses and accelerators may refuse; what they are called is all there is to know then.
        sha.update(f"<{type(tensor).__name__} without content>".encode())
        return False
    return tensor.device.type != "meta"


def _pieces(tensor: Tensor) -> Iterator[Any]:
    if tensor.device.type == "meta":
        yield b"<meta>"
    elif tensor.is_nested:
        yield b"<nested>"
        for part in tensor.unbind():
            yield str(tuple(part.shape)).encode()
            yield from _pieces(part)
    elif tensor.layout == torch.sparse_coo:
        whole = tensor.coalesce()
        yield b"<coo>"
        yield from _pieces(whole.indices())
        yield from _pieces(whole.values())
    elif tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        yield str(tensor.layout).encode()
        for part in (tensor.crow_indices(), tensor.col_indices(), tensor.values()):
            yield from _pieces(part)
    elif tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
        yield str(tensor.layout).encode()
        for part in (tensor.ccol_indices(), tensor.row_indices(), tensor.values()):
            yield from _pieces(part)
    elif tensor.layout != torch.strided:
        yield from _pieces(tensor.to_dense())
    elif tensor.is_quantized:
        yield _scale(tensor)
        yield from _pieces(tensor.int_repr())
    else:
        yield from _strided(tensor.resolve_conj().resolve_neg())


def _scale(tensor: Tensor) -> bytes:
    if tensor.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric):
        return f"<{tensor.qscheme()} {tensor.q_scale()!r} {tensor.q_zero_point()}>".encode()
    scales, zeros = tensor.q_per_channel_scales(), tensor.q_per_channel_zero_points()
    return f"<{tensor.qscheme()} {tensor.q_per_channel_axis()} {scales.tolist()} {zeros.tolist()}>".encode()


def _strided(tensor: Tensor) -> Iterator[Any]:
    size = tensor.numel() * tensor.element_size()
    if size == 0:
        return
    if tensor.is_contiguous() and (tensor.device.type == "cpu" or size <= PIECE):
        flat = tensor.cpu().reshape(-1)
        yield (torch.view_as_real(flat) if flat.is_complex() else flat).view(torch.uint8).reshape(-1).numpy()
    elif tensor.is_contiguous():
        for part in torch.split(tensor.reshape(-1), max(1, PIECE // tensor.element_size())):
            yield from _strided(part)
    elif size <= PIECE or tensor.ndim == 1:
        yield from _strided(tensor.contiguous())
    else:
        each = size // len(tensor)
        for part in tensor.unbind() if each > PIECE else torch.split(tensor, PIECE // each):
            yield from _strided(part)
