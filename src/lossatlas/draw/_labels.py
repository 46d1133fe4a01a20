"""The numbers on contour lines: one per line, far from each other, from the markers and from the paths."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lossatlas.draw import _surround
from lossatlas.draw._display import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.contour import QuadContourSet

    from lossatlas.draw._levels import Scale

_ROOM = 24.0  # points a label keeps from anything else
_SHORTEST = 70.0  # points of line, below which it gets no label


def label_lines(ax: Axes, lines: QuadContourSet, scale: Scale, avoid: Array) -> None:
    """Write its level on each contour line that has room for it.

    Args:
        ax: laid out already: the places are measured in points.
        lines: the contour lines.
        scale: writes the numbers.
        avoid: (K, 2) data points to keep away from.
    """
    from matplotlib import patheffects

    points = 72.0 / ax.figure.figure.dpi
    box = ax.get_window_extent()
    taken = [_measured(ax, avoid) * points] if len(avoid) else []
    for level, path in zip(lines.levels, lines.get_paths(), strict=True):
        pieces = [_measured(ax, np.asarray(piece)) * points for piece in path.to_polygons(closed_only=False)]
        pieces = [piece for piece in pieces if _length(piece) > _SHORTEST]
        if not pieces:
            continue
        spots = np.concatenate(pieces)
        borders = np.array([box.x0, box.y0, box.x1, box.y1]) * points
        room = 1.3 * np.min(np.abs(np.concatenate([spots, spots], axis=1) - borders), axis=1)
        if taken:
            others = np.concatenate(taken)
            for start in range(0, len(spots), 256):
                part = spots[start : start + 256]
                near = np.sqrt(((part[:, None] - others[None]) ** 2).sum(axis=2).min(axis=1))
                room[start : start + 256] = np.minimum(room[start : start + 256], near)
        best = int(np.argmax(np.minimum(room, 3 * _ROOM)))
        if room[best] < _ROOM:
            continue
        x, y = ax.transData.inverted().transform(spots[best] / points)
        before = len(lines.labelTexts)
        lines.clabel(
            [level], inline=False, fontsize=_surround.SMALL - 0.5, fmt=scale.text, manual=[(x, y)], colors="0.1"
        )
        for text in lines.labelTexts[before:]:
            text.set_alpha(1.0)
            text.set_path_effects([patheffects.withStroke(linewidth=1.8, foreground="white", alpha=0.75)])
        taken.append(spots[best][None])


def _measured(ax: Axes, data: Array) -> Array:
    pixels: Any = ax.transData.transform(data)
    return np.asarray(pixels, dtype=np.float64)


def _length(piece: Array) -> float:
    return float(np.sqrt((np.diff(piece, axis=0) ** 2).sum(axis=1)).sum())
