"""Profiles of paths between two networks, with their bands and the height of one of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike

from lossatlas._errors import InputError
from lossatlas.draw import _surround
from lossatlas.draw._display import Array, Display, array
from lossatlas.draw._palette import strokes

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes


@dataclass(eq=False)
class BarrierDisplay(Display):
    """Values along paths, with the points that were asked, bands over examples, and a barrier marked.

    Args:
        profiles: name to a mapping with ``t`` and ``y`` (n,) of the line to draw, ``asked`` and ``read`` (k,) of the
            points behind it, and where there is an interval ``low`` and ``high`` (n,). Not finite values are gaps.
            Names that end in ", test" share the color of what stands before the comma and are dashed.
        barrier: (name of the profile, t, height, text): an arrow of that height under the profile at t.
        chord: whether the height is counted from the straight line between the ends, else from their mean.
        xlabel: with its unit.
        ylabel: with its unit.
        title: a line above.
        note: a sentence of small print.

    Raises:
        InputError: shapes that do not fit, or a barrier of a profile that is not there.
    """

    profiles: Mapping[str, Mapping[str, ArrayLike]]
    _: KW_ONLY
    barrier: tuple[str, float, float, str] | None = None
    chord: bool = True
    xlabel: str = "t"
    ylabel: str = "loss"
    title: str | None = None
    note: str | None = None
    arrays: dict[str, dict[str, Array]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.arrays = {}
        for name, parts in self.profiles.items():
            found = {key: array(f"{key} of {name!r}", values) for key, values in parts.items()}
            for key, like in (("y", "t"), ("low", "t"), ("high", "t"), ("read", "asked")):
                if key in found and found[key].shape != found[like].shape:
                    raise InputError(f"{key} of {name!r} has shape {found[key].shape}, expected {found[like].shape}.")
            if ("low" in found) != ("high" in found):
                raise InputError(f"{name!r} has only one end of its band; give both low and high, or neither.")
            self.arrays[name] = found
        if self.barrier is not None and self.barrier[0] not in self.arrays:
            raise InputError(f"the barrier is of {self.barrier[0]!r}; expected one of {', '.join(self.arrays)}.")

    def plot(
        self,
        ax: Axes | None = None,
        *,
        palette: dict[str, str] | None = None,
        yscale: Literal["linear", "log"] = "linear",
    ) -> Self:
        """Draw the profiles.

        Args:
            ax: where; a new figure of page width when left out.
            palette: color by what stands before the comma of a name; from ``colors`` when left out.
            yscale: ``"linear"`` or ``"log"``.

        Returns:
            This display, with ``ax_`` and ``figure_`` set.

        Raises:
            InputError: a logarithmic scale for values that are not positive.
        """
        values = np.concatenate([parts["y"] for parts in self.arrays.values()])
        if yscale == "log" and np.any(values[np.isfinite(values)] <= 0):
            raise InputError("yscale is 'log' but some values are not positive; use 'linear'.")
        axes = self._open(ax, 3.6)
        axes.set_yscale(yscale)
        _surround.dress(axes, self.xlabel, self.ylabel, self.title)
        axes.grid(True, color="0.92", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        colors = strokes([self._stem(name) for name in self.arrays], palette)
        handles = [self._profile(axes, name, colors[self._stem(name)].color) for name in self.arrays]
        axes.margins(x=0.02, y=0.08)
        if self.barrier is not None:
            self._arrow(axes, colors[self._stem(self.barrier[0])].color)
        _surround.thousands(axes.xaxis)
        (_surround.thousands if yscale == "linear" else _surround.decades)(axes.yaxis)
        _surround.settle(axes)
        legend = _surround.legend_below(axes, handles)
        _surround.footnote(axes, [*self._gaps(), self.note or ""], under=legend)
        return self

    def _profile(self, axes: Axes, name: str, color: str) -> Artist:
        from matplotlib.lines import Line2D

        parts = self.arrays[name]
        test = name.endswith(", test")
        style: dict[str, Any] = {"color": color, "ls": (0, (4, 1.6)) if test else "solid", "lw": 1.5}
        if "low" in parts:
            axes.fill_between(parts["t"], parts["low"], parts["high"], color=color, alpha=0.15, linewidth=0, zorder=2)
        axes.plot(parts["t"], np.where(np.isfinite(parts["y"]), parts["y"], np.nan), zorder=3, **style)
        dots: dict[str, Any] = {"marker": "o", "ms": 3.2, "mfc": "white" if test else color, "mec": color, "mew": 0.8}
        if "asked" in parts:
            axes.plot(parts["asked"], parts["read"], ls="none", zorder=3.5, **dots)
        return Line2D([], [], label=name, **style, **(dots if "asked" in parts else {}))

    def _arrow(self, axes: Axes, color: str) -> None:
        assert self.barrier is not None
        name, t, height, text = self.barrier
        parts = self.arrays[name]
        x, y = parts.get("asked", parts["t"]), parts.get("read", parts["y"])
        first, last = float(y[0]), float(y[-1])
        ends = [first, last] if self.chord else [(first + last) / 2] * 2
        axes.plot([x[0], x[-1]], ends, color=color, lw=0.9, ls=(0, (1.5, 2)), zorder=2.5)
        base = float(np.interp(t, [x[0], x[-1]], ends))
        if not np.isfinite(height) or height <= 0:
            return
        axes.annotate(
            "", (t, base + height), (t, base), zorder=4,
            arrowprops={"arrowstyle": "<|-|>", "color": "0.25", "lw": 0.9, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 8},
        )  # fmt: skip
        left = t > 0.5 * (x[0] + x[-1])
        axes.annotate(
            text, (t, base + 0.3 * height), (-6 if left else 6, 0), textcoords="offset points", va="center",
            ha="right" if left else "left", fontsize=_surround.TICK, color="0.15", zorder=6,
            bbox={"boxstyle": "round,pad=0.2", "fc": "white", "ec": "none", "alpha": 0.85},
        )  # fmt: skip

    def _gaps(self) -> list[str]:
        missing = {
            name: int((~np.isfinite(parts.get("read", parts["y"]))).sum()) for name, parts in self.arrays.items()
        }
        each = ", ".join(f"{name} ({count:,})" for name, count in missing.items() if count)
        return [f"Points not finite, drawn as gaps: {each}"] if each else []

    @staticmethod
    def _stem(name: str) -> str:
        return name.rsplit(", ", 1)[0]
