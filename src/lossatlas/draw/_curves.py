"""Loss against what it cost: one curve per name, with a band where there is an interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from numpy.typing import ArrayLike

from lossatlas._errors import InputError
from lossatlas.draw import _surround
from lossatlas.draw._display import Array, Display, array
from lossatlas.draw._palette import Stroke, inked, strokes

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

YScale = Literal["auto", "linear", "log", "symlog"]
XScale = Literal["auto", "linear", "log"]
# Curves that end this many times sooner than the longest would be a streak at the edge of a linear axis.
SHORT = 8
# Between two markers of a curve, of the width of the axes.
SPACING = 0.17


@dataclass(eq=False)
class CurvesDisplay(Display):
    """Curves over a common axis, in the colors their names have in a ``PathsDisplay``.

    Args:
        curves: name to (x, y), or to (x, middle, low, high) for a curve in a band; all of one length.
        xlabel: with its unit.
        ylabel: with its unit.
        yscale: ``"auto"`` takes a logarithm when all values are positive and span more than a factor of 30, and
            ``"symlog"`` when they span as much but not all are positive. Values are never shifted.
        xscale: ``"auto"`` takes a logarithm when some curve ends before an eighth of the longest, and all x are positive.
        steps: whether a value holds until the next one.
        points: whether every (x, y) is marked, for curves of few of them.
        title: a line above.
        note: a sentence of small print.
        looks: name to stroke, whose markers then stand along the curve; by the name itself where left out.

    Raises:
        InputError: a curve of other than two or four arrays, or of unequal lengths.
    """

    curves: Mapping[str, Sequence[ArrayLike]]
    _: KW_ONLY
    xlabel: str = "queries"
    ylabel: str = "loss"
    yscale: YScale = "auto"
    xscale: XScale = "auto"
    steps: bool = False
    points: bool = False
    title: str | None = None
    note: str | None = None
    looks: Mapping[str, Stroke] | None = None
    arrays: dict[str, list[Array]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.yscale not in ("auto", "linear", "log", "symlog"):
            raise InputError(f"yscale is {self.yscale!r}; give 'auto', 'linear', 'log' or 'symlog'.")
        if self.xscale not in ("auto", "linear", "log"):
            raise InputError(f"xscale is {self.xscale!r}; give 'auto', 'linear' or 'log'.")
        self.arrays = {}
        for name, parts in self.curves.items():
            if len(parts) not in (2, 4):
                raise InputError(f"curve {name!r} has {len(parts)} arrays; give (x, y) or (x, middle, low, high).")
            x = array(f"x of {name!r}", parts[0])
            self.arrays[name] = [x, *(array(f"curve {name!r}", part, 1, x.shape) for part in parts[1:])]

    def plot(
        self,
        ax: Axes | None = None,
        *,
        palette: dict[str, str] | None = None,
        linewidth: float = 1.5,
    ) -> Self:
        """Draw the curves.

        Args:
            ax: where; a new figure of page width when left out.
            palette: name to color; from ``colors`` when left out.
            linewidth: in points.

        Returns:
            This display, with ``ax_`` and ``figure_`` set.
        """
        axes = self._open(ax, 3.7)
        scale, threshold = self._scale()
        axes.set_yscale(scale, **({"linthresh": threshold} if scale == "symlog" else {}))
        logarithmic = self._far()
        axes.set_xscale("log" if logarithmic else "linear")
        xlabel = f"{self.xlabel} (log scale)" if logarithmic else self.xlabel
        _surround.dress(axes, xlabel, self.ylabel, self.title)
        axes.grid(True, color=_surround.shade(0.92), linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        # Longer curves lie below shorter ones: a curve that begins as another does is then still seen.
        order = sorted(self.arrays, key=lambda name: -len(self.arrays[name][0]))
        handles = [
            self._curve(axes, name, stroke, linewidth, order.index(name))
            for name, stroke in inked(strokes(self.arrays, palette, self.looks)).items()
        ]
        axes.margins(x=0.01)
        self._mark(axes)
        if not logarithmic and all((x == np.round(x)).all() for x, *_ in self.arrays.values()):
            _surround.whole(axes.xaxis)
        (_surround.decades if logarithmic else _surround.thousands)(axes.xaxis)
        (_surround.thousands if scale == "linear" else _surround.decades)(axes.yaxis)
        _surround.settle(axes)
        legend = _surround.legend_below(axes, handles)
        _surround.footnote(axes, self._notes(scale, threshold), under=legend)
        if ax is None:
            _surround.grow(axes)
        return self

    def _curve(self, axes: Axes, name: str, stroke: Stroke, linewidth: float, rank: int) -> Artist:
        x, middle, *band = self.arrays[name]
        if band:
            axes.fill_between(x, band[0], band[1], color=stroke.color, alpha=0.16, linewidth=0, zorder=2)
        (line,) = axes.plot(
            x, np.where(np.isfinite(middle), middle, np.nan),
            color=stroke.color, ls=stroke.dashes, lw=linewidth, label=name, zorder=3 + 0.01 * rank,
            drawstyle="steps-post" if self.steps else "default", marker="o" if self.points or len(x) == 1 else None, ms=3.6,
        )  # fmt: skip
        finite = np.flatnonzero(np.isfinite(middle))
        if finite.size and finite[-1] < len(middle) - 1:
            axes.plot(x[finite[-1]], middle[finite[-1]], "x", color=stroke.color, ms=7, mew=1.8, zorder=4)
        return line

    def _mark(self, axes: Axes) -> None:
        """Markers along the curves of known looks, each curve's elsewhere: one that another covers is still seen."""
        axes.autoscale_view()
        marked = [line for line in axes.lines if line.get_label() in (self.looks or {})]
        for k, line in enumerate(marked):
            stroke = (self.looks or {})[str(line.get_label())]
            across = axes.transAxes.inverted().transform(axes.transData.transform(line.get_xydata()))[:, 0]
            known = np.flatnonzero(np.isfinite(line.get_ydata()))
            if not known.size:
                continue
            at = np.arange(SPACING * (k + 0.5) / len(marked), across[known[-1]], SPACING)
            places = np.unique(known[np.searchsorted(across[known], at)]) if at.size else known[-1:]
            line.set(
                marker=stroke.marker, ms=5.2, mec="white", mew=0.6, markevery=None if self.points else places.tolist()
            )

    def _far(self) -> bool:
        """Whether the x axis is logarithmic."""
        ends = [float(x[-1]) for x, *_ in self.arrays.values() if len(x)]
        positive = bool(ends) and all(len(x) == 0 or float(x.min()) > 0 for x, *_ in self.arrays.values())
        if self.xscale == "auto":
            return positive and max(ends) > SHORT * min(ends)
        return self.xscale == "log" and positive

    def _scale(self) -> tuple[str, float]:
        """The scale of y, and below which value a symlog one is linear."""
        parts = [y[np.isfinite(y)] for _, *ys in self.arrays.values() for y in ys]
        values = np.concatenate([*parts, np.empty(0)])
        size = np.abs(values[values != 0])
        threshold = 1.0
        if size.size:
            small = max(float(np.quantile(size, 0.05)), float(size.max()) * 1e-6)
            threshold = 10.0 ** math.floor(math.log10(small))
        positive = bool(values.size) and bool((values > 0).all())
        wide = bool(size.size) and float(size.max()) > 30 * float(np.quantile(size, 0.05))
        if self.yscale == "auto":
            return ("log" if positive else "symlog") if wide else "linear", threshold
        if self.yscale == "log" and not positive:
            return ("symlog" if wide else "linear"), threshold
        return self.yscale, threshold

    def _notes(self, scale: str, threshold: float) -> list[str]:
        notes = []
        if self.yscale == "log" and scale != "log":
            notes.append(f"Some values are not positive: {scale} instead of logarithmic scale")
        if scale == "symlog":
            notes.append(f"Vertical axis linear between −{threshold:g} and {threshold:g}, logarithmic beyond")
        missing = {name: int((~np.isfinite(parts[1])).sum()) for name, parts in self.arrays.items()}
        each = ", ".join(f"{name} ({count:,})" for name, count in missing.items() if count)
        if each:
            notes.append(f"Values not finite, not drawn (× ends a curve that stops being finite): {each}")
        return [*notes, self.note or ""]
