"""Index against loss: how many directions go down from each critical point, and how high it lies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from lossatlas._errors import InputError
from lossatlas.draw import _surround
from lossatlas.draw._display import Array, Display, array

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

# Filled marks for what is a critical point, hollow ones for what only looks like one.
_MARKS = {"true": ("#0072B2", "o", True), "gradient-flat": ("#D55E00", "^", False), "unfinished": ("0.45", "x", True)}


@dataclass(eq=False)
class IndexDisplay(Display):
    """Losses of catches against their share of negative eigenvalues; only the requested classes are drawn.

    Args:
        loss: (n,) the loss of each catch.
        share: (n,) its share of negative eigenvalues, 0 to 1; NaN where it is not known.
        labels: (n,) the class of each.
        shown: the classes to draw. What is left out is counted in the small print.
        curve: (share, loss) of a theory to draw along, or None.
        curve_label: its name.
        title: a line above.
        note: a sentence of small print.

    Raises:
        InputError: arrays whose lengths differ, or shares outside 0 to 1.
    """

    loss: Array
    share: Array
    labels: Sequence[str]
    _: KW_ONLY
    shown: Sequence[str] = ("true",)
    curve: tuple[Array, Array] | None = None
    curve_label: str = "theory"
    title: str | None = None
    note: str | None = None

    def __post_init__(self) -> None:
        self.loss = array("loss", self.loss)
        self.share = array("share", self.share, 1, self.loss.shape)
        if len(self.labels) != len(self.loss):
            raise InputError(f"there are {len(self.labels)} labels for {len(self.loss)} losses; give one for each.")
        known = self.share[np.isfinite(self.share)]
        if known.size and (known.min() < 0 or known.max() > 1):
            raise InputError(f"shares run from {known.min():g} to {known.max():g}; give numbers from 0 to 1.")

    def plot(self, ax: Axes | None = None, *, size: float = 26.0) -> Self:
        """Draw the catches.

        Args:
            ax: where; a new figure of page width when left out.
            size: of the marks, in points squared.

        Returns:
            This display, with ``ax_`` and ``figure_`` set.
        """
        axes = self._open(ax, 3.7)
        _surround.dress(axes, "share of negative eigenvalues (index / N, %)", "loss", self.title)
        axes.grid(True, color=_surround.shade(0.92), linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        names = np.array(list(self.labels), dtype=object)
        finite = np.isfinite(self.loss) & np.isfinite(self.share)
        handles: list[Artist] = []
        for name in self.shown:
            rows = finite & (names == name)
            if not rows.any():
                continue
            color, marker, filled = _MARKS.get(name, ("#000000", "s", True))
            handles.append(
                axes.scatter(
                    100 * self.share[rows],
                    self.loss[rows],
                    s=size,
                    marker=marker,
                    color=color if filled else "none",
                    edgecolors=color if marker != "x" else None,
                    linewidths=0.9,
                    alpha=0.75,
                    zorder=3,
                    label=f"{_named(name)} ({int(rows.sum()):,})",
                )
            )
        if self.curve is not None:
            x, y = self.curve
            handles += axes.plot(
                100 * np.asarray(x), y, color=_surround.shade(0.2), lw=1.3, ls=(0, (5, 2)), label=self.curve_label
            )
        if not any(bool((finite & (names == name)).any()) for name in self.shown):
            axes.text(
                0.5, 0.5, "nothing to draw", ha="center", va="center", transform=axes.transAxes,
                fontsize=_surround.LABEL, color=_surround.shade(0.4),
            )  # fmt: skip
        drawn = 100 * self.share[finite & np.isin(names, list(self.shown))]
        axes.set_xlim(
            -2,
            102 if drawn.max(initial=0.0) > 60 or self.curve is not None else max(10.0, 1.2 * drawn.max(initial=0.0)),
        )
        axes.margins(y=0.08)
        _surround.thousands(axes.yaxis)
        _surround.settle(axes)
        legend = _surround.legend_below(axes, handles)
        _surround.footnote(axes, [self._left_out(), self.note or ""], under=legend)
        if ax is None:
            _surround.grow(axes)
        return self

    def _left_out(self) -> str:
        finite = np.isfinite(self.loss) & np.isfinite(self.share)
        counts = Counter(name for name in self.labels if name not in self.shown)
        unknown = sum(not ok for ok, name in zip(finite, self.labels, strict=True) if name in self.shown)
        parts = [f"{count:,} {name}" for name, count in sorted(counts.items())]
        parts += [f"{unknown:,} without a known index"] if unknown else []
        return f"Left out of {len(self.loss):,} catches: {', '.join(parts)}" if parts else ""


def _named(label: str) -> str:
    return {"true": "true critical points", "gradient-flat": "gradient-flat, not critical"}.get(label, label)
