"""A decision tree as an outline: one row per question or leaf, what was met in dark, what was not in gray."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Self

from lossatlas._errors import InputError
from lossatlas.draw import _surround
from lossatlas.draw._display import Display, need_axes
from lossatlas.draw._style import PAGE, now

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROW, LINE, DETAIL, INDENT = 0.27, 0.15, 0.17, 0.34  # inches
MET, NOT_MET, LEAF = 0.1, 0.62, "#0072B2"


@dataclass(frozen=True)
class Decision:
    """One row.

    Attributes:
        text: the question, or what to do at a leaf.
        depth: how far it is indented.
        answer: to the question it follows, ``"yes"`` or ``"no"``; empty for the first.
        met: whether the way led here.
        detail: a line below, of what decided.
        leaf: whether it ends here.
    """

    text: str
    depth: int
    answer: str
    met: bool
    detail: str = ""
    leaf: bool = False


@dataclass(frozen=True)
class _Placed:
    """A row as it is drawn: its lines, where it begins, and the inches that it takes."""

    text: str
    detail: str
    x: float
    indent: float
    lines: int
    height: float


@dataclass(eq=False)
class DecisionsDisplay(Display):
    """Rows in the order of the tree: what follows yes is indented below its question, what follows no comes next.

    Args:
        rows: at least one.
        title: a line above.
        note: a sentence of small print.

    Raises:
        InputError: for no rows.
    """

    rows: Sequence[Decision]
    _: KW_ONLY
    title: str | None = None
    note: str | None = None

    def __post_init__(self) -> None:
        if not self.rows:
            raise InputError("got no rows; expected at least one decision.")

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw the rows.

        Args:
            ax: where; a new figure of page width when left out.

        Returns:
            This display, with ``ax_`` and ``figure_`` set.
        """
        need_axes(ax)
        wide = now().width if ax is None else ax.get_window_extent().width / ax.figure.figure.dpi
        placed = [self._placed(row, wide) for row in self.rows]
        whole = sum(one.height for one in placed)
        axes = self._open(ax, whole + 0.75, rigid=True)
        _surround.dress(axes, "", "", self.title)
        axes.set_xlim(0, wide)
        axes.set_ylim(whole, 0)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        below: dict[int, float] = {}
        y = 0.0
        for row, one in zip(self.rows, placed, strict=True):
            middle = y + ROW / 2
            color = _surround.shade(MET if row.met else NOT_MET) if not (row.leaf and row.met) else LEAF
            above = below.get(row.depth if row.answer == "no" else row.depth - 1)
            if row.answer and above is not None:
                side = one.x - 0.06 - one.indent * (row.answer == "yes")
                axes.plot(
                    [side, side, one.x - 0.02],
                    [above, middle, middle],
                    color=color,
                    lw=1.6 if row.met else 0.8,
                    zorder=1 + row.met,
                )
            axes.text(
                one.x + 0.03, y + ROW / 4, one.text, color=color, fontsize=_surround.TICK,
                fontweight="bold" if row.met else "normal", va="top", in_layout=False,
            )  # fmt: skip
            if one.detail:
                axes.text(
                    one.x + 0.03, y + ROW - 0.03 + (one.lines - 1) * LINE, one.detail, color=_surround.shade(0.3),
                    fontsize=_surround.SMALL, va="top", in_layout=False,
                )  # fmt: skip
            if not row.leaf:
                below[row.depth] = y + ROW / 2 + (one.lines - 1) * LINE + 0.08
            y += one.height
        _surround.settle(axes)
        _surround.footnote(axes, [self.note or ""])
        return self

    def _placed(self, row: Decision, wide: float) -> _Placed:
        """A row's text in lines that fit the picture, indented less where it is narrow."""
        indent = INDENT * min(1.0, wide / PAGE)
        x = 0.12 + indent * row.depth
        room = wide - x - 0.3
        # Bold letters are wider by an eighth.
        text = _surround.wrap(
            f"{row.answer + ': ' if row.answer else ''}{row.text}", room / (1.12 if row.met else 1.0), _surround.TICK
        )
        detail = _surround.wrap(row.detail, room, _surround.SMALL) if row.detail else ""
        lines, more = text.count("\n") + 1, detail.count("\n") + 1 if detail else 0
        return _Placed(text, detail, x, indent, lines, ROW + (lines - 1) * LINE + DETAIL * more)
