"""Local beam search: k states whose successors are pooled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from lossatlas._errors import InputError
from lossatlas._layout import Layout
from lossatlas.optimize._optimizer import Optimizer, Walk, known, scatter, units, within
from lossatlas.optimize._ranges import positive, whole
from lossatlas.optimize._streams import Streams
from lossatlas.probe import At, Values


@final
@dataclass(frozen=True)
class Beam(Optimizer):
    """Every state has m random successors; of all k·m the best k go on, whosever they are.

    That is what sets it apart from k climbs side by side: a good state takes over the beam. The first state is the
    start, the others are uniform in the box (or around the start where there is none). States themselves do not
    survive, as in the textbook: its result is the best point evaluated.

    Args:
        beams: states k.
        successors: m of each state.
        step: standard deviation of a successor at first, in `units` of θ: of at least a twentieth and at most half of a side of the box.
        cooling: factor that the step keeps per generation.
    """

    beams: int = 5
    successors: int = 6
    step: float = 0.5
    cooling: float = 0.98

    name: ClassVar[str] = "beam"
    title: ClassVar[str] = "local beam search"
    queries: ClassVar[frozenset[type]] = frozenset({Values})
    evaluates: ClassVar[str] = "values of all successors of its k states"
    remembers: ClassVar[str] = "its k states"
    source: ClassVar[str] = "Russell & Norvig 2020, section 4.1.3"
    reference: ClassVar[str] = "russell2020"
    wanders: ClassVar[bool] = True

    def __post_init__(self) -> None:
        positive(self, "step", "cooling")
        whole(self, 1, "beams", "successors")
        if self.beams * self.successors < 2 or self.cooling > 1:
            raise InputError(
                f"beam got beams={self.beams}, successors={self.successors}, cooling={self.cooling}; expected at least "
                "two successors in all, and a cooling in (0, 1]."
            )

    def walk(self, start: Tensor, layout: Layout, rng: Streams) -> Walk:
        """Pool all successors, keep the best."""
        k, m, n = self.beams, self.successors, start.shape[1]
        states = scatter(start, k, layout, rng, self.step)
        values = known((yield Values(states)).values)
        size, unit = self.step, units(layout, start)
        while True:
            best = values.argmin(1)
            rows = torch.arange(len(start), device=start.device)
            moves = size * unit * rng.normal(k, m, n).to(start)
            children = within((states[:, :, None] + moves).reshape(len(start), k * m, n), layout)
            found = known((yield Values(children, at=At(states[rows, best], values[rows, best]))).values)
            order = found.argsort(dim=1, stable=True)[:, :k]
            states = children.gather(1, order[..., None].expand(-1, -1, n))
            values = found.gather(1, order)
            size *= self.cooling
