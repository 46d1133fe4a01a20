"""Gradient descent with momentum."""

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
class Momentum(Optimizer):
    """v ← μv + ∇L(θ), θ ← θ − η v: gradient descent with a heavy ball's velocity.

    Args:
        lr: learning rate η.
        momentum: factor μ that the velocity keeps per step.
    """

    lr: float = 0.05
    momentum: float = 0.92

    name: ClassVar[str] = "momentum"
    title: ClassVar[str] = "momentum"
    queries: ClassVar[frozenset[type]] = frozenset({Gradients})
    evaluates: ClassVar[str] = "one gradient (its value comes along)"
    remembers: ClassVar[str] = "its velocity (N)"
    source: ClassVar[str] = "Polyak 1964"
    reference: ClassVar[str] = "polyak1964"

    def __post_init__(self) -> None:
        positive(self, "lr")
        below_one(self, "momentum")

    def walk(self, start: Tensor, layout: Layout, rng: Streams) -> Walk:
        """Build up velocity along the gradients met."""
        theta, velocity = start, torch.zeros_like(start)
        while True:
            answer = yield Gradients(theta)
            velocity = self.momentum * velocity + answer.gradients
            theta = theta - self.lr * velocity
