"""The sharpest curvature along training runs, each with the curvature above which its steps are unstable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Self

from numpy.typing import ArrayLike

from lossatlas._errors import InputError
from lossatlas.draw import _surround
from lossatlas.draw._display import Array, Display, array
from lossatlas.draw._palette import inked, strokes

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes


@dataclass(eq=False)
class AlongDisplay(Display):
    """The largest eigenvalue of the Hessian over time, with its residual as an error bar, and the line 2/η.

    Args:
        curves: name to (t, λmax, residual), all of one length; several runs in one picture.
        edges: name to (t, 2/η) of the runs whose learning rate is known.
        edge_label: what the line is.
        more: name to (t, (T, k) further eigenvalues), drawn thin.
        xlabel: of the horizontal axis.
        title: a line above.
        note: a sentence of small print.

    Raises:
        InputError: arrays of unequal lengths, or a line for a run that is not there.
    """

    curves: Mapping[str, tuple[ArrayLike, ArrayLike, ArrayLike]]
    edges: Mapping[str, tuple[ArrayLike, ArrayLike]] = field(default_factory=dict)
    _: KW_ONLY
    edge_label: str = "2/η"
    more: Mapping[str, tuple[ArrayLike, ArrayLike]] = field(default_factory=dict)
    xlabel: str = "step"
    title: str | None = None
    note: str | None = None
    arrays: dict[str, tuple[Array, Array, Array]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.arrays = {}
        for name, (t, values, errors) in self.curves.items():
            x = array(f"t of {name!r}", t)
            parts = (
                array(f"{what} of {name!r}", v, 1, x.shape) for what, v in (("λmax", values), ("residual", errors))
            )
            self.arrays[name] = (x, *parts)  # type: ignore[assignment]
        for given in (self.edges, self.more):
            for name in given:
                if name not in self.curves:
                    raise InputError(f"there is a line for {name!r} but no curve; there are {', '.join(self.curves)}.")

    def plot(self, ax: Axes | None = None, *, palette: dict[str, str] | None = None) -> Self:
        """Draw the runs.

        Args:
            ax: where; a new figure of page width when left out.
            palette: name to color; from ``colors`` when left out.

        Returns:
            This display, with ``ax_`` and ``figure_`` set.
        """
        axes = self._open(ax, 3.7)
        _surround.dress(axes, self.xlabel, "eigenvalue of the Hessian", self.title)
        axes.grid(True, color=_surround.shade(0.92), linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        handles: list[Artist] = []
        for name, stroke in inked(strokes(self.arrays, palette)).items():
            t, values, errors = self.arrays[name]
            if name in self.more:
                rest = array(f"further eigenvalues of {name!r}", self.more[name][1], 2)
                axes.plot(self.more[name][0], rest, color=stroke.color, lw=0.7, alpha=0.45, zorder=2)
            axes.errorbar(
                t, values, yerr=errors, color=stroke.color, ls="none", elinewidth=0.9, capsize=1.5, zorder=3
            )  # fmt: skip
            label = f"λmax of {name}" if len(self.arrays) > 1 else "λmax"
            handles += axes.plot(
                t, values, color=stroke.color, lw=1.5, ls=stroke.dashes, marker=stroke.marker, ms=3.5, zorder=3, label=label
            )  # fmt: skip
            if name in self.edges:
                x, edge = (array(f"line of {name!r}", part) for part in self.edges[name])
                label = f"{self.edge_label} of {name}" if len(self.arrays) > 1 else self.edge_label
                color = stroke.color if len(self.arrays) > 1 else _surround.shade(0.15)
                handles += axes.plot(x, edge, color=color, lw=1.2, ls=(0, (5, 2)), zorder=2.5, label=label)
        low, high = axes.get_ylim()
        axes.set_ylim(min(0.0, low), high)
        axes.margins(x=0.02)
        _surround.thousands(axes.xaxis)
        _surround.thousands(axes.yaxis)
        _surround.settle(axes)
        legend = _surround.legend_below(axes, handles)
        _surround.footnote(
            axes, ["Thin lines: the next eigenvalues" if self.more else "", self.note or ""], under=legend
        )
        if ax is None:
            _surround.grow(axes)
        return self
