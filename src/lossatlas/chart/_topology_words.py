"""The topology of a chart in one sentence, and its numbers with their uncertainty."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lossatlas.chart.directions._direction import AXES

if TYPE_CHECKING:
    from lossatlas.chart._features import Feature, Metric

# A relative uncertainty below this is not written: four digits are then certain.
CERTAIN = 5e-4


def amount(value: float, uncertainty: float, metric: Metric = "loss") -> str:
    """A persistence with its uncertainty: ``0.80 ± 0.02``; of logarithms ``a factor of 2.2 (2.1 to 2.4)``.

    Example:
        >>> amount(0.8, 0.0213), amount(0.8, 0.0), amount(math.log(2.2), 0.05, "log")
        ('0.800 ± 0.021', '0.8', 'a factor of 2.2 (2.09 to 2.31)')
    """
    if metric == "log":
        middle = f"a factor of {math.exp(min(value, 700)):.3g}"
        if uncertainty < CERTAIN:
            return middle
        low, high = (math.exp(min(max(value + sign * uncertainty, 0.0), 700)) for sign in (-1, 1))
        return f"{middle} ({low:.3g} to {high:.3g})"
    if not math.isfinite(uncertainty) or uncertainty < CERTAIN * value:
        return f"{value:.4g}"
    digits = 1 - math.floor(math.log10(uncertainty))
    if -4 < digits < 7:
        places = max(digits, 0)
        return f"{value:.{places}f} ± {uncertainty:.{places}f}"
    return f"{value:.3g} ± {uncertainty:.2g}"


def sentence(loss: NDArray[np.float64], minima: Sequence[Feature], metric: Metric = "loss") -> str:
    """The minima of a chart in one sentence: how many are real, what separates them, and what was not resolved."""
    finite = loss[np.isfinite(loss)]
    if not finite.size:
        return "no minimum: no cell has a finite loss"
    if np.ptp(finite) == 0:
        return f"no minimum: every finite cell has the same loss, {finite[0]:.4g}"
    inside = [f for f in minima if f.real and not f.border]
    edge = [f for f in minima if f.real and f.border]
    unresolved = [f for f in minima if not f.real]
    lowest = min(minima, key=lambda f: f.value, default=None)
    depths = [f for f in inside if math.isfinite(f.persistence)]
    apart = len(inside) - len(depths)
    alone = "" if edge else ": the chart shows no other well"
    parts = [_count(inside, depths, unresolved, metric, alone)] if inside else []
    if apart > 1:
        parts.append(f"cells that are not finite keep {apart} of them apart")
    if lowest is not None and lowest.border:
        parts.append(_outside(lowest, loss.shape, bool(inside)))
        edge = [f for f in edge if f is not lowest]
    if not inside and unresolved:
        parts.append(_rest(unresolved, metric, "no well").removeprefix(": "))
    if edge:
        more = "1 more opens" if len(edge) == 1 else f"{len(edge):,} more open"
        parts.append(f"{more} to the edge of the chart and may go on outside")
    return "; ".join(parts)


def _count(inside: list[Feature], depths: list[Feature], unresolved: list[Feature], metric: Metric, alone: str) -> str:
    if len(inside) == 1:
        own = f", {amount(depths[0].persistence, depths[0].uncertainty, metric)} deep" if depths else ""
        if metric == "log" and depths:
            own = f", below its saddle by {amount(depths[0].persistence, depths[0].uncertainty, metric)}"
        return f"1 minimum{own}" + (_rest(unresolved, metric, "no other well") or alone)
    said = f"{len(inside):,} minima"
    if depths:
        ordered = sorted(depths, key=lambda f: f.persistence)
        ends = [amount(f.persistence, f.uncertainty, metric) for f in (ordered[0], ordered[-1])]
        said += f", separated by {ends[0]}" + (f" to {ends[1]}" if ends[1] != ends[0] else "")
    if unresolved:
        more = "1 further well is" if len(unresolved) == 1 else f"{len(unresolved):,} further wells are"
        said += f" ({more} not resolved)"
    return said


def _rest(unresolved: list[Feature], metric: Metric, what: str) -> str:
    """That nothing deeper than the deepest well which is not resolved can be there."""
    if not unresolved:
        return ""
    deepest = max(f.persistence + f.uncertainty for f in unresolved)
    if not math.isfinite(deepest):
        return f": {what} is resolved"
    size = f"{deepest:.2g}" if metric == "loss" else f"a factor of {math.exp(min(deepest, 700)):.3g}"
    return f": {what} deeper than {size} is resolved"


def _outside(lowest: Feature, shape: tuple[int, ...], some: bool) -> str:
    """That the lowest loss of a chart is on its edge, or that it cannot be told from there."""
    where = ", ".join(f"{name} = {x:.3g}" for name, x in zip(AXES, lowest.position, strict=False))
    on_rim = any(count > 1 and k in (0, count - 1) for k, count in zip(lowest.index, shape, strict=True))
    place = "is on the edge" if on_rim else "is not closed off from the edge of the chart by more than the error"
    said = f"the lowest loss, {lowest.value:.4g} at {where}, {place}"
    further = ", and the surface may fall further outside"
    if some:
        return said + further
    if on_rim:
        return f"no minimum inside the chart: {said}{further}"
    return f"no minimum that is surely inside the chart: {said}"
