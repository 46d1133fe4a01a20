"""The certificate of an interpolated chart: errors near the minimum and on the whole, from cells predicted by all others.

Held-out cells are drawn evenly within each stratum. Each is predicted from every other evaluated cell, so that all of
them serve the field as well. An error is held against the one that was expected there; what the cells show of this
ratio says what the errors of all cells of the stratum are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

CONFIDENCE = 0.95
DRAWS = 400
# Shares of cells above a ratio are smoothed by this many imagined ratios of the other stratum: few cells show few tails.
BELOW, ABOVE = 1.2, 1.8


@final
@dataclass(frozen=True)
class Row:
    """Errors of the interpolated cells of one stratum, in the metric of the picture.

    Attributes:
        name: ``near`` or ``whole``.
        median: half of the cells are off by less.
        p95: 95 % of them are.
        worst: what the largest error of the stratum is expected to be, at least the largest that was seen.
        median_interval: 95 % interval of the median.
        p95_interval: of the 95th percentile.
        worst_interval: from the largest error seen to the upper end of the interval of the largest.
        held: held-out cells behind these figures.
        cells: of the stratum that are interpolated.
    """

    name: str
    median: float
    p95: float
    worst: float
    median_interval: tuple[float, float]
    p95_interval: tuple[float, float]
    worst_interval: tuple[float, float]
    held: int
    cells: int


@final
@dataclass(frozen=True)
class Certified:
    """How far an interpolated chart is from the surface, where it is read.

    Attributes:
        near: around the minimum and the center.
        whole: over the whole chart.
        metric: ``relative`` or ``spacing``.
        tolerance: what was asked for near the minimum; on the whole ``LOOSER`` times that.
        channels: by further channel, the 95th percentile and the largest of absolute errors at held-out cells.
    """

    near: Row
    whole: Row
    metric: str
    tolerance: float
    channels: dict[str, tuple[float, float]]

    @property
    def reached(self) -> bool:
        """Whether both 95th percentiles are within their tolerances."""
        return self.near.p95 <= self.tolerance and self.whole.p95 <= LOOSER * self.tolerance

    @property
    def sentence(self) -> str:
        """The certificate in words."""
        unit = "" if self.metric == "relative" else " of a contour spacing"
        parts = [
            f"{place} 95 % of the interpolated cells are off by at most {_percent(row.p95)}{unit} (95 % interval "
            f"{_percent(row.p95_interval[0])} to {_percent(row.p95_interval[1])}; median {_percent(row.median)}, largest "
            f"error expected {_percent(row.worst)})"
            for place, row in (("near the minimum", self.near), ("over the whole chart", self.whole))
        ]
        held = self.near.held + self.whole.held
        missed = "" if self.reached else f"; the tolerance of {_percent(self.tolerance)} near the minimum, "
        missed += "" if self.reached else f"{_percent(LOOSER * self.tolerance)} over the whole chart, was not reached"
        return f"measured on {held} held-out cells: {parts[0]}; {parts[1]}{missed}"


LOOSER = 2.5


def certify(
    expected: Array, close: Mask, known: Mask, cells: NDArray[np.int64], errors: Array, predicted: Array
) -> tuple[Row, Row, Array]:
    """Rows of both strata, and the expected error of each cell in the light of what was held out.

    Args:
        expected: (m,), error to expect of each cell, up to a factor.
        close: (m,), which cells are near.
        known: (m,), which cells were evaluated.
        cells: (h,), held-out cells, drawn evenly among the interpolated ones of each stratum.
        errors: (h,), measured there.
        predicted: (h,), what was expected there.
    """
    tiny = np.finfo(np.float64).tiny
    ratios = errors / np.maximum(predicted, tiny)
    where = close[cells]
    # With few held-out cells in a stratum those of both speak for it.
    inside = ratios[where] if where.sum() >= FEWEST else ratios
    outside = ratios[~where] if (~where).sum() >= FEWEST else ratios
    within, beyond = expected[close & ~known], expected[~close & ~known]
    rng = np.random.default_rng(0)
    near = _row("near", [(within, inside)], errors[where], int(where.sum()), rng)
    whole = _row("whole", [(within, inside), (beyond, outside)], errors, len(cells), rng)
    factor = np.where(close, _rms(inside), _rms(outside))
    return near, whole, np.where(known, 0.0, factor * expected)


FEWEST = 6


def _row(name: str, parts: list[tuple[Array, Array]], seen: Array, held: int, rng: np.random.Generator) -> Row:
    cells = sum(len(expected) for expected, _ in parts)
    if cells == 0 or any(len(ratios) == 0 for _, ratios in parts):
        none = (0.0, 0.0) if cells == 0 else (0.0, math.inf)
        size = 0.0 if cells == 0 else math.nan
        return Row(name, size, size, size, none, none, none, held, cells)
    levels = np.array([0.5, 0.95, 1 - 0.5 / cells])
    thin = [(np.sort(expected)[:: max(1, len(expected) // 400)], len(expected), ratios) for expected, ratios in parts]
    found = _quantiles(thin, levels)
    draws = np.array(
        [
            _quantiles([(e, n, ratios[rng.integers(0, len(ratios), len(ratios))]) for e, n, ratios in thin], levels)
            for _ in range(DRAWS)
        ]
    )
    low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        low = np.where(low > 0, found * (low / found) ** BELOW, low)
        high = np.where(found > 0, found * (high / found) ** ABOVE, high)
    # A sample of few cells cannot reach far into the tail: the interval ends no closer than a few cells allow.
    high = np.maximum(high, found * (1 + REACH / math.sqrt(held)))
    low = np.minimum(low, found / (1 + REACH / math.sqrt(held)))
    largest = float(seen.max(initial=0.0))
    return Row(
        name,
        float(found[0]),
        float(found[1]),
        max(float(found[2]), largest),
        (float(low[0]), float(high[0])),
        (float(low[1]), float(high[1])),
        (largest, max(float(high[2]), largest)),
        held,
        cells,
    )


REACH = 2.0


def _quantiles(parts: list[tuple[Array, int, Array]], levels: Array) -> Array:
    """Quantiles of expected × ratio over all pairs, each part weighing as many cells as it stands for."""
    values = np.concatenate([np.outer(expected, ratios).ravel() for expected, _, ratios in parts])
    shares = np.concatenate(
        [
            np.full(len(expected) * len(ratios), count / (len(expected) * len(ratios)))
            for expected, count, ratios in parts
        ]
    )
    order = np.argsort(values)
    reached = np.cumsum(shares[order])
    place = np.minimum(np.searchsorted(reached, levels * reached[-1]), len(values) - 1)
    found: Array = values[order][place]
    return found


def _rms(ratios: Array) -> float:
    return math.sqrt(float((ratios**2).mean())) if len(ratios) else 1.0


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"
