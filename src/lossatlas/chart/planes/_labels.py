"""Labels of axes with their units."""

from __future__ import annotations

from typing import Any

from lossatlas.chart.planes._cut import measures
from lossatlas.chart.planes._directions import place
from lossatlas.chart.planes._normalize import unit_of
from lossatlas.chart.planes._policy import Ignore, resolved
from lossatlas.surface import Frame, Surface

EUCLIDEAN = "Euclidean distance"


def axes(unit: str, *names: str) -> tuple[str, ...]:
    """Labels of one or two axes of the same unit."""
    return tuple(f"{axis}, {name} ({unit})" for axis, name in zip("t" if len(names) == 1 else "αβ", names, strict=True))


def length_of(surface: Surface, normalization: str) -> str:
    """What one unit means along a slope."""
    euclidean = normalization == "none" or all(block.kind == "vector" for block in surface.layout.blocks)
    return EUCLIDEAN if euclidean else unit_of(normalization)


def given_record(
    surface: Surface, frame: Frame, normalization: str, ignore: Ignore | None, origin: Any
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The record and the labels of a frame of the user's own directions."""
    how = {
        "normalization": normalization,
        "ignore": resolved(normalization, ignore),
        "origin": place(origin),
        **measures(frame),
    }
    names = ["given direction"] if frame.dimension == 1 else ["given direction 1", "given direction 2"]
    units = [f"1 = Euclidean distance {norm:.4g}" for norm in how["norms"]]
    if normalization != "none":
        units = [unit_of(normalization)] * len(names)
    axes = "t" if frame.dimension == 1 else "αβ"
    return how, tuple(f"{axis}, {name} ({unit})" for axis, name, unit in zip(axes, names, units, strict=True))
