"""How far a reconstructed field is from the surface: measured on held-out cells, with an interval."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lossatlas import archive
from lossatlas._statistics import quantile
from lossatlas.chart.sampling._strata import Certified, Row

if TYPE_CHECKING:
    from lossatlas.chart.sampling._look import Reconstruction

Array = NDArray[np.float64]

CONFIDENCE = 0.95
# How far the interval reaches below and above, in units of Student's plain one on the logarithm.
BELOW, ABOVE = 1.1, 2.5


@dataclass(frozen=True)
class Certificate(archive.Result):
    """How far the field is from the surface it shows.

    An exact chart evaluates every cell: its error is zero by construction and nothing was held out to measure it. Any
    other chart was held against exact losses at cells that its reconstruction never used.

    Attributes:
        rms: root mean square error over all cells, in units of the loss.
        interval: 95 % interval of it.
        worst: the largest error seen; the true largest may be larger.
        probes: held-out cells behind these figures.
        exact: whether every cell was evaluated.
        relative: median over all cells of |error| / |loss|.
        relative_interval: 95 % interval of it.
        range: highest less lowest finite loss of the chart, what `rms` is to be held against.
        tolerance: what was requested, or None for an exact chart.
        extras: error of the further channels, for example ``accuracy``: rms, or the 95th percentile beside `near`.
        near: errors near the minimum, in the metric of the picture; None for an exact chart, or one of a cheap field.
        whole: errors over the whole chart, in that metric.
        metric: ``relative``, or ``spacing`` for errors in units of the contour spacing, where losses cross zero.
        rounding: by what share of the loss two evaluations of one point differ that are rounded differently, in 95 % of
            cases: near the center, and away from it; measured where the type of the numbers is coarse beside the
            tolerance, as half precision is, else None.
    """

    SAYS: ClassVar[tuple[str, ...]] = ("reached",)

    rms: float = 0.0
    interval: tuple[float, float] = (0.0, 0.0)
    worst: float = 0.0
    probes: int = 0
    exact: bool = True
    relative: float = 0.0
    relative_interval: tuple[float, float] = (0.0, 0.0)
    range: float = 0.0
    tolerance: float | None = None
    extras: dict[str, float] | None = None
    near: Row | None = None
    whole: Row | None = None
    metric: str = "relative"
    rounding: tuple[float, float] | None = None

    @property
    def strata(self) -> Certified | None:
        """Errors near the minimum and over the whole chart, where they were measured apart."""
        if self.near is None or self.whole is None:
            return None
        return Certified(self.near, self.whole, self.metric, self.tolerance or 0.0, {})

    @property
    def reached(self) -> bool:
        """Whether the error is within the tolerance: median relative error, and rms within half of it of the range."""
        if self.exact or self.tolerance is None:
            return True
        if self.strata is not None:
            return self.strata.reached
        return self.rms <= self.tolerance / 2 * self.range and self.relative <= self.tolerance

    @property
    def sentence(self) -> str:
        """The certificate in words."""
        if self.rounding is None:
            return self._sentence
        near, away = (f"{100 * share:.2g} %" for share in self.rounding)
        return (
            f"{self._sentence}; two evaluations of one point that are rounded differently differ by {near} near the center and "
            f"{away} away from it (in 95 % of cases)"
        )

    @property
    def _sentence(self) -> str:
        if self.exact:
            return "every cell was evaluated: the field is exact"
        if self.strata is not None:
            return self.strata.sentence
        share = 100 / self.range if self.range > 0 else math.nan
        low, high = (share * end for end in self.interval)
        return (
            f"against {self.probes} held-out cells the field is off by {share * self.rms:.2g} % of its range "
            f"(rms; 95 % interval {low:.2g} to {high:.2g} %), by {100 * self.relative:.2g} % of the loss in the "
            f"median, and by {self.worst:.2g} at most among those"
            + ("" if self.reached else f"; the tolerance of {self.tolerance:g} was not reached")
        )


def of_strata(found: Reconstruction, span: float, channels: Mapping[str, tuple[float, float]]) -> Certificate:
    """The certificate of an interpolated chart, from what its sampler brought back.

    Args:
        found: field, expected errors and both strata.
        span: the range of the field.
        channels: by further channel, the 95th percentile and the largest of errors at held-out cells.
    """
    near, whole = found.certificate.near, found.certificate.whole
    error = found.error[np.isfinite(found.error)]
    rms = math.sqrt(float((error**2).mean())) if error.size else 0.0
    low, high = whole.p95_interval
    ratios = (low / whole.p95, high / whole.p95) if whole.p95 > 0 else (1.0, 1.0)
    return Certificate(
        rms=rms,
        interval=(rms * ratios[0], rms * ratios[1]),
        worst=float(error.max(initial=0.0)),
        probes=len(found.held_out),
        exact=False,
        relative=whole.median,
        relative_interval=whole.median_interval,
        range=span,
        tolerance=found.certificate.tolerance,
        extras={name: p95 for name, (p95, _) in channels.items()},
        near=near,
        whole=whole,
        metric=found.certificate.metric,
    )


def breadth(loss: Array) -> float:
    """Highest less lowest finite loss."""
    finite = loss[np.isfinite(loss)]
    return float(np.ptp(finite)) if finite.size else 0.0


def certify(
    errors: Array, losses: Array, probabilities: Array, cells: int, span: float, tolerance: float
) -> Certificate:
    """The certificate from held-out cells that were drawn with known, unequal probabilities.

    With q the probability of a drawn cell and M cells in all, mean square error = (1/n) Σ e² / (M q) without bias.

    Args:
        errors: (n,) reconstruction less truth; infinite where only one of them is finite.
        losses: (n,) the truth.
        probabilities: (n,) with which each cell was drawn; they sum to 1 over all candidates.
        cells: M, the cells of the chart.
        span: the range of the field.
        tolerance: what was requested.
    """
    weights = 1 / (cells * probabilities)
    squares = weights * errors**2
    n = len(errors)
    mean = float(squares.mean())
    relative = np.abs(errors) / np.maximum(np.abs(losses), np.finfo(np.float64).tiny)
    median, ends = _median(relative, weights)
    return Certificate(
        rms=math.sqrt(mean),
        interval=_interval(squares),
        worst=float(np.abs(errors).max()),
        probes=n,
        exact=False,
        relative=median,
        relative_interval=ends,
        range=span,
        tolerance=tolerance,
    )


def _interval(squares: Array) -> tuple[float, float]:
    """Interval of the root of a mean of skewed, positive numbers: Student's t on the logarithm of the mean, stretched.

    Errors of a chart are heavy-tailed, so few cells mostly show too little of them, and a chart stops where few cells
    happened to look good. Over 50 planes of a digits MLP and 50 of a small transformer the true error lay, in units of the
    plain half-width, between −0.9 and 2.5 about the estimate in 95 % of cases; that is what the interval reaches.
    """
    n, mean = len(squares), float(squares.mean())
    if mean == 0 or not math.isfinite(mean):
        return mean, mean
    spread = float(squares.std(ddof=1)) / mean / math.sqrt(n)
    half = quantile(CONFIDENCE, n - 1) * spread / 2
    return math.sqrt(mean) * math.exp(-BELOW * half), math.sqrt(mean) * math.exp(ABOVE * half)


def _median(values: Array, weights: Array) -> tuple[float, tuple[float, float]]:
    """Weighted median, and the order statistics that cover it with 95 %."""
    order = np.argsort(values)
    share = np.cumsum(weights[order]) / weights.sum()
    effective = float(weights.sum() ** 2 / (weights**2).sum())
    half = 1.96 * 0.5 / math.sqrt(effective)

    def at(level: float) -> float:
        return float(values[order][min(int(np.searchsorted(share, level)), len(values) - 1)])

    return at(0.5), (at(0.5 - half), at(0.5 + half))


def _tuples(value: Any) -> Any:
    """A value of a JSON record as it was: its lists were tuples."""
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    return {key: _tuples(item) for key, item in value.items()} if isinstance(value, dict) else value
