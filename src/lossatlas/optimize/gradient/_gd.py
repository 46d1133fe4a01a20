"""Gradient descent: one step against the gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from lossatlas._layout import Layout
from lossatlas.optimize._optimizer import Optimizer, Walk
from lossatlas.optimize._ranges import positive
from lossatlas.optimize._streams import Streams
from lossatlas.probe import Gradients


@final
@dataclass(frozen=True)
class GD(Optimizer):
    """θ ← θ − η ∇L(θ).

    Args:
        lr: learning rate η.
    """

    lr: float = 0.05

    name: ClassVar[str] = "gd"
    title: ClassVar[str] = "gradient descent"
    queries: ClassVar[frozenset[type]] = frozenset({Gradients})
    evaluates: ClassVar[str] = "one gradient (its value comes along)"
    remembers: ClassVar[str] = "nothing"
    source: ClassVar[str] = "Cauchy 1847"
    reference: ClassVar[str] = "cauchy1847"

    def __post_init__(self) -> None:
        positive(self, "lr")

    def walk(self, start: Tensor, layout: Layout, rng: Streams) -> Walk:
        """Follow the negative gradient."""
        theta = start
        while True:
            answer = yield Gradients(theta)
            theta = theta - self.lr * answer.gradients
