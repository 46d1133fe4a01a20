"""The Morse–Smale complex of a chart: where each cell descends and ascends to, and the lines that divide the plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lossatlas import archive
from lossatlas._errors import InputError
from lossatlas._said import several
from lossatlas.chart._caption import title
from lossatlas.chart._descent import Descent, Pass
from lossatlas.chart._features import Feature, Metric, features, measured
from lossatlas.draw import Table
from lossatlas.probe import Meter

if TYPE_CHECKING:
    from lossatlas.chart._chart import Chart
    from lossatlas.draw import MorseSmaleDisplay

Array = NDArray[np.float64]
# The neighbors of a cell in order around it, (dj, di).
_RING = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))


@dataclass(frozen=True, eq=False)
class Saddle(archive.Result):
    """A saddle of the complex, and the lines of steepest descent and ascent from it.

    Attributes:
        position: (alpha, beta).
        index: (j, i) of the cell.
        value: the loss there.
        minima: numbers of the minima that the descents end in.
        maxima: numbers of the maxima that the ascents end in; fewer than two where the chart ends.
        descents: of each, its places from the saddle on, (m, 2).
        ascents: alike.
    """

    position: tuple[float, float]
    index: tuple[int, int]
    value: float
    minima: tuple[int, ...]
    maxima: tuple[int, ...]
    descents: tuple[np.ndarray, ...]
    ascents: tuple[np.ndarray, ...]


@dataclass(frozen=True, eq=False)
class MorseSmale(archive.Result):
    """The plane of a chart, divided by where its cells lead.

    From each cell the steepest descent, from neighbor to lowest neighbor, leads to a minimum, and the steepest ascent to a
    maximum. Only minima and maxima that stand against the error of the chart divide it, the same as in its `Topology`: the
    basin of any other one drains over the lowest pass out of it. A saddle is the lowest pass at which two regions of
    descent join, or the highest at which two of ascent do, or one of these and the outside. From it lines of steepest
    descent lead to minima and bound the regions of ascent; lines of steepest ascent lead to maxima and bound the regions
    of descent. They go from cell to cell, so their course is known to about one cell.

    Attributes:
        alpha: (nx,) coordinates along direction 1.
        beta: (ny,) coordinates along direction 2.
        loss: (ny, nx) the field.
        labels: of the axes.
        title: the surface's name.
        metric: in which persistence was measured: ``loss`` or ``log``.
        descending: (ny, nx) number of the minimum that each cell descends to; −1 where the loss is not finite.
        ascending: (ny, nx) number of the maximum that each cell ascends to.
        minima: that stand, the most persistent first.
        maxima: alike.
        saddles: between them, those of minima first.
        left_out: how many minima and maxima did not stand.
        note: what the pictures of the chart say under them.
        meter: what was evaluated for the chart.
        provenance: of the chart, with the settings of the complex.
    """

    KIND: ClassVar[str] = "morse-smale"
    SAYS: ClassVar[tuple[str, ...]] = ("euler", "inside", "on_rim")

    alpha: Array
    beta: Array
    loss: Array
    labels: tuple[str, ...]
    title: str
    metric: Metric
    descending: NDArray[np.int64]
    ascending: NDArray[np.int64]
    minima: tuple[Feature, ...]
    maxima: tuple[Feature, ...]
    saddles: tuple[Saddle, ...]
    left_out: tuple[int, int] = (0, 0)
    note: str = ""
    meter: Meter = field(default_factory=Meter)
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def on_rim(self) -> tuple[int, int, int]:
        """How many minima, saddles and maxima lie on the rim."""
        minima, saddles, maxima = (
            sum(_rim(one.index, self.loss.shape) for one in group) for group in (self.minima, self.saddles, self.maxima)
        )
        return minima, saddles, maxima

    @property
    def inside(self) -> tuple[int, int, int]:
        """How many do not."""
        minima, saddles, maxima = self.on_rim
        return len(self.minima) - minima, len(self.saddles) - saddles, len(self.maxima) - maxima

    @property
    def euler(self) -> int:
        """Minima − saddles + maxima inside the chart: 1, the Euler characteristic of a disk, on a chart without holes.

        Maxima on the rim are none of the disk: sublevel sets do not close around them. Two saddles in neighboring cells are one
        here, which makes it larger.
        """
        return len(self.minima) - len(self.saddles) + self.inside[2]

    @property
    def sentence(self) -> str:
        """The counts in words, with what did not stand."""
        if not self.minima:
            return "no region: no cell has a finite loss"
        says = f"{_listed(self.inside)} inside the chart"
        if any(self.on_rim):
            says += f", {_listed(self.on_rim)} on its rim"
        if any(self.left_out):
            few, more = self.left_out
            held = "is" if few + more == 1 else "are"
            says += f"; {_listed((few, 0, more), 'further ')} {held} within its error and divide{'s' * (few + more == 1)} nothing"
        return says

    def plot(self, ax: Any = None, **style: Any) -> MorseSmaleDisplay:
        """The regions of descent in colors, contour lines, the lines from the saddles, minima, saddles and maxima.

        Args:
            ax: matplotlib axes, or None for a new figure.
            style: of ``MorseSmaleDisplay.plot``, for example ``levels="log"``.
        """
        return self.display().plot(ax, **({"levels": "log"} if self.metric == "log" else {}) | style)

    def display(self) -> MorseSmaleDisplay:
        """The same as a display that is not drawn yet."""
        from lossatlas.draw import MorseSmaleDisplay

        def places(group: Sequence[Feature | Saddle]) -> Array:
            return np.array([one.position for one in group], dtype=np.float64).reshape(-1, 2)

        return MorseSmaleDisplay(
            self.alpha,
            self.beta,
            self.loss,
            xlabel=self.labels[0],
            ylabel=self.labels[1],
            title=title(self),
            regions=self.descending,
            minima=places(self.minima),
            saddles=places(self.saddles),
            maxima=places(self.maxima),
            closed=np.array([not one.border for one in self.minima], dtype=bool),
            descents=[line for one in self.saddles for line in one.descents if not self._along_rim(line)],
            ascents=[line for one in self.saddles for line in one.ascents if not self._along_rim(line)],
            note=". ".join(part for part in (self.sentence, self.note) if part),
        )

    def table(self) -> Table:
        """The minima with the share of the cells that descend to each, and the maxima with those that ascend."""
        finite = max(1, int((self.descending >= 0).sum()))
        rows = [
            [
                one.kind,
                f"({one.position[0]:.3g}, {one.position[1]:.3g})",
                f"{one.value:.4g}",
                f"{(held == k).sum() / finite:.1%}",
            ]
            for group, held in ((self.minima, self.descending), (self.maxima, self.ascending))
            for k, one in enumerate(group)
        ]
        return Table(f"Morse–Smale complex of {self.title}", ["feature", "position", "loss", "cells"], rows)

    def _along_rim(self, line: Array) -> bool:
        """Whether a line runs along the frame of the picture, where it would not be seen."""
        ends = [np.isin(line[:, k], axis[[0, -1]]) for k, axis in enumerate((self.alpha, self.beta))]
        return bool((ends[0] | ends[1]).all())

    def __str__(self) -> str:
        return f"{self.table()}\n{self.sentence}"


def _listed(counts: Sequence[int], before: str = "") -> str:
    """Counts of minima, saddles and maxima in words, those of nothing left out."""
    names = (("minimum", "minima"), ("saddle", "saddles"), ("maximum", "maxima"))
    words = [several(n, before + one, before + many) for n, (one, many) in zip(counts, names, strict=True) if n]
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words) or "nothing"


def morse_smale(
    chart: Chart, *, metric: Metric = "loss", minimum_persistence: float | None = None, spacing: bool = True
) -> MorseSmale:
    """The Morse–Smale complex of a chart; see `Chart.morse_smale`.

    Raises:
        InputError: on a line, or for settings that `Chart.topology` would refuse.
    """
    if chart.is_line:
        raise InputError(
            "morse_smale got a chart of a line; expected one of a plane. chart.topology() has the minima and maxima of a line."
        )
    settings = {"metric": metric, "minimum_persistence": minimum_persistence, "spacing": spacing}
    pairs = features(chart, metric, minimum_persistence, spacing)
    values, _ = measured(chart, metric)
    found: list[tuple[list[Feature], int, Descent]] = []
    for kind, signed in (("minimum", values), ("maximum", -values)):
        all_of = [pair.extremum for pair in pairs if pair.extremum.kind == kind]
        stand = [one for one in all_of if one.real]
        descent = Descent(signed, [one.index[0] * values.shape[1] + one.index[1] for one in stand])
        found.append((stand, len(all_of) - len(stand), descent))
    (minima, few, down), (maxima, more, up) = found
    return MorseSmale(
        chart.alpha,
        chart.beta,
        chart.loss,
        chart.labels,
        chart.title,
        metric,
        down.region,
        up.region,
        tuple(minima),
        tuple(maxima),
        tuple(_saddles(chart, values, down, up, maxima)),
        (few, more),
        chart.caption(),
        chart.meter,
        {**chart.provenance, "morse_smale": settings},
    )


def _saddles(chart: Chart, values: Array, down: Descent, up: Descent, maxima: Sequence[Feature]) -> list[Saddle]:
    """The passes between regions of descent, then those of ascent that are not the same saddles.

    For the latter the outside of the chart is one region more, above everything: where a region of ascent first meets it, sublevel
    sets close around a maximum. So each maximum inside the chart has one pass, and each minimum but the lowest.
    """
    nx = values.shape[1]
    made, taken = [], np.zeros(values.shape, dtype=bool)
    finite = values[np.isfinite(values)]
    # Turned around, so that of equal losses the one that comes first for descents comes last for ascents: where they decide which
    # pass joins two regions of descent, the others are left to regions of ascent.
    around = np.flip(np.pad(-values, 1, constant_values=float(-finite.max()) - 1.0 if len(finite) else 0.0))
    wide, last = nx + 2, around.size - 1
    inside = [one.index for one in maxima if not _rim(one.index, values.shape)]
    outward = Descent(around, [0, *(last - (j + 1) * wide - i - 1 for j, i in inside)])

    def own(cells: Sequence[int]) -> list[int]:
        """Cells of the field with the outside around it as cells of the chart, up to where they leave it."""
        kept: list[int] = []
        for cell in cells:
            j, i = divmod(last - cell, wide)
            if not (1 <= j <= values.shape[0] and 1 <= i <= nx):
                break
            kept.append((j - 1) * nx + i - 1)
        return kept

    def places(cells: Sequence[int]) -> Array:
        j, i = np.divmod(np.array(cells), nx)
        return np.stack([chart.alpha[i], chart.beta[j]], 1)

    def add(cell: int, lower: list[list[int]], upper: list[list[int]]) -> None:
        j, i = divmod(cell, nx)
        made.append(
            Saddle(
                (float(chart.alpha[i]), float(chart.beta[j])),
                (j, i),
                float(chart.loss[j, i]),
                tuple(int(down.region.flat[way[-1]]) for way in lower),
                tuple(int(up.region.flat[way[-1]]) for way in upper),
                tuple(map(places, lower)),
                tuple(map(places, upper)),
            )
        )

    for one in down.passes:
        taken.flat[one.cell] = True
        lower = [down.path(one.cell), [one.cell, *down.path(one.beyond)]]
        sides = _sides(values, one, lower[0][1] if len(lower[0]) > 1 else one.beyond)
        add(one.cell, lower, [[one.cell, *up.path(cell)] for cell in sides])
    for one in outward.passes:
        (cell,) = own([one.cell])
        j, i = divmod(cell, nx)
        if taken[max(0, j - 1) : j + 2, max(0, i - 1) : i + 2].any():
            continue  # the pass of two minima is that of two maxima, up to a cell
        path = outward.path(one.cell)
        sides = own(_sides(around, one, path[1] if len(path) > 1 else one.beyond))
        ways = (own(path), [cell, *own(outward.path(one.beyond))])
        add(cell, [[cell, *down.path(side)] for side in sides], [way for way in ways if len(way) > 1])
    return made


def _rim(index: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether a cell lies on the rim of a chart."""
    return index[0] in (0, shape[0] - 1) or index[1] in (0, shape[1] - 1)


def _sides(field: Array, one: Pass, first: int) -> list[int]:
    """The steepest ways up from a pass on both sides of its way down: flat indices of neighbors.

    Args:
        field: whose pass it is.
        one: the pass.
        first: the first cell of its own way down.
    """
    ny, nx = field.shape
    j, i = divmod(one.cell, nx)
    ring = [(j + dj) * nx + i + di if 0 <= j + dj < ny and 0 <= i + di < nx else -1 for dj, di in _RING]
    cuts = sorted((ring.index(first), ring.index(one.beyond)))
    sides = (ring[cuts[0] + 1 : cuts[1]], ring[cuts[1] + 1 :] + ring[: cuts[0]])
    flat, found = field.ravel(), []
    for side in sides:
        there = [cell for cell in side if cell >= 0 and np.isfinite(flat[cell])]
        highest = max(there, key=lambda cell: (float(flat[cell]), cell), default=one.cell)
        if (flat[highest], highest) > (flat[one.cell], one.cell):
            found.append(highest)
    return found
