"""A card as a result: its lines, in words, as plain data, and drawn with the picture that they are about."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from lossatlas import archive
from lossatlas._printable import printable
from lossatlas._said import several
from lossatlas.chart.card._entry import Part
from lossatlas.chart.card._gradient_entries import Alignment, Center
from lossatlas.chart.card._hessian_entries import Curvature, Saddle, Trace
from lossatlas.chart.card._picture_entries import Invariance, Markers, Noise, Range, Resolution, Spread, Variance
from lossatlas.probe import Meter

if TYPE_CHECKING:
    from lossatlas.chart._chart import Chart
    from lossatlas.draw import CardDisplay

State = Literal["fine", "warns", "missing"]


@dataclass(frozen=True, eq=False)
class Card(archive.Result):
    """What a picture shows of its surface, line by line; a line that was not measured says so and why.

    Attributes:
        title: the surface's name.
        curvature: curvatures in the plane against those of the whole Hessian.
        trace: the typical direction, and how much of all curvature the plane holds.
        saddle: how likely a random picture shows a way down.
        alignment: how much of the gradient and of the extreme eigenvectors lies in the plane.
        center: whether the center is critical.
        resolution: grid step against the width of valleys.
        noise: what the examples, the reconstruction and rounding leave of the contour lines.
        range: how far curvatures describe the picture.
        variance: of principal components, beside a random walk.
        invariance: rescalings, gauge, batch norm, and what does not move.
        spread: what other seeds would have shown.
        markers: points that do not lie on the plane.
        missing: why a line has no numbers, by its heading.
        meter: what was evaluated for it.
        forecast: what was expected at most: queries, cost in losses, seconds.
        provenance: surface, plane, settings, versions.
        status: ``complete``, or how many lines were not measured.
        chart: the picture that it is about, if it is at hand.
    """

    KIND: ClassVar[str] = "card"
    SAYS: ClassVar[tuple[str, ...]] = ("status", "warnings")

    title: str
    missing: dict[str, str]
    meter: Meter
    forecast: dict[str, Any]
    provenance: dict[str, Any]
    curvature: Curvature | None = None
    trace: Trace | None = None
    saddle: Saddle | None = None
    alignment: Alignment | None = None
    center: Center | None = None
    resolution: Resolution | None = None
    noise: Noise | None = None
    range: Range | None = None
    variance: Variance | None = None
    invariance: Invariance | None = None
    spread: Spread | None = None
    markers: Markers | None = None
    chart: Chart | None = field(default=None, metadata=archive.UNSAVED)

    @property
    def status(self) -> str:
        """How much of it was measured."""
        return "complete" if not self.missing else f"{several(len(self.missing), 'line')} not measured"

    @property
    def parts(self) -> Iterator[Part]:
        """The lines that were measured, in order."""
        return (part for field in fields(self) if isinstance(part := getattr(self, field.name), Part))

    @property
    def rows(self) -> list[tuple[str, str, State]]:
        """(heading, text, state) for each line, with a state of ``fine``, ``warns`` or ``missing``."""
        found: list[tuple[str, str, State]] = []
        for part in self.parts:
            found.append((part.heading, _sentence("; ".join(part.says())), "warns" if part.warns() else "fine"))
        for heading, why in self.missing.items():
            found.append((heading, f"Not measured: {why}", "missing"))
        return found

    def reading(self) -> list[str]:
        """The card in words, one sentence a line."""
        return [f"{heading}: {text}" for heading, text, _ in self.rows]

    @property
    def warnings(self) -> list[str]:
        """What a reader of the picture should not miss."""
        return [_sentence(words) for part in self.parts for words in part.warns()]

    def plot(self, ax: Any = None) -> CardDisplay:
        """The picture with its card below, good to print; on axes of yours only the card.

        Args:
            ax: matplotlib axes, or None for a new figure.
        """
        from lossatlas.draw import CardDisplay

        picture: dict[str, Any] = {}
        if self.chart is not None and ax is None:
            picture["field"] = _display(self.chart)
            if self.markers is not None and not self.chart.is_line:
                picture |= {"points": np.array(self.markers.coords), "ghosts": self.markers.ghosts}
        if self.curvature is not None:
            picture["shown"] = (self.curvature.plane[-1], self.curvature.plane[0])
            if self.curvature.largest is not None and self.curvature.smallest is not None:
                mean = self.trace.trace.value / self.trace.dimension if self.trace is not None else float("nan")
                picture["whole"] = (self.curvature.smallest.value, mean, self.curvature.largest.value)
        if self.spread is not None:
            picture["others"] = (min(self.spread.smallest), max(self.spread.largest))
        return CardDisplay(self.rows, title=self.title, note=self._cost(), **picture).plot(ax)

    def _cost(self) -> str:
        counts = ", ".join(f"{getattr(self.meter, kind):,} {kind}" for kind in ("products", "gradients", "values"))
        return f"card: {counts}, worth {self.meter.cost():,.0f} losses"

    def __str__(self) -> str:
        return printable("\n".join([self.title, *self.reading(), self._cost()]))

    def __rich__(self) -> Any:
        from rich.table import Table
        from rich.text import Text

        table = Table(
            title=Text(printable(self.title), "italic"),
            title_justify="left",
            caption=Text(self._cost()),
            caption_justify="left",
        )
        table.add_column("card")
        table.add_column("of this picture", overflow="fold")
        styles = {"fine": "", "warns": "bold", "missing": "dim"}
        marks = {"fine": " ", "warns": "!", "missing": "–"}
        for heading, text, state in self.rows:
            table.add_row(
                Text(f"{marks[state]} {printable(heading)}", styles[state]), Text(printable(text), styles[state])
            )
        return table

    def _repr_html_(self) -> str:
        return f"{super()._repr_html_()}<p>{html.escape(self._cost())}</p>"


def _display(chart: Chart) -> Any:
    if not chart.is_line:
        return chart.display()
    from lossatlas.draw import ProfileDisplay

    return ProfileDisplay(chart.alpha, chart.loss[0], xlabel=chart.labels[0], ylabel="loss")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] if text[:1].isascii() else text
