"""Ends that lie on each other told apart: a column of markers with their names beside, each with a line to its end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lossatlas.draw import _surround
from lossatlas.draw._display import Array
from lossatlas.draw._palette import Stroke

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# All in points: ends nearer than this are one heap; a row of a column; from the heap to its column; from the frame.
NEAR, ROW, AWAY, EDGE, MARKER = 9.0, 11.5, 22.0, 4.0, 12.0
# Below this width a map has no room for names: the markers stand alone, and the legend names them.
NAMED = 216.0


def heaps(ax: Axes, ends: Sequence[tuple[str, Array]]) -> list[list[tuple[str, Array]]]:
    """Ends in groups, each of those that would hide each other: every end lies near another of its group."""
    places = _points(ax, np.array([end for _, end in ends], dtype=np.float64).reshape(-1, 2))
    left, found = list(range(len(ends))), []
    while left:
        group = [left.pop(0)]
        for member in group:
            close = [k for k in left if float(np.hypot(*(places[k] - places[member]))) < NEAR]
            group += close
            left = [k for k in left if k not in close]
        found.append([ends[k] for k in sorted(group)])
    return found


def call_out(
    ax: Axes,
    heap: Sequence[tuple[str, Array]],
    look: Mapping[str, Stroke],
    obstacles: Array,
    blocks: list[tuple[float, float, float, float]],
) -> None:
    """Draw the column of one heap where it covers the least.

    The places are those of the layout as it is.

    Args:
        ax: where.
        heap: names and ends.
        look: of each name.
        obstacles: (K, 2) data points better not covered.
        blocks: (left, low, right, high) in points that are taken; this one is added.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Rectangle
    from matplotlib.textpath import TextPath
    from matplotlib.transforms import Affine2D, ScaledTranslation

    # Hand-made, since an annotation has no marker. In points from the middle of the heap, whatever becomes of the figure.
    names, ends = [name for name, _ in heap], np.array([end for _, end in heap], dtype=np.float64)
    center = ends.mean(0)
    figure: Any = ax.figure.figure
    data: Any = ax.transData
    onto = Affine2D().scale(1 / 72) + figure.dpi_scale_trans + ScaledTranslation(center[0], center[1], data)
    middle = _points(ax, center)[0]
    named = ax.get_window_extent().width * 72 / figure.dpi >= NAMED
    long = max(float(TextPath((0, 0), name, size=_surround.SMALL).get_extents().width) for name in names)
    width = MARKER + (6 + long if named else 2)
    height = ROW * len(names) + 3
    left, low = _place(ax, middle, width, height, _points(ax, obstacles), blocks)
    blocks.append((left, low, left + width, low + height))
    left, low = left - middle[0], low - middle[1]
    panel = Rectangle((left, low), width, height, transform=onto, fc="white", ec="0.55", lw=0.5, alpha=0.85, zorder=6)
    panel.set_gid("callout")
    ax.add_patch(panel)
    right = left + width / 2 >= 0
    x = left + MARKER / 2 + 1 if right else left + width - MARKER / 2 - 1
    for row, (name, end) in enumerate(zip(names, ends, strict=True)):
        y = low + height - 1.5 - ROW * (row + 0.5)
        start = _points(ax, end)[0] - middle
        stroke = look[name]
        for color, wide in (("white", 2.0), (stroke.color, 0.9)):
            ax.add_line(Line2D([start[0], x], [start[1], y], color=color, lw=wide, transform=onto, zorder=6.2))
        ax.add_line(
            Line2D(
                [x], [y], ls="none", marker=stroke.marker, mfc=stroke.color, mec="white", mew=0.7, ms=7.0, transform=onto,
                zorder=6.4, gid=f"end of {name}",
            )
        )  # fmt: skip
        if not named:
            continue
        text = ax.text(
            x + (MARKER / 2 if right else -MARKER / 2), y, name, transform=onto, fontsize=_surround.SMALL, color="0.1",
            ha="left" if right else "right", va="center_baseline", zorder=6.5,
        )  # fmt: skip
        text.set_gid("end label")
    core = ax.add_line(
        Line2D([0.0], [0.0], marker="o", ms=4.5, mfc="0.1", mec="white", mew=0.8, transform=onto, zorder=6.3)
    )
    core.set_gid("heap")


