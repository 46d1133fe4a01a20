"""What an algorithm believes of a surface beside the surface itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import ArrayLike

from lossatlas._errors import InputError
from lossatlas.draw import _surround
from lossatlas.draw._display import Array, Display, array
from lossatlas.draw._levels import scale_of
from lossatlas.draw._palette import ground
from lossatlas.draw._style import narrow, now, titled

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(eq=False)
class SurrogateDisplay(Display):
    """Rows of three maps: the surface, the posterior mean after n observations, and its standard deviation.

    Args:
        x: (nx,) first coordinate.
        y: (ny,) second coordinate.
        truth: (ny, nx) the loss.
        stages: for each row (n, mean (ny, nx), deviation (ny, nx), points (n, 2)).
        title: a line above.

    Raises:
        InputError: no stages, or arrays that do not fit.
    """

    x: Array
    y: Array
    truth: ArrayLike
    stages: Sequence[tuple[int, ArrayLike, ArrayLike, ArrayLike]]
    _: KW_ONLY
    title: str | None = None

    def __post_init__(self) -> None:
        self.x, self.y = array("x", self.x), array("y", self.y)
        shape = (self.y.size, self.x.size)
        self.field = array("truth", self.truth, 2, shape)
        if not self.stages:
            raise InputError("got no stages to draw; expected at least one (n, mean, deviation, points).")
        self.rows = [
            (int(n), array("mean", mean, 2, shape), array("deviation", deviation, 2, shape), array("points", points, 2))
            for n, mean, deviation, points in self.stages
        ]

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw all rows on a figure of their own.

        Args:
            ax: must be None: several axes are drawn.

        Returns:
            This display, with ``ax_`` (the first map) and ``figure_`` set.
        """
        if ax is not None:
            raise InputError("a surrogate is drawn on several axes; leave ax out.")
        from matplotlib.ticker import MaxNLocator

        height = 1.3 * len(self.rows) + 1.0 if narrow() else 2.45 * len(self.rows) + 0.35
        first = self._open(None, height, rigid=True)
        figure = self.figure_
        first.remove()
        grid = figure.subplots(len(self.rows), 3, squeeze=False, sharex=True, sharey=True)
        self.ax_ = grid[0][0]
        levels = scale_of(self.field, "auto")
        widest = max(float(deviation.max()) for _, _, deviation, _ in self.rows)
        spread = np.linspace(0, widest or 1.0, 11)
        maps = {}
        for r, (n, mean, deviation, points) in enumerate(self.rows):
            norm, cmap = levels.norm(256), ground(None, 0.25)
            for k, values in enumerate((self.field, mean)):
                maps["loss"] = grid[r][k].contourf(
                    self.x, self.y, levels.drawn(values), levels=levels.levels, norm=norm, cmap=cmap, extend="both"
                )
            maps["std"] = grid[r][2].contourf(self.x, self.y, deviation, levels=spread, cmap=ground("magma_r", 0.15))
            for axes in grid[r]:
                axes.plot(*points.T, "o", ms=2.8, mfc="white", mec="black", mew=0.6, clip_on=False, zorder=5)
                axes.set(xlim=(self.x[0], self.x[-1]), ylim=(self.y[0], self.y[-1]))
                axes.set_aspect("equal")
                axes.tick_params(labelsize=_surround.TICK)
            grid[r][0].set_ylabel(f"{n} observations\nw₂", fontsize=_surround.LABEL)
        deviation_name = "standard\ndeviation" if narrow() else "standard deviation"
        for axes, name in zip(grid[0], ("the surface", "posterior mean", deviation_name), strict=True):
            axes.set_title(name.replace("r m", "r\nm") if narrow() else name, fontsize=_surround.LABEL)
        for axes in grid[-1]:
            axes.set_xlabel("w₁", fontsize=_surround.LABEL)
        for key, place, label in (("loss", grid[:, :2], "loss"), ("std", grid[:, 2:], deviation_name)):
            bar = figure.colorbar(maps[key], ax=place, location="bottom", fraction=0.06, aspect=40, shrink=0.9)
            if key == "std":
                bar.locator = MaxNLocator(4)
                bar.update_ticks()
            bar.set_label(label, fontsize=_surround.LABEL)
            bar.ax.tick_params(labelsize=_surround.TICK)
        if title := titled(self.title):
            figure.suptitle(
                _surround.wrap(title, now().width - 0.2, _surround.LABEL + 1),
                fontsize=_surround.LABEL + 1,
                x=0.02,
                ha="left",
            )
        return self
