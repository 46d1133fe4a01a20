"""A number from random vectors: what it is, how far it may be off, and what it would cost to know it better."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from lossatlas import _statistics, archive
from lossatlas.probe import Meter

if TYPE_CHECKING:
    from lossatlas.draw import CurvesDisplay


@dataclass(frozen=True, eq=False)
class Estimate(archive.Result):
    """A quantity of the Hessian as the mean of independent draws, one per random vector.

    Attributes:
        quantity: what it is, for example ``tr H``.
        value: the estimate.
        interval: Student's interval of it at the requested confidence.
        error: standard error.
        confidence: of the interval.
        relative: how close it was to come, as a share of the value.
        products: Hessian products behind it, those of checks and sketches included.
        draws: (n,) the single draws; empty where it is exact.
        meter: what was evaluated for it.
        provenance: surface, point and settings, plain JSON values.
        status: ``converged``, ``exact``, or that the limit came first.
        frobenius: of a trace, ‖H‖_F² from the same products.
        each: products that one more draw takes; 0 where more draws are not what it lacks.
    """

    KIND: ClassVar[str] = "estimate"
    SAYS: ClassVar[tuple[str, ...]] = ("samples",)

    quantity: str
    value: float
    interval: tuple[float, float]
    error: float
    confidence: float
    relative: float
    products: int
    draws: np.ndarray
    meter: Meter
    provenance: dict[str, Any]
    status: str
    frobenius: Estimate | None = None
    each: int = 1

    @property
    def samples(self) -> int:
        """Random vectors behind it; 0 where it is exact."""
        return len(self.draws)

    @property
    def half(self) -> float:
        """Half the width of the interval."""
        return (self.interval[1] - self.interval[0]) / 2

    def more(self, relative: float) -> int | None:
        """About how many more products an interval of ± `relative` of the value takes; None if it cannot be said."""
        if self.error == 0:
            return 0
        if self.value == 0 or self.samples < 2 or not self.each:
            return None
        spread = self.error * math.sqrt(self.samples)
        z = _statistics.quantile(self.confidence, self.samples - 1)
        draws = math.ceil((z * spread / (relative * abs(self.value))) ** 2) - self.samples
        return max(0, draws * self.each)

    @property
    def sentence(self) -> str:
        """The estimate in words, with what it would take to know it better."""
        low, high = self.interval
        if not self.samples:
            return f"{self.quantity} = {self.value:.6g}, exact, from {self.products:,} products"
        says = f"{self.quantity} = {self.value:.4g}, {self.confidence:.0%} interval [{low:.4g}, {high:.4g}]"
        if low == high:
            return f"{self.quantity} = {self.value:.6g} in every one of {self.samples:,} draws"
        if not self.each:
            return says
        if low <= 0 <= high:
            return f"{says}; its sign is not settled after {self.products:,} products"
        reached = self.half / abs(self.value)
        aim = reached / 2 if reached <= self.relative else self.relative
        return f"{says}; about {self.more(aim):,} more products for {100 * aim:.2g} %"

    def plot(self, ax: Any = None) -> CurvesDisplay:
        """The running mean with its interval, against the number of random vectors.

        Args:
            ax: matplotlib axes, or None for a new figure.
        """
        from lossatlas.draw import CurvesDisplay

        counts = np.unique(np.geomspace(4, max(self.samples, 5), 200).astype(int))
        counts = counts[counts <= self.samples]
        middle, _, half = np.array([_statistics.mean(self.draws[:n], self.confidence) for n in counts]).reshape(-1, 3).T
        curves = {self.quantity: (counts.astype(float), middle, middle - half, middle + half)}
        return CurvesDisplay(
            curves, xlabel="random vectors", ylabel=self.quantity, yscale="linear", note=self.sentence
        ).plot(ax)
