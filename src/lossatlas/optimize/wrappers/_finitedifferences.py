"""Gradients by finite differences, for surfaces that have none."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from lossatlas._layout import Layout
from lossatlas.optimize._optimizer import Walk
from lossatlas.optimize._ranges import positive
from lossatlas.optimize._streams import Streams
from lossatlas.optimize.wrappers._wrapper import Wrapper, through
from lossatlas.probe import Answer, Gradients, Query, Values


@final
@dataclass(frozen=True)
class FiniteDifferences(Wrapper):
    """Another optimizer on a surface without gradients: each is N + 1 counted values, (L(θ + h eᵢ) − L(θ)) / h.

    Args:
        inner: what queries gradients.
        step: h, in units of θ.
    """

    step: float = 1e-6

    name: ClassVar[str] = "finite-differences"
    title: ClassVar[str] = "by finite differences"
    evaluates: ClassVar[str] = "N + 1 values for every gradient"
    source: ClassVar[str] = "folklore"
    reference: ClassVar[str] = "nocedal1980"

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(self, "step")

    @property
    def queries(self) -> frozenset[type]:  # type: ignore[override]
        """Values in place of the gradients of the inner one."""
        return self.inner.queries - {Gradients} | {Values} if Gradients in self.inner.queries else self.inner.queries

    def walk(self, start: Tensor, layout: Layout, rng: Streams) -> Walk:
        """Evaluate values around every point whose gradient is wanted."""
        n = start.shape[1]
        offsets = torch.cat([torch.zeros(1, n), self.step * torch.eye(n)]).to(start)

        def differences(query: Query) -> Generator[Query, Answer, Answer]:
            if not isinstance(query, Gradients):
                return (yield query)
            answer = yield Values(query.points[:, None] + offsets, at=query.at, active=query.active)
            here = answer.values[:, 0]
            gradients = ((answer.values[:, 1:] - here[:, None]) / self.step).to(start)
            return Answer(here, gradients, answered=answer.answered, sound=answer.sound)

        return through(self.inner.walk(start, layout, rng), differences)
