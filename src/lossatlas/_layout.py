"""What algorithms know of a surface: how θ is made of named blocks, and how a mini-batch is named.

Where each weight lies in θ and what kind of weight it is decides what an optimizer does with it; the surface itself it
never sees.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lossatlas import _checks, _said
from lossatlas._errors import InputError


@dataclass(frozen=True)
class Block:
    """One parameter tensor inside θ.

    Attributes:
        name: the parameter's name in the model; of a tied weight, the first of its names.
        shape: the tensor's shape.
        kind: ``linear`` (out, in), ``linear-transposed`` (in, out), ``conv``, ``conv-transpose``, ``embedding``,
            ``token`` (positional and class tokens), ``fused`` (several linear weights in one tensor), ``norm`` (gains
            and shifts of norms), ``bias``, ``gain`` (other vectors), ``scalar``, ``statistic`` (running statistics
            that are coordinates), ``vector`` (a landscape's own coordinates) or ``other``.
        offset: where it begins in θ; -1 for a frozen parameter, which is not in it.
        aliases: further names of the same tensor (tied weights).
        groups: of a grouped convolution.
        parts: how many weights of equal size a fused one holds, one below the other.
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    offset: int
    aliases: tuple[str, ...] = ()
    groups: int = 1
    parts: int = 1

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
        frozen: parameters that are held constant and are no part of θ.
    """

    blocks: tuple[Block, ...]
    box: Tensor | None = None
    frozen: tuple[Block, ...] = ()

    def __repr__(self) -> str:
        return _said.line(self, f"{len(self.blocks):,} blocks, {self.dimension:,} parameters")

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
        _checks.tensor("points", points, where="Layout.split")
        if points.ndim == 0 or points.shape[-1] != self.dimension:
            raise InputError(
                f"Layout.split got points of shape {tuple(points.shape)}; expected (…, {self.dimension}), one number per parameter."
            )
        lead = points.shape[:-1]
        # One split, since its derivative is one concatenation; that of a slice is a vector of N numbers per block.
        parts = points.split_with_sizes([block.size for block in self.blocks], dim=-1)
        return {block.name: part.reshape((*lead, *block.shape)) for block, part in zip(self.blocks, parts, strict=True)}

    def join(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Flatten one tensor per block into θ, shape (N,).

        Args:
            tensors: a mapping that holds every block under its name or one of its aliases; further entries
                (buffers of a state dict) are left aside.

        Raises:
            InputError: naming the blocks that are missing or of another shape.
        """
        _checks.instance("tensors", tensors, Mapping, "tensors by name", where="Layout.join")
        wrong = self.misfit(tensors)
        if wrong:
            raise InputError(
                f"the state dict does not fit: {wrong}. Expected one tensor for each of {len(self.blocks)} parameters. "
                "Give a state dict of the same architecture."
            )
        return torch.cat([tensors[_among(block, tensors)].detach().reshape(-1) for block in self.blocks])

    def misfit(self, tensors: Mapping[str, Tensor], known: Collection[str] | None = None) -> str:
        """What keeps tensors by name from being a point of this layout, as a list of keys; empty if nothing does.

        Args:
            tensors: by name.
            known: all names there may be; the rest is unexpected. None for any.
        """
        missing = [block.name for block in self.blocks if _among(block, tensors) not in tensors]
        shapes = [
            f"{name} (given {tuple(tensors[name].shape)}, expected {block.shape})"
            for block in self.blocks
            if (name := _among(block, tensors)) in tensors and tuple(tensors[name].shape) != block.shape
        ]
        unexpected = [name for name in tensors if known is not None and name not in known]
        found = (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
        return "; ".join(f"{what}: {listed(names)}" for what, names in found if names)

    def difference(self, other: Layout) -> str:
        """Where another layout differs, as a list of keys; empty if both have the same blocks in the same order."""
        mine, theirs = ({block.name: block.shape for block in layout.blocks} for layout in (self, other))
        if list(mine.items()) == list(theirs.items()):
            return ""
        shapes = [f"{n} ({mine[n]} and {theirs[n]})" for n in mine if n in theirs and mine[n] != theirs[n]]
        found = (
            ("only in the first", [name for name in mine if name not in theirs]),
            ("only in the second", [name for name in theirs if name not in mine]),
            ("of another shape", shapes),
        )
        return "; ".join(f"{what}: {listed(names)}" for what, names in found if names) or "the order of the blocks"


@dataclass(frozen=True)
class Sample:
    """A mini-batch to take a gradient on, fixed by its seeds so that the surface stays a pure function.

    Attributes:
        size: number of examples per row.
        seeds: shape (B,), int64; row b draws its examples (or its declared noise) from seed b alone.
    """

    size: int
    seeds: Tensor


def listed(names: Sequence[str], most: int = 4) -> str:
    """The first few names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _among(block: Block, tensors: Mapping[str, Tensor]) -> str:
    return next((name for name in (block.name, *block.aliases) if name in tensors), block.name)
