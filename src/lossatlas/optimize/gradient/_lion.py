"""Lion: the sign of an interpolated momentum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from lossatlas.optimize._optimizer import Optimizer, Walk
from lossatlas.optimize._ranges import below_one, not_negative, positive
from lossatlas.optimize._streams import Streams
from lossatlas.probe import Gradients, Layout


@final
@dataclass(frozen=True)
class Lion(Optimizer):
    """c = β₁m + (1 − β₁)g, θ ← θ − η(sign c + λθ), m ← β₂m + (1 − β₂)g. Every step is ±η in every coordinate.

    Args:
        rate: learning rate η, the length of a step in each coordinate.
        beta1: factor β₁ of the interpolation.
        beta2: factor β₂ that the mean gradient keeps per step.
        decay: decoupled weight decay λ.
    """

    rate: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.99
    decay: float = 0.0

    name: ClassVar[str] = "lion"
    title: ClassVar[str] = "Lion"
    asks: ClassVar[str] = "one gradient (its value comes along)"
    remembers: ClassVar[str] = "mean gradient (N)"
    source: ClassVar[str] = "Chen et al. 2023, algorithm 2"
    reference: ClassVar[str] = "chen2023"

    def __post_init__(self) -> None:
        positive(self.name, rate=self.rate)
        below_one(self.name, beta1=self.beta1, beta2=self.beta2)
        not_negative(self.name, decay=self.decay)

    def becomes(self, layout: Layout) -> str | None:
        """Its floor does not depend on the surface."""
        return "steps of constant length: it ends in a cycle of radius about η around a minimum, whatever the surface"

    def walk(self, start: Tensor, layout: Layout, rng: Streams) -> Walk:
        """Step by the sign of the gradient and the mean gradient together."""
        theta, mean = start, torch.zeros_like(start)
        while True:
            slopes = (yield Gradients(theta)).slopes
            theta = (
                theta * (1 - self.rate * self.decay)
                - self.rate * (self.beta1 * mean + (1 - self.beta1) * slopes).sign()
            )
            mean = self.beta2 * mean + (1 - self.beta2) * slopes
