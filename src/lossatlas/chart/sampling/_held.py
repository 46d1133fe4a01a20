"""Held-out cells: evaluated, but never used by the reconstruction, so that they measure its error."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import final

import numpy as np
from numpy.typing import NDArray

from lossatlas.chart.sampling._certificate import Certificate, breadth, certify
from lossatlas.chart.sampling._grid import Grid

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@final
@dataclass(eq=False)
class HeldOut:
    """Cells drawn in batches with known, unequal probabilities, and the surface's answers there.

    A cell's probability is the mean over all batches of what each gave it (the balance heuristic of Veach & Guibas 1995), so
    that all batches together estimate the error without bias.

    Attributes:
        grid: the cells of the chart.
        size: cells per batch.
        seed: of the draws.
        cells: flat numbers of the drawn cells; one may be drawn twice.
        truth: the answers there by channel.
    """

    grid: Grid
    size: int
    seed: int
    cells: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    truth: dict[str, Array] = field(default_factory=dict)
    _maps: list[Array] = field(default_factory=list)

    @property
    def batches(self) -> int:
        """How often cells were drawn."""
        return len(self._maps)

    @property
    def probabilities(self) -> Array:
        """Of each drawn cell."""
        found: Array = np.mean([probability[self.cells] for probability in self._maps], axis=0)
        return found

    @property
    def coords(self) -> Array:
        """Coordinates of the distinct cells, (n, k)."""
        return self.grid.coords(np.unique(self.cells))

    def draw(self, expected: Array, taken: Mask) -> NDArray[np.int64]:
        """A batch: half evenly, half by the 3/2 power of expected errors, none where the surface was evaluated already.

        Args:
            expected: (ny, nx), the error that is expected of each cell.
            taken: (ny, nx), cells whose answer is known.

        Returns:
            The cells, to be answered in this order.
        """
        free = (~taken).astype(np.float64)
        if not free.any():
            free[...] = 1.0
        probability, density = free / free.sum(), expected * np.sqrt(expected) * free
        if density.sum() > 0:
            probability = (probability + density / density.sum()) / 2
        rng = np.random.default_rng([self.seed, self.batches])
        self._maps.append(probability.ravel())
        ends = probability.ravel().cumsum()
        # Beyond the last end by rounding only, and never a cell without a probability.
        drawn: NDArray[np.int64] = np.searchsorted(ends, rng.random(self.size) * ends[-1], side="right")
        return np.asarray(np.minimum(drawn, np.flatnonzero(probability)[-1]), dtype=np.int64)

    def tell(self, cells: NDArray[np.int64], channels: dict[str, Array]) -> None:
        """Keep the answers to a batch."""
        self.cells = np.concatenate([self.cells, cells])
        for name, values in channels.items():
            self.truth[name] = np.concatenate([self.truth.get(name, np.zeros(0)), values])

    def certificate(self, loss: Array, tolerance: float) -> Certificate:
        """Hold a reconstruction against the cells.

        Args:
            loss: (ny, nx).
            tolerance: what was requested.
        """
        truth, drawn = self.truth["loss"], loss.ravel()[self.cells]
        both = np.isfinite(truth) & np.isfinite(drawn)
        agree = np.isfinite(truth) == np.isfinite(drawn)
        with np.errstate(invalid="ignore"):
            errors = np.where(both, drawn - truth, np.where(agree, 0.0, np.inf))
        losses = np.where(np.isfinite(truth), truth, 1.0)
        return certify(errors, losses, self.probabilities, self.grid.cells, breadth(loss), tolerance)

    def rms(self, channels: dict[str, Array]) -> Iterator[tuple[str, float]]:
        """Root mean square error of further channels."""
        weights = 1 / (self.grid.cells * self.probabilities)
        for name, channel in channels.items():
            with np.errstate(invalid="ignore"):
                gap = np.where(np.isfinite(self.truth[name]), channel.ravel()[self.cells] - self.truth[name], 0.0)
            yield name, math.sqrt(float((weights * gap**2).mean()))
