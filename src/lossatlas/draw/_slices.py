"""Slices of a field of three and more coordinates, one for each pair of them, with one color scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from lossatlas._errors import InputError
from lossatlas.draw import _surround
from lossatlas.draw._display import Array, Display, array
from lossatlas.draw._field import HOLE
from lossatlas.draw._labels import label_lines
from lossatlas.draw._levels import Levels, Scale, number, scale_of
from lossatlas.draw._palette import ground
from lossatlas.draw._style import narrow, now, shade, titled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

# Inches: beside and below the panels, and between them.
LEFT, RIGHT, BELOW, GAP = 0.62, 0.12, 0.42, 0.14
# A panel is no larger, and has numbers on its lines from this size on.
LARGEST, WRITTEN = 2.6, 1.5
# The color bar: its width, and what it may take of the empty corner above the diagonal.
BAR, TALLEST = 0.13, 2.2


@dataclass(eq=False)
class SlicesDisplay(Display):
    """A triangle of slices: a column for each coordinate but the last, a row for each but the first.

    Args:
        axes: coordinates along each of the d axes, increasing.
        fields: by pair of axes (i, j), i < j: (n_j, n_i) values, rows along axis j.
        labels: of the axes, with their units; the picture bears what stands before the first comma, the small print all.
        at: (d,) where the slices lie.
        zlabel: of the values, with their unit.
        title: a line above.
        note: a sentence of small print.
        cmap: the color map; a light viridis when left out.

    Raises:
        InputError: fewer than three axes, pairs that are missing, or shapes that do not fit.
    """

    axes: Sequence[Array]
    fields: Mapping[tuple[int, int], Array]
    _: KW_ONLY
    labels: Sequence[str]
    at: Sequence[float]
    zlabel: str = "loss"
    title: str | None = None
    note: str | None = None
    cmap: str | None = None

    def __post_init__(self) -> None:
        self.axes = [array(f"axis {k}", axis) for k, axis in enumerate(self.axes)]
        d = len(self.axes)
        pairs = [(i, j) for j in range(1, d) for i in range(j)]
        if d < 3 or len(self.labels) != d or len(self.at) != d or set(self.fields) != set(pairs):
            raise InputError(
                f"got {d} axes, {len(self.labels)} labels, {len(self.at)} places and {len(self.fields)} fields; expected three "
                "axes or more, a label and a place of each, and a field for each pair of them."
            )
        self.fields = {
            (i, j): array(f"field {i}, {j}", self.fields[i, j], 2, (self.axes[j].size, self.axes[i].size))
            for i, j in pairs
        }

    def plot(self, ax: Axes | None = None, *, levels: Levels = "auto", cmap: str | Colormap | None = None) -> Self:
        """Draw all slices with shared levels.

        Args:
            ax: not taken: the picture has many axes. Give None.
            levels: as in ``FieldDisplay.plot``, for all slices together.
            cmap: a matplotlib color map, instead of the display's own.

        Returns:
            This display, with ``ax_`` (the first slice's) and ``figure_`` set.

        Raises:
            InputError: if axes are given.
        """
        if ax is not None:
            raise InputError("got axes for a picture of many axes; expected none. Draw single slices on axes of yours.")
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        wide, count = now().width, len(self.axes) - 1
        side = min(LARGEST, (wide - LEFT - RIGHT - (count - 1) * GAP) / count)
        left = LEFT + max(0.0, (wide - LEFT - RIGHT - count * side - (count - 1) * GAP) / 2)
        title = _surround.wrap(titled(self.title) or "", wide - 0.3, _surround.TITLE)
        note = _surround.wrap(_surround.small_print(self._notes()), wide - 0.2, _surround.SMALL)
        above = 0.12 + (0.2 + 0.16 * title.count("\n") if title else 0.0)
        below = BELOW + 0.1 + (_surround.SMALL * 1.3 / 72 * (1 + note.count("\n")) if note else 0.0)
        height = above + count * side + (count - 1) * GAP + below
        figure = Figure(figsize=(wide, height), facecolor=shade(1.0))
        FigureCanvasAgg(figure)
        scale = scale_of(np.concatenate([z.ravel() for z in self.fields.values()]), levels)
        colored = ground(self.cmap if cmap is None else cmap, 0.25)
        for (i, j), z in self.fields.items():
            bottom = height - above - j * side - (j - 1) * GAP
            box = ((left + i * (side + GAP)) / wide, bottom / height, side / wide, side / height)
            axes = figure.add_axes(box)
            self._panel(axes, i, j, z, scale, colored, side)
            if (i, j) == (0, 1):
                self.ax_, self.figure_ = axes, figure
        self._bar(figure, scale, colored, left + (count - 1) * (side + GAP) + 1.2 * GAP, height - above, side, count)
        if title:
            figure.text(0.1 / wide, 1 - 0.08 / height, title, fontsize=_surround.TITLE, va="top")
        if note:
            figure.text(0.1 / wide, 0.06 / height, note, fontsize=_surround.SMALL, color=shade(0.3), va="bottom")
        return self

    def _letter(self, k: int) -> str:
        return self.labels[k].partition(",")[0]

    def _notes(self) -> list[str]:
        """What each axis is, what is not shown, and the small print."""
        holes = sum(int(np.count_nonzero(~np.isfinite(z))) for z in self.fields.values())
        says = [
            f"{letter}: {rest.strip()}" for letter, _, rest in (label.partition(",") for label in self.labels) if rest
        ]
        if len({says_.partition("(")[2] for says_ in says}) == 1 and says and "(" in says[0]:
            unit = says[0].partition("(")[2]
            says = [*(one.partition("(")[0].strip() for one in says)]
            says[-1] += f" ({unit}"
        away = [f"{self._letter(k)} = {number(value)}" for k, value in enumerate(self.at) if value]
        if away:
            says.append(
                f"Slices at {', '.join(away)}, and 0 of the others"
                if len(away) < len(self.at)
                else f"Slices at {', '.join(away)}"
            )
        else:
            says.append("All other coordinates at 0")
        return [
            ", ".join(says[:-1]),
            says[-1],
            f"{holes:,} points not finite, drawn as holes" * bool(holes),
            self.note or "",
        ]

    def _panel(self, axes: Axes, i: int, j: int, z: Array, scale: Scale, colored: Colormap, side: float) -> None:
        from matplotlib.ticker import MaxNLocator

        x, y, last = self.axes[i], self.axes[j], len(self.axes) - 1
        axes.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
        axes.tick_params(labelsize=_surround.TICK, labelleft=i == 0, labelbottom=j == last)
        for axis in (axes.xaxis, axes.yaxis):
            # Labels at the rims would meet those of the next panel.
            axis.set_major_locator(MaxNLocator(5 if side > WRITTEN else 3, prune="both"))
        if j == last:
            axes.set_xlabel(self._letter(i), fontsize=_surround.LABEL)
        if i == 0:
            axes.set_ylabel(self._letter(j), fontsize=_surround.LABEL)
        if not np.isfinite(z).all():
            from matplotlib.patches import Rectangle

            hatched = Rectangle((x[0], y[0]), x[-1] - x[0], y[-1] - y[0], zorder=0.5, **HOLE)  # type: ignore[arg-type]
            hatched.set_gid("holes")
            axes.add_patch(hatched)
        if scale.kind == "empty":
            return
        shown = np.ma.masked_invalid(scale.drawn(z))
        filled = axes.contourf(
            x, y, shown, levels=scale.levels, cmap=colored, norm=scale.norm(colored.N), extend=scale.extend, zorder=1
        )
        filled.set_edgecolor("face")
        filled.set_linewidth(0.2)
        finite = z[np.isfinite(z)]
        inner = scale.levels[(scale.levels > finite.min()) & (scale.levels < finite.max())] if finite.size else []
        center = np.array([[self.at[i], self.at[j]]])
        if len(inner):
            lines = axes.contour(x, y, shown, levels=inner, colors="0.15", linewidths=0.45, alpha=0.55, zorder=2)
            if side > WRITTEN:
                label_lines(axes, lines, scale, center)
        for width, color in ((3.0, "white"), (1.2, "0.1")):
            axes.plot(*center[0], "+", ms=7 + width / 2, mew=width, color=color, zorder=6)

    def _bar(
        self, figure: Figure, scale: Scale, colored: Colormap, left: float, top: float, side: float, count: int
    ) -> None:
        """The color bar in the corner that the triangle leaves empty."""
        if scale.kind == "empty":
            return
        from matplotlib.cm import ScalarMappable

        wide, height = figure.get_size_inches().tolist()
        tall = min(TALLEST, (count - 1) * side + (count - 2) * GAP - 0.1)
        cax = figure.add_axes((left / wide, (top - tall - 0.04) / height, BAR / wide, tall / height))
        mapped = ScalarMappable(scale.norm(colored.N), colored)
        ticks = [scale.low] if scale.kind == "constant" else scale.levels[:: 1 + int(len(scale.levels) // (6 * tall))]
        bar = figure.colorbar(
            mapped, cax=cax, boundaries=scale.levels, ticks=ticks, extend=scale.extend, spacing="uniform"
        )
        bar.ax.minorticks_off()
        bar.ax.yaxis.set_major_formatter(scale.text)
        bar.ax.tick_params(labelsize=_surround.TICK)
        bar.set_label(self.zlabel, fontsize=_surround.LABEL if not narrow() else _surround.TICK)
        bar.outline.set_linewidth(0.6)
