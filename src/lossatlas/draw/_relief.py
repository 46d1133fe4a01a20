"""A field as a surface in space, with its contours on the floor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike

from lossatlas._errors import InputError
from lossatlas.draw import _surround
from lossatlas.draw._display import WIDTH, Array, array
from lossatlas.draw._grid import GridDisplay
from lossatlas.draw._levels import Levels, Scale, scale_of
from lossatlas.draw._palette import ground, strokes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

# Pieces between two points of a path, which follow the relief.
FINE = 12


@dataclass(eq=False)
class ReliefDisplay(GridDisplay):
    """A field as a relief; its arguments are those of a ``GridDisplay``.

    Wells and center are left to the flat picture: in this one they would be hidden behind the slopes.
    """

    def plot(
        self,
        ax: Axes | None = None,
        *,
        levels: Levels = "auto",
        cmap: str | Colormap | None = None,
        clip: float = 1.0,
        elevation: float = 32.0,
        azimuth: float = -58.0,
        paths: Mapping[str, ArrayLike] | None = None,
        palette: dict[str, str] | None = None,
    ) -> Self:
        """Draw the relief.

        Args:
            ax: axes made with ``projection="3d"``; a new figure when left out.
            levels: as in ``FieldDisplay.plot``; with logarithmic ones the height is logarithmic too.
            cmap: a matplotlib color map.
            clip: quantile of the values above which the relief is cut flat; the title says so where it happens.
            elevation: of the eye, in degrees.
            azimuth: of the eye, in degrees.
            paths: name to (T, 2) coordinates of points that are joined on the relief; a start is a ring, an end a star.
                They are drawn over it, so that no slope hides them.
            palette: name to color of the paths; from ``colors`` when left out.

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
            axis.labelpad = 7.0 if axis is not space.zaxis and "\n" in axis.get_label_text() else 3.0
        for axis in (space.xaxis, space.yaxis):
            axis.set_major_locator(MaxNLocator(5, prune="both"))
        space.tick_params(axis="both", pad=0.0)
        if scale.kind == "empty":
            space.text2D(0.5, 0.5, "no finite value", transform=space.transAxes, ha="center")
        else:
            height = self._raise(space, z, scale, ground(cmap, 0.1))
            if paths:
                self._walk(space, height, {n: array(f"path of {n!r}", p, 2) for n, p in paths.items()}, palette)
        self._small_print(space, scale, ax is None)
        return self

    def _walk(self, space: Any, height: Array, paths: Mapping[str, Array], palette: dict[str, str] | None) -> None:
        """Paths on the relief: between their points too, they follow it."""
        from matplotlib.lines import Line2D
        from scipy.interpolate import RegularGridInterpolator

        on = RegularGridInterpolator((self.y, self.x), height, bounds_error=False, fill_value=np.nan)
        lift = 0.012 * float(np.nanmax(height) - np.nanmin(height))
        space.computed_zorder = False  # by their depth, lines would sink into the relief they lie on
        handles = []
        for name, stroke in strokes(paths, palette).items():
            path = paths[name][np.isfinite(paths[name]).all(1)]
            if not len(path):
                continue
            fine = np.linspace(0, len(path) - 1, 1 + FINE * (len(path) - 1))
            dense = np.stack([np.interp(fine, np.arange(len(path)), column) for column in path.T], 1)
            line, dots = (np.column_stack([part, on(part[:, ::-1]) + lift]) for part in (dense, path))
            space.plot(*line.T, color="white", lw=3.0, alpha=0.85, zorder=8)
            space.plot(*line.T, color=stroke.color, lw=1.5, ls=stroke.dashes, zorder=9)
            size = float(np.clip(60 / max(len(path), 1), 2.0, 4.5))
            space.plot(*dots.T, ls="none", marker="o", ms=size, mfc=stroke.color, mec="white", mew=0.4, zorder=9.2)
            for k, marker in ((0, "o"), (-1, "*")):
                space.plot(*dots[[k]].T, marker=marker, ms=7 if k == 0 else 11, mfc="white", mec="black", zorder=9.5)
            handles.append(Line2D([], [], color=stroke.color, lw=1.5, ls=stroke.dashes, marker="o", ms=4, label=name))
        ends = (("o", "start", 6.5), ("*", "end", 10))
        handles += [
            Line2D([], [], ls="none", marker=m, mfc="white", mec="black", ms=ms, label=what) for m, what, ms in ends
        ]
        space.legend(handles=handles, loc="upper left", fontsize=_surround.SMALL, frameon=False)

    def _raise(self, space: Any, z: Any, scale: Scale, cmap: Colormap) -> Array:
        """Draw the relief; its heights are returned, (ny, nx)."""
        from matplotlib.colors import Normalize
        from matplotlib.ticker import FuncFormatter

        log = scale.kind == "log"
        height = np.log10(np.where(np.isfinite(z), z, np.nan)) if log else np.where(np.isfinite(z), z, np.nan)
        levels = np.log10(scale.levels) if log else scale.levels
        norm = Normalize(levels[0], levels[-1]) if log else scale.norm(cmap.N)
        low, high = float(np.nanmin(height)), float(np.nanmax(height))
        rise = (high - low) or 1.0
        floor = low - 0.4 * rise
        grid = np.meshgrid(self.x, self.y)
        masked = np.ma.masked_invalid(height)
        if np.any(levels[(levels > low) & (levels < high)]):
            space.contourf(*grid, masked, levels, zdir="z", offset=floor, cmap=cmap, norm=norm, alpha=0.55)
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
        )
        space.set_zlim(floor, high + 0.02 * rise)
        space.set_zlabel(self.zlabel + " (log scale)" * log, fontsize=_surround.LABEL)
        if log:
            ticks = levels[:: max(1, -(-len(levels) // 5))]
            space.set_zticks(ticks[(ticks >= low - 1e-9) & (ticks <= high + 1e-9)])
            space.zaxis.set_major_formatter(FuncFormatter(lambda value, _: scale.text(10.0**value)))
        else:
            ticks = space.get_zticks() if high > low else np.array([low])
            space.set_zticks(ticks[(ticks >= low - 0.02 * rise) & (ticks <= high)])
            _surround.thousands(space.zaxis)
        space.tick_params(axis="z", labelsize=_surround.TICK, pad=5.0)
        return np.asarray(height, dtype=np.float64)

    def _small_print(self, space: Any, scale: Scale, own: bool) -> None:
        """Notes below the cube; in a figure of ours, room is made for them by hand.

        Constrained layout would leave a wide margin around the cube.
        """
        text = _surround.small_print([*self.remarks(scale), self.note or ""])
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
