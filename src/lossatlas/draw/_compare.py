"""Several fields side by side in one color scale, and below them one number per field and picture."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Self

import numpy as np

from lossatlas._errors import InputError
from lossatlas.draw import _surround
from lossatlas.draw._display import Array, Display, array
from lossatlas.draw._field import HOLE
from lossatlas.draw._legible import legible
from lossatlas.draw._levels import Levels, Scale, scale_of
from lossatlas.draw._palette import colors, ground
from lossatlas.draw._style import narrow, now, shade, titled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

# Inches: margins, gaps between panels, and the height of the row of numbers.
LEFT, RIGHT, GAP, BELOW = 0.78, 0.85, 0.14, 0.48
DOTS, DOTS_ABOVE, DOTS_GAP, DOTS_LEAST = 1.05, 0.3, 0.62, 1.3


@dataclass(eq=False)
class CompareDisplay(Display):
    """Small multiples: one column per name, one row per picture, one color bar for all.

    Args:
        names: one per column.
        x: per column, (nx,) coordinates.
        y: per column, (ny,) coordinates.
        z: per row, per column, (ny, nx) values.
        rows: what each row is.
        numbers: for each measure, name to (n,) numbers that belong together across names; drawn below the fields.
        xlabel: of the fields.
        ylabel: of the fields.
        zlabel: of the values.
        title: a line above.
        note: a sentence of small print.

    Raises:
        InputError: shapes that do not fit.
    """

    names: Sequence[str]
    x: Sequence[Array]
    y: Sequence[Array]
    z: Sequence[Sequence[Array]]
    _: KW_ONLY
    rows: Sequence[str]
    numbers: Mapping[str, Mapping[str, Array]]
    xlabel: str = "α"
    ylabel: str = "β"
    zlabel: str = "loss"
    title: str | None = None
    note: str | None = None
    _feet: list[str] = field(init=False, repr=False, default_factory=list)

    def __post_init__(self) -> None:
        n = len(self.names)
        if not n or len(self.x) != n or len(self.y) != n or len(self.rows) != len(self.z):
            raise InputError(
                f"got {n} names, {len(self.x)} and {len(self.y)} axes, {len(self.rows)} rows and {len(self.z)} rows of "
                "fields; expected one axis of each kind per name, and one label per row."
            )
        self.x, self.y = [array("x", x) for x in self.x], [array("y", y) for y in self.y]
        fields = []
        for row in self.z:
            if len(row) != n:
                raise InputError(f"a row has {len(row)} fields for {n} names; give one for each.")
            fields.append([array("z", z, 2, (y.size, x.size)) for z, x, y in zip(row, self.x, self.y, strict=True)])
        self.z = fields

    def plot(self, ax: Axes | None = None, *, levels: Levels = "auto", cmap: str | Colormap | None = None) -> Self:
        """Draw all fields with shared levels.

        Args:
            ax: not taken: the picture has many axes. Give None.
            levels: as in ``FieldDisplay.plot``, for all fields together.
            cmap: a matplotlib color map; left out, a light viridis.

        Returns:
            This display, with ``ax_`` (the first field's) and ``figure_`` set.

        Raises:
            InputError: if axes are given.
        """
        if ax is not None:
            raise InputError("got axes for a picture of many axes; expected none. Draw single charts on axes of yours.")
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        columns = len(self.names)
        side = min(2.35, (now().width - LEFT - RIGHT - (columns - 1) * GAP) / columns)
        heads = [_narrow(name, side, _surround.LABEL) for name in self.names]
        title = _surround.wrap(titled(self.title) or "", now().width - 0.3, _surround.TITLE)
        note = _surround.wrap(self.note or "", now().width - LEFT - 0.1, _surround.SMALL)
        above = 0.24 + 0.14 * title.count("\n") if title else 0.0
        below = 0.22 + 0.12 * note.count("\n") if note else 0.0
        head = 0.19 + 0.14 * max(text.count("\n") + 1 for text in heads) + above
        fields = len(self.z) * (side + GAP) - GAP
        room = now().width - LEFT - 0.25
        beside = min(len(self.numbers) or 1, max(1, int((room + DOTS_GAP) / (DOTS_LEAST + DOTS_GAP))))
        # As many in every row as can be: four are two and two, not three and one.
        beside = -(-len(self.numbers) // -(-len(self.numbers) // beside)) if self.numbers else 1
        wide = (room - (beside - 1) * DOTS_GAP) / beside
        self._feet = [_narrow(legible(name), wide / columns, _surround.SMALL - 0.5) for name in self.names]
        foot = 0.2 + 0.115 * max(text.count("\n") + 1 for text in self._feet)
        dots = -(-len(self.numbers) // beside) * (DOTS_ABOVE + DOTS + foot)
        height = head + fields + BELOW + dots + below
        figure = Figure(figsize=(now().width, height), facecolor=shade(1.0))
        FigureCanvasAgg(figure)
        scale = scale_of(np.concatenate([z.ravel() for row in self.z for z in row]), levels)
        colored = ground(cmap, 0.25)
        left = LEFT + max(0.0, (now().width - LEFT - RIGHT - columns * side - (columns - 1) * GAP) / 2)
        for j, row in enumerate(self.z):
            bottom = height - head - (j + 1) * side - j * GAP
            for i, z in enumerate(row):
                box = (
                    (left + i * (side + GAP)) / now().width, bottom / height, side / now().width, side / height
                )  # fmt: skip
                axes = figure.add_axes(box)
                self._field(axes, z, i, j, scale, colored, heads[i])
                if i == j == 0:
                    self.ax_, self.figure_ = axes, figure
        self._bar(
            figure, scale, colored, (left + columns * (side + GAP) - GAP + 0.1, BELOW + dots + below, fields), height
        )
        if title:
            place = 0.1 if narrow() else left
            figure.text(place / now().width, 1 - 0.07 / height, title, fontsize=_surround.TITLE, va="top")
        self._numbers(figure, height, wide, foot, beside, below)
        if note:
            figure.text(
                LEFT / now().width,
                0.06 / height,
                note,
                fontsize=_surround.SMALL,
                color=_surround.shade(0.3),
                va="bottom",
            )
        return self

    def _field(self, axes: Axes, z: Array, i: int, j: int, scale: Scale, colored: Colormap, name: str) -> None:
        from matplotlib.ticker import MaxNLocator

        x, y = self.x[i], self.y[i]
        axes.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
        axes.tick_params(labelsize=_surround.TICK - 0.5, labelleft=i == 0, labelbottom=j == len(self.z) - 1)
        for axis in (axes.xaxis, axes.yaxis):
            # Labels at the rims would meet those of the next panel.
            axis.set_major_locator(
                MaxNLocator(5 if axes.bbox.width > 1.8 * axes.figure.figure.dpi else 3, prune="both")
            )
        if j == 0:
            axes.set_title(name, fontsize=_surround.LABEL, loc="left")
        if j == len(self.z) - 1:
            axes.set_xlabel(self.xlabel, fontsize=_surround.TICK)
        if i == 0:
            axes.set_ylabel(f"{self.rows[j]}\n{self.ylabel}", fontsize=_surround.TICK)
        if not np.isfinite(z).all():
            from matplotlib.patches import Rectangle

            axes.add_patch(Rectangle((x[0], y[0]), x[-1] - x[0], y[-1] - y[0], zorder=0.5, **HOLE))  # type: ignore[arg-type]
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
        if len(inner):
            axes.contour(x, y, shown, levels=inner, colors="0.15", linewidths=0.4, alpha=0.55, zorder=2)
        if x[0] <= 0 <= x[-1] and y[0] <= 0 <= y[-1]:
            for width, color in ((3.0, "white"), (1.2, "0.1")):
                axes.plot(0, 0, "+", ms=7 + width / 2, mew=width, color=color, zorder=6)

    def _bar(
        self, figure: Figure, scale: Scale, colored: Colormap, place: tuple[float, float, float], height: float
    ) -> None:
        if scale.kind == "empty":
            return
        from matplotlib.cm import ScalarMappable

        left, bottom, tall = place
        tall, bottom = min(tall, 3.2), bottom + max(0.0, tall - 3.2) / 2
        side = figure.add_axes((left / now().width, bottom / height, 0.11 / now().width, tall / height))
        mapped = ScalarMappable(scale.norm(colored.N), colored)
        ticks = scale.levels[:: 1 + len(scale.levels) // 14]
        bar = figure.colorbar(
            mapped, cax=side, boundaries=scale.levels, values=None, ticks=ticks, extend=scale.extend, spacing="uniform"
        )
        bar.ax.minorticks_off()
        bar.ax.yaxis.set_major_formatter(scale.text)
        bar.ax.tick_params(labelsize=_surround.TICK - 0.5)
        bar.set_label(self.zlabel, fontsize=_surround.TICK)
        bar.outline.set_linewidth(0.6)

    def _numbers(self, figure: Figure, height: float, width: float, foot: float, beside: int, below: float) -> None:
        """One small axes per measure: a dot per picture and name, those that belong together joined."""
        from matplotlib.ticker import MaxNLocator

        palette = colors(self.names)
        rows = -(-len(self.numbers) // beside)
        for k, (measure, found) in enumerate(self.numbers.items()):
            left = LEFT + k % beside * (width + DOTS_GAP)
            base = below + foot + (rows - 1 - k // beside) * (DOTS_ABOVE + DOTS + foot)
            axes = figure.add_axes((left / now().width, base / height, width / now().width, DOTS / height))
            values = np.array([found[name] for name in self.names], dtype=np.float64)
            at = np.arange(len(self.names))
            for pair in values.T:
                axes.plot(at, pair, color=_surround.shade(0.75), lw=0.8, zorder=1)
            for i, name in enumerate(self.names):
                axes.plot(
                    np.full(values.shape[1], i),
                    values[i],
                    "o",
                    ms=4.2,
                    mfc=palette[name],
                    mec="white",
                    mew=0.6,
                    zorder=3,
                )
                axes.plot([i - 0.16, i + 0.16], [np.median(values[i])] * 2, color=palette[name], lw=1.8, zorder=2)
            axes.set_title(_surround.wrap(measure, width, _surround.SMALL), fontsize=_surround.SMALL, loc="left")
            axes.set_xlim(-0.45, len(self.names) - 0.55)
            axes.set_xticks(at, self._feet, fontsize=_surround.SMALL - (0.5 if len(at) < 4 else 1.2))
            if np.all(values == np.round(values)):
                axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
            axes.tick_params(axis="y", labelsize=_surround.SMALL - 0.5)
            low, high = float(np.nanmin(values, initial=0.0)), float(np.nanmax(values, initial=0.0))
            axes.set_ylim(min(0.0, low), high * 1.12 or 1.0)
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(True, axis="y", color=_surround.shade(0.92), linewidth=0.5)
            axes.set_axisbelow(True)


def _narrow(text: str, inches: float, size: float) -> str:
    """A name in lines of a width, words kept whole."""
    return textwrap.fill(text, max(6, int(inches * 72 / (0.56 * size))), break_long_words=False)
