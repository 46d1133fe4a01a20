"""A decision tree as an outline: one row per question or leaf, what was met in dark, what was not in gray."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Self

from lossatlas._errors import InputError
from lossatlas.draw import _surround
from lossatlas.draw._display import Display
from lossatlas.draw._style import PAGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROW, DETAIL, INDENT = 0.27, 0.17, 0.34  # inches
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
        tall = [ROW + DETAIL * bool(row.detail) for row in self.rows]
        whole = sum(tall)
        axes = self._open(ax, whole + 0.75)
        _surround.dress(axes, "", "", self.title)
        axes.set_xlim(0, PAGE)
        axes.set_ylim(whole, 0)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        below: dict[int, float] = {}
        y = 0.0
        for row, height in zip(self.rows, tall, strict=True):
            x, middle = INDENT * row.depth + 0.12, y + ROW / 2
            color = LEAF if row.leaf and row.met else _surround.shade(MET if row.met else NOT_MET)
            weight = "bold" if row.met else "normal"
            above = below.get(row.depth if row.answer == "no" else row.depth - 1)
            if row.answer and above is not None:
                side = x - 0.06 - INDENT * (row.answer == "yes")
                axes.plot(
                    [side, side, x - 0.02],
                    [above, middle, middle],
                    color=color,
                    lw=1.6 if row.met else 0.8,
                    zorder=1 + row.met,
                )
            axes.text(
                x + 0.03, middle, f"{row.answer + ': ' if row.answer else ''}{row.text}", color=color, fontsize=_surround.TICK,
                fontweight=weight, va="center",
            )  # fmt: skip
            if row.detail:
                axes.text(
                    x + 0.03, y + ROW + DETAIL / 3, row.detail, color=_surround.shade(0.3), fontsize=_surround.SMALL, va="center"
                )
            if not row.leaf:
                below[row.depth] = middle + 0.08
            y += height
        _surround.settle(axes)
        _surround.footnote(axes, [self.note or ""])
        return self
