"""Starts colored by where they end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import ArrayLike

from lossatlas._errors import InputError
from lossatlas.draw import _surround
from lossatlas.draw._display import Array, Display, array
from lossatlas.draw._motion import Motion, counter
from lossatlas.draw._palette import well_colors

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

_NOWHERE, _WAITING = "#9a9a9a", "#f4f4f4"


@dataclass(eq=False)
class BasinsDisplay(Display):
    """A map of basins: hue for the well, lighter where it took longer.

    Args:
        x: (nx,) first coordinate of the starts.
        y: (ny,) second coordinate.
        ends: (ny, nx) index into `names`, −1 for none of them.
        names: of the wells.
        cost: (ny, nx) queries, or None to draw flat colors.
        wells: (name, x, y) of the minima.
        title: a line above.
        note: a sentence of small print.

    Raises:
        InputError: arrays that do not fit.
    """

    x: Array
    y: Array
    ends: ArrayLike
    names: Sequence[str]
    _: KW_ONLY
    cost: ArrayLike | None = None
    wells: Sequence[tuple[str, float, float]] = ()
    title: str | None = None
    note: str | None = None
    _image: AxesImage = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.x, self.y = array("x", self.x), array("y", self.y)
        shape = (self.y.size, self.x.size)
        self.places = array("ends", self.ends, 2, shape).astype(int)
        self.costs = None if self.cost is None else array("cost", self.cost, 2, shape)
        if min(shape) < 2 or self.places.min() < -1 or self.places.max() >= len(self.names):
            raise InputError(
                f"ends of shape {shape} hold {self.places.min()} to {self.places.max()}; expected at least 2 starts per "
                f"axis, and indices from −1 to {len(self.names) - 1}, one per name."
            )

    def motion(self) -> Motion:
        """The map as it fills in: a start is colored once its run has made 99 % of its descent; the rest, at the end.

        Every frame adds as many starts; the corner tells the queries by then.

        Raises:
            InputError: without costs, or with none that is known.
        """
        from matplotlib.colors import to_rgb

        known = np.empty(0) if self.costs is None else np.sort(self.costs[np.isfinite(self.costs)])
        if not known.size:
            raise InputError(
                "this map has no frames to animate: it is not known how long any start took; expected costs. Draw it as a picture."
            )
        self.plot()
        picture = self._image
        whole = np.array(picture.get_array(), dtype=np.float64)
        marks, said = [*self.ax_.lines, *self.ax_.spines.values()], counter(self.ax_)
        costs = np.asarray(self.costs, dtype=np.float64)
        taken = np.where(np.isfinite(costs), costs, np.inf)

        def show(time: float) -> list[Artist]:
            queries = float(known[min(int(time * known.size), known.size - 1)])
            there = np.ones(taken.shape, dtype=bool) if time >= 1 else taken <= (queries if time > 0 else -1)
            picture.set_data(np.where(there[..., None], whole, to_rgb(_WAITING)))
            said.set_text(f"{0 if time <= 0 else queries:,.0f} queries")
            return [picture, *marks, said]

        return Motion(self.figure_, [picture, *marks, said], show, 1.0)

    def plot(self, ax: Axes | None = None, *, palette: dict[str, str] | None = None) -> Self:
        """Draw the map.

        Args:
            ax: where; a new figure when left out.
            palette: name of a well to color.

        Returns:
            This display, with ``ax_`` and ``figure_`` set.
        """
        from matplotlib.colors import to_rgb
        from matplotlib.patches import Patch

        own = self._open(ax, 7.4)
        chosen = [{**well_colors(self.names), **(palette or {})}[name] for name in self.names]
        hues = np.array([to_rgb(color) for color in [*chosen, _NOWHERE]])
        image = hues[self.places]
        pale, notes = self._pale()
        image = image + (1 - image) * pale[..., None]
        dx, dy = (self.x[1] - self.x[0]) / 2, (self.y[1] - self.y[0]) / 2
        extent = (self.x[0] - dx, self.x[-1] + dx, self.y[0] - dy, self.y[-1] + dy)
        self._image = own.imshow(image, origin="lower", extent=extent, interpolation="nearest", aspect="equal")
        own.set(xlim=extent[:2], ylim=extent[2:])
        _surround.dress(own, "w₁ of the start", "w₂ of the start", self.title)
        for name, px, py in self.wells:
            deepest = "global" in name.lower()
            own.plot(px, py, "*" if deepest else "v", ms=13 if deepest else 8, mfc="white", mec="black", mew=1.0)
        handles = []
        for k, name in enumerate(self.names):
            share = float((self.places == k).mean())
            if share:
                handles.append(Patch(facecolor=chosen[k], label=f"{name} ({share:.1%})"))
        lost = float((self.places < 0).mean())
        if lost:
            handles.append(Patch(facecolor=_NOWHERE, label=f"no well ({lost:.1%})"))
        _surround.settle(own)
        legend = _surround.legend_below(own, handles)
        _surround.footnote(own, [*notes, self.note or ""], under=legend)
        if ax is None:
            _surround.trim(self.figure_)
        return self

    def _pale(self) -> tuple[Array, list[str]]:
        """How far each cell is mixed with white, from its cost's place between the 5 % and 95 % quantiles."""
        if self.costs is None or not np.isfinite(self.costs).any():
            return np.zeros(self.places.shape), []
        low, high = np.nanquantile(self.costs, [0.05, 0.95])
        if high <= low:
            return np.zeros(self.places.shape), []
        share = np.clip((np.nan_to_num(self.costs, nan=low) - low) / (high - low), 0, 1)
        return 0.7 * share, [f"Lighter: slower, from {low:,.0f} to {high:,.0f} queries for 99 % of the descent"]
