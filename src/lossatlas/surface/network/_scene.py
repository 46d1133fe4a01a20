"""What an evaluation is made of: the reference, the private copies, the batches with their shares, the statistics."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor
from torch.func import functional_call

from lossatlas._layout import Layout
from lossatlas.surface.network._batchnorm import Statistics
from lossatlas.surface.network._completion import Completion, prefixed
from lossatlas.surface.network._copies import Copies
from lossatlas.surface.network._data import Batch
from lossatlas.surface.network._reference import Reference

Pair = tuple[Tensor, Tensor]


@final
@dataclass(frozen=True)
class Scene:
    """L = Σ_b share_b ℓ_b over fixed batches.

    Attributes:
        reference: what defines it.
        copies: private copies.
        statistics: of the model's batch norm, in their mode.
        layout: of the points.
        batches: the data.
        shares: w_b / Σ w of each batch, or 1 for a loss that is a sum.
        hit_shares: of each batch in the accuracy; None where there is none.
        free: whether points hold running statistics as coordinates of their own.
        cast: the type that forward passes are computed in, where it is not the model's own.
        seconds: that one evaluation takes, about.
    """

    reference: Reference
    copies: Copies
    statistics: Statistics
    layout: Layout
    batches: tuple[Batch, ...]
    shares: tuple[float, ...]
    hit_shares: tuple[float, ...] | None
    free: bool = False
    cast: torch.dtype | None = None
    seconds: float = 0.0

    def on(self, batches: Sequence[Batch]) -> Scene:
        """The same on one small batch, as proofs are made."""
        accurate = None if self.hit_shares is None else (1.0,) * len(batches)
        return replace(self, batches=tuple(batches), shares=(1.0 / len(batches),) * len(batches), hit_shares=accurate)

    @property
    def examples(self) -> int:
        """How many there are in all batches."""
        return sum(batch.size for batch in self.batches)

    @property
    def by_batch(self) -> bool:
        """Whether the loss of an example depends on the others of its batch."""
        return self.statistics.by_batch or self.statistics.recomputes

    def completion(self) -> Completion:
        """What completes θ by the statistics that the model is run with."""
        return Completion(self.statistics, self.layout, self.batches, free=self.free)

    def forward(self, batch: Batch, worker: int) -> Pair:
        """Loss and share of hits of a bound copy as it is."""
        with self.precision(), torch.set_grad_enabled(self.reference.graph):
            outcome = self.copies.bound[worker][0](batch.fresh(self.reference.clones))
        return outcome.loss.detach(), outcome.hits

    def at(self, tensors: dict[str, Tensor], batch: Batch) -> Pair:
        """The same of the first copy with other tensors by name."""
        whole, _ = self.copies.first
        with self.precision():
            fresh = (batch.fresh(self.reference.clones),)
            outcome = functional_call(whole, prefixed(tensors, whole), fresh, tie_weights=False)
        return outcome.loss, outcome.hits

    def precision(self) -> AbstractContextManager[Any]:
        """The type that forward passes are computed in."""
        if self.cast is None:
            return nullcontext()
        return torch.autocast(self.reference.theta.device.type, dtype=self.cast)
