"""A field seen from above: filled contours with numbers on the lines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from lossatlas import _checks
from lossatlas.draw import _surround
from lossatlas.draw._display import Array
from lossatlas.draw._grid import GridDisplay, is_deepest
from lossatlas.draw._labels import label_lines
from lossatlas.draw._levels import Levels, Scale, scale_of
from lossatlas.draw._palette import ground

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.contour import QuadContourSet

HOLE = {"facecolor": "0.88", "edgecolor": "0.6", "hatch": "////", "linewidth": 0.0}
# Paled, so that the dark strokes are seen on dark ground as on light.
DOUBTFUL = {"facecolor": (1.0, 1.0, 1.0, 0.3), "edgecolor": (0.1, 0.1, 0.1, 0.5), "hatch": "\\\\\\\\", "linewidth": 0.0}


@dataclass(eq=False)
class FieldDisplay(GridDisplay):
    """A field as a contour map; its arguments are those of a ``GridDisplay``.

    Example:
        >>> import numpy as np
        >>> x, y = np.linspace(-2, 2, 31), np.linspace(-1, 1, 21)
        >>> field = FieldDisplay(x, y, x**2 + y[:, None] ** 2, xlabel="a", ylabel="b")
        >>> field.plot(levels="linear").ax_.get_xlabel()
        'a'
    """

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
        """Draw the map.

        Args:
            ax: where; a new figure of page width when left out.
            levels: ``"auto"``, ``"linear"``, ``"log"``, ``"asinh"``, ``"quantile"`` or the levels themselves.
            cmap: a matplotlib color map, instead of the display's own.
            equal: whether both axes get the same scale; decided from units and spans when left out.
            numbers: whether the lines carry their level.
            avoid: (K, 2) places that the numbers keep away from, since something will be laid over them.

        Returns:
            This display, with ``ax_`` and ``figure_`` set.

        Raises:
            InputError: unknown levels or color map.
        """
        scale = scale_of(self.z, levels)
        lines = self._ground(ax, scale, ground(self.cmap if cmap is None else cmap, 0.25), equal)
        marks = self._marks()
        kept_off = marks if avoid is None else np.concatenate([marks, avoid])
        numbered = _checks.flag("numbers", numbers)
        self._finish(ax is None, scale, lines if numbered else None, kept_off, [], [])
        return self

    def _ground(self, ax: Axes | None, scale: Scale, cmap: Colormap, equal: bool | None) -> QuadContourSet | None:
        """Fill the axes; the lines are returned, to be labeled when the layout stands."""
        equal = self.same_units() if equal is None else _checks.flag("equal", equal)
        own = self._open(ax, 9.0 if equal else 4.4)
        own.set(xlim=(self.x[0], self.x[-1]), ylim=(self.y[0], self.y[-1]))
        _surround.dress(own, self.xlabel, self.ylabel, self.title)
        _surround.thousands(own.xaxis)
        _surround.thousands(own.yaxis)
        if equal:
            own.set_aspect("equal")
        if self.holes:
            from matplotlib.patches import Rectangle

            hatched = Rectangle((self.x[0], self.y[0]), *self.spans, zorder=0.5, **HOLE)  # type: ignore[arg-type]
            hatched.set_gid("holes")
            own.add_patch(hatched)
        if scale.kind == "empty":
            return None
        values = np.ma.masked_invalid(scale.drawn(self.z))
        filled = own.contourf(
            self.x,
            self.y,
            values,
            levels=scale.levels,
            cmap=cmap,
            norm=scale.norm(cmap.N),
            extend=scale.extend,
            zorder=1,
        )
        filled.set_edgecolor("face")
        filled.set_linewidth(0.2)
        side = own.inset_axes((1.025, 0.0, 0.035, 1.0))
        shown = scale.levels[:: 1 + len(scale.levels) // 16]
        bar = own.figure.colorbar(filled, cax=side, ticks=shown if scale.kind != "constant" else [scale.low])
        bar.ax.minorticks_off()
        bar.ax.yaxis.set_major_formatter(scale.text)
        bar.ax.tick_params(labelsize=_surround.TICK)
        bar.set_label(self.zlabel, fontsize=_surround.LABEL)
        bar.outline.set_linewidth(0.6)
        self._sampled(own)
        self._hatch(own, self._doubted(scale))
        if not scale.inner.size:
            return None
        return own.contour(
            self.x, self.y, values, levels=scale.inner, colors="0.15", linewidths=0.45, alpha=0.55, zorder=2
        )

    def _sampled(self, own: Axes) -> None:
        """A dot at every point that was evaluated, the smaller the more there are."""
        if self.samples is None or not len(self.samples):
            return
        size = float(np.clip(40 / np.sqrt(len(self.samples)), 0.9, 2.6))
        places = self.samples[self.inside(self.samples)].T
        (dots,) = own.plot(*places, ".", ms=2 * size, mfc="0.1", mec="white", mew=0.25 * size, zorder=3, clip_on=False)
        dots.set_gid("samples")

    def _hatch(self, own: Axes, doubted: NDArray[np.bool_] | None) -> None:
        """Light strokes over the cells that may lie on the other side of a contour line."""
        if doubted is None or not doubted.any():
            return
        from matplotlib.patches import PathPatch
        from matplotlib.path import Path

        rows, columns = np.nonzero(doubted)
        x, y = _borders(self.x), _borders(self.y)
        left, right, low, high = x[columns], x[columns + 1], y[rows], y[rows + 1]
        corners = np.stack([left, low, right, low, right, high, left, high, left, low], 1).reshape(-1, 2)
        codes = np.tile(np.array([Path.MOVETO, *3 * [Path.LINETO], Path.CLOSEPOLY], dtype=np.uint8), len(rows))
        own.add_patch(PathPatch(Path(corners, codes), zorder=2.2, gid="doubtful", **DOUBTFUL))

    def _marks(self) -> Array:
        """Put in the wells and the center; their places are returned, for labels to keep away."""
        from matplotlib import patheffects

        halo = [patheffects.withStroke(linewidth=2.2, foreground="white")]
        places = []
        marks = [(name, x, y, "*" if is_deepest(name) else "v") for name, x, y in self.wells]
        if self.center is not None:
            marks.append(("", *self.center, "+"))
        for name, x, y, marker in marks:
            if not self.inside(np.array([x, y])):
                continue
            places.append((x, y))
            if marker == "+":
                for width, color in ((3.0, "white"), (1.3, "0.1")):
                    self.ax_.plot(x, y, "+", ms=9 + width / 2, mew=width, color=color, zorder=6)
            else:
                size = 12 if marker == "*" else 6.0
                self.ax_.plot(x, y, marker, ms=size, mfc="white", mec="0.1", mew=0.9, zorder=5.2)
            right = x > self.x[0] + 0.75 * self.spans[0]
            high = y > self.y[0] + 0.9 * self.spans[1]
            label = self.ax_.annotate(
                name or "center",
                (x, y),
                (-6 if right else 6, -6 if high else 5),
                textcoords="offset points",
                fontsize=_surround.TICK,
                color="black",
                ha="right" if right else "left",
                va="top" if high else "baseline",
                zorder=7,
            )
            label.set(path_effects=[*halo], gid="mark label")
            steps = np.linspace(0, 1, 4) * (0.012 * len(name or "center") * self.spans[0])
            places += [(x - step if right else x + step, y) for step in steps]
        return np.array(places, dtype=np.float64).reshape(-1, 2)

    def _finish(
        self,
        own: bool,
        scale: Scale,
        lines: QuadContourSet | None,
        avoid: Array,
        handles: list[Artist],
        notes: list[str],
        late: Callable[[], Array] | None = None,
    ) -> None:
        """Legend, small print, and last, when the layout stands, what `late` draws and the numbers on the lines.

        ``late`` returns the places that numbers keep away from as well.
        """
        _surround.settle(self.ax_)
        away = [name for name, x, y in self.wells if not self.inside(np.array([x, y]))]
        if self.center is not None and not self.inside(np.array(self.center)):
            away.append("center")
        beyond = [f"Outside the box: {', '.join(away)}"] if away else []
        legend = _surround.legend_below(self.ax_, handles)
        doubted = self._doubted(scale)
        doubt = ["Hatched: the expected error exceeds a contour step"] if doubted is not None and doubted.any() else []
        said = [*notes, *self.remarks(scale), *doubt, *beyond, self.note or ""]
        _surround.footnote(self.ax_, said, under=legend)
        if own:
            _surround.trim(self.figure_)
        else:
            _surround.settle(self.ax_)
        if late is not None:
            avoid = np.concatenate([avoid, late()])
        if lines is not None:
            label_lines(self.ax_, lines, scale, avoid)


def _borders(places: Array) -> Array:
    """Halfway between neighbors, with the first and the last place at the ends."""
    return np.concatenate([places[:1], (places[:-1] + places[1:]) / 2, places[-1:]])
