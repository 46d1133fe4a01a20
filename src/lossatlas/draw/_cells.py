"""A field of few points: each as a cell of its own color, nothing drawn between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from lossatlas.draw import _surround
from lossatlas.draw._display import Array
from lossatlas.draw._grid import GridDisplay
from lossatlas.draw._levels import DECADES, number
from lossatlas.draw._palette import ground

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

HOLE = {"facecolor": "0.88", "edgecolor": "0.6", "hatch": "////", "linewidth": 0.0}
# Strokes alone: a cell keeps the color of its value.
DOUBTED = {"facecolor": "none", "edgecolor": (0.1, 0.1, 0.1, 0.55), "hatch": "\\\\\\\\", "linewidth": 0.0}


@dataclass(eq=False)
class CellsDisplay(GridDisplay):
    """A field as colored cells, one for each value; its arguments are those of a ``GridDisplay``, and one more.

    Cells that are ``doubtful`` are hatched, values that are not finite are gray.

    Args:
        doubt: what is said of the hatched cells, after how many there are.

    Example:
        >>> import numpy as np
        >>> x, y = np.linspace(-1, 1, 5), np.linspace(-1, 1, 4)
        >>> CellsDisplay(x, y, x**2 + y[:, None] ** 2, xlabel="a", ylabel="b").plot().ax_.get_xlabel()
        'a'
    """

    doubt: str = "are not certain"

    def plot(self, ax: Axes | None = None, *, cmap: str | Colormap | None = None) -> Self:
        """Draw the cells, on a logarithmic scale where they are positive and span more than a factor of 30.

        Args:
            ax: where; a new figure of page width when left out.
            cmap: a matplotlib color map, instead of the display's own.

        Returns:
            This display, with ``ax_`` and ``figure_`` set.

        Raises:
            InputError: an unknown color map.
        """
        from matplotlib.collections import PatchCollection
        from matplotlib.patches import Rectangle

        equal = self.same_units()
        own = self._open(ax, 9.0 if equal else 4.4)
        x, y = _edges(self.x), _edges(self.y)
        own.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
        _surround.dress(own, self.xlabel, self.ylabel, self.title)
        _surround.thousands(own.xaxis)
        _surround.thousands(own.yaxis)
        if equal:
            own.set_aspect("equal")
        finite = np.isfinite(self.z)
        if finite.any():
            filled = own.pcolormesh(
                x, y, self.masked, cmap=ground(self.cmap if cmap is None else cmap, 0.25), norm=_norm(self.z[finite])
            )
            filled.set_edgecolor("face")  # no seams in vector graphics
            side = own.inset_axes((1.025, 0.0, 0.035, 1.0))
            bar = own.figure.colorbar(filled, cax=side)
            bar.ax.minorticks_off()
            bar.ax.yaxis.set_major_formatter(lambda value, _: number(value))
            bar.ax.tick_params(labelsize=_surround.TICK)
            bar.set_label(self.zlabel, fontsize=_surround.LABEL)
            bar.outline.set_linewidth(0.6)
        doubted = np.zeros_like(finite) if self.doubtful is None else self.doubtful & finite
        for cells, look, name in ((~finite, HOLE, "holes"), (doubted, DOUBTED, "doubtful")):
            boxes = [
                Rectangle((x[j], y[i]), x[j + 1] - x[j], y[i + 1] - y[i])
                for i, j in zip(*np.nonzero(cells), strict=True)
            ]
            if boxes:
                own.add_collection(PatchCollection(boxes, zorder=2, **look))  # type: ignore[arg-type]
                own.collections[-1].set_gid(name)
        if self.center is not None and self.inside(np.array(self.center)):
            for width, color in ((3.0, "white"), (1.3, "0.1")):
                own.plot(*self.center, "+", ms=9 + width / 2, mew=width, color=color, zorder=6)
        _surround.settle(own)
        said = [f"Hatched: {int(doubted.sum()):,} of {finite.size:,} cells {self.doubt}"] if doubted.any() else []
        said += [f"Gray: {self.holes:,} of {finite.size:,} cells have no value"] if self.holes else []
        _surround.footnote(own, [*said, self.note or ""])
        if ax is None:
            _surround.trim(self.figure_)
        return self


def _edges(places: Array) -> Array:
    """Where cells begin and end: halfway between neighbors, and as far beyond the first and the last."""
    middle = (places[:-1] + places[1:]) / 2
    return np.concatenate([[2 * places[0] - middle[0]], middle, [2 * places[-1] - middle[-1]]])


def _norm(values: Array) -> Any:
    """Of the colors."""
    from matplotlib.colors import LogNorm, Normalize

    low, high = float(values.min()), float(values.max())
    if low > 0 and high > DECADES * low:
        return LogNorm(low, high)
    if high - low <= 1e-6 * max(abs(low), abs(high)):
        margin = 0.1 * abs(low) or 1.0
        return Normalize(low - margin, high + margin)
    return Normalize(low, high)
