"""The topology of a chart: which minima, saddles and maxima of the picture are more than its error."""

from __future__ import annotations

import html
import math
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lossatlas import archive
from lossatlas.chart._caption import title
from lossatlas.chart._features import Feature, Metric, Pair, features
from lossatlas.chart._topology_words import amount, sentence
from lossatlas.draw._table import Table

if TYPE_CHECKING:
    from lossatlas.chart._chart import Chart
    from lossatlas.draw import MergeTreeDisplay, ProfileDisplay, TopologyDisplay

Array = NDArray[np.float64]
KIND = "topology"
_NUMBERS = ("value", "persistence", "error", "spacing", "border", "real")


@dataclass(frozen=True, eq=False, repr=False)
class Topology:
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
        status: ``complete``.
    """

    alpha: Array
    beta: Array
    loss: Array
    labels: tuple[str, ...]
    title: str
    metric: Metric
    pairs: tuple[Pair, ...]
    note: str = ""
    meter: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    status: str = "complete"

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

    def plot_tree(self, ax: Any = None, *, unresolved: bool = False) -> MergeTreeDisplay:
        """The merge tree: one branch per minimum, from its loss up to the saddle where it meets a lower one.

        Args:
            ax: matplotlib axes, or None for a new figure.
            unresolved: also draw the branches that are not real, in gray.
        """
        from lossatlas.draw import MergeTreeDisplay

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
        """One row per feature, as a pandas DataFrame: saddles follow the extremum they end."""
        import pandas as pd

        rows = [
            {"pair": number, **_row(f)}
            for number, pair in enumerate(self.pairs)
            for f in (pair.extremum, pair.saddle)
            if f is not None
        ]
        return pd.DataFrame(rows, columns=["pair", "kind", "alpha", "beta", "j", "i", *_NUMBERS])

    def record(self) -> dict[str, Any]:
        """Everything but the arrays, as plain JSON values."""
        return {
            "title": self.title,
            "labels": list(self.labels),
            "metric": self.metric,
            "sentence": self.sentence,
            "count": self.count,
            "real": [asdict(f) for kind in ("minimum", "maximum") for f in self._standing(kind)],
            "note": self.note,
            "meter": self.meter,
            "provenance": self.provenance,
            "status": self.status,
        }

    def save(self, folder: str | Path) -> Path:
        """Write it into a folder: `topology.json` and `topology.safetensors`, atomically.

        Raises:
            OutputError: if the folder cannot be written; nothing is then half-written.
        """
        arrays = {"alpha": self.alpha, "beta": self.beta, "loss": self.loss}
        for kind in ("minimum", "maximum"):
            chosen = [pair for pair in self.pairs if pair.extremum.kind == kind]
            numbers = [_numbers(pair.extremum) for pair in chosen]
            saddles = [_numbers(pair.saddle) if pair.saddle else [np.nan] * 8 for pair in chosen]
            parents = [-1 if pair.parent is None else pair.parent for pair in chosen]
            arrays[f"{kind}/extrema"] = np.array(numbers, dtype=np.float64).reshape(-1, 8)
            arrays[f"{kind}/saddles"] = np.array(saddles, dtype=np.float64).reshape(-1, 8)
            arrays[f"{kind}/parents"] = np.array(parents, dtype=np.int64)
        return archive.save(folder, KIND, arrays, self.record())

    @classmethod
    def restore(cls, arrays: dict[str, np.ndarray], record: dict[str, Any]) -> Topology:
        """The topology that was saved."""
        alpha, beta, labels = arrays["alpha"], arrays["beta"], tuple(record["labels"])

        def feature(kind: Any, row: Array) -> Feature:
            j, i = int(row[0]), int(row[1])
            place = (float(alpha[i]),) if len(labels) == 1 else (float(alpha[i]), float(beta[j]))
            value, persistence, error, spacing = (float(number) for number in row[2:6])
            return Feature(kind, place, (j, i), value, persistence, error, spacing, bool(row[6]), bool(row[7]))

        pairs = [
            Pair(
                feature(kind, extremum),
                feature("saddle", saddle) if parent >= 0 else None,
                int(parent) if parent >= 0 else None,
            )
            for kind in ("minimum", "maximum")
            for extremum, saddle, parent in zip(
                arrays[f"{kind}/extrema"], arrays[f"{kind}/saddles"], arrays[f"{kind}/parents"], strict=True
            )
        ]
        return cls(
            alpha, beta, arrays["loss"], labels, record["title"], record["metric"], tuple(pairs), record["note"],
            record["meter"], record["provenance"], record["status"],
        )  # fmt: skip

    def _standing(self, kind: str) -> list[Feature]:
        return [f for f in (self.minima if kind == "minimum" else self.maxima) if f.real]

    def __str__(self) -> str:
        return f"{self.table()}\n{self.sentence}"

    def __repr__(self) -> str:
        return f"<Topology of {self.title}: {self.sentence}>"

    def _repr_html_(self) -> str:
        return f"{self.table()._repr_html_()}<p>{html.escape(self.sentence)}</p>"


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


def _numbers(f: Feature) -> list[float]:
    return [*f.index, *(float(getattr(f, name)) for name in _NUMBERS)]


def _row(f: Feature) -> dict[str, Any]:
    beta = f.position[1] if len(f.position) > 1 else 0.0
    place = {"kind": f.kind, "alpha": f.position[0], "beta": beta, "j": f.index[0], "i": f.index[1]}
    return place | {name: getattr(f, name) for name in _NUMBERS}


def _at(f: Feature) -> str:
    return "(" + ", ".join(f"{x:.3g}" for x in f.position) + ")"


def _depth(f: Feature, metric: Metric) -> str:
    return "–" if math.isinf(f.persistence) else amount(f.persistence, f.uncertainty, metric)
