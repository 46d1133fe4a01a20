"""Random search: uniform points in the box. The yardstick that every other search has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from lossatlas._errors import NotApplicableError
from lossatlas._layout import Layout
from lossatlas.optimize._optimizer import Optimizer, Walk, known
from lossatlas.optimize._streams import Streams
from lossatlas.probe import At, Values


@final
@dataclass(frozen=True)
class RandomSearch(Optimizer):
    """Evaluate the start, then points uniform in the box; the best of them counts."""

    name: ClassVar[str] = "random"
    title: ClassVar[str] = "random search"
    queries: ClassVar[frozenset[type]] = frozenset({Values})
    evaluates: ClassVar[str] = "one value at a random point"
    remembers: ClassVar[str] = "the best point and its value"
    source: ClassVar[str] = "Brooks 1958"
    reference: ClassVar[str] = "brooks1958"
    wanders: ClassVar[bool] = True

    def breaks(self, answered: int) -> list[int]:
        """No way leads from one random point to the next."""
        return list(range(1, answered + 1))

    def walk(self, start: Tensor, layout: Layout, rng: Streams) -> Walk:
        """Look anywhere."""
        if layout.box is None:
            raise NotApplicableError(
                "it needs a box to draw points from, and this surface has none. Give the surface a box."
            )
        low, high = layout.box[:, 0].to(start), layout.box[:, 1].to(start)
        theta = start
        value = known((yield Values(theta)).values)
        while True:
            point = low + (high - low) * rng.uniform(start.shape[1]).to(start)
            found = known((yield Values(point, at=At(theta, value))).values)
            better = found < value
            theta, value = torch.where(better[:, None], point, theta), torch.where(better, found, value)
