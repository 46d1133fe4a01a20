"""Values against a size that doubles from rung to rung, with every single run and the interval of their mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from numpy.typing import ArrayLike

from lossatlas._errors import InputError
from lossatlas.draw import _surround
from lossatlas.draw._display import Array, Display, array
from lossatlas.draw._palette import inked, strokes

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes


@dataclass(eq=False)
class LadderDisplay(Display):
    """Barrier against width, and whatever else is measured on a ladder of sizes.

    Args:
        sizes: (n,) increasing and positive.
        series: name to (n, K) values of K runs at each size.
        low: name to (n,) lower ends of the interval of the mean; names may be left out.
        high: name to (n,) upper ends.
        xlabel: with its unit.
        ylabel: with its unit, and saying what the interval is.
        title: a line above.
        note: a sentence of small print.

    Raises:
        InputError: shapes that do not fit, or only one end of an interval.
    """

    sizes: Array
    series: Mapping[str, ArrayLike]
    low: Mapping[str, ArrayLike] = field(default_factory=dict)
    high: Mapping[str, ArrayLike] = field(default_factory=dict)
    _: KW_ONLY
    xlabel: str = "width"
    ylabel: str = "barrier"
    title: str | None = None
    note: str | None = None
    arrays: dict[str, tuple[Array, Array | None, Array | None]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.sizes = array("sizes", self.sizes)
        if not len(self.sizes) or np.any(self.sizes <= 0) or np.any(np.diff(self.sizes) <= 0):
            raise InputError("sizes are not positive and increasing; give the rungs in order.")
        if set(self.low) != set(self.high) or not set(self.low) <= set(self.series):
            raise InputError(
                "low and high name other series than there are, or not the same; give both ends or neither."
            )
        self.arrays = {}
        for name, values in self.series.items():
            found = array(name, values, 2)
            if len(found) != len(self.sizes):
                raise InputError(f"{name!r} has {len(found)} rows, expected {len(self.sizes)}, one per size.")
            ends = [
                array(f"{what} of {name!r}", side[name], 1, self.sizes.shape) if name in side else None
                for what, side in (("low", self.low), ("high", self.high))
            ]
            self.arrays[name] = (found, ends[0], ends[1])

    def plot(
        self,
        ax: Axes | None = None,
        *,
        palette: dict[str, str] | None = None,
        yscale: Literal["auto", "linear", "log"] = "auto",
    ) -> Self:
        """Draw the ladder.

        Args:
            ax: where; a new figure of page width when left out.
            palette: name to color; from ``colors`` when left out.
            yscale: ``"linear"``, ``"log"``, or ``"auto"``: logarithmic if all values are positive and span more than a
                factor of 10.

        Returns:
            This display, with ``ax_`` and ``figure_`` set.

        Raises:
            InputError: a logarithmic scale for values that are not positive.
        """
        axes = self._open(ax, 3.6)
        values = np.concatenate([found[np.isfinite(found)] for found, *_ in self.arrays.values()])
        positive = bool(values.size) and bool((values > 0).all())
        if yscale == "log" and not positive:
            raise InputError("yscale is 'log' but some values are not positive; use 'linear'.")
        if yscale == "auto":
            yscale = "log" if positive and values.max() > 10 * values.min() else "linear"
        axes.set_xscale("log", base=2)
        axes.set_yscale(yscale)
        _surround.dress(axes, self.xlabel, self.ylabel, self.title)
        axes.grid(True, color=_surround.shade(0.92), linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        floor = float(values.min()) / 2 if yscale == "log" else -np.inf
        names = list(self.arrays)
        handles = [
            self._rungs(axes, name, stroke.color, stroke.marker, names.index(name) - (len(names) - 1) / 2, floor)
            for name, stroke in inked(strokes(names, palette)).items()
        ]
        axes.set_xticks(self.sizes, [f"{size:g}" for size in self.sizes])
        axes.minorticks_off()
        (_surround.thousands if yscale == "linear" else _surround.decades)(axes.yaxis)
        _surround.settle(axes)
        legend = _surround.legend_below(axes, handles)
        missing = sum(int((~np.isfinite(found)).sum()) for found, *_ in self.arrays.values())
        gap = f"{missing:,} values not finite, not drawn" if missing else ""
        cut = yscale == "log" and any(
            low is not None and bool((low <= floor).any()) for _, low, _ in self.arrays.values()
        )
        if cut:
            axes.set_ylim(bottom=floor)
        ends = "An interval that ends at the lower border reaches below it" if cut else ""
        _surround.footnote(axes, [gap, ends, self.note or ""], under=legend)
        if ax is None:
            _surround.grow(axes)
        return self

    def _rungs(self, axes: Axes, name: str, color: str, marker: str, shift: float, floor: float) -> Artist:
        from matplotlib.lines import Line2D

        values, low, high = self.arrays[name]
        # Series stand side by side on a rung, and runs beside their mean, so that all of them can be seen.
        x = self.sizes * 2 ** (0.16 * shift)
        beside = np.repeat(x[:, None] * 2**0.07, values.shape[1], axis=1)
        means = np.array([row[np.isfinite(row)].mean() if np.isfinite(row).any() else np.nan for row in values])
        axes.plot(
            beside.ravel(), values.ravel(), ls="none", marker="o", ms=3.2, mfc="none", mec=color, mew=0.7, alpha=0.8,
            zorder=2.6,
        )  # fmt: skip
        axes.plot(x, means, color=color, lw=1.1, alpha=0.7, zorder=3)
        if low is not None and high is not None:
            ends = np.abs(np.stack([means - np.maximum(low, floor), high - means]))
            axes.errorbar(x, means, ends, ls="none", ecolor=color, elinewidth=1.4, capsize=3, capthick=1.2, zorder=3.2)
        style = {"marker": marker, "mfc": color, "mec": "white", "mew": 0.8, "ms": 6.5}
        axes.plot(x, means, ls="none", zorder=3.5, **style)  # type: ignore[arg-type]
        return Line2D([], [], color=color, lw=1.3, label=name, **style)  # type: ignore[arg-type]
