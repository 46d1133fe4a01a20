"""Rates with their intervals, one row per name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Literal, Self

import numpy as np

from lossatlas._errors import InputError
from lossatlas.draw import _surround
from lossatlas.draw._display import Array, Display, array
from lossatlas.draw._legible import legible
from lossatlas.draw._levels import number
from lossatlas.draw._palette import ink

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(eq=False)
class BarsDisplay(Display):
    """A dot and its interval in each row, first label on top.

    Args:
        labels: one per row.
        values: (n,) the dots; a value that is not finite leaves its row empty.
        low: (n,) lower ends of the intervals.
        high: (n,) upper ends of the intervals.
        xlabel: with its unit, and saying what the interval is.
        title: a line above.
        note: a sentence of small print.
        rates: whether the values are rates, shown from 0 to 1; by default where all of them lie there.
        xscale: ``"log"`` for positive values of many orders of magnitude.
        words: what stands to the right of each row, instead of its value and interval.

    Raises:
        InputError: arrays or words whose number is not that of the labels, an interval without its value in it, or a value that
            has no logarithm on a logarithmic axis.
    """

    labels: Sequence[str]
    values: Array
    low: Array
    high: Array
    _: KW_ONLY
    xlabel: str
    title: str | None = None
    note: str | None = None
    rates: bool | None = None
    xscale: Literal["linear", "log"] = "linear"
    words: Sequence[str] | None = None

    def __post_init__(self) -> None:
        shape = (len(self.labels),)
        self.values = array("values", self.values, 1, shape)
        self.low, self.high = array("low", self.low, 1, shape), array("high", self.high, 1, shape)
        slack = 1e-9 * (1 + np.abs(self.values))
        wrong = (self.low > self.values + slack) | (self.high < self.values - slack)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise InputError(
                f"{self.labels[row]!r} has value {self.values[row]:g} outside its interval "
                f"[{self.low[row]:g}, {self.high[row]:g}]; give low <= value <= high."
            )
        if self.xscale not in ("linear", "log"):
            raise InputError(f"xscale is {self.xscale!r}; give 'linear' or 'log'.")
        if self.xscale == "log" and (self.low <= 0).any():
            row = int(np.argmax(self.low <= 0))
            raise InputError(
                f"{self.labels[row]!r} begins at {self.low[row]:g} on a logarithmic axis; give values above 0, or xscale='linear'."
            )
        if self.words is not None and len(self.words) != len(self.labels):
            raise InputError(f"got {len(self.words)} words for {len(self.labels)} labels; give one for each.")

    def plot(self, ax: Axes | None = None, *, palette: dict[str, str] | None = None) -> Self:
        """Draw the rows.

        Args:
            ax: where; a new figure of page width when left out.
            palette: label to color; all dark blue when left out.

        Returns:
            This display, with ``ax_`` and ``figure_`` set.
        """
        axes = self._open(
            ax, 0.95 + 0.27 * len(self.labels) + 0.3 * bool(self.title) + 0.3 * bool(self.note), rigid=True
        )
        xlabel = self.xlabel
        if ax is None:
            # Labels to the left and numbers to the right make the axis much shorter than the figure.
            xlabel = _surround.wrap(xlabel, 0.72 * float(self.figure_.get_figwidth()), _surround.LABEL)
        _surround.dress(axes, xlabel, "", self.title)
        axes.set_xscale(self.xscale)
        rows = np.arange(len(self.labels))
        for row, label in enumerate(self.labels):
            color = ink((palette or {}).get(label, "#0072B2"))
            axes.axhline(row, color=_surround.shade(0.93), lw=0.8, zorder=1)
            axes.plot([self.low[row], self.high[row]], [row, row], color=color, lw=2.2, zorder=2, alpha=0.65)
            axes.plot(self.values[row], row, "o", ms=6.5, mfc=color, mec="white", mew=0.9, zorder=3, clip_on=False)
            axes.annotate(
                self._text(row), (1.0, row), (8, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
                va="center", fontsize=_surround.TICK, color=_surround.shade(0.25), annotation_clip=False,
            )  # fmt: skip
        axes.set_yticks(rows, [legible(label) for label in self.labels], fontsize=_surround.LABEL)
        axes.set_ylim(len(self.labels) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.grid(True, axis="x", color=_surround.shade(0.9), linewidth=0.6)
        axes.set_axisbelow(True)
        self._limits(axes)
        (_surround.decades if self.xscale == "log" else _surround.thousands)(axes.xaxis)
        _surround.settle(axes)
        if self.title:
            # Long labels leave less room than the axes had when the title was broken into lines.
            room = self.figure_.get_window_extent().x1 - axes.get_window_extent().x0
            axes.set_title(
                _surround.wrap(self.title, room / self.figure_.dpi, _surround.TITLE),
                fontsize=_surround.TITLE,
                loc="left",
            )
        _surround.footnote(axes, [self.note or ""], whole=ax is None)
        return self

    def _text(self, row: int) -> str:
        if self.words is not None:
            return self.words[row]
        if not np.isfinite(self.values[row]):
            return "no value"
        three = [float(v) for v in (self.values[row], self.low[row], self.high[row])]
        value, low, high = (f"{v:.2f}" if self._rates() else number(v) for v in three)
        if three[1] == three[2] and not self._rates():
            return value
        return f"{value} [{low}, {high}]"

    def _rates(self) -> bool:
        if self.rates is not None:
            return self.rates
        ends = np.concatenate([self.values, self.low, self.high])
        return bool(np.all((ends >= 0) & (ends <= 1) | ~np.isfinite(ends)))

    def _limits(self, axes: Axes) -> None:
        """Rates are shown on the whole scale, from 0 to 1 or to 100 %; other values on their own."""
        ends = np.concatenate([self.values, self.low, self.high])
        ends = ends[np.isfinite(ends)]
        if ends.size and self._rates():
            axes.set_xlim(-0.015, 1.015)
        elif ends.size and ends.min() >= 0 and ends.max() <= 100 and "%" in self.xlabel:
            axes.set_xlim(-1.5, 101.5)
