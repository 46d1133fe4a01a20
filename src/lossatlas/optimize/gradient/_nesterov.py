"""Nesterov's accelerated gradient."""

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
class Nesterov(Optimizer):
    """v ← μv + g, θ ← θ − η (g + μv) with g = ∇L(θ).

    This is the form of `torch.optim.SGD(nesterov=True)`: a change of variables puts the gradient at the iterate, so
    that the look-ahead point itself is never queried.

    Args:
        lr: learning rate η.
        momentum: factor μ that the velocity keeps per step.
    """

    lr: float = 0.05
    momentum: float = 0.92

    name: ClassVar[str] = "nesterov"
    title: ClassVar[str] = "Nesterov momentum"
    queries: ClassVar[frozenset[type]] = frozenset({Gradients})
    evaluates: ClassVar[str] = "one gradient (its value comes along)"
    remembers: ClassVar[str] = "its velocity (N)"
    source: ClassVar[str] = "Nesterov 1983; Sutskever et al. 2013"
    reference: ClassVar[str] = "nesterov1983"

    def __post_init__(self) -> None:
        positive(self, "lr")
        below_one(self, "momentum")

    def walk(self, start: Tensor, layout: Layout, rng: Streams) -> Walk:
        """Build up velocity along the gradients met."""
        theta, velocity = start, torch.zeros_like(start)
        while True:
            answer = yield Gradients(theta)
            velocity = self.momentum * velocity + answer.gradients
            theta = theta - self.lr * (answer.gradients + self.momentum * velocity)
