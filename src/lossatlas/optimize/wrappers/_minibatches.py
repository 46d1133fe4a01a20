"""Any rule that queries gradients, answered with those of mini-batches: what training a network is."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import ClassVar, final

import torch
from torch import Tensor

from lossatlas._layout import Layout, Sample
from lossatlas.optimize._optimizer import Walk, begun
from lossatlas.optimize._ranges import whole
from lossatlas.optimize._streams import Streams
from lossatlas.optimize.wrappers._wrapper import Wrapper, through
from lossatlas.probe import Answer, Gradients, Products, Query


@final
@dataclass(frozen=True)
class MiniBatches(Wrapper):
    """Another optimizer whose every gradient and Hessian product is one of a fresh mini-batch.

    Each is drawn without replacement from all examples, independently of the ones before; only where a rule takes several
    gradients for one step are they of one mini-batch. Runs with the same random
    streams see the same mini-batches whatever the inner rule is. Values are of all data.

    Args:
        inner: what steps.
        batch_size: examples of a mini-batch.
    """

    batch_size: int = 64

    name: ClassVar[str] = "mini-batches"
    title: ClassVar[str] = "on mini-batches"
    evaluates: ClassVar[str] = "what the wrapped method evaluates, on a few examples"
    source: ClassVar[str] = "Robbins & Monro 1951"
    reference: ClassVar[str] = "robbins1951"

    def __post_init__(self) -> None:
        super().__post_init__()
        whole(self, 1, "batch_size")

    def walk(self, start: Tensor, layout: Layout, rng: Streams) -> Walk:
        """The inner walk, each query for gradients and products put to a few examples."""
        draws = rng.part("mini-batches")

        last: Tensor | None = None

        def sampled(query: Query) -> Generator[Query, Answer, Answer]:
            nonlocal last
            if isinstance(query, Gradients | Products) and query.sample is None:
                seeds = draws.seeds().to(start.device)
                if query.again is not None and last is not None:
                    seeds = torch.where(query.again, last, seeds)
                last = seeds
                query = replace(query, sample=Sample(self.batch_size, seeds))
            return (yield query)

        return through(begun(self.inner, start, layout, rng.part("inner")), sampled)
