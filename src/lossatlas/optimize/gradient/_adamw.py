"""AdamW: Adam with weight decay kept apart from the gradient."""

from __future__ import annotations

import itertools
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
class AdamW(Optimizer):
    """θ ← θ(1 − ηλ), then Adam's step. With λ > 0 it comes to rest off the minimum, toward the origin.

    Args:
        lr: learning rate η.
        betas: factors β₁ that the mean gradient keeps per step, and β₂ that the mean squared gradient keeps per step.
        eps: ε, keeps the division finite.
        weight_decay: decoupled weight decay λ.
    """

    lr: float = 0.05
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.01

    name: ClassVar[str] = "adamw"
    title: ClassVar[str] = "AdamW"
    queries: ClassVar[frozenset[type]] = frozenset({Gradients})
    evaluates: ClassVar[str] = "one gradient (its value comes along)"
    remembers: ClassVar[str] = "mean gradient and mean square (2N)"
    source: ClassVar[str] = "Loshchilov & Hutter 2019, algorithm 2"
    reference: ClassVar[str] = "loshchilov2019"

    def __post_init__(self) -> None:
        positive(self, "lr", "eps")
        two_below_one(self, "betas")
        not_negative(self, "weight_decay")

    def walk(self, start: Tensor, layout: Layout, rng: Streams) -> Walk:
        """Divide the mean gradient by the root of the mean square, both corrected for their start at zero."""
        beta1, beta2 = self.betas
        theta, mean, square = start, torch.zeros_like(start), torch.zeros_like(start)
        for t in itertools.count(1):
            gradients = (yield Gradients(theta)).gradients
            mean = beta1 * mean + (1 - beta1) * gradients
            square = beta2 * square + (1 - beta2) * gradients * gradients
            theta = theta * (1 - self.lr * self.weight_decay) - self.lr / (1 - beta1**t) * mean / (
                (square / (1 - beta2**t)).sqrt() + self.eps
            )
