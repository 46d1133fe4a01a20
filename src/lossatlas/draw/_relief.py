"""A field as a surface in space, with its contours on the floor and paths over it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lossatlas import _checks
from lossatlas._errors import InputError
from lossatlas.draw import _surround
from lossatlas.draw._display import Array, array, need_axes
from lossatlas.draw._grid import GridDisplay, is_deepest
from lossatlas.draw._levels import Levels, Scale, scale_of
from lossatlas.draw._palette import Stroke, ground, strokes
from lossatlas.draw._style import narrow, now

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

# Of the cube, and its size; how far a pin reaches to the next marker; where the light comes from, in degrees around and up; how dark a
# slope away from it gets.
ASPECT, ZOOM, PIN, LIGHT, DARKEST = (1.0, 1.0, 0.72), 0.86, 0.065, (-130.0, 48.0), 0.62


@dataclass(eq=False)
class ReliefDisplay(GridDisplay):
    """A field as a relief; further arguments are those of a ``GridDisplay``.

    The center is left to the flat picture. Wells carry their names, gray where they lie behind a slope.

    Args:
        paths: name to (T, 2) places (x, y) of a path over the relief. Its height is that of the field, interpolated
            bilinearly between the cells on the scale of the picture (for logarithmic heights in the logarithm). Points
            outside the box or beside a hole have no height and break the line.
        finals: name to the place that its path reports, where this is not its last one. Ends that lie on each other stand
            above each other on a pin.
        looks: name of a path to its stroke; by the name itself where left out.

    Raises:
        InputError: a path that is not (T, 2).

    Example:
        >>> import numpy as np
        >>> x = np.linspace(-1, 1, 21)
        >>> bowl = ReliefDisplay(
        ...     x, x, x**2 + x[:, None] ** 2, xlabel="a", ylabel="b", paths={"gd": [[0.5, 0.5], [0, 0]]}
        ... )
        >>> bowl.heights(np.array([[0.5, 0.0], [3.0, 0.0]])).tolist()
        [0.25, nan]
    """

    _: KW_ONLY
    paths: Mapping[str, ArrayLike] | None = None
    finals: Mapping[str, tuple[float, float]] | None = None
    looks: Mapping[str, Stroke] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.paths = {name: array(f"path {name!r}", path, 2) for name, path in (self.paths or {}).items()}
        for name, path in self.paths.items():
            if np.shape(path)[1] != 2:
                raise InputError(f"path {name!r} has shape {np.shape(path)}, expected (steps, 2).")

    def heights(self, places: Array, levels: Levels = "linear") -> Array:
        """The field at places between its cells.

        Args:
            places: (T, 2).
            levels: the scale it is interpolated on, as in `plot`.

        Returns:
            (T,) values of the field; NaN outside the box and beside holes.
        """
        scale = scale_of(self.z, levels)
        return np.array([scale.value(h) for h in self._heights(places, scale.height(self.z))])

    def _heights(self, places: Array, height: Array) -> Array:
        """Bilinear between the four cells around each place."""
        found = np.full(len(places), np.nan)
        inside = np.isfinite(places).all(1) & self.inside(places)
        px, py = places[inside].T
        i = np.clip(np.searchsorted(self.x, px, side="right") - 1, 0, len(self.x) - 2)
        j = np.clip(np.searchsorted(self.y, py, side="right") - 1, 0, len(self.y) - 2)
        u = (px - self.x[i]) / (self.x[i + 1] - self.x[i])
        v = (py - self.y[j]) / (self.y[j + 1] - self.y[j])
        known = np.where(np.isfinite(height), height, np.nan)
        near = (1 - u) * known[j, i] + u * known[j, i + 1]
        found[inside] = (1 - v) * near + v * ((1 - u) * known[j + 1, i] + u * known[j + 1, i + 1])
        return found

    def plot(
        self,
        ax: Axes | None = None,
        *,
        levels: Levels = "auto",
        cmap: str | Colormap | None = None,
        clip: float = 1.0,
        elevation: float = 38.0,
        azimuth: float = -58.0,
        palette: dict[str, str] | None = None,
    ) -> Self:
        """Draw the relief.

        Args:
            ax: axes made with ``projection="3d"``; a new figure when left out.
            levels: as in ``FieldDisplay.plot``; with logarithmic ones the height is logarithmic too, with asinh ones it
                is asinh.
            cmap: a matplotlib color map, instead of the display's own.
            clip: quantile of the values above which the relief is cut flat; the title says so where it happens.
            elevation: of the eye, in degrees.
            azimuth: of the eye, in degrees.
            palette: name of a path to color; from ``colors`` when left out.

        Returns:
            This display, with ``ax_`` and ``figure_`` set.

        Raises:
            InputError: axes that are flat, or a clip outside (0, 1].
        """
        need_axes(ax)
        clip = _checks.number("clip", clip, above=0, most=1, do="It is a quantile; 1 clips nothing.")
        if ax is not None and ax.name != "3d":
            raise InputError(f"a relief needs axes with projection='3d', these are {ax.name!r}.")
        from matplotlib.ticker import MaxNLocator
        from mpl_toolkits.mplot3d import Axes3D  # noqa: F401  (registers the projection)

        z, title = self.z, self.title or ""
        finite = z[np.isfinite(z)]
        cut = float(np.quantile(finite, clip)) if finite.size else 0.0
        if finite.size and cut < finite.max():
            z = np.where(z > cut, cut, z)
            words = f"clipped at {cut:.3g}, the {100 * clip:.3g} % quantile"
            title = f"{title} ({words})" if title else words
        scale = scale_of(z, levels)
        space: Any = self._open(ax, 5.3, projection="3d")
        # A slanted label has no more room than its edge of the cube: the unit goes below.
        _surround.dress(space, self.xlabel.replace(" (", "\n("), self.ylabel.replace(" (", "\n("), title or None)
        if ax is None:
            # The axes is not as large as the figure: its ground would end in the middle of the picture.
            space.set_facecolor("none")
        space.set_proj_type("ortho")
        space.view_init(elev=elevation, azim=azimuth)
        space.set_box_aspect(ASPECT, zoom=ZOOM)
        space.set(xlim=(self.x[0], self.x[-1]), ylim=(self.y[0], self.y[-1]))
        for axis in (space.xaxis, space.yaxis, space.zaxis):
            axis.pane.set(facecolor=_surround.shade(0.98), edgecolor=_surround.shade(0.8))
            axis._axinfo["grid"].update(color=_surround.shade(0.88), linewidth=0.5)
            axis.labelpad = (
                7.0
                if axis is not space.zaxis and "\n" in axis.get_label_text()
                else 6.0
                if axis is space.zaxis
                else 3.0
            )
        for axis in (space.xaxis, space.yaxis):
            axis.set_major_locator(MaxNLocator(5, prune="both"))
        space.tick_params(axis="both", pad=0.0)
        if scale.kind == "empty":
            space.text2D(0.5, 0.5, "no finite value", transform=space.transAxes, ha="center")
        else:
            height = self._raise(space, z, scale, ground(self.cmap if cmap is None else cmap, 0.2))
            self._walk(space, height, strokes(self.paths or {}, palette, self.looks))
        self._small_print(space, scale, ax is None)
        return self

    def _raise(self, space: Any, z: Array, scale: Scale, cmap: Colormap) -> Array:
        """Draw the surface and the contours on the floor; its heights are returned."""
        from matplotlib.colors import Normalize
        from matplotlib.ticker import FuncFormatter

        bent = scale.kind in ("log", "asinh")
        height = scale.height(np.where(np.isfinite(z), z, np.nan))
        levels = scale.height(scale.levels)
        norm = Normalize(levels[0], levels[-1]) if bent else scale.norm(cmap.N)
        low, high = float(np.nanmin(height)), float(np.nanmax(height))
        rise = (high - low) or 1.0
        floor = low - 0.4 * rise
        grid = np.meshgrid(self.x, self.y)
        masked = np.ma.masked_invalid(height)
        space.computed_zorder = False  # paths would vanish behind the surface as soon as their middle does
        if np.any(levels[(levels > low) & (levels < high)]):
            space.contourf(*grid, masked, levels, zdir="z", offset=floor, cmap=cmap, norm=norm, alpha=0.55, zorder=1)
        lit = cmap(norm(np.nan_to_num(height, nan=low)))
        lit[..., :3] *= self._light(height, rise)[..., None]
        space.plot_surface(
            *grid,
            height,
            facecolors=np.clip(lit, 0, 1),
            shade=False,
            rcount=min(len(self.y), 121),
            ccount=min(len(self.x), 121),
            linewidth=0,
            antialiased=False,
            zorder=2,
            rasterized=True,  # ten thousand facets would make a file of megabytes
        )
        space.set_zlim(floor, high + 0.02 * rise)
        space.set_zlabel(self.zlabel + f" ({scale.kind} scale)" * bent, fontsize=_surround.LABEL)
        if bent:
            ticks = levels[:: max(1, -(-len(levels) // 5))]
            space.set_zticks(ticks[(ticks >= low - 1e-9) & (ticks <= high + 1e-9)])
            space.zaxis.set_major_formatter(FuncFormatter(lambda value, _: scale.text(scale.value(value))))
        else:
            ticks = space.get_zticks() if high > low else np.array([low])
            space.set_zticks(ticks[(ticks >= low - 0.02 * rise) & (ticks <= high)])
            _surround.thousands(space.zaxis)
        space.tick_params(axis="z", labelsize=_surround.TICK, pad=5.0)
        return height

    def _light(self, height: Array, rise: float) -> Array:
        """How bright each place is, about 1: by the angle between the ground and a light from the upper left of the eye."""
        steps = [np.gradient(axis) / span for axis, span in zip((self.y, self.x), self.spans[::-1], strict=True)]
        up, across = np.gradient(np.nan_to_num(height, nan=float(np.nanmin(height))) * (ASPECT[2] / (1.4 * rise)))
        normal = np.stack([-across / steps[1], -up / steps[0][:, None], np.ones_like(height)], -1)
        normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
        angle, high = np.radians(LIGHT)
        sun = np.array([np.cos(high) * np.cos(angle), np.cos(high) * np.sin(angle), np.sin(high)])
        return np.asarray(DARKEST + (1.12 - DARKEST) * np.clip(normal @ sun, 0, 1))

    def _seen(self, space: Any, places: Array, raised: Array, height: Array) -> NDArray[np.bool_]:
        """Which places of a path the eye sees: nothing of the ground stands higher on the way to it."""
        floor, top = space.get_zlim()
        tilt, turn = np.radians([space.elev, space.azim])
        along = np.array([np.cos(tilt) * np.cos(turn), np.cos(tilt) * np.sin(turn), np.sin(tilt)])
        # From the cube as it is drawn to the units of the data.
        toward = along / np.array(ASPECT) * np.array([*self.spans, top - floor])
        reach = np.linspace(0.012, 1.5, 220)
        ways = places[:, None] + reach[None, :, None] * toward[:2]
        ground_there = self._heights(ways.reshape(-1, 2), height).reshape(len(places), -1)
        line = raised[:, None] + reach * toward[2]
        return np.asarray(~(ground_there > line).any(1))

    def _walk(self, space: Any, height: Array, look: Mapping[str, Stroke]) -> None:
        """Lay the paths over the relief, from a ring to a marker, with their shadow on the floor.

        The shadow tells where a path runs behind a slope; there it is dashed and thin.
        """
        floor, top = space.get_zlim()
        # A hair above, so that the line does not sink into the facets.
        above = 0.008 * (top - floor)
        starts: list[Array] = []
        ends: list[tuple[str, Array]] = []
        dots: dict[str, Array] = {}
        # Longer paths lie below shorter ones, as in the flat picture.
        for name, path in sorted((self.paths or {}).items(), key=lambda one: -_length(np.asarray(one[1]))):
            places = _finer(np.asarray(path), min(self.spans) / 100)
            raised = self._heights(places, height) + above
            stroke = look[name]
            known = np.isfinite(raised)
            shadow = np.where(known[:, None], places, np.nan).T
            space.plot(*shadow, np.full(len(places), floor), color="0.25", lw=0.7, alpha=0.6, zorder=1.5, gid="shadow")
            if not known.any():
                continue
            seen = np.zeros(len(places), dtype=bool)
            seen[known] = self._seen(space, places[known], raised[known], height)
            visible, hidden = (np.where(_wider(part) & known, raised, np.nan) for part in (seen, ~seen))
            space.plot(
                *places.T, hidden, color=stroke.color, ls=(0, (1.5, 1.5)), lw=0.8, alpha=0.75, zorder=4, gid="hidden"
            )
            space.plot(*places.T, visible, color="white", lw=3.0, alpha=0.85, zorder=5)
            space.plot(
                *places.T, visible, color=stroke.color, ls=stroke.dashes, lw=1.5, zorder=6, label=name, gid="path"
            )
            # Behind a gap that the path itself has, not one that the box cuts into it.
            again = np.flatnonzero(known & ~np.isfinite(np.roll(places, 1, 0)).all(1) & (np.arange(len(places)) > 0))
            dots[name] = np.column_stack([places[again], raised[again]])
            at = np.flatnonzero(known)
            starts.append(np.array([*places[at[0]], raised[at[0]]]))
            end = np.array([(self.finals or {}).get(name, tuple(places[at[-1]]))], dtype=np.float64)
            if np.isfinite(self._heights(end, height)).all():
                ends.append((name, np.array([*end[0], float(self._heights(end, height)[0]) + above])))
        for x, y, z in starts:
            space.plot([x], [y], [z], ls="none", marker="o", mfc="white", mec="black", mew=1.2, ms=5.5, zorder=7)
        for name, spots in dots.items():
            style: dict[str, Any] = {"marker": "o", "mfc": look[name].color, "mec": "white", "mew": 0.6, "ms": 4.2}
            space.plot(*spots.T, ls="none", zorder=6.9, gid="dots", **style)
        self._name_wells(space, height, above)
        self._pin(space, sorted(ends, key=lambda one: list(look).index(one[0])), look)
        if len(look) > 1 or self.looks:
            from matplotlib.lines import Line2D

            # Markers as they stand in the relief: a line's own would be drawn all along it.
            handles = [
                Line2D(
                    [],
                    [],
                    color=s.color,
                    ls=s.dashes,
                    lw=1.5,
                    marker=s.marker,
                    mec="white",
                    mew=0.8,
                    ms=6.5,
                    label=name,
                    path_effects=_surround.casing(1.5),
                )
                for name, s in look.items()
            ]
            space.legend(
                handles=handles, loc="upper left", fontsize=_surround.TICK, frameon=False, bbox_to_anchor=(0.0, 0.98),
                handlelength=2.4, ncols=_beside(list(look)) if narrow() else 1, columnspacing=1.2,
            )  # fmt: skip

    def _name_wells(self, space: Any, height: Array, above: float) -> None:
        from matplotlib import patheffects

        for name, x, y in self.wells:
            spot = np.array([[x, y]])
            z = self._heights(spot, height) + above
            if not np.isfinite(z).all():
                continue
            seen = bool(self._seen(space, spot, z, height)[0])
            color = "0.05" if seen else "0.4"
            marker = "*" if is_deepest(name) else "v"
            style: dict[str, Any] = {"marker": marker, "ms": 9 if marker == "*" else 6, "mfc": "white", "mec": color}
            space.plot([x], [y], z, ls="none", mew=0.8, zorder=6.85, gid="well", **style)
            label = space.text(
                x, y, float(z[0]), f"   {name}", fontsize=_surround.TICK, color=color, va="center", zorder=9
            )
            label.set_path_effects([patheffects.withStroke(linewidth=2.2, foreground="white")])

    def _pin(self, space: Any, ends: list[tuple[str, Array]], look: Mapping[str, Stroke]) -> None:
        """A marker at each end; those of one place above each other."""
        floor, top = space.get_zlim()
        # Markers do not shrink with the cube, which is about a third of the width high.
        reach = max(PIN, 9 / (0.34 * 72 * float(self.figure_.get_figwidth()))) * (top - floor)
        taken: list[tuple[Array, int]] = []
        for name, end in ends:
            below = [
                k for k, (other, _) in enumerate(taken) if (np.abs(end - other)[:2] < 0.03 * np.array(self.spans)).all()
            ]
            floors = taken[below[0]][1] if below else 0
            foot = taken[below[0]][0] if below else end
            if below:
                taken[below[0]] = (foot, floors + 1)
            else:
                taken.append((end, 1))
            x, y, z = *foot[:2], foot[2] + reach * floors
            if floors:
                space.plot([x, x], [y, y], [z - reach, z], color="0.15", lw=0.9, zorder=6.8)
            style: dict[str, Any] = {"marker": look[name].marker, "mfc": look[name].color, "mec": "white", "mew": 0.8}
            space.plot([x], [y], [z], ls="none", ms=7.0, zorder=7 + 0.01 * floors, gid=f"end of {name}", **style)

    def _outside(self) -> list[str]:
        """What of the paths has no height."""
        left = {
            name: int((np.isnan(self._heights(np.asarray(path), self.z)) & np.isfinite(path).all(1)).sum())
            for name, path in (self.paths or {}).items()
        }
        each = [f"{name} ({count:,})" if name else f"{count:,}" for name, count in left.items() if count]
        return [f"Points of the path outside the box or at holes, not shown: {', '.join(each)}"] if each else []

    def _small_print(self, space: Any, scale: Scale, own: bool) -> None:
        """Notes below the cube; a figure of ours is cut to what is in it, since a cube leaves a wide margin."""
        text = _surround.small_print([*self._outside(), *self.remarks(scale), self.note or ""])
        wide = float(self.figure_.get_figwidth()) if own else float(space.get_window_extent().width) / self.figure_.dpi
        text = _surround.wrap(text, wide - 0.3, _surround.SMALL)
        if not own:
            if text:
                printed = space.text2D(0.0, -0.01, text, transform=space.transAxes, va="top")
                printed.set(fontsize=_surround.SMALL, color=_surround.shade(0.3), gid="footnote")
            return
        self.figure_.set_layout_engine("none")
        heading = space.get_title(loc="left")
        legend = space.get_legend()
        if legend is not None:
            legend.set_in_layout(False)
        head = 0.32 + 1.25 / 72 * _surround.TITLE * heading.count("\n") if heading else 0.08
        above = 0.0
        if legend is not None and narrow():
            # Beside the cube there is no room for it: it stands above, in rows.
            labels = [label.get_text() for label in legend.get_texts()]
            above = 1.7 / 72 * _surround.TICK * -(-len(labels) // _beside(labels))
        foot = 1.3 / 72 * _surround.SMALL * (text.count("\n") + 1) + 0.14 if text else 0.08
        # What the cube with its labels takes, of a square as wide as the figure.
        self.figure_.set_size_inches(now().width, now().width)
        space.set_position((0.0, 0.0, 1.0, 1.0))
        left, low, right, high = _box_of(space)
        # Labels do not grow with the cube, so that the second cut is nearly exact.
        zoom = ZOOM * (now().width - 0.3) / (right - left)
        space.set_box_aspect(ASPECT, zoom=zoom)
        left, low, right, high = _box_of(space)
        height = head + above + (high - low) + foot
        self.figure_.set_size_inches(now().width, height)
        shift = (now().width - left - right) / 2
        space.set_position((shift / now().width, (foot - low) / height, 1.0, now().width / height))
        if heading:
            place = ((0.12 - shift) / now().width, (height - 0.1 - foot + low) / now().width)
            space.set_title(
                heading, fontsize=_surround.TITLE, loc="left", x=place[0], y=place[1], va="top", pad=0.0, clip_on=False
            )
        if text:
            self.figure_.text(
                0.12 / now().width,
                (foot - 0.06) / height,
                text,
                fontsize=_surround.SMALL,
                color=_surround.shade(0.3),
                va="top",
                gid="footnote",
            )
        if legend is not None:
            legend.set_bbox_to_anchor((0.05 / now().width, 1 - head / height), transform=self.figure_.transFigure)


def _beside(labels: list[str]) -> int:
    """How many entries of a legend fit into the width of a figure."""
    return max(1, int((now().width - 0.1) * 72 / (42 + 0.56 * _surround.TICK * max(map(len, labels)))))


def _box_of(space: Any) -> tuple[float, float, float, float]:
    """Left, low, right and high of the cube and its labels, in inches; the axes itself is larger."""
    from itertools import product

    from mpl_toolkits.mplot3d import proj3d

    figure = space.figure.figure
    _surround.lay_out(figure)
    corners = np.array(list(product(space.get_xlim(), space.get_ylim(), space.get_zlim()))).T
    x, y, _ = proj3d.proj_transform(*corners, space.get_proj())
    places = [space.transData.transform(np.column_stack([x, y]))]
    for axis in (space.xaxis, space.yaxis, space.zaxis):
        if (box := axis.get_tightbbox()) is not None:
            places.append(np.array([[box.x0, box.y0], [box.x1, box.y1]]))
    spots = np.concatenate(places) / figure.dpi
    spots = spots[np.isfinite(spots).all(1)]
    return (*map(float, spots.min(0)), *map(float, spots.max(0)))  # type: ignore[return-value]


def _length(path: Array) -> float:
    return float(np.nansum(np.hypot(*np.diff(path, axis=0).T)))


def _wider(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """With the neighbors on both sides, so that lines that are split there meet."""
    return np.asarray(mask | np.roll(mask, 1) & (np.arange(len(mask)) > 0))


def _finer(path: Array, step: float) -> Array:
    """The path with places put in, so that no stretch is longer than a step and the line follows the ground."""
    if len(path) < 2:
        return path
    lengths = np.hypot(*np.diff(path, axis=0).T)
    counts = np.where(np.isfinite(lengths), np.clip(np.ceil(lengths / step), 1, 200), 1).astype(int)
    parts = [
        begin + np.linspace(0, 1, n, endpoint=False)[:, None] * (end - begin)
        for begin, end, n in zip(path[:-1], path[1:], counts, strict=True)
    ]
    return np.concatenate([*parts, path[-1:]])
