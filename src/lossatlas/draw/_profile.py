"""A one-dimensional slice of a surface."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Self

import numpy as np

from lossatlas._errors import InputError
from lossatlas.draw import _surround
from lossatlas.draw._display import Array, Display, array
from lossatlas.draw._levels import Scale, scale_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(eq=False)
class ProfileDisplay(Display):
    """Values along a line, with a band where there is an interval.

    Args:
        t: (n,) coordinates along the line, increasing.
        y: (n,) values; anything not finite is a gap.
        low: (n,) lower ends of the interval.
        high: (n,) upper ends of the interval.
        xlabel: with its unit.
        ylabel: with its unit.
        marks: (label, t) of places to point out.
        title: a line above.
        note: a sentence of small print.
        samples: (n, 2) points t, y that were measured, where the line is interpolated.

    Raises:
        InputError: shapes that do not fit, or only one end of the interval.
    """

    t: Array
    y: Array
    low: Array | None = None
    high: Array | None = None
    xlabel: str = field(default="t", kw_only=True)
    ylabel: str = field(default="loss", kw_only=True)
    marks: Sequence[tuple[str, float]] = field(default=(), kw_only=True)
    title: str | None = field(default=None, kw_only=True)
    note: str | None = field(default=None, kw_only=True)
    samples: Array | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        self.t = array("t", self.t)
        self.y = array("y", self.y, 1, self.t.shape)
        if not np.all(np.isfinite(self.t)) or np.any(np.diff(self.t) <= 0):
            raise InputError("t is not increasing; give finite coordinates in order.")
        if (self.low is None) != (self.high is None):
            raise InputError("only one of low and high was given; give both or neither.")
        if self.low is not None and self.high is not None:
            self.low = array("low", self.low, 1, self.t.shape)
            self.high = array("high", self.high, 1, self.t.shape)
        if self.samples is not None:
            self.samples = array("samples", self.samples, 2)
            if self.samples.shape[1] != 2:
                raise InputError(f"samples has shape {self.samples.shape}; give (n, 2), t and y in each row.")

    def plot(
        self,
        ax: Axes | None = None,
        *,
        color: str = "#0072B2",
        yscale: Literal["auto", "linear", "log", "asinh"] = "auto",
    ) -> Self:
        """Draw the profile.

        Args:
            ax: where; a new figure of page width when left out.
            color: of the line and its band.
            yscale: ``"linear"``, ``"log"``, ``"asinh"``, or ``"auto"`` for what a contour map of the values would have:
                logarithmic where they are positive and span more than a factor of 30.

        Returns:
            This display, with ``ax_`` and ``figure_`` set.

        Raises:
            InputError: a logarithmic scale for values that are not positive.
        """
        finite = np.isfinite(self.y)
        if yscale == "log" and np.any(self.y[finite] <= 0):
            raise InputError("yscale is 'log' but some values are not positive; use 'linear'.")
        scale = scale_of(self.y, yscale)
        if yscale == "auto":
            # Only what is positive throughout has a logarithm: a line, unlike a map, has no color for what is below.
            strays = scale.kind == "log" and bool(np.any(self.y[finite] <= 0))
            scale = scale_of(self.y, "asinh") if strays else scale
            yscale = "log" if scale.kind == "log" else "asinh" if scale.kind == "asinh" else "linear"
        axes = self._open(ax, 3.3)
        if yscale == "asinh":
            axes.set_yscale("asinh", linear_width=scale.width)
        else:
            axes.set_yscale(yscale)
        _surround.dress(axes, self.xlabel, self.ylabel, self.title)
        axes.grid(True, color=_surround.shade(0.92), linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        if self.low is not None and self.high is not None:
            low = np.maximum(self.low, self.y[finite].min() / 10) if yscale == "log" and finite.any() else self.low
            axes.fill_between(self.t, low, self.high, color=color, alpha=0.2, linewidth=0, zorder=2)
        axes.plot(self.t, np.where(finite, self.y, np.nan), color=color, lw=1.6, zorder=3)
        if self.samples is not None and len(self.samples):
            (dots,) = axes.plot(
                *self.samples.T, "o", ms=3.2, mfc="white", mec=color, mew=0.9, zorder=3.5, clip_on=False
            )
            dots.set_gid("samples")
        lone = finite & ~np.append(finite[1:], False) & ~np.append(False, finite[:-1])
        axes.plot(self.t[lone], self.y[lone], ".", color=color, ms=4, zorder=3)
        for start, stop in self._gaps(finite):
            axes.axvspan(
                start,
                stop,
                facecolor=_surround.shade(0.9),
                edgecolor=_surround.shade(0.65),
                hatch="////",
                linewidth=0,
                zorder=1,
            )
        if len(self.t) > 1:
            axes.set_xlim(self.t[0], self.t[-1])
        self._mark(axes)
        _surround.thousands(axes.xaxis)
        self._heights(axes, scale, yscale)
        _surround.settle(axes)
        missing = int((~finite).sum())
        gap = f"{missing:,} of {finite.size:,} points not finite, drawn as gaps" if missing else ""
        evaluated = (
            "" if self.samples is None or not len(self.samples) else f"{len(self.samples):,} points evaluated (circles)"
        )
        _surround.footnote(axes, [gap, evaluated, self.note or ""])
        if ax is None:
            _surround.grow(axes)
        return self

    def _heights(self, axes: Axes, scale: Scale, yscale: str) -> None:
        """Ticks that can be read: on scales over decades those that contour lines would have."""
        from matplotlib.ticker import FixedLocator, NullLocator

        if yscale == "linear":
            _surround.thousands(axes.yaxis)
            return
        if yscale == "asinh" or (scale.kind == "log" and len(scale.levels) > 2):
            low, high = axes.get_ylim()
            ticks = scale.levels[(scale.levels >= low) & (scale.levels <= high)]
            stride = 1 + len(ticks) // 9
            first = int(np.argmin(np.abs(ticks))) % stride if yscale == "asinh" and len(ticks) else 0  # 0 stays
            axes.yaxis.set_major_locator(FixedLocator(ticks[first::stride].tolist()))
            axes.yaxis.set_minor_locator(NullLocator())
        _surround.decades(axes.yaxis)

    def _gaps(self, finite: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> list[tuple[float, float]]:
        """The stretches without a value: from the last finite neighbor to the next."""
        edges = np.flatnonzero(np.diff(np.concatenate([[True], finite, [True]]).astype(int)))
        last = len(self.t) - 1
        return [
            (float(self.t[max(a - 1, 0)]), float(self.t[min(b, last)]))
            for a, b in zip(edges[::2], edges[1::2], strict=True)
        ]

    def _mark(self, axes: Axes) -> None:
        inside = [(label, t) for label, t in self.marks if self.t[0] <= t <= self.t[-1]]
        for label, t in inside:
            axes.axvline(t, color=_surround.shade(0.25), lw=0.9, ls=(0, (4, 2)), zorder=2.5)
            place = (t - self.t[0]) / ((self.t[-1] - self.t[0]) or 1.0)
            axes.annotate(
                label, (t, 1.0), (0, 3), xycoords=("data", "axes fraction"), textcoords="offset points",
                ha="left" if place < 0.05 else "right" if place > 0.95 else "center", va="bottom",
                fontsize=_surround.TICK, color=_surround.shade(0.15), annotation_clip=False,
            )  # fmt: skip
        if inside and self.title:
            axes.set_title(axes.get_title(loc="left"), fontsize=_surround.TITLE, loc="left", pad=18)
