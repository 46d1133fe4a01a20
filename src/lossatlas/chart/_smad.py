"""The Saddle-Minimum Average Distance of a chart, Landscaper's measure of smoothness, with what it may be off."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lossatlas import _checks, archive
from lossatlas.chart._descent import Descent
from lossatlas.chart._features import features, measured, spacing_error
from lossatlas.chart._merge_tree import basins
from lossatlas.chart._topology_words import amount
from lossatlas.chart._volume import Volume
from lossatlas.probe import Meter

if TYPE_CHECKING:
    from lossatlas.chart._chart import Chart

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Smad(archive.Result):
    """The mean height of saddles above minima: 0 for a chart with a single well, larger the rougher it is.

    Attributes:
        value: the mean; in units of the loss, or of its range where it is normalized.
        uncertainty: half-width of its interval: the mean of what the two cells of each gap may be off.
        minima: how many gaps the mean is of.
        resolved: how many of these minima stand against the error of the chart.
        normalized: whether gaps are shares of the range of the losses.
        weighted: whether each gap is weighted with the share of the cells that descend to its minimum.
        title: the surface's name.
        meter: what was evaluated for the chart.
        provenance: of the chart.
    """

    KIND: ClassVar[str] = "smad"

    value: float
    uncertainty: float
    minima: int
    resolved: int
    normalized: bool
    weighted: bool
    title: str = ""
    meter: Meter = field(default_factory=Meter)
    provenance: dict[str, Any] = field(default_factory=dict)

    def __float__(self) -> float:
        return self.value

    @property
    def sentence(self) -> str:
        """The number in words, and how many of its minima stand."""
        if not self.minima:
            return "SMAD 0: the chart shows a single well"
        unit = " of the range" if self.normalized else ""
        weight = ", weighted by the cells of each" if self.weighted else ""
        rest = self.minima - self.resolved
        several = f"{self.minima:,} {'minimum' if self.minima == 1 else 'minima'}"
        doubt = f"; {rest:,} of them {'is' if rest == 1 else 'are'} not resolved" if rest else ""
        return f"SMAD {amount(self.value, self.uncertainty)}{unit} over {several}{weight}{doubt}"


def smad(
    chart: Chart | Volume,
    *,
    normalize: bool = False,
    weighted: bool = False,
    resolved: bool = False,
    spacing: bool = True,
) -> Smad:
    """The Saddle-Minimum Average Distance of a chart or volume; see `Chart.smad`."""
    normalize, weighted = _checks.flag("normalize", normalize), _checks.flag("weighted", weighted)
    resolved = _checks.flag("resolved", resolved)
    of = chart.measured() if isinstance(chart, Volume) else chart
    values, error = measured(of, "loss")
    pairs = features(of, "loss", None, spacing)
    bound = (error + (spacing_error(values) if spacing else 0.0)).ravel()
    stand = {_flat(one.extremum.index, values) for one in pairs if one.extremum.kind == "minimum" and one.extremum.real}
    found = basins(values)
    chosen = sorted(stand) if resolved else [int(found.order[place]) for place in found.minima]
    descent = Descent(values, chosen)
    first: dict[int, int] = {}
    for one in descent.passes:
        for region in one.regions:
            first.setdefault(region, one.cell)
    heights = values.ravel()
    # Pieces of plateaus are no minima of their own.
    gaps = {k: float(heights[cell] - heights[chosen[k]]) for k, cell in first.items()}
    gaps = {k: gap for k, gap in gaps.items() if gap > 0}
    finite = values[np.isfinite(values)]
    unit = float(np.ptp(finite)) if normalize and gaps else 1.0
    share = np.bincount(descent.region[descent.region >= 0], minlength=len(chosen)) / values.size
    weights = {k: (float(share[k]) if weighted else 1.0) / unit for k in gaps}
    count = max(1, len(gaps))
    return Smad(
        sum(weights[k] * gap for k, gap in gaps.items()) / count,
        sum(weights[k] * float(bound[chosen[k]] + bound[first[k]]) for k in gaps) / count,
        len(gaps),
        sum(chosen[k] in stand for k in gaps),
        normalize,
        weighted,
        chart.title,
        chart.meter,
        {**chart.provenance, "smad": {"resolved": resolved, "spacing": spacing}},
    )


def _flat(index: tuple[int, ...], field: Array) -> int:
    return int(np.ravel_multi_index(index, field.shape))
