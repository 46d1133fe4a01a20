"""Shampoo: every axis of every weight has a preconditioner of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from lossatlas._layout import Layout
from lossatlas.optimize._optimizer import Optimizer, Walk
from lossatlas.optimize._ranges import positive, whole
from lossatlas.optimize._rows import matmul, power, symmetric_power
from lossatlas.optimize._streams import Streams
from lossatlas.probe import Gradients


@final
@dataclass(frozen=True)
class Shampoo(Optimizer):
    """For a weight with k axes: Hᵢ ← Hᵢ + G₍ᵢ₎G₍ᵢ₎ᵀ (from εI), W ← W − η G ×₁ H₁^(−1/2k) … ×ₖ Hₖ^(−1/2k).

    G₍ᵢ₎ is the gradient unfolded along axis i; a matrix gets W − η L^(−1/4) G R^(−1/4). Powers are taken by
    eigenvectors in float64, eigenvalues floored at ε. Axes longer than `largest` keep the diagonal of their Hᵢ.

    With `shards` the blocks are dealt out to that many workers, each with the preconditioners of its own blocks, as
    Distributed Shampoo does (Shi et al. 2023); blocks do not meet, so that the steps are the same bits.

    Args:
        lr: learning rate η.
        eps: ε, the start of every preconditioner.
        largest: longest axis with a full preconditioner.
        shards: workers that the blocks are dealt out to.
    """

    lr: float = 0.1
    eps: float = 1e-6
    largest: int = 1024
    shards: int = 1

    name: ClassVar[str] = "shampoo"
    title: ClassVar[str] = "Shampoo"
    queries: ClassVar[frozenset[type]] = frozenset({Gradients})
    evaluates: ClassVar[str] = "one gradient (its value comes along)"
    remembers: ClassVar[str] = "a matrix per axis of every weight"
    source: ClassVar[str] = "Gupta, Koren & Singer 2018, algorithm 2"
    reference: ClassVar[str] = "gupta2018"

    def __post_init__(self) -> None:
        positive(self, "lr", "eps")
        whole(self, 1, "largest", "shards")

    def becomes(self, layout: Layout) -> str | None:
        """On vectors it is full-matrix AdaGrad."""
        if all(len(block.shape) <= 1 for block in layout.blocks):
            return "full-matrix AdaGrad: every block is a vector, (εI + Σ gg')^(−1/2) g"
        return None

    def walk(self, start: Tensor, layout: Layout, rng: Streams) -> Walk:
        """Multiply every axis of the gradient by the root of its own history."""
        theta = start
        dealt = [layout.blocks[k :: self.shards] for k in range(self.shards)]
        workers = [[_Block(block.shape, start, self) for block in blocks] for blocks in dealt]
        while True:
            gradients = (yield Gradients(theta)).gradients
            moved = theta.clone()
            for blocks, states in zip(dealt, workers, strict=True):
                for block, state in zip(blocks, states, strict=True):
                    step = state.step(gradients[:, block.span].reshape(len(gradients), *(block.shape or (1,))))
                    moved[:, block.span] -= self.lr * step.reshape(len(gradients), -1)
            theta = moved


class _Block:
    """The preconditioners of one weight, for all runs."""

    def __init__(self, shape: tuple[int, ...], start: Tensor, settings: Shampoo) -> None:
        self.shape = shape or (1,)
        self.settings = settings
        self.full = [size <= settings.largest for size in self.shape]
        self.history = [
            settings.eps * torch.eye(size, dtype=start.dtype, device=start.device).repeat(len(start), 1, 1)
            if full
            else start.new_full((len(start), size), settings.eps)
            for size, full in zip(self.shape, self.full, strict=True)
        ]

    def step(self, gradient: Tensor) -> Tensor:
        """The gradient (runs, *shape) with every axis preconditioned."""
        exponent = -1 / (2 * len(self.shape))
        step = gradient
        for axis, full in enumerate(self.full, start=1):
            unfolded = gradient.movedim(axis, 1).flatten(2) if gradient.ndim > 2 else gradient[:, :, None]
            if full:
                history = self.history[axis - 1] + matmul(unfolded, unfolded.transpose(1, 2))
                root = symmetric_power(history, exponent, self.settings.eps)
            else:
                history = self.history[axis - 1] + (unfolded * unfolded).sum(2)
                root = power(history, exponent)
            self.history[axis - 1] = history
            turned = step.movedim(axis, 1)
            flat = turned.flatten(2) if turned.ndim > 2 else turned[:, :, None]
            flat = matmul(root, flat) if full else root[:, :, None] * flat
            step = flat.reshape(turned.shape).movedim(1, axis)
        return step
