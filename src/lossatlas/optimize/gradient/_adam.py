"""Adam: momentum and RMSprop together, with bias correction."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from lossatlas.optimize._optimizer import Optimizer, Walk
from lossatlas.optimize._ranges import below_one, positive
from lossatlas.optimize._streams import Streams
from lossatlas.probe import Gradients, Layout


@final
@dataclass(frozen=True)
class Adam(Optimizer):
    """m ← β₁m + (1 − β₁)g, s ← β₂s + (1 − β₂)g², θ ← θ − η m̂ / (√ŝ + ε), m̂ = m/(1 − β₁ᵗ), ŝ = s/(1 − β₂ᵗ).

    Args:
        rate: learning rate η.
        beta1: factor β₁ that the mean gradient keeps per step.
        beta2: factor β₂ that the mean squared gradient keeps per step.
        epsilon: ε, keeps the division finite.
    """

    rate: float = 0.05
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    name: ClassVar[str] = "adam"
    title: ClassVar[str] = "Adam"
    asks: ClassVar[str] = "one gradient (its value comes along)"
    remembers: ClassVar[str] = "mean gradient and mean square (2N)"
    source: ClassVar[str] = "Kingma & Ba 2015, algorithm 1"
    reference: ClassVar[str] = "kingma2015"

    def __post_init__(self) -> None:
        positive(self.name, rate=self.rate, epsilon=self.epsilon)
        below_one(self.name, beta1=self.beta1, beta2=self.beta2)

    def walk(self, start: Tensor, layout: Layout, rng: Streams) -> Walk:
        """Divide the mean gradient by the root of the mean square, both corrected for their start at zero."""
        theta, mean, square = start, torch.zeros_like(start), torch.zeros_like(start)
        for t in itertools.count(1):
            slopes = (yield Gradients(theta)).slopes
            mean.mul_(self.beta1).add_((1 - self.beta1) * slopes)
            square.mul_(self.beta2).add_(((1 - self.beta2) * slopes).mul_(slopes))
            # No name for the divisor: it would be held until the next step, a third number per parameter.
            theta = theta - (self.rate / (1 - self.beta1**t) * mean).div_(
                (square / (1 - self.beta2**t)).sqrt_().add_(self.epsilon)
            )
