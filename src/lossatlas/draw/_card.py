"""A picture with its card: the field, how its curvatures stand to those of the whole surface, and the lines below."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from lossatlas._errors import InputError
from lossatlas.draw import _surround
from lossatlas.draw._display import Array, Display, array
from lossatlas.draw._legible import legible
from lossatlas.draw._levels import number
from lossatlas.draw._style import narrow, now, shade, titled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lossatlas.draw._field import FieldDisplay
    from lossatlas.draw._profile import ProfileDisplay

State = Literal["fine", "warns", "missing"]
Row = tuple[str, str, State]

# Inches: the width of the headings, the height of a line of text, and the air between two rows.
HEAD, LINE, AIR = 1.62, 0.128, 0.055
TOP, BELOW, LEFT, LOW = 3.3, 0.62, 0.82, 1.4
# Points: of the smallest print.
FINE = 6.8
# Color and shape: a state can be told in gray print too.
MARKS: dict[str, tuple[str, str]] = {"fine": ("o", "#0072B2"), "warns": ("^", "#D55E00"), "missing": ("o", "white")}
MEANS = {"fine": "measured", "warns": "the picture hides or exaggerates", "missing": "not measured"}


@dataclass(eq=False)
class CardDisplay(Display):
    """Lines of a card in a table, beside the picture that they are about.

    Args:
        rows: (heading, text, state) with a state of ``"fine"``, ``"warns"`` or ``"missing"``.
        field: the picture, not drawn yet; None for the rows alone.
        whole: (lowest, mean, highest) curvature of the whole surface, or None.
        shown: (lowest, highest) curvature in the picture, or None.
        others: (lowest, highest) curvature over pictures with other seeds, or None.
        points: (T, 2) places on a plane to draw in the picture, or None.
        ghosts: (T,) which of these lie off the plane and are drawn hollow.
        title: a line above.
        note: a sentence of small print.

    Raises:
        InputError: an unknown state, or points and ghosts of different lengths.
    """

    rows: Sequence[Row]
    _: KW_ONLY
    field: FieldDisplay | ProfileDisplay | None = None
    whole: tuple[float, float, float] | None = None
    shown: tuple[float, float] | None = None
    others: tuple[float, float] | None = None
    points: Array | None = None
    ghosts: Sequence[bool] = ()
    title: str | None = None
    note: str | None = None

    def __post_init__(self) -> None:
        for heading, _, state in self.rows:
            if state not in MARKS:
                raise InputError(f"the row {heading!r} has state {state!r}; give one of {', '.join(MARKS)}.")
        if self.points is not None:
            self.points = array("points", self.points, 2)
            if len(self.ghosts) != len(self.points):
                raise InputError(f"got {len(self.points)} points and {len(self.ghosts)} ghosts; give one for each.")

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw the picture with its card, or only the card on axes of the caller's.

        Args:
            ax: for the rows alone; a new figure of page width with the picture above them when left out.

        Returns:
            This display, with ``ax_`` and ``figure_`` set.
        """
        if ax is not None:
            self._open(ax, 0.0)
            box = ax.get_window_extent()
            self._table(ax, box.width / ax.figure.figure.dpi, box.height / ax.figure.figure.dpi)
            return self
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        width = now().width - 0.2
        table = sum(LINE * max(1, len(lines)) + AIR for _, lines, _ in self._wrapped(width)) + 0.3
        table += 0.15 * len(self._legend(width)) + 0.13 * len(self._notes(width))
        head = 0.34 if titled(self.title) else 0.08
        top = 0.0 if self.field is None else TOP + BELOW
        figure = Figure(figsize=(now().width, head + top + table), facecolor=shade(1.0))
        FigureCanvasAgg(figure)
        if self.field is not None:
            self._picture(figure, head)
            top = _surround.reach(figure) - head + 0.1
        height = head + top + table
        _surround.resize(figure, height)
        if title := titled(self.title):
            figure.text(
                0.1 / now().width, 1 - 0.2 / height, title, fontsize=_surround.TITLE, weight="bold", va="center"
            )
        own = figure.add_axes((0.1 / now().width, 0.03 / height, width / now().width, (table - 0.06) / height))
        self.ax_, self.figure_ = own, figure
        self._table(own, width, table - 0.06)
        return self

    def _picture(self, figure: Figure, head: float) -> None:
        """The field to the left, the bars to the right; in a column below it."""
        assert self.field is not None
        from lossatlas.draw._field import FieldDisplay

        total, bars = figure.get_figheight(), self.whole is not None
        height = width = min(TOP - 0.1, now().width - LEFT - 0.75)
        if not isinstance(self.field, FieldDisplay):
            width = now().width - (2.35 if bars and not narrow() else 0.9)
        elif self.field.same_units():
            ratio = self.field.spans[1] / self.field.spans[0]
            height, width = min(height, width * ratio), min(width, height / ratio)
        bottom = total - head - height - 0.05
        axes = figure.add_axes((LEFT / now().width, bottom / total, width / now().width, height / total))
        self.field.title = None
        self.field.plot(axes)
        # A label longer than its axis would leave the page.
        axes.set_ylabel(*_fold(axes.get_ylabel(), height))
        axes.set_xlabel(*_fold(axes.get_xlabel(), width + 0.8))
        for x, y, hollow in zip(*_columns(self.points), self.ghosts, strict=True):
            axes.plot(x, y, "o", ms=4.5, mfc="none" if hollow else "0.1", mec="0.1", mew=0.9, zorder=6)
        if bars and narrow():
            down = _surround.reach(figure) + 0.4
            _surround.resize(figure, down + LOW + 0.3)
            total = figure.get_figheight()
            self._bars(figure.add_axes((LEFT / now().width, 1 - (down + LOW) / total, 1.6 / now().width, LOW / total)))
        elif bars:
            tall = max(height, 2.2) - 0.22
            box = (
                (now().width - 1.02) / now().width,
                (total - head - 0.27 - tall) / total,
                0.95 / now().width,
                tall / total,
            )
            self._bars(figure.add_axes(box))

    def _bars(self, axes: Axes) -> None:
        """From the lowest to the highest curvature, of everything, of the picture, of other pictures."""
        spans: list[tuple[str, float, float, Any]] = []
        if self.whole is not None:
            spans.append(("all", self.whole[0], self.whole[2], shade(0.25)))
        if self.shown is not None:
            spans.append(("here", *self.shown, "#0072B2"))
        if self.others is not None:
            spans.append(("seeds", *self.others, "#56B4E9"))
        ends = np.abs([end for _, low, high, _ in spans for end in (low, high)])
        ends = ends[ends > 0]
        largest = float(ends.max()) if ends.size else 1.0
        threshold = max(float(ends.min()) / 2 if ends.size else 1.0, largest * 1e-6)
        axes.set_yscale("symlog", linthresh=threshold)
        for k, (_, low, high, color) in enumerate(spans):
            axes.bar(k, high - low, 0.62, bottom=low, color=color, zorder=2)
            if high - low < 1e-9 * largest:
                axes.plot([k - 0.31, k + 0.31], [low, low], color=color, lw=1.5, zorder=2)
        if self.whole is not None:
            axes.plot([-0.31, 0.31], [self.whole[1]] * 2, color="white", lw=1.4, zorder=3)
        axes.axhline(0, color=shade(0.1), lw=0.7, zorder=1)
        axes.set_xticks(range(len(spans)), [legible(name) for name, *_ in spans], fontsize=_surround.SMALL)
        axes.set_xlim(-0.5, len(spans) - 0.5 + 0.15)
        mean = self.whole is not None and np.isfinite(self.whole[1])
        axes.set_title("curvature" + ("\nwhite: mean" if mean else ""), fontsize=_surround.SMALL, loc="left")
        _symmetric(axes, threshold, [end for _, low, high, _ in spans for end in (low, high)])
        axes.tick_params(axis="y", labelsize=6.5, pad=1)
        axes.tick_params(axis="x", length=0)
        axes.grid(True, axis="y", color=shade(0.92), linewidth=0.5)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)

    def _wrapped(self, width: float) -> list[tuple[str, list[str], State]]:
        # A number stays with its unit, an interval's sign with its number.
        kept = [
            (heading, re.sub(r"(?<=[\d–]) (?=%)|(?<=±) ", "\u00a0", text), state) for heading, text, state in self.rows
        ]
        return [(heading, _lines(text, 0.98 * (width - _head(width))), state) for heading, text, state in kept]

    def _table(self, axes: Axes, width: float, height: float) -> None:
        """The rows, in inches from the upper left corner of the axes."""
        axes.set(xlim=(0, width), ylim=(height, 0))
        axes.set_axis_off()
        y = 0.04
        axes.plot([0, width], [y, y], color=shade(0.2), lw=0.9, solid_capstyle="butt")
        for heading, lines, state in self._wrapped(width):
            y += AIR
            mark, color = MARKS[state]
            edge = shade(0.45) if state == "missing" else color
            axes.plot(0.06, y + LINE * 0.55, mark, ms=4.6, mfc=color, mec=edge, mew=0.8, clip_on=False)
            size = _surround.SMALL
            axes.text(0.17, y, heading, fontsize=size, weight="bold", va="top", ha="left")
            gray = shade(0.45 if state == "missing" else 0.1)
            axes.text(
                _head(width), y, "\n".join(lines), fontsize=size, va="top", ha="left", color=gray, linespacing=1.13
            )
            y += LINE * max(1, len(lines))
            axes.plot([0.17, width], [y + AIR / 2] * 2, color=shade(0.88), lw=0.5)
        axes.plot([0, width], [y + AIR / 2] * 2, color=shade(0.2), lw=0.9, solid_capstyle="butt")
        y += AIR + 0.07
        for states in self._legend(width):
            x = 0.06
            for state in states:
                mark, color = MARKS[state]
                edge = shade(0.45) if state == "missing" else color
                axes.plot(x, y + 0.05, mark, ms=4.2, mfc=color, mec=edge, mew=0.8, clip_on=False)
                axes.text(x + 0.09, y, MEANS[state], fontsize=FINE, va="top", color=shade(0.3))
                x += _entry(state)
            y += 0.15
        if self.note:
            axes.text(0.0, y, "\n".join(self._notes(width)), fontsize=FINE, va="top", color=shade(0.3))

    def _legend(self, width: float) -> list[list[State]]:
        """What the marks mean, in rows of a width."""
        found: list[list[State]] = [[]]
        for state in dict.fromkeys(state for _, _, state in self.rows):
            if found[-1] and 0.06 + sum(map(_entry, found[-1])) + _entry(state) > width:
                found.append([])
            found[-1].append(state)
        return found

    def _notes(self, width: float) -> list[str]:
        return _lines(self.note, width, FINE) if self.note else []


