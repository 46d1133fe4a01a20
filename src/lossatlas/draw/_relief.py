"""A field as a surface in space, with its contours on the floor and paths over it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike

from lossatlas._errors import InputError
from lossatlas.draw import _surround
from lossatlas.draw._display import WIDTH, Array, array
from lossatlas.draw._grid import GridDisplay
from lossatlas.draw._levels import Levels, Scale, scale_of
from lossatlas.draw._palette import Stroke, ground, strokes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap


@dataclass(eq=False)
class ReliefDisplay(GridDisplay):
    """A field as a relief; further arguments are those of a ``GridDisplay``.

    Wells and center are left to the flat picture: in this one they would be hidden behind the slopes.

    Args:
        paths: name to (T, 2) places (x, y) of a path over the relief. Its height is that of the field, interpolated
            bilinearly between the cells on the scale of the picture (for logarithmic heights in the logarithm). Points
            outside the box or beside a hole have no height and break the line.

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
        elevation: float = 32.0,
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
        if not 0 < clip <= 1:
            raise InputError(f"clip is {clip}; give a quantile above 0 and up to 1 (1 clips nothing).")
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
        space.view_init(elev=elevation, azim=azimuth)
        space.set_box_aspect((1.0, 1.0, 0.72), zoom=0.86 if ax is not None else 0.93)
        space.set(xlim=(self.x[0], self.x[-1]), ylim=(self.y[0], self.y[-1]))
        for axis in (space.xaxis, space.yaxis, space.zaxis):
            axis.pane.set(facecolor="0.98", edgecolor="0.8")
            axis._axinfo["grid"].update(color="0.88", linewidth=0.5)
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
            height = self._raise(space, z, scale, ground(cmap or self.cmap, 0.1))
            self._walk(space, height, strokes(self.paths or {}, palette))
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
        space.plot_surface(
            *grid,
            height,
            cmap=cmap,
            norm=norm,
            rcount=min(len(self.y), 121),
            ccount=min(len(self.x), 121),
            linewidth=0.15,
            edgecolor=(0, 0, 0, 0.18),
            antialiased=True,
            zorder=2,
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

    def _walk(self, space: Any, height: Array, look: Mapping[str, Stroke]) -> None:
        """Lay the paths over the relief, from a ring to a marker, with their shadow on the floor.

        The shadow tells where a path runs behind a slope.
        """
        floor, top = space.get_zlim()
        for name, path in (self.paths or {}).items():
            places = _finer(np.asarray(path), min(self.spans) / 100)
            raised = self._heights(places, height)
            # A hair above, so that the line does not sink into the facets.
            line = (*places.T, raised + 0.008 * (top - floor))
            stroke = look[name]
            seen = np.isfinite(raised)
            shadow = np.where(seen[:, None], places, np.nan).T
            space.plot(*shadow, np.full(len(places), floor), color="0.25", lw=0.9, alpha=0.8, zorder=1.5, gid="shadow")
            space.plot(*line, color="white", lw=3.2, alpha=0.9, zorder=5)
            space.plot(*line, color=stroke.color, ls=stroke.dashes, lw=1.6, zorder=6, label=name, gid="path")
            known = np.flatnonzero(seen)
            if not len(known):
                continue
            ends = (
                (known[0], {"marker": "o", "mfc": "white", "mec": "black", "mew": 1.2, "ms": 5.5}),
                (known[-1], {"marker": stroke.marker, "mfc": stroke.color, "mec": "white", "mew": 0.8, "ms": 7.0}),
            )
            for k, style in ends:
                space.plot(*([part[k]] for part in line), ls="none", zorder=7, **style)
        if len(look) > 1:
            space.legend(
                loc="upper left", fontsize=_surround.TICK, frameon=False, bbox_to_anchor=(0.0, 0.98), handlelength=2.4
            )

    def _outside(self) -> list[str]:
        """What of the paths has no height."""
        left = {
            name: int(np.isnan(self._heights(np.asarray(path), self.z)).sum())
            for name, path in (self.paths or {}).items()
        }
        each = [f"{name} ({count:,})" if name else f"{count:,}" for name, count in left.items() if count]
        return [f"Points of the path outside the box or at holes, not shown: {', '.join(each)}"] if each else []

    def _small_print(self, space: Any, scale: Scale, own: bool) -> None:
        """Notes below the cube; in a figure of ours, room is made for them by hand.

        Constrained layout would leave a wide margin around the cube.
        """
        text = _surround.small_print([*self._outside(), *self.remarks(scale), self.note or ""])
        text = _surround.wrap(text, 5.2, _surround.SMALL)
        if own:
            strip = 0.15 * (text.count("\n") + 1) + 0.08 if text else 0.0
            height = 5.2 + strip
            self.figure_.set_layout_engine("none")
            self.figure_.set_size_inches(WIDTH, height)
            space.set_position((0.0, (strip + 0.28) / height, 0.97, 4.62 / height))
        if text:
            printed = space.text2D(0.0, -0.01, text, transform=space.transAxes, va="top")
            printed.set(fontsize=_surround.SMALL, color="0.3", gid="footnote")


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
