"""What stands around the axes: legend and footnote below them, never on the data, and the figure cut to fit."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lossatlas.draw._legible import legible, make_legible
from lossatlas.draw._levels import number
from lossatlas.draw._style import SIZES, size, titled
from lossatlas.draw._style import shade as shade

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

# Inches that axes are high at least.
LEAST = 1.4


def __getattr__(name: str) -> float:
    """Font sizes in points: TITLE, LABEL, TICK and SMALL, as wide as figures are made and as a style sheet says."""
    if name in SIZES:
        return size(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def dress(ax: Axes, xlabel: str, ylabel: str, title: str | None) -> None:
    """Labels, title and tick labels in sizes that can be read in print."""
    # A label may be somewhat longer than its axis, but not than the figure.
    room = 1.25 * ax.get_window_extent().width / ax.figure.figure.dpi
    ax.set_xlabel(wrap(legible(xlabel), room, size("LABEL")), fontsize=size("LABEL"))
    ax.set_ylabel(legible(ylabel), fontsize=size("LABEL"))
    if title and (title := titled(title)):
        inches = ax.get_window_extent().width / ax.figure.figure.dpi
        ax.set_title(wrap(legible(title), inches, size("TITLE")), fontsize=size("TITLE"), loc="left")
    ax.tick_params(which="both", labelsize=size("TICK"))


def thousands(axis: Axis) -> None:
    """Write the ticks of a linear axis with separators when they are large."""
    from matplotlib.ticker import FuncFormatter

    low, high = axis.get_view_interval()
    if max(abs(low), abs(high)) >= 1000:
        axis.set_major_formatter(FuncFormatter(lambda value, _: number(value, 4)))


def whole(axis: Axis) -> None:
    """Put the ticks of a linear axis of counts at whole numbers."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 2.5, 5, 10]))


def decades(axis: Axis) -> None:
    """Write the ticks of a logarithmic axis as plain numbers where they are short."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    if axis.get_scale() == "log" and 0 < high < 100 * low:
        # Powers of ten alone would be one tick or none.
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))


def settle(ax: Axes) -> None:
    """Lay the figure out, so that what is measured next is what will be seen."""
    lay_out(ax.figure.figure)


def lay_out(figure: Any) -> None:
    """Lay a figure out, with every text as it can be drawn."""
    make_legible(figure)
    figure.draw_without_rendering()


def wrap(text: str, inches: float, size: float) -> str:
    """Break a text into lines of a width; a character is taken to be 0.53 of the font size wide."""
    columns = max(16, int(inches * 72 / (0.53 * size)))
    # A number keeps its unit.
    held = text.replace(" %", "\N{NO-BREAK SPACE}%")
    lines = "\n".join(textwrap.fill(part, columns, break_on_hyphens=False) for part in held.split("\n"))
    return lines.replace("\N{NO-BREAK SPACE}%", " %")


def legend_below(ax: Axes, handles: Sequence[Artist]) -> Artist | None:
    """A legend under the x label, in as many columns as fit the axes."""
    if not handles:
        return None
    from matplotlib.transforms import ScaledTranslation

    figure: Any = ax.figure.figure
    box = ax.get_window_extent()
    ticks = ax.xaxis.get_tightbbox()
    drop = (box.y0 - ticks.y0 if ticks is not None else 0.0) / figure.dpi + 0.06
    longest = max(len(str(handle.get_label())) for handle in handles)
    columns = max(1, int(box.width / figure.dpi * 72 / (34 + 0.56 * size("TICK") * longest)))
    rows = -(-len(handles) // columns)
    legend = ax.legend(
        handles=list(handles),
        loc="upper left",
        bbox_to_anchor=(0.0, 0.0),
        bbox_transform=ax.transAxes + ScaledTranslation(0, -drop, figure.dpi_scale_trans),
        ncols=-(-len(handles) // rows),
        fontsize=size("TICK"),
        frameon=False,
        borderaxespad=0.0,
        borderpad=0.2,
        handlelength=2.4,
        columnspacing=1.4,
    )
    legend.set_gid("legend")
    return legend


def small_print(notes: Sequence[str]) -> str:
    """Several notes as one line."""
    return " · ".join(note.strip().rstrip(".") for note in notes if note.strip())


def footnote(ax: Axes, notes: Sequence[str], under: Artist | None = None, *, whole: bool = False) -> None:
    """Small print under the x label, or under the legend when there is one; as wide as the axes, or as the `whole` figure."""
    text = legible(small_print(notes))
    if not text:
        return
    figure: Any = ax.figure.figure
    inches = (figure.bbox.width if whole else ax.get_window_extent().width) / figure.dpi
    bottom = ax.annotate(
        wrap(text, inches - 0.3 * whole, size("SMALL")),
        xy=(0.1 / inches if whole else 0.0, 0.0),
        xycoords=("figure fraction" if whole else "axes fraction", under or ax.xaxis.label),
        xytext=(0, -4),
        textcoords="offset points",
        va="top",
        ha="left",
        fontsize=size("SMALL"),
        color=shade(0.3),
        annotation_clip=False,
    )
    bottom.set_gid("footnote")


def casing(width: float) -> list[Any]:
    """Of a line of this width in a legend: white, as it has on a map, where dark colors would not be seen on the paper."""
    from matplotlib import patheffects

    if sum(shade(1.0)) > 1.5:
        return []
    return [patheffects.withStroke(linewidth=width + 1.6, foreground="white", alpha=0.85)]


def grow(ax: Axes) -> None:
    """Make a figure of ours higher where title, legend and small print leave the axes less than it needs."""
    figure: Any = ax.figure.figure
    settle(ax)
    missing = LEAST - ax.get_window_extent().height / figure.dpi
    if missing > 0:
        figure.set_figheight(figure.get_figheight() + missing)
        settle(ax)


def trim(figure: Figure) -> None:
    """Cut a figure of ours to the height its content takes at full width (equal aspects leave a margin)."""
    lay_out(figure)
    box = figure.get_tightbbox()
    if np.isfinite(box.height) and box.height > 0:
        figure.set_size_inches(figure.get_figwidth(), box.height + 0.16)
        lay_out(figure)


def reach(figure: Figure) -> float:
    """How far down from the top what is drawn so far reaches, in inches."""
    lay_out(figure)
    boxes = [box for axes in figure.axes if (box := axes.get_tightbbox()) is not None]
    return float(figure.get_figheight() - min(box.y0 for box in boxes) / figure.dpi)


def resize(figure: Figure, height: float) -> None:
    """Another height; what is there keeps its size and its place from the top."""
    before = figure.get_figheight()
    for axes in figure.axes:
        x, y, wide, tall = axes.get_position().bounds
        axes.set_position((x, (y * before + height - before) / height, wide, tall * before / height))
    figure.set_figheight(height)
