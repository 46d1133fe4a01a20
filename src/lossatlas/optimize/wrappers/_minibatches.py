"""Any rule that asks for gradients, told those of mini-batches: what training a network is."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, final

from torch import Tensor

from lossatlas.optimize._optimizer import Optimizer, Walk
from lossatlas.optimize._ranges import whole
from lossatlas.optimize._streams import Streams
from lossatlas.optimize.gradient._gd import GD
from lossatlas.optimize.wrappers._wrappers import wrapped
from lossatlas.probe import Gradients, Layout, Products, Sample


@final
@dataclass(frozen=True)
class MiniBatches(Optimizer):
    """Another optimizer whose every gradient and Hessian product is one of a fresh mini-batch.

    Each is drawn without replacement from all examples, independently of the ones before. Runs with the same random
    streams see the same mini-batches whatever the inner rule is. Values are of all data.

    Args:
        inner: what steps.
        size: examples of a mini-batch.
    """

    inner: Optimizer = field(default_factory=GD)
    size: int = 64

    name: ClassVar[str] = "mini-batches"
    title: ClassVar[str] = "on mini-batches"
    asks: ClassVar[str] = "what the wrapped method asks, of a few examples"
    remembers: ClassVar[str] = "what the wrapped method remembers"
    source: ClassVar[str] = "Robbins & Monro 1951"
    reference: ClassVar[str] = "robbins1951"

    def __post_init__(self) -> None:
        wrapped(self.name, self.inner)
        whole(self.name, 1, size=self.size)

    def plan(self, steps: int) -> tuple[Optimizer, int]:
        """As the inner one plans."""
        inner, length = self.inner.plan(steps)
        return replace(self, inner=inner), length

    def breaks(self, answered: int) -> list[int]:
        """Those of the inner one."""
        return self.inner.breaks(answered)

    def becomes(self, layout: Layout) -> str | None:
        """What the inner one becomes."""
        return self.inner.becomes(layout)

    def walk(self, start: Tensor, layout: Layout, rng: Streams) -> Walk:
        """The inner walk, each question about slopes and curvature put to a few examples."""
        draws = rng.part("mini-batches")
        walk = self.inner.walk(start, layout, rng.part("inner"))
        try:
            query = next(walk)
            while True:
                if isinstance(query, Gradients | Products) and query.sample is None:
                    query = replace(query, sample=Sample(int(self.size), draws.seeds().to(start.device)))
                query = walk.send((yield query))
        except StopIteration:
            return
