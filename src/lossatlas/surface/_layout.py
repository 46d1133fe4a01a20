"""How a parameter vector θ is made of named blocks: where each weight lies, and what kind of weight it is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lossatlas._errors import InputError


@dataclass(frozen=True)
class Block:
    """One parameter tensor inside θ.

    Attributes:
        name: the parameter's name in the model; of a tied weight, the first of its names.
        shape: the tensor's shape.
        kind: ``linear``, ``conv``, ``conv-transpose``, ``embedding``, ``norm``, ``bias``, ``vector`` (a
            landscape's own coordinates) or ``other``.
        offset: where it begins in θ.
        aliases: further names of the same tensor (tied weights).
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    offset: int
    aliases: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)

    @property
    def span(self) -> slice:
        """The entries of θ that belong to this block."""
        return slice(self.offset, self.offset + self.size)


@dataclass(frozen=True)
class Layout:
    """The blocks of θ in order, and the box that bounds it where there is one.

    Attributes:
        blocks: contiguous, in the order of θ.
        box: shape (N, 2), lowest and highest value of each coordinate, or None for a surface without bounds.
    """

    blocks: tuple[Block, ...]
    box: Tensor | None = None

    @property
    def dimension(self) -> int:
        """N, the number of entries of θ."""
        return sum(block.size for block in self.blocks)

    @classmethod
    def vector(cls, dimension: int, box: Tensor | None = None) -> Layout:
        """One block of plain coordinates, as landscapes and slices have."""
        return cls((Block("theta", (dimension,), "vector", 0),), box)

    def split(self, points: Tensor) -> dict[str, Tensor]:
        """View points (…, N) as one tensor per block, each (…, *shape); aliases are not repeated."""
        lead = points.shape[:-1]
        return {block.name: points[..., block.span].reshape(*lead, *block.shape) for block in self.blocks}

    def join(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Flatten one tensor per block into θ, shape (N,).

        Args:
            tensors: a mapping that holds every block under its name or one of its aliases; further entries
                (buffers of a state dict) are left aside.

        Raises:
            InputError: if a block is missing or has another shape.
        """
        parts = []
        for block in self.blocks:
            found = next((n for n in (block.name, *block.aliases) if n in tensors), None)
            if found is None:
                raise InputError(
                    f"no entry for the parameter {block.name!r} among {len(tensors)} given; expected one tensor "
                    f"for each of {len(self.blocks)} parameters. Give a state dict of the same architecture."
                )
            if tuple(tensors[found].shape) != block.shape:
                raise InputError(
                    f"{found!r} has shape {tuple(tensors[found].shape)}, expected {block.shape}. "
                    "Give a state dict of the same architecture."
                )
            parts.append(tensors[found].detach().reshape(-1))
        return torch.cat(parts)