def _head(width: float) -> float:
    """Where the texts begin, beside their headings."""
    return min(HEAD, 0.36 * width)


def _entry(state: State) -> float:
    """Inches that a mark takes with its meaning."""
    return 0.3 + 0.062 * len(MEANS[state])


def _fold(text: str, inches: float) -> tuple[str, dict[str, float]]:
    """A label in at most two lines: without its unit, then in small type, where it would take more."""
    for shorter, size in ((text, _surround.LABEL), (text.partition(" (")[0], _surround.LABEL)):
        lines = _lines(shorter, inches, size)
        if len(lines) <= 2:
            return "\n".join(lines), {"fontsize": size}
    return "\n".join(_lines(text.partition(" (")[0], inches, 7.0)[:2]), {"fontsize": 7.0}


def _lines(text: str, inches: float, size: float | None = None) -> list[str]:
    """Words put into lines by their measured width: these texts are full of wide and of narrow signs."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=size or _surround.SMALL)

    def wide(words: str) -> float:
        return float(text_to_path.get_text_width_height_descent(words, font, False)[0]) / 72

    lines, space = [""], wide("a b") - wide("ab")
    used = 0.0
    for word in text.split(" "):
        long = wide(word)
        if lines[-1] and used + space + long > inches:
            lines.append("")
            used = 0.0
        used += long + (space if lines[-1] else 0.0)
        lines[-1] += f" {word}" if lines[-1] else word
    return lines


def _columns(points: Array | None) -> tuple[Any, Any]:
    return ((), ()) if points is None else (points[:, 0], points[:, 1])


def _symmetric(axes: Axes, threshold: float, ends: list[float]) -> None:
    """Limits a little beyond the ends, and ticks at 0 and a few decades."""
    from matplotlib.ticker import FixedLocator, FuncFormatter

    high, low = max(*ends, 0.0), min(*ends, 0.0)
    axes.set_ylim(1.6 * low if low < 0 else -0.6 * threshold, 1.6 * high if high > 0 else 0.6 * threshold)
    decades = []
    for top, sign in ((high, 1.0), (low, -1.0)):
        if abs(top) <= threshold:
            continue
        first, last = np.ceil(np.log10(threshold)), np.floor(np.log10(abs(top) * 1.6))
        every = max(1, int(np.ceil((last - first + 1) / 4)))
        decades += [sign * 10.0**power for power in np.arange(last, first - 1, -every)]
    axes.yaxis.set_major_locator(FixedLocator(sorted([0.0, *decades])))
    axes.yaxis.set_minor_locator(FixedLocator([]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
