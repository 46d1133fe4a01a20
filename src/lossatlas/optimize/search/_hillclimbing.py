"""Hill climbing (downhill, on a loss): look at neighbors, move to a better one, stop when there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from lossatlas._layout import Layout
from lossatlas.optimize._optimizer import Optimizer, Walk, known, units, within
from lossatlas.optimize._ranges import one_of, positive, whole
from lossatlas.optimize._streams import Streams
from lossatlas.probe import At, Values

CHOICES = ("steepest", "first")


@final
@dataclass(frozen=True)
class HillClimbing(Optimizer):
    """Move to the best of the 2N neighbors θ ± step·eᵢ if it is strictly lower (``steepest``), else stop.

    ``first`` evaluates one random neighbor at distance about `step` at a time and takes the first that is lower; it stops
    after `patience` misses in a row. The current value is remembered, not evaluated again. With `finer` > 0 a run that
    finds no better neighbor halves its step that many times before it stops.

    Args:
        step: distance of a neighbor in each coordinate, in `units` of θ: of at least a twentieth and at most half of its side of
            the box.
        choice: ``steepest`` or ``first``.
        patience: misses in a row before ``first`` gives up.
        finer: halvings of the step before it stops; 0 is the textbook's rule.
    """

    step: float = 0.1
    choice: str = "steepest"
    patience: int = 50
    finer: int = 0

    name: ClassVar[str] = "hill-climbing"
    title: ClassVar[str] = "hill climbing"
    queries: ClassVar[frozenset[type]] = frozenset({Values})
    evaluates: ClassVar[str] = "values at its 2N neighbors (one random neighbor for first-choice)"
    remembers: ClassVar[str] = "its current point and value"
    source: ClassVar[str] = "Russell & Norvig 2020, section 4.1.1"
    reference: ClassVar[str] = "russell2020"

    def __post_init__(self) -> None:
        positive(self, "step")
        whole(self, 1, "patience")
        whole(self, 0, "finer")
        one_of(self, "choice", CHOICES)

    def walk(self, start: Tensor, layout: Layout, rng: Streams) -> Walk:
        """Climb down until no neighbor is lower."""
        theta, unit = start, units(layout, start)
        value = known((yield Values(theta)).values)
        size = torch.full_like(value, self.step)
        misses = torch.zeros(len(start), dtype=torch.int64, device=start.device)
        live = torch.ones_like(misses, dtype=torch.bool)
        while bool(live.any()):
            neighbors = within(theta[:, None] + size[:, None, None].to(theta) * unit * self._moves(start, rng), layout)
            answer = yield Values(neighbors, at=At(theta, value), active=live)
            lowest, index = known(answer.values).min(1)
            better = live & (lowest < value)
            chosen = neighbors[torch.arange(len(theta), device=theta.device), index]
            theta = torch.where(better[:, None], chosen, theta)
            value = torch.where(better, lowest, value)
            misses = torch.where(better, 0, misses + 1)
            stuck = live & (misses >= (1 if self.choice == "steepest" else self.patience))
            size = torch.where(stuck, size / 2, size)
            misses = torch.where(stuck, 0, misses)
            live = live & (size > self.step * 0.5 ** (self.finer + 0.5))

    def _moves(self, start: Tensor, rng: Streams) -> Tensor:
        """Directions to the neighbors, (runs or 1, k, N)."""
        n = start.shape[1]
        if self.choice == "first":
            return rng.normal(1, n).to(start)
        eye = torch.eye(n, dtype=start.dtype, device=start.device)
        return torch.cat([eye, -eye])[None]
