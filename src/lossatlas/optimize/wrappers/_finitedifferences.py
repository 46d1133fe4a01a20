"""Gradients by finite differences, for surfaces that have none."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from lossatlas._errors import NotApplicableError
from lossatlas._layout import Layout
from lossatlas.optimize._optimizer import Walk, begun, units
from lossatlas.optimize._ranges import positive
from lossatlas.optimize._streams import Streams
from lossatlas.optimize.wrappers._wrapper import Wrapper, through
from lossatlas.probe import Answer, Gradients, Query, Values


@final
@dataclass(frozen=True)
class FiniteDifferences(Wrapper):
    """Another optimizer on a surface without gradients: each is N + 1 counted values, (L(θ + h eᵢ) − L(θ)) / h.

    A step that would leave the box goes the other way, (L(θ) − L(θ − h eᵢ)) / h.

    Values are of all data: a rule that takes the gradients of mini-batches is refused.

    Args:
        inner: what queries gradients.
        step: h, in `units` of θ, of at least a twentieth and at most half of a side of the box; where the points' rounding ε is
            coarser, √ε, as in float32 (Nocedal & Wright 2006, section 8.1).
    """

    step: float = 1e-8

    name: ClassVar[str] = "finite-differences"
    title: ClassVar[str] = "by finite differences"
    evaluates: ClassVar[str] = "N + 1 values for every gradient"
    source: ClassVar[str] = "Nocedal & Wright 2006, section 8.1"
    reference: ClassVar[str] = "nocedal2006"

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(self, "step")

    @property
    def queries(self) -> frozenset[type]:  # type: ignore[override]
        """Values in place of the gradients of the inner one."""
        return self.inner.queries - {Gradients} | {Values} if Gradients in self.inner.queries else self.inner.queries

    def walk(self, start: Tensor, layout: Layout, rng: Streams) -> Walk:
        """Evaluate values around every point whose gradient is wanted."""
        n, unit = start.shape[1], units(layout, start)
        step = max(self.step, math.sqrt(torch.finfo(start.dtype).eps)) * unit
        origin, eye = torch.zeros(1, n).to(start), step * torch.eye(n).to(start)
        high = None if layout.box is None else layout.box[:, 1].to(start)

        def differences(query: Query) -> Generator[Query, Answer, Answer]:
            if not isinstance(query, Gradients):
                return (yield query)
            if query.sample is not None:
                raise NotApplicableError(
                    f"{self.inner.name} takes gradients of mini-batches, and finite differences are of values over all data. Give it "
                    "a rule on all data, such as gd."
                )
            points = query.points
            ways = torch.ones_like(points) if high is None else torch.where(points + step > high, -1.0, 1.0).to(points)
            around = points[:, None] + torch.cat([origin.expand(len(points), 1, n), ways[:, None] * eye], 1)
            answer = yield Values(around, at=query.at, active=query.active)
            here = answer.values[:, 0]
            gradients = (ways * (answer.values[:, 1:] - here[:, None]) / step).to(start)
            return Answer(here, gradients, answered=answer.answered, sound=answer.sound)

        return through(begun(self.inner, start, layout, rng), differences)
