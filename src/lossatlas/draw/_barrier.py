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
from lossatlas.draw._palette import inked, strokes

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

# An arrow shorter than this share of the axes is not drawn.
_LEAST = 0.12


@dataclass(eq=False)
class BarrierDisplay(Display):
    """Values along paths, with the evaluated points, bands over examples, and a barrier marked.

    Args:
        profiles: name to a mapping with ``t`` and ``y`` (n,) of the line to draw, ``evaluated`` and ``read`` (k,) of the
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
            for key, like in (("y", "t"), ("low", "t"), ("high", "t"), ("read", "evaluated")):
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
        axes.grid(True, color=_surround.shade(0.92), linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        colors = inked(strokes([self._stem(name) for name in self.arrays], palette))
        handles = [self._profile(axes, name, colors[self._stem(name)].color) for name in self.arrays]
        axes.margins(x=0.02, y=0.08)
        _surround.thousands(axes.xaxis)
        (_surround.thousands if yscale == "linear" else _surround.decades)(axes.yaxis)
        _surround.settle(axes)
        said = self._arrow(axes, colors[self._stem(self.barrier[0])].color) if self.barrier is not None else ""
        legend = _surround.legend_below(axes, handles)
        _surround.footnote(axes, [*self._gaps(), said, self.note or ""], under=legend)
        if ax is None:
            _surround.grow(axes)
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
        if "evaluated" in parts:
            axes.plot(parts["evaluated"], parts["read"], ls="none", zorder=3.5, **dots)
        return Line2D([], [], label=name, **style, **(dots if "evaluated" in parts else {}))

    def _arrow(self, axes: Axes, color: str) -> str:
        """Mark the height; where there is no room for an arrow it is said in the small print, which is returned."""
        assert self.barrier is not None
        name, t, height, text = self.barrier
        parts = self.arrays[name]
        x, y = parts.get("evaluated", parts["t"]), parts.get("read", parts["y"])
        first, last = float(y[0]), float(y[-1])
        ends = [first, last] if self.chord else [(first + last) / 2] * 2
        axes.plot([x[0], x[-1]], ends, color=color, lw=0.9, ls=(0, (1.5, 2)), zorder=2.5)
        base = float(np.interp(t, [x[0], x[-1]], ends))
        low, high = (float(axes.transData.transform((t, level))[1]) for level in (base, base + max(height, 0)))
        if not np.isfinite(height) or high - low < _LEAST * axes.get_window_extent().height:
            return text.replace("\n", " ") + f" at t = {t:.2g}"
        axes.annotate(
            "", (t, base + height), (t, base), zorder=4,
            arrowprops={"arrowstyle": "<|-|>", "color": _surround.shade(0.25), "lw": 0.9, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 8},
        )  # fmt: skip
        self._label(axes, text, t, base, height)
        return ""

    def _label(self, axes: Axes, text: str, t: float, base: float, height: float) -> None:
        """Write beside the arrow, where the fewest lines run."""
        drawn = [axes.transData.transform(np.stack([p["t"], p["y"]], 1)) for p in self.arrays.values()]
        lines = np.concatenate([d[np.isfinite(d).all(1)] for d in drawn])
        best, least = None, np.inf
        for share in (0.5, 0.4, 0.6, 0.3, 0.7, 0.2, 0.8):
            for offset, side in ((6, "left"), (-6, "right")):
                note = axes.annotate(
                    text, (t, base + share * height), (offset, 0), textcoords="offset points", va="center", ha=side,
                    fontsize=_surround.TICK, color=_surround.shade(0.15), zorder=6, annotation_clip=False,
                )  # fmt: skip
                box = note.get_window_extent().padded(4)
                inside = axes.get_window_extent()
                out = box.x0 < inside.x0 or box.x1 > inside.x1
                crossed = int(box.count_contains(lines)) + 10**6 * out
                if crossed < least:
                    if best is not None:
                        best.remove()
                    best, least = note, crossed
                else:
                    note.remove()
        if best is not None and least:
            best.set_bbox({"boxstyle": "round,pad=0.2", "fc": _surround.shade(1.0), "ec": "none", "alpha": 0.6})

    def _gaps(self) -> list[str]:
        missing = {
            name: int((~np.isfinite(parts.get("read", parts["y"]))).sum()) for name, parts in self.arrays.items()
        }
        each = ", ".join(f"{name} ({count:,})" for name, count in missing.items() if count)
        return [f"Points not finite, drawn as gaps: {each}"] if each else []

    @staticmethod
    def _stem(name: str) -> str:
        return name.rsplit(", ", 1)[0]
