"""A field on a rectangular grid, checked once: what the flat and the raised picture of it have in common."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from lossatlas._errors import InputError
from lossatlas.draw._display import Array, Display, array
from lossatlas.draw._levels import Levels, Scale, number, scale_of


def is_deepest(name: str) -> bool:
    """Whether a well is marked by a star."""
    return "global" in name.lower() or name.startswith("minimum")


@dataclass(eq=False)
class GridDisplay(Display):
    """Values on a grid, with what is known about the plane they lie on.

    Args:
        x: (nx,) coordinates of the columns, increasing.
        y: (ny,) coordinates of the rows, increasing.
        z: (ny, nx) values; row i belongs to ``y[i]``, column j to ``x[j]``. Anything not finite is a hole.
        xlabel: with its unit, as it should be read.
        ylabel: the same for y.
        zlabel: the same for the values.
        title: a line above the picture.
        wells: (name, x, y) of known minima; one whose name contains "global" or begins with "minimum" gets a star.
        center: (x, y) of the point the plane was laid through.
        note: a sentence of small print under the picture.
        samples: (n, 2) points where the values come from, where they were not measured at every one of the grid.
        error: (ny, nx) the error to expect of each value, where it is known; 0 where a value is exact.
        doubtful: (ny, nx) which values are hatched in the flat picture; left out, those whose expected error exceeds
            the distance of the contour levels around them.
        cmap: the color map of its pictures; a light viridis when left out.

    Raises:
        InputError: shapes that do not fit, or coordinates that do not increase.
    """

    x: Array
    y: Array
    z: Array
    _: KW_ONLY
    xlabel: str
    ylabel: str
    zlabel: str = "loss"
    title: str | None = None
    wells: Sequence[tuple[str, float, float]] = ()
    center: tuple[float, float] | None = None
    note: str | None = None
    samples: Array | None = None
    error: Array | None = None
    doubtful: NDArray[np.bool_] | None = None
    cmap: str | None = None

    def __post_init__(self) -> None:
        self.x, self.y = array("x", self.x), array("y", self.y)
        for name, values in (("x", self.x), ("y", self.y)):
            if values.size < 2 or not np.all(np.isfinite(values)) or np.any(np.diff(values) <= 0):
                raise InputError(f"{name} has {values.size} values; give two or more, finite and increasing.")
        shape = (self.y.size, self.x.size)
        self.z = array("z (rows along y, columns along x)", self.z, 2, shape)
        if self.samples is not None:
            self.samples = array("samples", self.samples, 2)
            if self.samples.shape[1] != 2:
                raise InputError(f"samples has shape {self.samples.shape}; give (n, 2), a point per row.")
        if self.error is not None:
            self.error = array("error (rows along y, columns along x)", self.error, 2, shape)
        if self.doubtful is not None:
            self.doubtful = array("doubtful (rows along y, columns along x)", self.doubtful, 2, shape) != 0

    @property
    def holes(self) -> int:
        """How many values are not finite."""
        return int(np.count_nonzero(~np.isfinite(self.z)))

    @property
    def masked(self) -> np.ma.MaskedArray[tuple[int, ...], np.dtype[np.float64]]:
        """The values with the holes masked."""
        return cast(
            "np.ma.MaskedArray[tuple[int, ...], np.dtype[np.float64]]",
            np.ma.masked_invalid(self.z),
        )

    @property
    def spans(self) -> tuple[float, float]:
        """Width and height of the plane."""
        return float(self.x[-1] - self.x[0]), float(self.y[-1] - self.y[0])

    def inside(self, points: Array) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """Which of (..., 2) points lie in the box of the grid."""
        px, py = points[..., 0], points[..., 1]
        return cast(
            "np.ndarray[tuple[int, ...], np.dtype[np.bool_]]",
            (px >= self.x[0]) & (px <= self.x[-1]) & (py >= self.y[0]) & (py <= self.y[-1]),
        )

    def doubted(self, levels: Levels = "auto") -> NDArray[np.bool_] | None:
        """Which values may lie on the other side of a contour line: their expected error exceeds a contour step.

        Args:
            levels: those of the picture.

        Returns:
            (ny, nx), or None where no error is known.
        """
        return self._doubted(scale_of(self.z, levels))

    def _doubted(self, scale: Scale) -> NDArray[np.bool_] | None:
        if self.doubtful is not None:
            return self.doubtful
        if self.error is None or scale.kind in ("constant", "empty"):
            return None
        finite = np.isfinite(self.z)
        return finite & (np.nan_to_num(self.error, nan=np.inf) > scale.steps(np.where(finite, self.z, scale.low)))

    def same_units(self) -> bool:
        """Whether a step to the right and a step up mean the same: equal units in the labels and similar spans."""
        units = [re.findall(r"[(\[]([^()\[\]]*)[)\]]\s*$", label) for label in (self.xlabel, self.ylabel)]
        width, height = self.spans
        return units[0] == units[1] and 1 / 3 <= width / height <= 3

    def remarks(self, scale: Scale) -> list[str]:
        """What the reader must know about holes, constants and the scale, as sentences."""
        found = []
        if self.holes:
            found.append(f"{self.holes:,} of {self.z.size:,} points not finite, drawn as holes")
        if self.samples is not None and len(self.samples):
            found.append(f"{len(self.samples):,} points evaluated (dots), the rest interpolated")
        if scale.kind == "constant":
            found.append(f"Constant: {self.zlabel} is {scale.low:.6g} at every{' finite' * bool(self.holes)} point")
        if scale.kind == "quantile":
            found.append("Levels at quantiles of the field")
        if scale.kind == "asinh":
            found.append(f"Levels even below {number(scale.width)}, logarithmic above (asinh)")
        strays = int(np.count_nonzero(np.isfinite(self.z) & (self.z <= 0))) if scale.kind == "log" else 0
        if strays:
            found.append(f"{strays:,} of {self.z.size:,} points at 0 or below, drawn below the lowest level")
        return found
