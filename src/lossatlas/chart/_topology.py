"""The topology of a chart: which minima, saddles and maxima of the picture are more than its error."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lossatlas import _checks, archive
from lossatlas.chart._caption import title
from lossatlas.chart._features import Feature, Metric, Pair, features
from lossatlas.chart._topology_words import amount, sentence
from lossatlas.draw import Table
from lossatlas.probe import Meter

if TYPE_CHECKING:
    from lossatlas.chart._chart import Chart
    from lossatlas.draw import MergeTreeDisplay, ProfileDisplay, TopologyDisplay

Array = NDArray[np.float64]
_COORDINATES = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "kappa", "lambda")
_CELLS = ("i", "j", "k", "l", "m", "n", "o", "p")
_NUMBERS = ("value", "persistence", "error", "spacing", "border", "real")


class Paired(archive.Result):
    """What topologies have in common: minima, saddles and maxima in pairs, with what each pair may be off.

    A subclass has the fields ``loss``, ``title``, ``metric`` and ``pairs`` of `Topology`.
    """

    SAYS: ClassVar[tuple[str, ...]] = ("count",)

    loss: Array
    title: str
    metric: Metric
    pairs: tuple[Pair, ...]

    @cached_property
    def minima(self) -> tuple[Feature, ...]:
        """All minima, the most persistent first; those with ``real`` stand."""
        return tuple(pair.extremum for pair in self.pairs if pair.extremum.kind == "minimum")

    @cached_property
    def maxima(self) -> tuple[Feature, ...]:
        """All maxima, the most persistent first."""
        return tuple(pair.extremum for pair in self.pairs if pair.extremum.kind == "maximum")

    @cached_property
    def saddles(self) -> tuple[Feature, ...]:
        """All saddles: those where two minima meet, then those where two maxima do."""
        return tuple(pair.saddle for pair in self.pairs if pair.saddle is not None)

    @property
    def count(self) -> int:
        """How many minima inside the chart are real; those on its edge are not counted."""
        return sum(minimum.real and not minimum.border for minimum in self.minima)

    @cached_property
    def sentence(self) -> str:
        """The minima in one sentence."""
        return sentence(self.loss, self.minima, self.metric)

    def plot_tree(self, ax: Any = None, *, unresolved: bool = False) -> MergeTreeDisplay:
        """The merge tree: one branch per minimum, from its loss up to the saddle where it meets a lower one.

        Args:
            ax: matplotlib axes, or None for a new figure.
            unresolved: also draw the branches that are not real, in gray.
        """
        from lossatlas.draw import MergeTreeDisplay

        unresolved = _checks.flag("unresolved", unresolved)
        pairs = [pair for pair in self.pairs if pair.extremum.kind == "minimum"]
        kept = [k for k, pair in enumerate(pairs) if unresolved or pair.extremum.real]
        place = {k: n for n, k in enumerate(kept)}
        parents = []
        for k in kept:
            parent = pairs[k].parent
            while parent is not None and parent not in place:
                parent = pairs[parent].parent
            parents.append(-1 if parent is None else place[parent])
        chosen = [pairs[k] for k in kept]
        finite = self.loss[np.isfinite(self.loss)]
        return MergeTreeDisplay(
            np.array([pair.extremum.value for pair in chosen]),
            np.array([pair.saddle.value if pair.saddle else np.nan for pair in chosen]),
            np.array(parents, dtype=np.int64),
            labels=[_at(pair.extremum) + (", open" if pair.extremum.border else "") for pair in chosen],
            depths=[
                "" if pair.saddle is None else _depth(pair.extremum, self.metric).replace("a factor of ", "×")
                for pair in chosen
            ],
            real=np.array([pair.extremum.real for pair in chosen], dtype=bool),
            top=float(finite.max()) if finite.size else 1.0,
            logarithmic=self.metric == "log",
            title=self.title,
            note=self.sentence,
        ).plot(ax)

    def table(self) -> Table:
        """The real minima and maxima, with their persistence."""
        rows = [
            [f.kind, _at(f), f"{f.value:.4g}", _depth(f, self.metric), "open to the edge" if f.border else ""]
            for f in (*self._standing("minimum"), *self._standing("maximum"))
        ]
        return Table(f"Topology of {self.title}", ["feature", "position", "loss", "persistence", ""], rows)

    def to_dataframe(self) -> Any:
        """One row per feature, as a pandas data frame: saddles follow the extremum they end.

        Raises:
            InputError: if pandas is not installed.
        """
        rows = [
            {"pair": number, **_row(f)}
            for number, pair in enumerate(self.pairs)
            for f in (pair.extremum, pair.saddle)
            if f is not None
        ]
        return archive.data_frame(rows, ["pair", *_columns(self.loss.ndim)])

    def _standing(self, kind: str) -> list[Feature]:
        return [f for f in (self.minima if kind == "minimum" else self.maxima) if f.real]

    def __str__(self) -> str:
        return f"{self.table()}\n{self.sentence}"


@dataclass(frozen=True, eq=False)
class Topology(Paired):
    """Minima, saddles and maxima of a chart, paired by persistence.

    Raise the water from the lowest cell: at each minimum a new lake appears, and at each saddle two lakes become one. The
    saddle is paired with the shallower of the two minima (elder rule), and their difference is the *persistence* of the
    pair: how far one has to climb out of that minimum to reach a lower one. Maxima are paired alike on −loss. By the
    stability theorem (Cohen-Steiner, Edelsbrunner & Harer, "Stability of Persistence Diagrams", Discrete & Computational
    Geometry 37, 2007), a field that is nowhere off by more than e has these numbers with an error of at most 2e. So a
    pair stands if its persistence exceeds what its two cells may be off together.

    Attributes:
        alpha: (nx,) coordinates along direction 1.
        beta: (ny,) coordinates along direction 2; on a line one zero.
        loss: (ny, nx) the field.
        labels: of the axes.
        title: the surface's name.
        metric: in which persistence is measured: ``loss``, or ``log`` for its natural logarithm.
        pairs: (extremum, saddle, number of the pair whose extremum it ends in); first those of minima, then those of
            maxima, each from the most to the least persistent. The numbers count within one kind.
        note: what the pictures of the chart say under them.
        meter: what was evaluated for the chart.
        provenance: of the chart, with the settings of the topology.
    """

    KIND: ClassVar[str] = "topology"

    alpha: Array
    beta: Array
    loss: Array
    labels: tuple[str, ...]
    title: str
    metric: Metric
    pairs: tuple[Pair, ...]
    note: str = ""
    meter: Meter = field(default_factory=Meter)
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def is_line(self) -> bool:
        """Whether the chart has one coordinate only."""
        return len(self.labels) == 1

    def plot(self, ax: Any = None, **style: Any) -> TopologyDisplay | ProfileDisplay:
        """What is real, drawn on the contours (on a line, on the profile): minima, the saddles between them, maxima.

        Args:
            ax: matplotlib axes, or None for a new figure.
            style: of ``FieldDisplay.plot`` or ``ProfileDisplay.plot``, for example ``levels="log"``.
        """
        from lossatlas.draw import ProfileDisplay

        if self.is_line:
            marks = [("minimum", f.position[0]) for f in self._standing("minimum") if not f.border]
            notes = ". ".join(part for part in (self.sentence, self.note) if part)
            display = ProfileDisplay(
                self.alpha, self.loss[0], xlabel=self.labels[0], title=title(self), marks=marks, note=notes
            )
            return display.plot(ax, **({"yscale": "log"} if self.metric == "log" else {}) | style)
        return self.display().plot(ax, **({"levels": "log"} if self.metric == "log" else {}) | style)

    def display(self) -> TopologyDisplay:
        """The chart with its features as a display that is not drawn yet.

        Raises:
            InputError: on a line, whose display is that of its profile.
        """
        from lossatlas.draw import TopologyDisplay

        shown = [pair for pair in self.pairs if pair.extremum.kind == "minimum" and pair.extremum.real]
        maxima = [f.position for f in self._standing("maximum") if not f.border]
        nowhere = (np.nan, np.nan)
        told = "At a saddle: its height above the higher of its minima" if any(pair.saddle for pair in shown) else ""
        return TopologyDisplay(
            self.alpha,
            self.beta,
            self.loss,
            xlabel=self.labels[0],
            ylabel=self.labels[1],
            title=title(self),
            minima=np.array([pair.extremum.position for pair in shown]).reshape(-1, 2),
            saddles=np.array([pair.saddle.position if pair.saddle else nowhere for pair in shown]).reshape(-1, 2),
            closed=np.array([not pair.extremum.border for pair in shown], dtype=bool),
            depths=[_depth(pair.extremum, self.metric).replace("a factor of ", "×") for pair in shown],
            maxima=np.array(maxima).reshape(-1, 2),
            note=". ".join(part for part in (self.sentence, told, self.note) if part),
        )


def topology(
    chart: Chart, *, metric: Metric = "loss", minimum_persistence: float | None = None, spacing: bool = True
) -> Topology:
    """Minima, saddles and maxima of a chart whose persistence exceeds the error; see `Chart.topology`."""
    settings = {"metric": metric, "minimum_persistence": minimum_persistence, "spacing": spacing}
    return Topology(
        chart.alpha,
        chart.beta,
        chart.loss,
        chart.labels,
        chart.title,
        metric,
        features(chart, metric, minimum_persistence, spacing),
        chart.caption(),
        chart.meter,
        {**chart.provenance, "topology": settings},
    )


def _row(f: Feature) -> dict[str, Any]:
    # A line has one coordinate, and cells of one row.
    places = f.position + (0.0,) * (len(f.index) - len(f.position))
    coordinates = dict(zip(_COORDINATES, places, strict=False))
    cells = dict(zip(reversed(_CELLS[: len(f.index)]), f.index, strict=True))
    return {"kind": f.kind, **coordinates, **cells, **{name: getattr(f, name) for name in _NUMBERS}}


def _columns(axes: int) -> list[str]:
    return ["kind", *_COORDINATES[:axes], *reversed(_CELLS[:axes]), *_NUMBERS]


def _at(f: Feature) -> str:
    return "(" + ", ".join(f"{x:.3g}" for x in f.position) + ")"


def _depth(f: Feature, metric: Metric) -> str:
    return "–" if math.isinf(f.persistence) else amount(f.persistence, f.uncertainty, metric)
