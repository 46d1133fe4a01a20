"""A field with its minima, the saddles between them and its maxima."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from lossatlas import _checks
from lossatlas._errors import InputError
from lossatlas.draw import _surround
from lossatlas.draw._display import Array, array
from lossatlas.draw._field import FieldDisplay
from lossatlas.draw._levels import Levels, scale_of
from lossatlas.draw._palette import ground

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

# Beyond so many minima their depths would cover the picture; the table has them.
_NUMBERED = 8
STYLES: dict[str, dict[str, Any]] = {
    "minimum": {"marker": "o", "ms": 6.5, "mfc": "white", "mec": "0.05", "mew": 1.3},
    "minimum open to the edge": {"marker": "o", "ms": 6.0, "mfc": "0.62", "mec": "0.05", "mew": 1.3},
    "saddle": {"marker": "X", "ms": 7.0, "mfc": "#D55E00", "mec": "white", "mew": 0.8},
    "maximum": {"marker": "^", "ms": 6.5, "mfc": "0.05", "mec": "white", "mew": 0.8},
}


@dataclass(eq=False)
class TopologyDisplay(FieldDisplay):
    """A contour map with features on it; further arguments are those of a ``GridDisplay``.

    Args:
        minima: (n, 2) places.
        saddles: (n, 2) places of the saddle at which each minimum ends; NaN where it has none.
        closed: (n,) whether a minimum is closed off from the edge; all others are drawn gray. All are when left out.
        depths: (n,) what is written at each saddle.
        maxima: (m, 2) places.

    Raises:
        InputError: shapes that do not fit.
    """

    _: KW_ONLY
    minima: Array
    saddles: Array
    maxima: Array
    closed: NDArray[np.bool_] | None = None
    depths: Sequence[str] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        n = len(self.minima)
        self.minima = array("minima", self.minima, 2, (n, 2))
        self.saddles = array("saddles", self.saddles, 2, (n, 2))
        self.maxima = array("maxima", self.maxima, 2, (len(self.maxima), 2))
        self.closed = np.ones(n, dtype=bool) if self.closed is None else np.asarray(self.closed, dtype=bool)
        if self.closed.shape != (n,) or len(self.depths) not in (0, n):
            raise InputError(
                f"got {n} minima, closed of shape {self.closed.shape} and {len(self.depths)} depths; expected one of "
                "each per minimum."
            )

    def plot(
        self,
        ax: Axes | None = None,
        *,
        levels: Levels = "auto",
        cmap: str | Colormap | None = None,
        equal: bool | None = None,
        numbers: bool = True,
        avoid: Array | None = None,
    ) -> Self:
        """Draw the map and the features on it; arguments as in ``FieldDisplay.plot``."""
        scale = scale_of(self.z, levels)
        lines = self._ground(ax, scale, ground(self.cmap if cmap is None else cmap, 0.25), equal)
        handles, written = self._features()
        kept_off = [self._marks(), self.minima, self.saddles[np.isfinite(self.saddles).all(1)], self.maxima, written]
        if avoid is not None:
            kept_off.append(avoid)
        self._finish(
            ax is None,
            scale,
            lines if _checks.flag("numbers", numbers) else None,
            np.concatenate(kept_off),
            handles,
            [],
        )
        return self

    def _features(self) -> tuple[list[Artist], Array]:
        """Put them in; the entries of the legend, and the places that the numbers cover."""
        from matplotlib import patheffects
        from matplotlib.lines import Line2D

        has_saddle = np.isfinite(self.saddles).all(1)
        joined = np.flatnonzero(has_saddle)
        for k in joined.tolist():
            (way,) = self.ax_.plot(*np.stack([self.minima[k], self.saddles[k]]).T, color="0.05", lw=1.0, ls=(0, (3, 2)))
            way.set(zorder=4.5, path_effects=[patheffects.withStroke(linewidth=2.4, foreground="white")])
        groups = {
            "minimum": self.minima[self.closed],
            "minimum open to the edge": self.minima[~np.asarray(self.closed)],
            "saddle": self.saddles[has_saddle],
            "maximum": self.maxima,
        }
        handles: list[Artist] = []
        for name, places in groups.items():
            if not len(places):
                continue
            self.ax_.plot(*places.T, ls="none", zorder=5.5, clip_on=False, gid=name, **STYLES[name])
            handles.append(Line2D([], [], ls="none", label=name, **STYLES[name]))
        share = np.linspace(0, 1, 12)[:, None]
        covered = [
            tuple(place) for k in joined for place in self.minima[k] + share * (self.saddles[k] - self.minima[k])
        ]
        for k in joined.tolist()[: _NUMBERED if len(self.depths) else 0]:
            right = self.saddles[k, 0] > self.x[0] + 0.7 * self.spans[0]
            high = self.saddles[k, 1] > self.y[0] + 0.9 * self.spans[1]
            text = self.ax_.annotate(
                self.depths[k],
                self.saddles[k],
                (-7 if right else 7, -7 if high else 5),
                textcoords="offset points",
                fontsize=_surround.TICK,
                color="black",
                ha="right" if right else "left",
                va="top" if high else "baseline",
                zorder=7,
            )
            text.set_path_effects([patheffects.withStroke(linewidth=2.4, foreground="white")])
            steps = np.linspace(0, 1, 5) * (0.015 * len(self.depths[k]) * self.spans[0])
            x, y = self.saddles[k]
            covered += [(x - step if right else x + step, y) for step in steps]
        return handles, np.array(covered, dtype=np.float64).reshape(-1, 2)
