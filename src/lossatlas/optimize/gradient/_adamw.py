"""AdamW: Adam with weight decay kept apart from the gradient."""

from __future__ import annotations

import itertools
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
class AdamW(Optimizer):
    """θ ← θ(1 − ηλ), then Adam's step. With λ > 0 it comes to rest off the minimum, toward the origin.

    Args:
        rate: learning rate η.
        beta1: factor β₁ that the mean gradient keeps per step.
        beta2: factor β₂ that the mean squared gradient keeps per step.
        epsilon: ε, keeps the division finite.
        decay: decoupled weight decay λ.
    """

    rate: float = 0.05
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    decay: float = 0.01

    name: ClassVar[str] = "adamw"
    title: ClassVar[str] = "AdamW"
    asks: ClassVar[str] = "one gradient (its value comes along)"
    remembers: ClassVar[str] = "mean gradient and mean square (2N)"
    source: ClassVar[str] = "Loshchilov & Hutter 2019, algorithm 2"
    reference: ClassVar[str] = "loshchilov2019"

    def __post_init__(self) -> None:
        positive(self.name, rate=self.rate, epsilon=self.epsilon)
        below_one(self.name, beta1=self.beta1, beta2=self.beta2)
        not_negative(self.name, decay=self.decay)

    def walk(self, start: Tensor, layout: Layout, rng: Streams) -> Walk:
        """Divide the mean gradient by the root of the mean square, both corrected for their start at zero."""
        theta, mean, square = start, torch.zeros_like(start), torch.zeros_like(start)
        for t in itertools.count(1):
            slopes = (yield Gradients(theta)).slopes
            mean = self.beta1 * mean + (1 - self.beta1) * slopes
            square = self.beta2 * square + (1 - self.beta2) * slopes * slopes
            theta = theta * (1 - self.rate * self.decay) - self.rate / (1 - self.beta1**t) * mean / (
                (square / (1 - self.beta2**t)).sqrt() + self.epsilon
            )
