"""What the sampler of outputs needs to know of a surface, and what storing outputs at nodes takes.

Outputs of a network vary smoothly over a plane where their loss spans decades: they are interpolated, one example at a
time, and the loss is computed from them. Where that cannot be done, the loss itself is interpolated on a scale on which
it varies less.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]

Fused = Literal["cross_entropy", "mse"]
Scored = tuple[Tensor, "float | Tensor", dict[str, Tensor]]

LIMIT = 512 * 2**20


class Scorer(Protocol):
    """The part of a loss that comes after the network: outputs in, losses out. The data come in batches.

    Attributes:
        shapes: by batch, the shape (n_b, ...) of one point's outputs.
        examples: in all batches together.
        fused: the named loss that ``targets`` belong to, where one formula serves all batches; else None.
        targets: by batch; empty where ``fused`` is None.
        accurate: whether an accuracy comes with a fused loss that has one.
        dtype: of the outputs.
    """

    shapes: Sequence[tuple[int, ...]]
    examples: int
    fused: Fused | None
    targets: list[Tensor]
    accurate: bool
    dtype: torch.dtype

    def score(self, batch: int, outputs: Tensor) -> Scored:
        """The user's loss of one batch at P points, from outputs (P, n_b, ...).

        Returns:
            The sum of loss × weight (P,) in float64; the weight, a number or (P,); and the batch's means of further
            channels, each (P,).
        """
        ...


class Outputs(Scorer, Protocol):
    """A scorer that can also evaluate the network, on a frame of k coordinates."""

    def read(self, coords: Array) -> list[Tensor]:
        """By batch, outputs (P, n_b, ...) at coordinates (P, k): the expensive part."""
        ...


def width(scorer: Scorer) -> int:
    """Bytes of each number that is stored; those of half precision are widened."""
    return max(4, scorer.dtype.itemsize)


def node_bytes(shapes: Sequence[tuple[int, ...]], itemsize: int = 4) -> int:
    """Bytes that the outputs of one node take."""
    return itemsize * sum(math.prod(shape) for shape in shapes)


def nodes_within(shapes: Sequence[tuple[int, ...]], limit: int = LIMIT, itemsize: int = 4) -> int:
    """How many nodes a limit of memory has room for, with as much again while they are put together."""
    return limit // max(1, 2 * node_bytes(shapes, itemsize))


@final
class Store:
    """Outputs at the nodes so far: by batch one tensor (n, n_b, ...), which grows as rounds of nodes are added."""

    def __init__(self) -> None:
        self.count = 0
        self._parts: list[Tensor] = []

    def add(self, outputs: list[Tensor]) -> None:
        """Add a round of nodes."""
        fresh = len(outputs[0])
        if not self._parts:
            self._parts = [torch.empty(0, *part.shape[1:], dtype=part.dtype, device=part.device) for part in outputs]
        for batch, part in enumerate(outputs):
            old = self._parts[batch]
            if self.count + fresh > len(old):
                grown = old.new_empty(self.count + max(fresh, self.count // 2), *old.shape[1:])
                grown[: self.count] = old[: self.count]
                self._parts[batch] = old = grown
            old[self.count : self.count + fresh] = part
        self.count += fresh

    @property
    def outputs(self) -> list[Tensor]:
        """By batch, (n, n_b, ...)."""
        return [part[: self.count] for part in self._parts]


def finite(outputs: list[Tensor]) -> NDArray[np.bool_]:
    """Which nodes have finite outputs throughout, (n,), from their outputs by batch, (n, n_b, …)."""
    sound = torch.ones(len(outputs[0]), dtype=torch.bool)
    for part in outputs:
        if part[:1].numel():
            # The extremes are finite exactly where all are, and take one pass.
            low, high = part.flatten(1).aminmax(dim=1)
            sound &= (low.isfinite() & high.isfinite()).cpu()
    return sound.numpy()


@final
@dataclass(eq=False)
class Losses:
    """A loss that is no function of outputs and targets, as a scorer: its one output is the loss on a smoother scale.

    The scale is log(L − bound) where L has a lower bound, so that no interpolated loss is below it, and
    arcsinh(L / unit) elsewhere.

    Attributes:
        bound: what the loss is known never to be below, or None.
        unit: of the loss, where the scale turns from linear to logarithmic.
        names: of further channels, which are interpolated as they are.
    """

    bound: float | None
    unit: float
    names: tuple[str, ...] = ()
    fused: Fused | None = None
    examples: int = 1
    accurate: bool = True
    dtype: torch.dtype = torch.float64
    targets: list[Tensor] = field(default_factory=list)

    @property
    def shapes(self) -> Sequence[tuple[int, ...]]:
        """One example with as many outputs as channels."""
        return ((1, 1 + len(self.names)),)

    def outputs(self, losses: Tensor, extras: dict[str, Tensor]) -> list[Tensor]:
        """What is interpolated, from losses (P,) and channels (P,)."""
        scaled = (
            torch.asinh(losses.double() / self.unit)
            if self.bound is None
            else torch.log((losses.double() - self.bound).clamp_min(0) + self.unit)
        )
        return [torch.stack([scaled, *(extras[name].double() for name in self.names)], 1)[:, None]]

    def score(self, batch: int, outputs: Tensor) -> Scored:
        """The loss back from its scale."""
        scaled = outputs[:, 0, 0].double()
        loss = (
            self.unit * torch.sinh(scaled)
            if self.bound is None
            else (scaled.exp() - self.unit).clamp_min(0) + self.bound
        )
        return loss, 1.0, {name: outputs[:, 0, 1 + k].double() for k, name in enumerate(self.names)}
