"""A number for every pair, with its interval, as a square of cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from lossatlas.draw import _surround
from lossatlas.draw._display import Array, Display, array
from lossatlas.draw._legible import legible
from lossatlas.draw._levels import number
from lossatlas.draw._palette import ground
from lossatlas.draw._style import now

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WRITTEN = 8  # networks up to which numbers fit into the cells


@dataclass(eq=False)
class MatrixDisplay(Display):
    """A symmetric matrix, the value in each cell and its interval below; the diagonal is left empty.

    Args:
        names: of the n rows and columns.
        values: (n, n); anything not finite is shown as a dash.
        low: (n, n) lower ends of the intervals.
        high: (n, n) upper ends.
        label: of the color scale, with its unit.
        title: a line above.
        note: a sentence of small print.
        span: of the color scale; from 0 to the largest value by default.

    Raises:
        InputError: arrays whose shape does not fit the names.
    """

    names: Sequence[str]
    values: Array
    low: Array
    high: Array
    _: KW_ONLY
    label: str
    title: str | None = None
    note: str | None = None
    span: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        shape = (len(self.names),) * 2
        self.values = array("values", self.values, 2, shape)
        self.low, self.high = array("low", self.low, 2, shape), array("high", self.high, 2, shape)

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw the cells.

        Args:
            ax: where; a new figure when left out.

        Returns:
            This display, with ``ax_`` and ``figure_`` set.
        """
        n = len(self.names)
        places = list(range(n))
        axes = self._open(ax, min(now().width, 1.6 + 0.62 * n) + 0.3 * bool(self.note))
        off = ~np.eye(n, dtype=bool)
        finite = self.values[off & np.isfinite(self.values)]
        low, high = self.span or (min(0.0, float(finite.min(initial=0))), float(finite.max(initial=0)) or 1.0)
        shown = np.where(off & np.isfinite(self.values), self.values, np.nan)
        _surround.dress(axes, "", "", self.title)
        image = axes.imshow(shown, cmap=ground(None, 0.25), vmin=low, vmax=high)
        axes.set_xticks(
            places, [legible(name) for name in self.names], fontsize=_surround.LABEL, rotation=90 if n > 6 else 0
        )
        axes.set_yticks(places, [legible(name) for name in self.names], fontsize=_surround.LABEL)
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        for i in places if n <= WRITTEN else []:
            for j in places:
                if i != j:
                    axes.text(
                        j, i, self._text(i, j), ha="center", va="center", fontsize=_surround.SMALL, linespacing=1.5
                    )
        bar = axes.figure.colorbar(image, ax=axes, fraction=0.05, pad=0.03)
        bar.set_label(self.label, fontsize=_surround.LABEL)
        bar.ax.tick_params(labelsize=_surround.TICK)
        bar.outline.set_linewidth(0.6)
        _surround.settle(axes)
        _surround.footnote(axes, [self.note or ""])
        return self

    def _text(self, i: int, j: int) -> str:
        value, ends = float(self.values[i, j]), (float(self.low[i, j]), float(self.high[i, j]))
        if not np.isfinite(value):
            return "–"
        if not np.isfinite(ends).all() or ends[0] == ends[1]:
            return _short(value)
        return f"{_short(value)}\n[{_short(ends[0])}, {_short(ends[1])}]"


def _short(value: float) -> str:
    return f"{value:.2f}" if 0.005 <= abs(value) < 100 or value == 0 else number(value, 2)
