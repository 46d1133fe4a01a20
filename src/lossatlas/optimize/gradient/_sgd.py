"""Mini-batch stochastic gradient descent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from lossatlas._layout import Layout, Sample
from lossatlas.optimize._optimizer import Optimizer, Walk
from lossatlas.optimize._ranges import positive, whole
from lossatlas.optimize._streams import Streams
from lossatlas.probe import Gradients


@final
@dataclass(frozen=True)
class SGD(Optimizer):
    """θ ← θ − η ∇L_B(θ), the gradient of a fresh random mini-batch B at each step.

    On a landscape without data a mini-batch of n examples is the exact gradient plus the landscape's declared noise of
    standard deviation ν/√n; with ν = 0 it is gradient descent.

    Args:
        lr: learning rate η.
        batch_size: examples per gradient.
    """

    lr: float = 0.05
    batch_size: int = 32

    name: ClassVar[str] = "sgd"
    title: ClassVar[str] = "mini-batch SGD"
    queries: ClassVar[frozenset[type]] = frozenset({Gradients})
    evaluates: ClassVar[str] = "one gradient of a mini-batch"
    remembers: ClassVar[str] = "nothing"
    source: ClassVar[str] = "Robbins & Monro 1951"
    reference: ClassVar[str] = "robbins1951"

    def __post_init__(self) -> None:
        positive(self, "lr")
        whole(self, 1, "batch_size")

    def walk(self, start: Tensor, layout: Layout, rng: Streams) -> Walk:
        """Follow the negative gradient of a few examples."""
        theta = start
        while True:
            sample = Sample(self.batch_size, rng.seeds().to(start.device))
            theta = theta - self.lr * (yield Gradients(theta, sample)).gradients
