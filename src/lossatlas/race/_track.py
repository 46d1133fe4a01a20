"""The record of one racer: where it stood, what it heard, what it cost, what it held."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lossatlas import archive
from lossatlas.optimize import Optimizer
from lossatlas.probe import Meter


@dataclass(frozen=True, eq=False)
class Track(archive.Result):
    """What one racer left behind.

    Attributes:
        optimizer: as it ran.
        start: (runs, N) what it was given to begin with.
        positions: (runs, T + 1, N) where it stood before each answer and at the end.
        losses: (runs, T + 1) there; NaN where it never learned the loss.
        last: (runs, N) where it stood at the end.
        final: (runs, N) its result: where it stood, or the best point evaluated for methods that may move uphill.
        loss: (runs,) L at the final points.
        meter: what it cost.
        stopped: why each run stopped.
        queries: (T + 1,) made per run by the time the loss at each position was known.
        seen: (runs, Q) the loss that each counted query brought, in order; infinity where there was none,
            NaN where the run made no query.
        memory: (queries per run, bytes per run) held between two queries, sampled along the way.
        why: the racer's own sentence where it did not run, or failed.
    """

    optimizer: Optimizer
    start: Tensor
    positions: Tensor
    losses: Tensor
    last: Tensor
    final: Tensor
    loss: Tensor
    meter: Meter
    stopped: tuple[str, ...]
    queries: np.ndarray
    seen: Tensor
    memory: tuple[tuple[int, float], ...]
    why: str = ""

    def first_below(self, target: float) -> Tensor:
        """Queries that each run made until one brought a loss of at most `target`, (runs,); infinity if none did."""
        counted = (~self.seen.isnan()).cumsum(1).double()
        return (
            torch.where(self.seen <= target, counted, float("inf")).amin(1)
            if self.seen.shape[1]
            else counted.new_full((len(self.seen),), float("inf"))
        )

    @property
    def sentence(self) -> str:
        """What ran how long."""
        runs, places, n = self.positions.shape
        return f"{self.optimizer.title}, {runs:,} run{'s' * (runs > 1)} of {places - 1:,} steps in {n:,} dimensions"

    @property
    def alike(self) -> bool:
        """Whether there are several runs and all are one and the same: the method is deterministic."""
        return len(self.final) > 1 and bool((self.positions == self.positions[:1]).all())

    @property
    def cut(self) -> bool:
        """Whether only the ends of its runs are kept, and not the ways there."""
        return not self.seen.shape[1] and self.meter.queries > 0

    @property
    def growth(self) -> float:
        """Bytes of memory per query and run over the second half of its queries, by least squares.

        Through the most that was held until then: what comes and goes within a generation is no growth.
        """
        if not self.memory:
            return 0.0
        x, y = np.array(self.memory, dtype=np.float64).T
        half = x >= x[-1] / 2
        x, y = x[half], np.maximum.accumulate(y[half])
        return float(np.polyfit(x, y, 1)[0]) if np.ptp(x) and np.ptp(y) else 0.0
