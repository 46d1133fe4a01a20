"""Training runs on a plane: the paths over the field, and below what the plane does not show of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, replace
from dataclasses import field as attribute
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike

from lossatlas import _checks
from lossatlas._errors import InputError
from lossatlas.draw import _surround
from lossatlas.draw._display import Array, Display, array, need_axes
from lossatlas.draw._motion import Motion, counter, grown, need_motion
from lossatlas.draw._palette import Stroke, strokes
from lossatlas.draw._style import narrow, now, shade, titled

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lossatlas.draw._field import FieldDisplay
    from lossatlas.draw._levels import Levels

# Inches: margins, the field, and the two panels below it.
LEFT, RIGHT, FIELD, PANEL, GAP, LOWER = 0.72, 0.95, 3.6, 1.35, 0.85, 0.55
# A dot whose point lies wholly in the plane is this opaque, and one far outside this much.
NEAR, FAR = 1.0, 0.12
# Along a path, that the numbers on contour lines keep away from.
PLACES = 400


@dataclass(eq=False)
class TrajectoryDisplay(Display):
    """Paths on a plane with their out-of-plane residuals, and true losses beside those of the plane.

    Args:
        field: the loss on the plane, not drawn yet; None for bare axes.
        paths: name to (T, 2) coordinates.
        residuals: name to (T,) shares of each point's distance that lie outside of the plane, 0 to 1.
        steps: name to (T,) steps.
        losses: name to (T,) true losses; NaN where they are not known.
        shown: name to (T,) losses of the nearest points on the plane.
        xlabel: of the plane, where there is no field.
        ylabel: of the plane, where there is no field.
        title: a line above.
        note: a sentence of small print.

    Raises:
        InputError: arrays of unequal lengths, or names that are not the same everywhere.
    """

    field: FieldDisplay | None
    paths: Mapping[str, ArrayLike]
    _: KW_ONLY
    residuals: Mapping[str, ArrayLike]
    steps: Mapping[str, ArrayLike]
    losses: Mapping[str, ArrayLike]
    shown: Mapping[str, ArrayLike]
    xlabel: str = "α"
    ylabel: str = "β"
    title: str | None = None
    note: str | None = None
    runs: dict[str, tuple[Array, Array, Array, Array, Array]] = attribute(init=False, repr=False)
    _lines: list[tuple[Any, Array, Array]] = attribute(init=False, repr=False)
    _dots: list[tuple[Any, Array, Array]] = attribute(init=False, repr=False)
    _above: list[Any] = attribute(init=False, repr=False)
    _last: list[Any] = attribute(init=False, repr=False)

    def __post_init__(self) -> None:
        self.runs = {}
        for name, path in self.paths.items():
            found = array(f"path of {name!r}", path, 2)
            parts = []
            for what, given in (
                ("residuals", self.residuals),
                ("steps", self.steps),
                ("losses", self.losses),
                ("losses on the plane", self.shown),
            ):
                if given.keys() != self.paths.keys():
                    raise InputError(f"{what} are given for {list(given)} and paths for {list(self.paths)}.")
                parts.append(array(f"{what} of {name!r}", given[name], 1, (len(found),)))
            self.runs[name] = (found, *parts)  # type: ignore[assignment]

    def plot(
        self,
        ax: Axes | None = None,
        *,
        levels: Levels = "auto",
        palette: dict[str, str] | None = None,
        panels: bool = True,
    ) -> Self:
        """Draw the field with the paths, and the two panels below it.

        Args:
            ax: for the field and the paths alone; a new figure with the panels when left out.
            levels: those of the field.
            palette: name to color; from ``colors`` when left out.
            panels: whether a new figure has the two panels.

        Returns:
            This display, with ``ax_`` (the field's) and ``figure_`` set.
        """
        need_axes(ax)
        panels = _checks.flag("panels", panels)
        look = strokes(self.runs, palette)
        self._lines, self._dots, self._above, self._last = [], [], [], []
        if ax is not None:
            self._open(ax, 0.0)
            self._map(ax, look, levels)
            return self
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        title = _surround.wrap(titled(self.title) or "", now().width - LEFT - 0.2, _surround.TITLE)
        head = 0.36 + 0.17 * title.count("\n") if title else 0.1
        wide = now().width - LEFT - RIGHT
        field = min(FIELD, 1.25 * wide)
        height = head + field + 2.0
        figure = Figure(figsize=(now().width, height), facecolor=shade(1.0))
        FigureCanvasAgg(figure)
        box = (
            LEFT / now().width,
            (height - head - field) / height,
            wide / now().width,
            field / height,
        )
        self.ax_, self.figure_ = figure.add_axes(box), figure
        self._map(self.ax_, look, levels)
        if title:
            self.ax_.set_title(title, fontsize=_surround.TITLE, loc="left")
        if not panels:
            _surround.resize(figure, _surround.reach(figure) + 0.08)
            return self
        top = _surround.reach(figure) + 0.26
        _surround.resize(figure, top + PANEL + 0.5 + (PANEL + LOWER if narrow() else 0.0))
        self._panels(figure, look, top)
        return self

    def motion(self, *, levels: Levels = "auto") -> Motion:
        """The paths as they grow, with the losses and residuals below them, on a figure of its own.

        Args:
            levels: those of the field.

        Raises:
            InputError: if no path has two points.
        """
        need_motion(self.title or "this trajectory", [len(path) for path, *_ in self.runs.values()])
        first = min(float(steps[0]) for _, _, steps, *_ in self.runs.values() if len(steps))
        end = max(float(steps[-1]) for _, _, steps, *_ in self.runs.values() if len(steps))
        self.plot(levels=levels)
        said = counter(self.ax_)

        def show(time: float) -> list[Artist]:
            now = first + time
            seen = [line for line, whole, steps in self._lines if grown(line, whole, steps, now)]
            for dots, whole, steps in self._dots:
                there = int(np.searchsorted(steps, now + 1e-9, side="right"))
                dots.set_offsets(whole[:there])
                seen.append(dots)
            seen.sort(key=lambda artist: artist.get_zorder())
            said.set_text(f"step {now:,.0f} of {end:,.0f}")
            return [*seen, *self._above, *(self._last if now >= end else []), said]

        moving = [*(one for one, _, _ in (*self._lines, *self._dots)), *self._above, *self._last, said]
        return Motion(self.figure_, moving, show, end - first)

    def _map(self, axes: Axes, look: dict[str, Stroke], levels: Levels) -> None:
        notes = [self.note or ""]
        if self.field is not None:
            notes.append(self.field.note or "")
            plain = replace(self.field, title=None, note=None, center=None)
            walked = np.concatenate([_along(path) for path, *_ in self.runs.values()])
            plain.plot(axes, levels=levels, equal=False, avoid=walked)
        else:
            _surround.dress(axes, self.xlabel, self.ylabel, None)
        handles = [self._path(axes, name, stroke) for name, stroke in look.items()]
        handles += self._marks(axes)
        _surround.settle(axes)
        legend = _surround.legend_below(axes, handles)
        faded = "Dots fade with the share of their distance from the end that lies outside of this plane"
        _surround.footnote(axes, [faded, *notes], under=legend)

    def _path(self, axes: Axes, name: str, stroke: Stroke) -> Artist:
        from matplotlib.colors import to_rgba
        from matplotlib.lines import Line2D

        path, residuals, steps, *_ = self.runs[name]
        lines = axes.plot(*path.T, color="white", lw=2.6, alpha=0.8, zorder=3, solid_capstyle="round")
        lines += axes.plot(*path.T, color=stroke.color, lw=1.0, ls=stroke.dashes, zorder=4)
        self._lines += [(line, path, steps) for line in lines]
        shade = NEAR + (FAR - NEAR) * np.clip(np.nan_to_num(residuals, nan=1.0), 0, 1)
        faces = [to_rgba(stroke.color, alpha) for alpha in shade]
        size = float(np.clip(260 / max(len(path), 1), 7, 26))
        below = axes.scatter(path[:, 0], path[:, 1], s=size, c="white", lw=0, zorder=4.2)
        above = axes.scatter(path[:, 0], path[:, 1], s=size, c=faces, edgecolors=stroke.color, lw=0.7, zorder=4.4)
        self._dots += [(dots, path, steps) for dots in (below, above)]
        return Line2D([], [], color=stroke.color, lw=1.0, ls=stroke.dashes, marker="o", ms=4, label=name)

    def _marks(self, axes: Axes) -> list[Artist]:
        from matplotlib.lines import Line2D

        ends: dict[str, dict[str, object]] = {
            "start": {"marker": "o", "mfc": "white", "mec": "black", "mew": 1.4, "ms": 6.5},
            "end": {"marker": "*", "mfc": "white", "mec": "black", "mew": 1.0, "ms": 11},
        }
        handles: list[Artist] = []
        for k, (what, style) in zip((0, -1), ends.items(), strict=True):
            for path, *_ in self.runs.values():
                mark = axes.plot(*path[k], ls="none", zorder=6, **style)  # type: ignore[arg-type]
                (self._last if k else self._above).extend(mark)
            handles.append(Line2D([], [], ls="none", label=what, **style))  # type: ignore[arg-type]
        return handles

    def _panels(self, figure: Figure, look: dict[str, Stroke], top: float) -> None:
        """Losses to the left, residuals to the right; in a column one below the other."""
        from matplotlib.lines import Line2D
        from matplotlib.ticker import LogLocator, NullFormatter

        height = figure.get_figheight()
        wide = now().width - LEFT - 0.15 if narrow() else (now().width - LEFT - 0.15 - GAP) / 2
        places = [(LEFT, top), (LEFT, top + PANEL + LOWER) if narrow() else (LEFT + wide + GAP, top)]
        boxes = [
            (x / now().width, (height - down - PANEL) / height, wide / now().width, PANEL / height)
            for x, down in places
        ]
        left, right = (figure.add_axes(box) for box in boxes)
        values = []
        for name, stroke in look.items():
            path, residuals, steps, losses, shown = self.runs[name]
            known = np.isfinite(losses)
            # Between few known losses a line would be a guess.
            marks: dict[str, object] = {"lw": 1.3} if known.all() else {"ls": "none", "marker": "o", "ms": 3.5}
            (true,) = left.plot(steps[known], losses[known], color=stroke.color, zorder=3, **marks)  # type: ignore[arg-type]
            (flat,) = left.plot(steps, shown, color=stroke.color, lw=1.1, ls=(0, (2.2, 1.4)), zorder=4)
            # The plane's own center has no distance of which a share could lie outside.
            center = (np.abs(path).max(1) == 0) & (residuals == 0)
            (outside,) = right.plot(steps, np.where(center, np.nan, residuals), color=stroke.color, lw=1.3)
            for line, when in ((true, steps[known]), (flat, steps), (outside, steps)):
                self._lines.append((line, np.array(line.get_data(), dtype=np.float64).T, when))
            values += [losses[known], shown[np.isfinite(shown)]]
        found = np.concatenate(values)
        if found.size and found.min() > 0 and found.max() > 30 * found.min():
            left.set_yscale("log")
            _surround.decades(left.yaxis)
            left.yaxis.set_minor_formatter(NullFormatter())
            if found.max() < 300 * found.min():
                left.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        handles = [
            Line2D([], [], color=_surround.shade(0.25), lw=1.3, label="true"),
            Line2D([], [], color=_surround.shade(0.25), lw=1.1, ls=(0, (2.2, 1.4)), label="on the plane"),
        ]
        left.legend(handles=handles, fontsize=_surround.SMALL, frameon=False, loc="best", handlelength=2.0)
        right.set_ylim(-0.03, 1.03)
        for axes, what in ((left, "loss"), (right, "outside the plane")):
            _surround.dress(axes, "step", what, None)
            axes.grid(True, color=_surround.shade(0.92), linewidth=0.6)
            axes.set_axisbelow(True)
            axes.spines[["top", "right"]].set_visible(False)
            axes.margins(x=0.02)
            axes.yaxis.set_label_coords((-0.45 if narrow() else -0.34) / wide, 0.5)
            _surround.thousands(axes.xaxis)


def _along(path: Array) -> Array:
    """Places along a path, between its points as well, (K, 2)."""
    finite = path[np.isfinite(path).all(1)]
    if len(finite) < 2:
        return finite
    places = np.linspace(0, len(finite) - 1, PLACES)
    return np.stack([np.interp(places, np.arange(len(finite)), column) for column in finite.T], 1)
