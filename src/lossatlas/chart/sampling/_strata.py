"""The certificate of an interpolated chart: errors near the minimum and on the whole, from cells predicted by all others.

Held-out cells are drawn evenly within each stratum. Each is predicted from every other evaluated cell, so that all of
them serve the field as well. An error is held against the one that was expected there; what the cells show of this
ratio says what the errors of all cells of the stratum are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import final

import numpy as np
from numpy.typing import NDArray

from lossatlas import archive

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

CONFIDENCE = 0.95
DRAWS = 200
# Tolerances on the whole are wider than near the minimum by this factor.
LOOSER = 2.5
# Held-out cells that speak for a stratum alone.
FEWEST = 6
# Over 24 planes of six networks (residual, plain and perceptrons, 16 held-out cells in each stratum) the truth exceeded
# plain estimates of the 95th percentile and of the largest error near the minimum by these factors in the median: nodes
# are added until the estimate is small, so estimates that are small by luck are stopped at.
NEAR = np.array([1.0, 1.2, 1.5])
WHOLE = np.ones(3)
# On the same planes log(truth / estimate) lay within WIDTH times sqrt(bootstrap variance + FLOOR²) in 95 % of cases.
FLOOR, WIDTH, ENOUGH = 0.2, 2.8, 16


@final
@dataclass(frozen=True)
class Row(archive.Result):
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

    def plus(self, added: float) -> Row:
        """The same with a further error whose 95th percentile is known: squares add up."""
        if not added > 0 or not math.isfinite(self.p95):
            return self
        if self.p95 == 0:
            return replace(self, p95=added, p95_interval=(0.0, 2 * added))
        factor = math.hypot(self.p95, added) / self.p95
        return replace(
            self,
            median=factor * self.median,
            p95=factor * self.p95,
            worst=factor * self.worst,
            median_interval=(self.median_interval[0], factor * self.median_interval[1]),
            p95_interval=(self.p95_interval[0], factor * self.p95_interval[1]),
            worst_interval=(self.worst_interval[0], factor * self.worst_interval[1]),
        )


@final
@dataclass(frozen=True)
class Certified:
    """How far an interpolated chart is from the surface, where it is read.

    Attributes:
        near: around the minimum and the center.
        whole: over the whole chart.
        metric: ``relative`` or ``spacing``.
        tolerance: what was requested near the minimum; on the whole ``LOOSER`` times that.
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
        missed = (
            ""
            if self.reached
            else f"; the tolerance, {_percent(self.tolerance)} near the minimum and {_percent(LOOSER * self.tolerance)} "
            "over the whole chart, was not reached"
        )
        return f"measured on {self.whole.held} held-out cells: {parts[0]}; {parts[1]}{missed}"


def certify(
    expected: Array,
    close: Mask,
    known: Mask,
    cells: NDArray[np.int64],
    errors: Array,
    predicted: Array,
    *,
    draws: int = DRAWS,
) -> tuple[Row, Row, Array]:
    """Rows of both strata, and the expected error of each cell in the light of what was held out.

    Args:
        expected: (m,), error to expect of each cell, up to a factor.
        close: (m,), which cells are near.
        known: (m,), which cells were evaluated.
        cells: (h,), held-out cells, drawn evenly among the interpolated ones of each stratum.
        errors: (h,), measured there.
        predicted: (h,), what was expected there.
        draws: of the bootstrap that intervals rest on; 0 for a look without intervals.
    """
    tiny = np.finfo(np.float64).tiny
    ratios = errors / np.maximum(predicted, tiny)
    where = close[cells]
    # With few held-out cells in a stratum those of both speak for it.
    inside = ratios[where] if where.sum() >= FEWEST else ratios
    outside = ratios[~where] if (~where).sum() >= FEWEST else ratios
    within, beyond = expected[close & ~known], expected[~close & ~known]
    near = _row("near", [(within, inside)], NEAR, errors[where], int(where.sum()), draws)
    whole = _row("whole", [(within, inside), (beyond, outside)], WHOLE, errors, len(cells), draws)
    factor = np.where(close, _rms(inside), _rms(outside))
    return near, whole, np.where(known, 0.0, factor * expected)


def _row(name: str, parts: list[tuple[Array, Array]], excess: Array, seen: Array, held: int, draws: int) -> Row:
    cells = sum(len(expected) for expected, _ in parts)
    if cells == 0 or any(len(ratios) == 0 for _, ratios in parts):
        none = (0.0, 0.0) if cells == 0 else (0.0, math.inf)
        size = 0.0 if cells == 0 else math.nan
        return Row(name, size, size, size, none, none, none, held, cells)
    levels = np.array([0.5, 0.95, 1 - 0.5 / cells])
    pairs = _Pairs(parts)
    found = excess * pairs.quantiles(levels, np.ones((1, sum(len(ratios) for _, ratios in parts))))[0]
    rng = np.random.default_rng(0)
    # By draw, how often each ratio counts in it.
    counts = [rng.multinomial(len(q), np.full(len(q), 1 / len(q)), draws) for _, q in parts]
    again = pairs.quantiles(levels, np.concatenate(counts, 1))
    # A draw without any error has no logarithm: the others say how far they scatter, and the interval begins at 0.
    some = again > 0
    spread = np.array([np.log(d[s]).std() if s.any() else 0.0 for d, s in zip(again.T, some.T, strict=True)])
    # Few ratios neither show how far they scatter nor reach into the tails of their distribution.
    few = max(1.0, ENOUGH / min(len(ratios) for _, ratios in parts)) ** 0.75
    half = WIDTH * np.sqrt(spread**2 + (few * FLOOR) ** 2)
    always = some.all(0)
    low = np.where(always, found * np.exp(-half), 0.0)
    high = np.where(always, found, np.maximum(found, again.max(0, initial=0.0))) * np.exp(half)
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


@final
class _Pairs:
    """All products of a cell's expected error and a held-out ratio, in order; each part weighs as many cells as it has."""

    def __init__(self, parts: list[tuple[Array, Array]]) -> None:
        values, owners, shares, first = [], [], [], 0
        for expected, ratios in parts:
            thin = _thinned(expected)
            values.append(np.outer(thin, ratios).ravel())
            owners.append(np.tile(np.arange(first, first + len(ratios)), len(thin)))
            shares.append(np.full(len(ratios), len(expected) / max(1, len(thin) * len(ratios))))
            first += len(ratios)
        together = np.concatenate(values)
        order = np.argsort(together)
        self.values, self.owners, self.shares = together[order], np.concatenate(owners)[order], np.concatenate(shares)

    def quantiles(self, levels: Array, counts: NDArray[np.number]) -> Array:
        """Quantiles (d, l) where each ratio counts so often, (d, r), as in d bootstrap samples."""
        reached = np.cumsum((counts * self.shares)[:, self.owners], 1)
        wanted = levels[None] * reached[:, -1:]
        found = [np.minimum(np.searchsorted(row, at), len(row) - 1) for row, at in zip(reached, wanted, strict=True)]
        return self.values[np.array(found, dtype=np.int64).reshape(wanted.shape)]


def _thinned(expected: Array) -> Array:
    """At most a hundred numbers that are distributed as the given ones."""
    count = min(len(expected), 100)
    if count == 0:
        return expected
    found: Array = np.sort(expected)[(np.arange(count) * len(expected) + len(expected) // 2) // count]
    return found


def _rms(ratios: Array) -> float:
    return math.sqrt(float((ratios**2).mean())) if len(ratios) else 1.0


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"
