"""A spectral density: the bulk on a logarithmic axis, its band over the probes, and the outliers one by one."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Self

import numpy as np

from lossatlas._errors import InputError
from lossatlas.draw import _surround
from lossatlas.draw._display import Array, Display, array

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes


@dataclass(eq=False)
class SpectrumDisplay(Display):
    """A density over the eigenvalues, so drawn that a single eigenvalue among many thousands is seen.

    Args:
        at: (g,) eigenvalues, increasing.
        density: (g,) not negative.
        low: (g,) lower edge of the band, or None for no band.
        high: (g,) upper edge of the band, or None for no band.
        outliers: (o,) eigenvalues that stand apart.
        single: the height of one eigenvalue's own peak; the axis begins below it. None to go by the data.
        xlabel: with its unit.
        ylabel: with its unit.
        band: what the band is.
        title: a line above.
        note: a sentence of small print.

    Raises:
        InputError: shapes that do not fit, a density below zero, or only one edge of the band.
    """

    at: Array
    density: Array
    low: Array | None = None
    high: Array | None = None
    _: KW_ONLY
    outliers: Array = field(default_factory=lambda: np.empty(0))
    single: float | None = None
    xlabel: str = "eigenvalue"
    ylabel: str = "density"
    band: str = "lowest to highest probe"
    title: str | None = None
    note: str | None = None

    def __post_init__(self) -> None:
        self.at = array("at", self.at)
        self.density = array("density", self.density, 1, self.at.shape)
        self.outliers = array("outliers", self.outliers)
        if self.at.size < 2 or not np.all(np.isfinite(self.at)) or np.any(np.diff(self.at) <= 0):
            raise InputError("at is not increasing; give two or more finite eigenvalues in order.")
        if not np.all(self.density >= 0):
            raise InputError("the density is below zero or not a number somewhere; give densities of 0 or more.")
        if (self.low is None) != (self.high is None):
            raise InputError("only one of low and high was given; give both or neither.")
        if self.low is not None and self.high is not None:
            self.low = array("low", self.low, 1, self.at.shape)
            self.high = array("high", self.high, 1, self.at.shape)

    def plot(self, ax: Axes | None = None, *, color: str = "#0072B2", mark: str = "#D55E00") -> Self:
        """Draw the density.

        Args:
            ax: where; a new figure of page width when left out.
            color: of the density and its band.
            mark: of the outliers.

        Returns:
            This display, with ``ax_`` and ``figure_`` set.
        """
        axes = self._open(ax, 3.6)
        axes.set_yscale("log")
        _surround.dress(axes, self.xlabel, self.ylabel, self.title)
        axes.grid(True, color=_surround.shade(0.92), linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        top = float(self.density.max())
        floor = (self.single or top * 1e-6) / 4
        axes.set_ylim(floor, max(top, floor * 10) * 3)
        axes.set_xlim(self.at[0], self.at[-1])
        handles: list[Artist] = []
        if self.low is not None and self.high is not None:
            # Bands that reach zero are cut at the floor: a logarithmic axis has no zero.
            edges = (np.maximum(self.low, floor / 10), np.maximum(self.high, floor / 10))
            handles.append(
                axes.fill_between(self.at, *edges, color=color, alpha=0.22, linewidth=0, zorder=2, label=self.band)
            )
        drawn = np.where(self.density > floor / 10, self.density, np.nan)
        handles += axes.plot(self.at, drawn, color=color, lw=1.4, zorder=3, label="density")
        if self.at[0] < 0 < self.at[-1]:
            axes.axvline(0.0, color=_surround.shade(0.45), lw=0.8, ls=(0, (4, 2)), zorder=1.5)
        if self.outliers.size:
            count = self.outliers.size
            (points,) = axes.plot(
                self.outliers, np.full(count, 0.035), ls="", marker="v", ms=5, mfc=mark, mec="white", mew=0.5,
                transform=axes.get_xaxis_transform(), zorder=4, label=f"{count} outlier{'s' * (count > 1)}",
            )  # fmt: skip
            handles.append(points)
        _surround.thousands(axes.xaxis)
        _surround.decades(axes.yaxis)
        _surround.settle(axes)
        legend = _surround.legend_below(axes, handles)
        _surround.footnote(axes, [self.note or ""], under=legend)
        if ax is None:
            _surround.grow(axes)
        return self
