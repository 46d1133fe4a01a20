"""Planes: frames of two directions together with how they were made."""

from __future__ import annotations

from typing import ClassVar, final

from lossatlas.chart.planes._shorthands import Shorthands


@final
class Plane(Shorthands):
    """A frame of two directions, any two, and how it was made.

    `random`, `between`, `pca`, `hessian`, `gradient`, `worst` and `of` are shorthands.

    Args:
        surface: what the plane lies in.
        directions: two: each a `Direction` such as ``directions.gradient()``, or whatever describes a vector.
        origin: where both coordinates are zero; a direction's own (the first point of ``between``, the last iterate of
            ``pca``), or the surface's own point by default.
        orthogonal: take the part along the first out of the second.
        orthonormal: make both of unit length at right angles in the same plane, so that distances in the picture are
            true.

    Raises:
        PlaneError: if one is zero or not finite, both are parallel, or they have different origins of their own.

    Example:
        >>> import lossatlas as la
        >>> surface = la.landscapes.himmelblau()
        >>> la.Plane(surface, la.directions.gradient(), la.directions.eigenvector("largest")).labels[1]
        'β, largest curvature -26 (Euclidean distance)'
    """

    name: ClassVar[str] = "plane"
    axes: ClassVar[int] = 2
