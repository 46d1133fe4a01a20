"""RMSprop: each coordinate's step divided by the running size of its gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from lossatlas._layout import Layout
from lossatlas.optimize._optimizer import Optimizer, Walk
from lossatlas.optimize._ranges import below_one, positive
from lossatlas.optimize._streams import Streams
from lossatlas.probe import Gradients


@final
@dataclass(frozen=True)
class RMSprop(Optimizer):
    """s ← αs + (1 − α)g², θ ← θ − η g / (√s + ε).

    Args:
        lr: learning rate η.
        alpha: factor α that the squared gradients keep per step.
        eps: ε, keeps the division finite.
    """

    lr: float = 0.01
    alpha: float = 0.99
    eps: float = 1e-8

    name: ClassVar[str] = "rmsprop"
    title: ClassVar[str] = "RMSprop"
    queries: ClassVar[frozenset[type]] = frozenset({Gradients})
    evaluates: ClassVar[str] = "one gradient (its value comes along)"
    remembers: ClassVar[str] = "mean squared gradients (N)"
    source: ClassVar[str] = "Tieleman & Hinton 2012, lecture 6.5"
    reference: ClassVar[str] = "tieleman2012"

    def __post_init__(self) -> None:
        positive(self, "lr", "eps")
        below_one(self, "alpha")

    def walk(self, start: Tensor, layout: Layout, rng: Streams) -> Walk:
        """Scale every coordinate by its recent gradients."""
        theta, squares = start, torch.zeros_like(start)
        while True:
            gradients = (yield Gradients(theta)).gradients
            squares = self.alpha * squares + (1 - self.alpha) * gradients * gradients
            theta = theta - self.lr * gradients / (squares.sqrt() + self.eps)
