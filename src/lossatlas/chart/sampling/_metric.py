"""The metric in which a picture is read: relative where losses are positive, contour spacings where they cross zero."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Losses below this share of the range are held against it: there a logarithmic picture shows rounding.
FLOOR = 1e-8
# Contours of a picture, about.
LEVELS = 12
# The neighborhood of a center reaches this share of a half-span to every side; cells of the lowest losses belong to it.
NEIGHBORHOOD, LOWEST = 0.25, 0.1


@final
@dataclass(frozen=True)
class Metric:
    """How far apart two losses look.

    Attributes:
        name: ``relative``, |found − true| / true, or ``spacing``, |found − true| in units of the contour spacing.
        unit: the floor of the denominator, or the contour spacing.
        step: one contour step in this metric.
    """

    name: Literal["relative", "spacing"]
    unit: float
    step: float

    @classmethod
    def of(cls, losses: Array) -> Metric:
        """The metric of a picture of such losses: relative if all finite ones are positive."""
        finite = losses[np.isfinite(losses)]
        span = float(np.ptp(finite)) if finite.size else 0.0
        low = float(finite.min()) if finite.size else 0.0
        if low < 0 or (low == 0 and span == 0):
            return cls("spacing", span / LEVELS if span > 0 else 1.0, 1.0)
        unit = FLOOR * span if span > 0 else FLOOR * low
        ratio = math.log((low + span + unit) / (low + unit))
        return cls("relative", unit, math.expm1(ratio / LEVELS) if ratio > 0 else math.inf)

    def size(self, losses: Array) -> Array:
        """What an error is divided by."""
        return np.abs(losses) + self.unit if self.name == "relative" else np.full_like(losses, self.unit)

    def error(self, found: Array, true: Array) -> Array:
        """How far found losses are from true ones; 0 where neither is finite, infinite where only one is."""
        both = np.isfinite(found) & np.isfinite(true)
        with np.errstate(invalid="ignore"):
            apart = np.abs(found - true) / self.size(true)
        return np.where(both, apart, np.where(np.isfinite(found) == np.isfinite(true), 0.0, np.inf))

    def forth(self, losses: Array) -> Array:
        """Losses on a scale on which equal steps look equal."""
        return np.log(np.maximum(losses, 0) + self.unit) if self.name == "relative" else losses

    def back(self, scaled: Array) -> Array:
        """Losses from that scale."""
        return np.exp(scaled) - self.unit if self.name == "relative" else scaled


def near(losses: Array, units: Array, centers: Array) -> Mask:
    """Where a picture is read most closely: the tenth of the cells with the lowest losses, and around the centers.

    Args:
        losses: shape (m,).
        units: coordinates (m, k) in units in which each span is 2 wide.
        centers: (c, k), in the same units.
    """
    finite = np.isfinite(losses)
    mask = np.zeros(len(losses), dtype=bool)
    if finite.any():
        mask |= finite & (losses <= np.quantile(losses[finite], LOWEST))
    for center in centers:
        mask |= (np.abs(units - center) <= NEIGHBORHOOD + 1e-9).all(1)
    return mask
