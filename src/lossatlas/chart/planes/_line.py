"""Lines: frames of one direction together with how they were made."""

from __future__ import annotations

from typing import ClassVar, final

from lossatlas.chart.planes._shorthands import Shorthands


@final
class Line(Shorthands):
    """A frame of one direction and how it was made.

    `random`, `between`, `pca`, `hessian`, `gradient`, `worst` and `of` are shorthands.

    Args:
        surface: what the line lies in.
        directions: one: a `Direction` such as ``directions.gradient()``, or whatever describes a vector.
        origin: where t = 0; the direction's own (the first point of ``between``, the last iterate of ``pca``), or the
            surface's own point by default.
        orthonormal: make it of unit length.

    Raises:
        PlaneError: if the direction is zero or not finite.

    Example:
        >>> import lossatlas as la
        >>> surface = la.landscapes.himmelblau()
        >>> la.Line(surface, la.directions.gradient()).labels
        ('t, uphill along the gradient (Euclidean distance)',)
    """

    name: ClassVar[str] = "line"
    axes: ClassVar[int] = 1
