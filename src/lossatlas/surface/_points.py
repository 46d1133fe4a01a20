"""What describes a point of a network's surface: a vector, a state dict, a module or a checkpoint file."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor, nn

from lossatlas._errors import CheckpointError, InputError
from lossatlas.surface._layout import Layout
from lossatlas.surface.network._checkpoint import read_checkpoint

PointLike: TypeAlias = Tensor | Mapping[str, Tensor] | nn.Module | str | Path


def tensors_of(given: PointLike) -> Mapping[str, Tensor]:
    """Tensors by name; none in a bare vector."""
    if isinstance(given, Tensor):
        return {}
    if isinstance(given, str | Path):
        return read_checkpoint(given)
    if isinstance(given, nn.Module):
        return {**dict(given.named_parameters(remove_duplicate=False)), **dict(given.named_buffers())}
    if isinstance(given, Mapping):
        return given
    raise InputError(
        f"got a point of type {type(given).__name__}; expected a parameter vector, a state dict, a module, or the path "
        "of a checkpoint file."
    )


def point_of(given: PointLike, layout: Layout, known: Collection[str], name: str) -> Tensor:
    """The vector θ (N,) of what describes a point, which must be of this architecture and no other.

    Args:
        given: the point.
        layout: of θ.
        known: all names that a state dict may hold.
        name: the surface's, for messages.

    Raises:
        CheckpointError: naming the keys that are missing, unexpected or of another shape.
        InputError: for a vector of another length.
    """
    if not isinstance(given, Tensor):
        tensors = tensors_of(given)
        wrong = layout.misfit(tensors, known)
        if wrong:
            source = f"the checkpoint {str(given)!r}" if isinstance(given, str | Path) else "the state dict"
            raise CheckpointError(
                f"{source} does not fit {name}: {wrong}. Expected the {len(layout.blocks)} parameters of this "
                "architecture, and nothing that it lacks. Give one that was saved from it."
            )
        given = layout.join(tensors)
    if given.shape != (layout.dimension,):
        raise InputError(
            f"got a vector of shape {tuple(given.shape)}; expected ({layout.dimension},), one entry per parameter."
        )
    return given.detach()


def differing(given: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Names under which both hold real numbers, but not the same."""
    return tuple(
        name
        for name, value in ours.items()
        if name in given
        and value.is_floating_point()
        and not torch.equal(given[name].detach().to(value.device, value.dtype), value)
    )
