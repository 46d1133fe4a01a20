"""A plane divided into the regions that descend to each minimum, with the lines from the saddles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lossatlas import _checks
from lossatlas._errors import InputError
from lossatlas.draw import _surround
from lossatlas.draw._display import Array, array
from lossatlas.draw._grid import GridDisplay
from lossatlas.draw._levels import Levels, scale_of
from lossatlas.draw._palette import WELLS
from lossatlas.draw._topology import STYLES

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

# How far the color of a region is mixed with white, so that lines and marks on it are seen.
PALE = 0.62
DESCENT: dict[str, Any] = {"color": "0.05", "lw": 1.3, "ls": "solid"}
ASCENT: dict[str, Any] = {"color": "#B23A00", "lw": 1.3, "ls": (0, (4, 1.6))}


@dataclass(eq=False)
class MorseSmaleDisplay(GridDisplay):
    """Regions of a grid in colors under contour lines; further arguments are those of a ``GridDisplay``.

    Args:
        regions: (ny, nx) number of the minimum of each cell; −1 for none.
        minima: (n, 2) places.
        saddles: (s, 2) places.
        maxima: (m, 2) places.
        closed: (n,) whether a minimum is closed off from the edge; all others are drawn gray. All are when left out.
        descents: lines (k, 2) from saddles to minima.
        ascents: lines (k, 2) from saddles to maxima.

    Raises:
        InputError: shapes that do not fit.
    """

    _: KW_ONLY
    regions: ArrayLike
    minima: Array
    saddles: Array
    maxima: Array
    closed: NDArray[np.bool_] | None = None
    descents: Sequence[Array] = ()
    ascents: Sequence[Array] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        self.numbers = array("regions", self.regions, 2, self.z.shape).astype(int)
        for name in ("minima", "saddles", "maxima"):
            setattr(self, name, array(name, getattr(self, name), 2, (len(getattr(self, name)), 2)))
        self.closed = (
            np.ones(len(self.minima), dtype=bool) if self.closed is None else np.asarray(self.closed, dtype=bool)
        )
        if self.closed.shape != (len(self.minima),) or self.numbers.max(initial=-1) >= len(self.minima):
            raise InputError(
                f"got {len(self.minima)} minima, closed of shape {self.closed.shape} and regions up to "
                f"{self.numbers.max(initial=-1)}; expected one of each per minimum."
            )

    def plot(self, ax: Axes | None = None, *, levels: Levels = "auto", equal: bool | None = None) -> Self:
        """Draw the regions, the contour lines on them, and the lines from the saddles.

        Args:
            ax: where; a new figure of page width when left out.
            levels: of the contour lines, as in ``FieldDisplay.plot``.
            equal: whether both axes get the same scale; decided from units and spans when left out.

        Returns:
            This display, with ``ax_`` and ``figure_`` set.
        """
        equal = self.same_units() if equal is None else _checks.flag("equal", equal)
        own = self._open(ax, 8.0 if equal else 4.4)
        scale = scale_of(self.z, levels)
        dx, dy = (self.x[1] - self.x[0]) / 2, (self.y[1] - self.y[0]) / 2
        extent = (self.x[0] - dx, self.x[-1] + dx, self.y[0] - dy, self.y[-1] + dy)
        own.imshow(
            self._colors(), origin="lower", extent=extent, interpolation="nearest", aspect="equal" if equal else "auto"
        )
        own.set(xlim=(self.x[0], self.x[-1]), ylim=(self.y[0], self.y[-1]))
        _surround.dress(own, self.xlabel, self.ylabel, self.title)
        _surround.thousands(own.xaxis)
        _surround.thousands(own.yaxis)
        if scale.inner.size:
            values = np.ma.masked_invalid(scale.drawn(self.z))
            own.contour(
                self.x, self.y, values, levels=scale.inner, colors="0.35", linewidths=0.45, alpha=0.6, zorder=2
            ).set(linestyle="solid")
        legend = _surround.legend_below(own, self._lines())
        _surround.settle(own)
        _surround.footnote(
            own, [f"{self.holes:,} points not finite, gray" * bool(self.holes), self.note or ""], under=legend
        )
        if ax is None:
            _surround.trim(self.figure_)
        return self

    def _colors(self) -> NDArray[np.float64]:
        """Each cell in the color of its region, those that touch in different ones; holes in gray."""
        from matplotlib.colors import to_rgb

        hues = np.array([to_rgb(color) for color in WELLS])
        chosen = _apart(self.numbers, len(self.minima), len(hues))
        image = np.full((*self.numbers.shape, 3), 0.88)
        inside = self.numbers >= 0
        image[inside] = PALE + (1 - PALE) * hues[chosen[self.numbers[inside]]]
        return image

    def _lines(self) -> list[Artist]:
        """Put lines and marks in; the entries of the legend."""
        from matplotlib import patheffects
        from matplotlib.lines import Line2D

        handles: list[Artist] = []
        for name, lines, style in (
            ("saddle to minimum", self.descents, DESCENT),
            ("saddle to maximum", self.ascents, ASCENT),
        ):
            for line in lines:
                (way,) = self.ax_.plot(*np.asarray(line).T, zorder=4.5, gid=name, solid_capstyle="round", **style)
                way.set_path_effects(
                    [patheffects.withStroke(linewidth=style["lw"] + 1.4, foreground="white", alpha=0.8)]
                )
            if len(lines):
                handles.append(Line2D([], [], label=name, **style))
        closed = np.asarray(self.closed)
        groups = {
            "minimum": self.minima[closed],
            "minimum open to the edge": self.minima[~closed],
            "saddle": self.saddles,
            "maximum": self.maxima,
        }
        marks: list[Artist] = []
        for name, places in groups.items():
            if len(places):
                self.ax_.plot(*places.T, ls="none", zorder=5.5, clip_on=False, gid=name, **STYLES[name])
                marks.append(Line2D([], [], ls="none", label=name, **STYLES[name]))
        return [*marks, *handles]


def _apart(numbers: NDArray[np.int64], count: int, colors: int) -> NDArray[np.int64]:
    """A color for each region: the first that no region touching it has, or the one that fewest of them have."""
    touching: list[set[int]] = [set() for _ in range(count)]
    for one, other in ((numbers[1:], numbers[:-1]), (numbers[:, 1:], numbers[:, :-1])):
        apart = (one != other) & (one >= 0) & (other >= 0)
        for a, b in np.unique(np.stack([one[apart], other[apart]], 1), axis=0).tolist():
            touching[a].add(b)
            touching[b].add(a)
    chosen = np.full(count, -1, dtype=np.int64)
    for k in sorted(range(count), key=lambda k: -len(touching[k])):
        taken = [int(chosen[other]) for other in touching[k]]
        chosen[k] = min(range(colors), key=lambda color: (taken.count(color), (color - k) % colors))
    return chosen
