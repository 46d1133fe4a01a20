"""Trajectories on a contour map."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from dataclasses import field as attribute
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike

from lossatlas import _checks
from lossatlas._errors import InputError
from lossatlas.draw import _surround
from lossatlas.draw._callouts import call_out, covered, heaps, labels_of
from lossatlas.draw._display import Array, Display, array
from lossatlas.draw._field import FieldDisplay
from lossatlas.draw._levels import Levels, scale_of
from lossatlas.draw._motion import Motion, counter, grown, need_motion
from lossatlas.draw._palette import Stroke, ground, strokes

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

# Of the box, around it; and how faint further paths are.
MARGIN, FAINT = 0.03, 0.16


@dataclass(eq=False)
class PathsDisplay(Display):
    """Paths over the field they walked on.

    Args:
        field: the map below.
        paths: name to a (T, 2) array of (x, y), or to a list of such arrays; rows that are not finite break the line. An
            array of one point is drawn as a dot: no line leads there. Of several arrays each but the first begins at a dot.
        finals: name to the point that run reports, where this is not the last of its path (the best one seen, say).
        title: a line above; that of the field when left out.
        note: a sentence of small print, before that of the field.
        others: name to further paths of it, drawn faint and below.
        looks: name to stroke; by the name itself where left out.

    Raises:
        InputError: a path that is not (T, 2), or the final point of a name without path.
    """

    field: FieldDisplay
    paths: Mapping[str, ArrayLike | Sequence[ArrayLike]]
    _: KW_ONLY
    finals: Mapping[str, tuple[float, float]] | None = None
    title: str | None = None
    note: str | None = None
    others: Mapping[str, Sequence[ArrayLike]] | None = None
    looks: Mapping[str, Stroke] | None = None
    pieces: dict[str, list[Array]] = attribute(init=False, repr=False)
    faint: dict[str, list[Array]] = attribute(init=False, repr=False)
    _drawn: list[tuple[Any, str, int]] = attribute(init=False, repr=False)
    _last: list[Artist] = attribute(init=False, repr=False)

    def __post_init__(self) -> None:
        self.pieces = {name: _pieces(name, path) for name, path in self.paths.items()}
        for what, named in (("finals", self.finals), ("others", self.others)):
            strangers = sorted(set(named or {}) - set(self.paths))
            if strangers:
                raise InputError(f"{what} names {', '.join(strangers)}, which have no path; name paths only.")
        self.faint = {name: _pieces(name, paths) for name, paths in (self.others or {}).items()}

    @property
    def outside(self) -> dict[str, int]:
        """How many points of each path lie outside the box of the field."""
        return {name: int(sum((~self.field.inside(p)).sum() for p in self._finite(name))) for name in self.pieces}

    def plot(
        self,
        ax: Axes | None = None,
        *,
        levels: Levels = "auto",
        cmap: str | Colormap | None = None,
        equal: bool | None = None,
        numbers: bool = True,
        palette: dict[str, str] | None = None,
        linewidth: float = 1.4,
    ) -> Self:
        """Draw the field and the paths on it.

        Args:
            ax: where; a new figure of page width when left out.
            levels: those of the field.
            cmap: that of the field.
            equal: whether both axes get the same scale.
            numbers: whether the contour lines carry their level.
            palette: name to color; from ``colors`` when left out.
            linewidth: of the paths, in points.

        Returns:
            This display, with ``ax_`` and ``figure_`` set.

        Raises:
            InputError: unknown levels or color map.
        """
        base = replace(self.field, title=self.title or self.field.title)
        scale = scale_of(base.z, levels)
        lines = base._ground(ax, scale, ground(base.cmap if cmap is None else cmap, 0.45), equal)
        self.ax_, self.figure_ = base.ax_, base.figure_
        self._margin()
        look = strokes(self.pieces, palette, self.looks)
        self._drawn, self._last = [], []
        for name in self.faint:
            self._faint(name, look[name])
        handles = [self._path(name, stroke, linewidth, self._rank(name)) for name, stroke in look.items()]
        handles += self._starts()
        marks = base._marks()
        walked = [piece[base.inside(piece)] for name in self.pieces for piece in self._finite(name)]
        walked = [piece[:: max(1, len(piece) // 400)] for piece in walked]
        base._finish(
            ax is None,
            scale,
            lines if _checks.flag("numbers", numbers) else None,
            np.concatenate([marks, *walked]),
            handles,
            self._notes(),
            partial(self._mark_ends, look, marks),
        )
        return self

    def motion(self, times: Mapping[str, Sequence[ArrayLike]], unit: str = "step") -> Motion:
        """The paths as they grow, on a figure of its own; ends and other runs are seen at the end.

        Args:
            times: name to the time of every point of each of its arrays, ascending, from zero.
            unit: what the times count.

        Raises:
            InputError: if no path has two points, or times do not fit.
        """
        need_motion(self.title or self.field.title or "this picture", [sum(map(len, p)) for p in self.pieces.values()])
        clock = {
            name: [array(f"times of {name!r}", t, 1, (len(p),)) for t, p in zip(times[name], pieces, strict=True)]
            for name, pieces in self.pieces.items()
        }
        end = max(float(one.max()) for parts in clock.values() for one in parts if one.size)
        look = strokes(self.pieces, None, self.looks)
        self.plot()
        # Wells, their names and the start lie above the paths, as in the picture.
        above = [a for a in (*self.ax_.lines, *self.ax_.texts) if a.get_zorder() > 5 and a not in self._last]
        said = counter(self.ax_)
        faint = [line for line in self.ax_.lines if line.get_gid() == "faint"]
        heads = {}
        for name, stroke in look.items():
            (heads[name],) = self.ax_.plot([], [], ls="none", zorder=5.5, **_marker(stroke))

        def show(time: float) -> list[Artist]:
            over = time >= end
            seen: list[Artist] = [*faint] if over else []
            for line, name, k in self._drawn:
                if grown(line, self._clipped(self.pieces[name][k]), clock[name][k], time):
                    seen.append(line)
            seen.sort(key=lambda line: line.get_zorder())
            for name, head in heads.items():
                k = max(k for k, one in enumerate(clock[name]) if k == 0 or (one.size and one[0] <= time + 1e-9))
                place = self.pieces[name][k][: int(np.searchsorted(clock[name][k], time + 1e-9, side="right"))][-1:]
                head.set_data(*place[self.field.inside(place)].T)
            said.set_text(f"{unit} {time:,.0f} of {end:,.0f}")
            ends = self._last if over else [*heads.values()]
            return [*seen, *above, *ends, said]

        moving = [*faint, *(line for line, _, _ in self._drawn), *self._last, *above, *heads.values(), said]
        return Motion(self.figure_, moving, show, end)

    def _clipped(self, piece: Array) -> Array:
        """Near enough to be drawn, and off the picture where it is far away."""
        low = np.array([self.field.x[0], self.field.y[0]])
        reach = 1e6 * np.array(self.field.spans)
        return np.where(np.isfinite(piece), np.clip(piece, low - reach, low + reach), np.nan)

    def _margin(self) -> None:
        """Room around the box where a path runs along its edge, which then is drawn as a line."""
        from matplotlib.patches import Rectangle

        low, high = np.array([self.field.x[0], self.field.y[0]]), np.array([self.field.x[-1], self.field.y[-1]])
        pad = MARGIN * (high - low)
        for piece in (piece for name in self.pieces for piece in self._finite(name)):
            edges = np.concatenate([np.abs(piece - low) < pad / 4, np.abs(piece - high) < pad / 4], axis=1)
            if (edges[1:] & edges[:-1]).any():
                break
        else:
            return
        self.ax_.set(xlim=(low[0] - pad[0], high[0] + pad[0]), ylim=(low[1] - pad[1], high[1] + pad[1]))
        self.ax_.add_patch(
            Rectangle((low[0], low[1]), *(high - low), fill=False, ec="0.35", lw=0.6, zorder=2.1, gid="box")
        )

    def _faint(self, name: str, stroke: Stroke) -> None:
        for piece in self.faint[name]:
            seen = self._clipped(piece).T
            self.ax_.plot(*seen, color=stroke.color, lw=0.6, alpha=FAINT, zorder=2.5, gid="faint")

    def _finite(self, name: str) -> list[Array]:
        return [piece[np.isfinite(piece).all(axis=1)] for piece in self.pieces[name]]

    def _rank(self, name: str) -> int:
        """Longer paths lie below shorter ones, so that one that shares its way with another is seen."""
        low, high = (self.field.x[0], self.field.y[0]), (self.field.x[-1], self.field.y[-1])
        length = {
            other: sum(
                float(np.hypot(*np.diff(np.clip(piece, low, high), axis=0).T).sum()) for piece in self._finite(other)
            )
            for other in self.pieces
        }
        return sorted(length, key=lambda other: -length[other]).index(name)

    def _path(self, name: str, stroke: Stroke, linewidth: float, rank: int) -> Artist:
        """One name: a white casing, the line, and a marker where it ends; the entry for the legend is returned."""
        from matplotlib.lines import Line2D

        dots = [piece[:1] for piece in self._finite(name)[1:] if len(piece)]
        if dots:
            dot: dict[str, Any] = {
                "marker": "o",
                "ms": 4.2,
                "mfc": stroke.color,
                "mec": "white",
                "mew": 0.6,
                "ls": "none",
            }
            places = np.concatenate(dots)
            self._last += self.ax_.plot(
                *places[self.field.inside(places)].T, zorder=4 + 0.01 * rank, clip_on=False, **dot
            )
        for k, piece in enumerate(self.pieces[name]):
            if len(piece) < 2:
                continue
            seen = self._clipped(piece).T
            casing = {"color": "white", "lw": linewidth + 1.6, "alpha": 0.85, "zorder": 3, "solid_capstyle": "round"}
            own = {"color": stroke.color, "lw": linewidth, "ls": stroke.dashes, "zorder": 4 + 0.01 * rank}
            for style in (casing, own):
                self._drawn += [(line, name, k) for line in self.ax_.plot(*seen, **style)]
        marker = _marker(stroke)
        lines: Any = stroke.dashes if any(len(piece) > 1 for piece in self.pieces[name]) else "none"
        around = _surround.casing(linewidth)
        return Line2D([], [], color=stroke.color, lw=linewidth, ls=lines, label=name, path_effects=around, **marker)

    def _mark_ends(self, look: Mapping[str, Stroke], marks: Array) -> Array:
        """A marker at every end; ends that lie on each other get a column of markers beside. Its places are returned."""
        ends = [(name, end) for name in self.pieces for end in self._ends(name)]
        walked = [
            *(piece[:: max(1, len(piece) // 400)] for name in self.pieces for piece in self._finite(name)),
            *(np.array([end]) for _, end in ends),
        ]
        # The marks of wells weigh more than what is a line.
        obstacles = np.concatenate([*walked, *[marks] * 8])
        blocks = labels_of(self.ax_)
        before = set(self.ax_.get_children())
        # Several ends of one name are a cloud, whose crowding is what it shows.
        counts = Counter(name for name, _ in ends)
        single = {name for name, count in counts.items() if count == 1}
        for heap in heaps(self.ax_, ends):
            if len(heap) > 1 and single.issuperset(name for name, _ in heap):
                call_out(self.ax_, heap, look, obstacles, blocks)
                continue
            for name, end in heap:
                self.ax_.plot(*end, ls="none", zorder=5.5, gid=f"end of {name}", clip_on=False, **_marker(look[name]))
        new = [artist for artist in self.ax_.get_children() if artist not in before]
        self._last += sorted(new, key=lambda artist: artist.get_zorder())
        return covered(self.ax_, blocks)

    def _ends(self, name: str) -> list[Array]:
        if name in (self.finals or {}):
            ends = [np.asarray((self.finals or {})[name], dtype=np.float64)]
        else:
            ends = [piece[-1] for piece in self._finite(name) if len(piece)]
        return [end for end in ends if self.field.inside(end)]

    def _starts(self) -> list[Artist]:
        from matplotlib.lines import Line2D

        first = [pieces[0][0] for pieces in map(self._finite, self.pieces) if pieces and len(pieces[0])]
        places = np.unique(np.array(first).reshape(-1, 2), axis=0)
        places = places[self.field.inside(places)]
        if not len(places):
            return []
        style: dict[str, Any] = {"marker": "o", "mfc": "white", "mec": "black", "mew": 1.5, "ms": 6.5, "ls": "none"}
        self.ax_.plot(*places.T, zorder=5.8, **style)
        return [Line2D([], [], label="start", **style)]

    def _notes(self) -> list[str]:
        notes = [self.note or ""]
        left = {name: count for name, count in self.outside.items() if count}
        if left:
            each = ", ".join(f"{name} ({count:,})" for name, count in left.items())
            notes.append(f"Points outside the box, not shown: {each}")
        unseen = [name for name in self.finals or {} if not self._ends(name)]
        if unseen:
            notes.append(f"Final point outside the box: {', '.join(unseen)}")
        return notes


def _marker(stroke: Stroke) -> dict[str, Any]:
    return {"marker": stroke.marker, "mfc": stroke.color, "mec": "white", "mew": 0.9, "ms": 7.5}


def _pieces(name: str, path: ArrayLike | Sequence[ArrayLike]) -> list[Array]:
    """The arrays of one name, whether one or several were given."""
    several = isinstance(path, list | tuple) and len(path) > 0 and np.ndim(path[0]) == 2
    parts: Any = path if several else [path]
    arrays = [array(f"path {name!r}", part, 2) for part in parts]
    for part in arrays:
        if part.shape[1] != 2:
            raise InputError(f"path {name!r} has shape {part.shape}, expected (steps, 2).")
    return arrays
