"""Lion: the sign of an interpolated momentum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from lossatlas._layout import Layout
from lossatlas.optimize._optimizer import Optimizer, Walk
from lossatlas.optimize._ranges import not_negative, positive, two_below_one
from lossatlas.optimize._streams import Streams
from lossatlas.probe import Gradients


@final
@dataclass(frozen=True)
class Lion(Optimizer):
    """c = β₁m + (1 − β₁)g, θ ← θ − η(sign c + λθ), m ← β₂m + (1 − β₂)g. Every step is ±η in every coordinate.

    Args:
        lr: learning rate η, the length of a step in each coordinate.
        betas: factors β₁ of the interpolation, and β₂ that the mean gradient keeps per step.
        weight_decay: decoupled weight decay λ.
    """

    lr: float = 0.01
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0

    name: ClassVar[str] = "lion"
    title: ClassVar[str] = "Lion"
    queries: ClassVar[frozenset[type]] = frozenset({Gradients})
    evaluates: ClassVar[str] = "one gradient (its value comes along)"
    remembers: ClassVar[str] = "mean gradient (N)"
    source: ClassVar[str] = "Chen et al. 2023, algorithm 2"
    reference: ClassVar[str] = "chen2023"

    def __post_init__(self) -> None:
        positive(self, "lr")
        two_below_one(self, "betas")
        not_negative(self, "weight_decay")

    def becomes(self, layout: Layout) -> str | None:
        """Its floor does not depend on the surface."""
        return "steps of constant length: it ends in a cycle of radius about η around a minimum, whatever the surface"

    def walk(self, start: Tensor, layout: Layout, rng: Streams) -> Walk:
        """Step by the sign of the gradient and the mean gradient together."""
        beta1, beta2 = self.betas
        theta, mean = start, torch.zeros_like(start)
        while True:
            gradients = (yield Gradients(theta)).gradients
            theta = (
                theta * (1 - self.lr * self.weight_decay) - self.lr * (beta1 * mean + (1 - beta1) * gradients).sign()
            )
            mean = beta2 * mean + (1 - beta2) * gradients
