"""Adam: momentum and RMSprop together, with bias correction."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from lossatlas._layout import Layout
from lossatlas.optimize._optimizer import Optimizer, Walk
from lossatlas.optimize._ranges import positive, two_below_one
from lossatlas.optimize._streams import Streams
from lossatlas.probe import Gradients


@final
@dataclass(frozen=True)
class Adam(Optimizer):
    """m ← β₁m + (1 − β₁)g, s ← β₂s + (1 − β₂)g², θ ← θ − η m̂ / (√ŝ + ε), m̂ = m/(1 − β₁ᵗ), ŝ = s/(1 − β₂ᵗ).

    Args:
        lr: learning rate η.
        betas: factors β₁ that the mean gradient keeps per step, and β₂ that the mean squared gradient keeps per step.
        eps: ε, keeps the division finite.
    """

    lr: float = 0.05
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8

    name: ClassVar[str] = "adam"
    title: ClassVar[str] = "Adam"
    queries: ClassVar[frozenset[type]] = frozenset({Gradients})
    evaluates: ClassVar[str] = "one gradient (its value comes along)"
    remembers: ClassVar[str] = "mean gradient and mean square (2N)"
    source: ClassVar[str] = "Kingma & Ba 2015, algorithm 1"
    reference: ClassVar[str] = "kingma2015"

    def __post_init__(self) -> None:
        positive(self, "lr", "eps")
        two_below_one(self, "betas")

    def walk(self, start: Tensor, layout: Layout, rng: Streams) -> Walk:
        """Divide the mean gradient by the root of the mean square, both corrected for their start at zero."""
        beta1, beta2 = self.betas
        theta, mean, square = start, torch.zeros_like(start), torch.zeros_like(start)
        for t in itertools.count(1):
            gradients = (yield Gradients(theta)).gradients
            mean.mul_(beta1).add_((1 - beta1) * gradients)
            square.mul_(beta2).add_(((1 - beta2) * gradients).mul_(gradients))
            # No name for the divisor: it would be held until the next step, a third number per parameter.
            theta = theta - (self.lr / (1 - beta1**t) * mean).div_((square / (1 - beta2**t)).sqrt_().add_(self.eps))
