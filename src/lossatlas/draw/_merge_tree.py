"""A merge tree: one branch per minimum, joined where their basins meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from lossatlas._errors import InputError
from lossatlas.draw import _surround
from lossatlas.draw._display import Array, Display, array
from lossatlas.draw._legible import legible

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# So many branches can be labeled at page width.
_LABELED = 16


@dataclass(eq=False)
class MergeTreeDisplay(Display):
    """Branches from minima up to saddles.

    Args:
        minima: (n,) values at the minima.
        saddles: (n,) values at which each branch ends in another; not finite where it does not.
        parents: (n,) number of that other branch; −1 where there is none.
        labels: (n,) what stands under each minimum.
        depths: (n,) what stands beside each saddle.
        real: (n,) whether a branch is drawn black; all others are gray. All are when left out.
        top: the highest value; branches that end in none go up to it, or to somewhat above the last saddle.
        logarithmic: whether the axis of values is logarithmic.
        ylabel: of the values.
        title: a line above.
        note: a sentence of small print.

    Raises:
        InputError: shapes that do not fit, parents that form a ring, or a logarithmic axis for values that are not positive.

    Example:
        >>> import numpy as np
        >>> tree = MergeTreeDisplay(np.array([0.0, 0.5]), np.array([np.nan, 2.0]), np.array([-1, 0]), top=3.0)
        >>> [round(float(x), 3) for x in tree.places()]
        [0.0, 1.0]
    """

    minima: Array
    saddles: Array
    parents: NDArray[np.int64]
    _: KW_ONLY
    labels: Sequence[str] = ()
    depths: Sequence[str] = ()
    real: NDArray[np.bool_] | None = None
    top: float
    logarithmic: bool = False
    ylabel: str = "loss"
    title: str | None = None
    note: str | None = None

    def __post_init__(self) -> None:
        self.minima = array("minima", self.minima)
        n = len(self.minima)
        self.saddles = array("saddles", self.saddles, 1, (n,))
        self.parents = np.asarray(self.parents, dtype=np.int64)
        self.real = np.ones(n, dtype=bool) if self.real is None else np.asarray(self.real, dtype=bool)
        if self.parents.shape != (n,) or self.real.shape != (n,) or {len(self.labels), len(self.depths)} - {0, n}:
            raise InputError(f"got {n} minima; expected one saddle, parent, label, depth and flag for each of them.")
        if n and (self.parents.max() >= n or len(self._order()) != n):
            raise InputError(
                "the parents of the branches form a ring or are not there; give numbers of other branches."
            )
        if self.logarithmic and n and not (self.minima.min() > 0 and self.top > 0):
            raise InputError("the axis is logarithmic but a minimum is not positive; use logarithmic=False.")

    def places(self) -> Array:
        """(n,) where each branch stands, so that no two lines cross."""
        order = self._order()
        places = np.empty(len(order))
        places[order] = np.arange(len(order))
        return places

    def _order(self) -> list[int]:
        """The branches from left to right: after each branch those that end in it, the lowest saddle first.

        What stands between a branch and its parent ended in that parent earlier, so it lies below the line that joins
        the two.
        """
        children: dict[int, list[int]] = {}
        for k in np.argsort(np.where(np.isfinite(self.saddles), self.saddles, np.inf), kind="stable").tolist():
            children.setdefault(int(self.parents[k]), []).append(k)
        order, stack = [], children.get(-1, [])[::-1]
        while stack:
            k = stack.pop()
            order.append(k)
            stack += children.get(k, [])[::-1]
        return order

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw the tree.

        Args:
            ax: where; a new figure of page width when left out.

        Returns:
            This display, with ``ax_`` and ``figure_`` set.
        """
        from matplotlib.ticker import MaxNLocator

        axes = self._open(ax, 3.4)
        axes.set_yscale("log" if self.logarithmic else "linear")
        _surround.dress(axes, "", self.ylabel, self.title)
        axes.grid(True, axis="y", color=_surround.shade(0.92), linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "bottom"]].set_visible(False)
        places, labeled = self.places(), len(self.minima) <= _LABELED
        for k, x in enumerate(places.tolist()):
            self._branch(axes, k, x, places, labeled)
        if len(places):
            axes.set_ylim(top=self._height())
        if self.logarithmic:
            _surround.decades(axes.yaxis)
        else:
            axes.yaxis.set_major_locator(MaxNLocator(6))
            _surround.thousands(axes.yaxis)
        axes.set_xlim(-0.6, max(len(places) - 1, 0) + 0.9)
        if labeled and len(self.labels):
            axes.set_xticks(
                places, [legible(label.replace("), ", ")\n")) for label in self.labels], fontsize=_surround.TICK
            )
            axes.set_xlabel("minima, at (α, β)", fontsize=_surround.LABEL)
            if len(places) > 6:
                axes.tick_params(axis="x", labelrotation=90)
        else:
            axes.set_xticks([])
            axes.set_xlabel(f"{len(places):,} minima", fontsize=_surround.LABEL)
        axes.tick_params(axis="x", length=0)
        _surround.settle(axes)
        _surround.footnote(axes, [self.note or ""])
        return self

    def _height(self) -> float:
        """Where the trunk leaves the picture: a range of losses far above all saddles says nothing of them."""
        last, low = float(np.nanmax(self.saddles, initial=-np.inf)), float(self.minima.min())
        if not np.isfinite(last):
            return self.top
        above = last * (last / low) ** 0.2 if self.logarithmic else last + 0.2 * (last - low)
        return min(self.top, above) if self.top > last else above

    def _branch(self, axes: Axes, k: int, x: float, places: Array, labeled: bool) -> None:
        ends = bool(np.isfinite(self.saddles[k])) and self.parents[k] >= 0
        height = float(self.saddles[k]) if ends else self._height()
        real = bool(np.asarray(self.real)[k])
        color, width = (_surround.shade(0.1), 1.6) if real else (_surround.shade(0.7), 0.8)
        axes.plot(
            [x, x], [self.minima[k], height], color=color, lw=width, solid_capstyle="butt", zorder=3 if real else 2
        )
        if ends:
            parent = float(places[self.parents[k]])
            axes.plot([parent, x], [height, height], color=color, lw=width, zorder=3 if real else 2)
            if real:
                axes.plot(parent, height, "X", ms=7, mfc="#D55E00", mec="white", mew=0.8, zorder=4)
        if real:
            axes.plot(x, self.minima[k], "o", ms=6.5, mfc="white", mec="0.05", mew=1.3, zorder=4, clip_on=False)
        if ends and real and labeled and len(self.depths) and self.depths[k]:
            between = np.sqrt(self.minima[k] * height) if self.logarithmic else (self.minima[k] + height) / 2
            axes.annotate(
                self.depths[k].replace(" (", "\n("), (x, between), (4, 0), textcoords="offset points",
                fontsize=_surround.SMALL, color=_surround.shade(0.25), va="center", rotation=90 if len(places) > 6 else 0,
            )  # fmt: skip