def labels_of(ax: Axes) -> list[tuple[float, float, float, float]]:
    """What the names of wells take up, as (left, low, right, high) in points."""
    scale = 72.0 / ax.figure.figure.dpi
    boxes = [text.get_window_extent() for text in ax.texts if text.get_gid() == "mark label"]
    return [(box.x0 * scale, box.y0 * scale, box.x1 * scale, box.y1 * scale) for box in boxes]


def covered(ax: Axes, blocks: Sequence[tuple[float, float, float, float]]) -> Array:
    """Places all over the blocks, (K, 2) in data."""
    found = [np.zeros((0, 2))]
    for left, low, right, high in blocks:
        grid = np.meshgrid(np.linspace(left, right, 9), np.linspace(low, high, 9))
        found.append(np.stack(grid, -1).reshape(-1, 2) * (ax.figure.figure.dpi / 72.0))
    return np.asarray(ax.transData.inverted().transform(np.concatenate(found)), dtype=np.float64).reshape(-1, 2)


def _place(
    ax: Axes,
    middle: Array,
    width: float,
    height: float,
    obstacles: Array,
    blocks: Sequence[tuple[float, float, float, float]],
) -> tuple[float, float]:
    """The lower left corner, around the heap: inside of the frame and over as little as possible."""
    box = ax.get_window_extent()
    scale = 72.0 / ax.figure.figure.dpi
    x0, y0, x1, y1 = (value * scale for value in (box.x0, box.y0, box.x1, box.y1))
    best, least = (x0 + EDGE, y0 + EDGE), math.inf
    # To the sides only: lines to a column above or below would run along it.
    for angle in (side + math.radians(tilt) for side in (0.0, math.pi) for tilt in range(-60, 61, 12)):
        for far in (AWAY, 1.6 * AWAY, 2.4 * AWAY):
            across, up = math.cos(angle), math.sin(angle)
            # As far as the block reaches toward the heap.
            reach = min(width / 2 / max(abs(across), 1e-9), height / 2 / max(abs(up), 1e-9))
            left = float(middle[0]) + across * (far + reach) - width / 2
            low = float(middle[1]) + up * (far + reach) - height / 2
            moved = (
                float(np.clip(left, x0 + EDGE, max(x0 + EDGE, x1 - EDGE - width))),
                float(np.clip(low, y0 + EDGE, max(y0 + EDGE, y1 - EDGE - height))),
            )
            here = (moved[0], moved[1], moved[0] + width, moved[1] + height)
            covered = (
                (obstacles[:, 0] > here[0] - 2)
                & (obstacles[:, 0] < here[2] + 2)
                & (obstacles[:, 1] > here[1] - 2)
                & (obstacles[:, 1] < here[3] + 2)
            )
            cost = float(covered.sum()) + 0.05 * far + 0.5 * math.hypot(moved[0] - left, moved[1] - low)
            # Lines to a column right above or below would run through its markers.
            aside = max(here[0] - middle[0], middle[0] - here[2])
            cost += 20 * max(0.0, AWAY / 2 - float(aside))
            cost += 1e6 * sum(_cross(here, other) for other in blocks)
            cost += 1e5 * (here[0] - 8 < middle[0] < here[2] + 8 and here[1] - 8 < middle[1] < here[3] + 8)
            if cost < least:
                best, least = moved, cost
    return best


def _cross(one: Sequence[float], other: Sequence[float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _points(ax: Axes, data: Array) -> Array:
    pixels: Any = ax.transData.transform(data)
    return np.asarray(pixels, dtype=np.float64).reshape(-1, 2) * (72.0 / ax.figure.figure.dpi)
