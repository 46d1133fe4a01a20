"""Where runs ended: a map on which their distances are as true as they can be, and the barriers between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import ArrayLike

from lossatlas._errors import InputError
from lossatlas.draw import _surround
from lossatlas.draw._display import Array, Display, array
from lossatlas.draw._legible import legible
from lossatlas.draw._levels import number
from lossatlas.draw._palette import Stroke, ground, inked, strokes
from lossatlas.draw._style import narrow, now, shade, titled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Inches.
LEFT, GAP, HIGH = 0.62, 0.95, 2.75


@dataclass(eq=False)
class EndsDisplay(Display):
    """A map of points with their names, and a matrix of what lies between every two of them.

    Args:
        names: one per point; several points may share one, and with it a color.
        places: (n, 2) on the map.
        barriers: (n, n), symmetric.
        sizes: (n,) positive numbers that the areas of the dots are proportional to, or None.
        size_label: what they are.
        share: of all squared distances that the map holds.
        unit: of the map.
        barrier_label: what the matrix holds.
        title: a line above.
        note: a sentence of small print.
        looks: name to stroke; by the name itself where left out.

    Raises:
        InputError: arrays that do not fit the names.
    """

    names: Sequence[str]
    places: ArrayLike
    _: KW_ONLY
    barriers: ArrayLike
    sizes: ArrayLike | None = None
    size_label: str = ""
    share: float = 1.0
    unit: str = "Euclidean distance"
    barrier_label: str = "barrier on the straight line"
    title: str | None = None
    note: str | None = None
    looks: Mapping[str, Stroke] | None = None

    def __post_init__(self) -> None:
        n = len(self.names)
        self.places = array("places", self.places, 2, (n, 2))
        self.barriers = array("barriers", self.barriers, 2, (n, n))
        if self.sizes is not None:
            self.sizes = array("sizes", self.sizes, 1, (n,))
        if not n:
            raise InputError("got no ends to draw; give at least one.")

    def plot(self, ax: Axes | None = None, *, palette: dict[str, str] | None = None) -> Self:
        """Draw the map and the matrix.

        Args:
            ax: for the map alone; a new figure with both when left out.
            palette: name to color; from ``colors`` when left out.

        Returns:
            This display, with ``ax_`` (the map's) and ``figure_`` set.
        """
        if ax is not None:
            self._open(ax, 0.0)
            self._map(ax, palette)
            return self
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        if narrow():
            return self._column(palette)
        head = 0.55 if titled(self.title) else 0.3
        figure = Figure(figsize=(now().width, head + HIGH + 1.6), facecolor=shade(1.0))
        FigureCanvasAgg(figure)
        height, wide = figure.get_figheight(), (now().width - LEFT - GAP - 0.65) / 2
        boxes = [
            (x / now().width, (height - head - HIGH) / height, wide / now().width, HIGH / height)
            for x in (LEFT, LEFT + wide + GAP)
        ]
        self.ax_, self.figure_ = figure.add_axes(boxes[0]), figure
        self._matrix(figure, figure.add_axes(boxes[1]))
        if title := titled(self.title):
            figure.text(LEFT / now().width, 1 - 0.2 / height, title, fontsize=_surround.TITLE, va="center")
        self._map(self.ax_, palette)
        _surround.resize(figure, _surround.reach(figure) + 0.1)
        return self

    def _column(self, palette: dict[str, str] | None) -> Self:
        """The map above the matrix."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        head, whole = 0.4 if titled(self.title) else 0.12, now().width
        side = whole - LEFT - 0.25
        height = head + side + 1.6
        figure = Figure(figsize=(whole, height), facecolor=shade(1.0))
        FigureCanvasAgg(figure)
        self.ax_ = figure.add_axes((LEFT / whole, 1 - (head + side) / height, side / whole, side / height))
        self.figure_ = figure
        self._map(self.ax_, palette)
        if title := titled(self.title):
            text = _surround.wrap(title, whole - 0.2, _surround.TITLE)
            figure.text(0.1 / whole, 1 - 0.2 / height, text, fontsize=_surround.TITLE, va="center")
        down = _surround.reach(figure) + 0.4
        small = whole - GAP - 0.75
        _surround.resize(figure, down + small + 0.9)
        height = figure.get_figheight()
        self._matrix(figure, figure.add_axes((GAP / whole, 1 - (down + small) / height, small / whole, small / height)))
        _surround.resize(figure, _surround.reach(figure) + 0.1)
        return self

    def _map(self, axes: Axes, palette: dict[str, str] | None) -> None:
        from matplotlib.lines import Line2D

        places, sizes = self._arrays()
        look, handles = inked(strokes(self.names, palette, self.looks)), []
        for name, stroke in look.items():
            own = [k for k, other in enumerate(self.names) if other == name]
            axes.scatter(
                places[own, 0], places[own, 1], s=sizes[own], c=stroke.color, marker=stroke.marker,
                edgecolors="white", lw=0.8, alpha=0.9, zorder=3,
            )  # fmt: skip
            handles.append(Line2D([], [], ls="none", marker=stroke.marker, color=stroke.color, ms=6, label=name))
        held = "" if self.share > 0.9995 else f", {self.share:.0%} of squared distances"
        _surround.dress(axes, self.unit + held, "", None)
        # A square window, in which distances are the same in all directions.
        middle, half = (places.max(0) + places.min(0)) / 2, 0.65 * float(np.ptp(places, axis=0).max()) or 1.0
        axes.set(xlim=(middle[0] - half, middle[0] + half), ylim=(middle[1] - half, middle[1] + half))
        axes.set_aspect("equal")
        axes.set_anchor("N")
        axes.grid(True, color=_surround.shade(0.92), linewidth=0.6)
        axes.set_axisbelow(True)
        _surround.settle(axes)
        legend = _surround.legend_below(axes, handles)
        area = (
            f"Areas: {self.size_label}, {number(float(np.min(self.sizes)))} to {number(float(np.max(self.sizes)))}"
            if self.sizes is not None
            else ""
        )
        _surround.footnote(axes, [area, self.note or ""], under=legend)

    def _matrix(self, figure: Figure, axes: Axes) -> None:
        barriers = np.asarray(self.barriers)
        n, high = len(barriers), float(np.nanmax(barriers))
        shown = np.where(np.eye(n, dtype=bool), np.nan, barriers)
        image = axes.imshow(shown, cmap=ground(None, 0.25), vmin=0, vmax=high or 1.0)
        labels = [legible(name) if self.names.index(name) == k else "" for k, name in enumerate(self.names)]
        axes.set_xticks(range(n), labels, fontsize=_surround.SMALL, rotation=90)
        axes.set_yticks(range(n), labels, fontsize=_surround.SMALL)
        axes.tick_params(length=0)
        axes.set_title(self.barrier_label, fontsize=_surround.LABEL, loc="left")
        if n <= 9:
            for i in range(n):
                for j in range(n):
                    if i != j:
                        axes.text(j, i, _short(float(barriers[i, j])), ha="center", va="center", fontsize=6.3)
        axes.set_anchor("N")
        axes.apply_aspect()
        box = axes.get_position()
        bar = figure.colorbar(
            image, cax=figure.add_axes((box.x1 + 0.012, box.y0 + 0.1 * box.height, 0.016, 0.8 * box.height))
        )
        bar.ax.tick_params(labelsize=_surround.SMALL)
        bar.outline.set_linewidth(0.6)

    def _arrays(self) -> tuple[Array, Array]:
        places = np.asarray(self.places)
        if self.sizes is None:
            return places, np.full(len(places), 60.0)
        sizes = np.clip(np.asarray(self.sizes), 0, None)
        return places, 20 + 110 * sizes / (float(sizes.max()) or 1.0)


def _short(value: float) -> str:
    if value == 0 or not np.isfinite(value):
        return "0" if value == 0 else "–"
    return "<.01" if value < 0.01 else f"{value:.2f}" if value < 10 else number(value, 3)
