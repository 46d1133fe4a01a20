"""Landscapes of Gaussian wells on a gentle bowl: four wells behind a ridge, deep wells, and a plateau.

The constants are declared here as data. Places follow the note that the project implements; widths, the remaining
depths and places, the ridge and the bowl are ours and frozen: no algorithm's result may change them (docs/decisions/0002).
What the note says of the ground itself is held by tests: the start of the four wells lies above the pass from A to the
global well (A is shallow, the ridge small).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from lossatlas.surface.landscapes._landscape import Formula, Landscape, Minimum, total


@dataclass(frozen=True)
class Gaussian:
    """One Gaussian well: −depth · exp(−|u − center|² / (2 width²))."""

    name: str
    center: tuple[float, float]
    depth: float
    width: float


@dataclass(frozen=True)
class Ridge:
    """A straight ridge along x + y = 0: height · exp(−t² / (2 width²)) with t = (x + y)/√2."""

    height: float
    width: float


FOUR_WELLS = (
    Gaussian("A", (-2.5, -2.5), 1.0, 0.7),
    Gaussian("B", (-2.2, 2.6), 1.6, 0.9),
    Gaussian("C", (2.4, 2.8), 2.2, 0.9),
    Gaussian("global", (3.0, -1.0), 4.0, 1.2),
)
FOUR_WELLS_RIDGE = Ridge(height=0.3, width=0.5)
FOUR_WELLS_BOWL = 0.05
FOUR_WELLS_START = (-3.8, -3.5)

DEEP_WELLS = (
    Gaussian("A", (-2.2, -2.0), 3.5, 1.0),
    Gaussian("B", (-2.0, 2.4), 3.0, 1.0),
    Gaussian("C", (2.2, 2.2), 4.0, 1.0),
    Gaussian("global", (2.6, -2.4), 6.5, 1.0),
)
DEEP_WELLS_BOWL = 0.02
DEEP_WELLS_START = (-3.6, -3.2)

BOX = ((-4.5, 4.5), (-4.5, 4.5))

PLATEAU_CENTER = (2.5, 2.0)
PLATEAU_TILT = 1e-4
PLATEAU_START = (-3.0, -3.0)
PLATEAU_BOX = ((-5.0, 5.0), (-5.0, 5.0))


@dataclass(frozen=True)
class GaussianWells(Formula):
    """F = bowl · |u|² + ridge − Σ depth · exp(−|u − center|² / (2 width²)), in two dimensions."""

    wells: tuple[Gaussian, ...]
    bowl: float
    ridge: Ridge | None = None

    @cached_property
    def _columns(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        centers = torch.tensor([well.center for well in self.wells], dtype=torch.float64)
        depths = torch.tensor([well.depth for well in self.wells], dtype=torch.float64)
        widths = torch.tensor([well.width for well in self.wells], dtype=torch.float64)
        squares = widths * widths
        return centers.T[:, :, None].contiguous(), depths[:, None], -0.5 / squares[:, None], 1 / squares[:, None]

    def value(self, u: Tensor) -> Tensor:
        """The formula above."""
        return self._value(u, *self._dips(u)[1:])

    def gradient(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Values and 2 · bowl · u + ∇ridge + Σ dip · (u − center) / width²."""
        offsets, dips, crest = self._dips(u)
        pulls = (offsets * (dips * self._columns[3])).unbind(1)
        gradient = 2 * self.bowl * u
        for pull in pulls:
            gradient = gradient + pull
        if self.ridge is not None:
            # d/dx and d/dy of the ridge are the same: −crest · (x + y) / (2 width²).
            gradient = gradient - crest * ((u[0] + u[1]) * (0.5 / self.ridge.width**2))
        return self._value(u, dips, crest), gradient

    def _dips(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor | float]:
        """Offsets (2, K, B) from each center, depth · exp(…) of each well (K, B), height of the ridge (B,)."""
        centers, depths, rates, _ = self._columns
        offsets = u[:, None, :] - centers
        squares = offsets * offsets
        dips = depths * torch.exp((squares[0] + squares[1]) * rates)
        if self.ridge is None:
            return offsets, dips, 0.0
        across = u[0] + u[1]
        return offsets, dips, self.ridge.height * torch.exp(across * across * (-0.25 / self.ridge.width**2))

    def _value(self, u: Tensor, dips: Tensor, crest: Tensor | float) -> Tensor:
        x, y = u.unbind(0)
        return (x * x + y * y) * self.bowl + crest - total(dips)


@dataclass(frozen=True)
class Plateau(Formula):
    """F = 1 − exp(−r²/2) + tilt · r²/2 with r = |u − center|: one well, seen only from close by."""

    center: tuple[float, float]
    tilt: float

    def value(self, u: Tensor) -> Tensor:
        """The formula above."""
        return self._parts(u)[0]

    def gradient(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Values and (exp(−r²/2) + tilt) · (u − center)."""
        value, dip, x, y = self._parts(u)
        factor = dip + self.tilt
        return value, torch.stack([factor * x, factor * y])

    def _parts(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x, y = u[0] - self.center[0], u[1] - self.center[1]
        half = (x * x + y * y) * 0.5
        dip = torch.exp(-half)
        return (1 - dip) + self.tilt * half, dip, x, y


def four_wells() -> Landscape:
    """Four wells of different depths, and a ridge that leaves a long narrow valley between them.

    L = 0.05 |θ|² + 0.3 exp(−((x + y)/√2)² / (2 · 0.5²)) − Σ depth · exp(−|θ − center|² / (2 width²)) with

    ========  ============  =====  =====
    well      center        depth  width
    ========  ============  =====  =====
    A         (−2.5, −2.5)  1.0    0.7
    B         (−2.2, 2.6)   1.6    0.9
    C         (2.4, 2.8)    2.2    0.9
    global    (3.0, −1.0)   4.0    1.2
    ========  ============  =====  =====

    on the box [−4.5, 4.5]², from the start (−3.8, −3.5), which lies in the basin of A.

    Returns:
        The landscape, in two dimensions.
    """
    minima = [Minimum(well.name, well.center, well.depth) for well in FOUR_WELLS]
    return Landscape(
        "four-wells",
        GaussianWells(FOUR_WELLS, FOUR_WELLS_BOWL, FOUR_WELLS_RIDGE),
        bounds=BOX,
        start=FOUR_WELLS_START,
        minima=minima,
    )


def deep_wells() -> Landscape:
    """Three deep traps, and a deeper well diagonally opposite the start.

    L = 0.02 |θ|² − Σ depth · exp(−|θ − center|² / 2), all widths 1, with A of depth 3.5 at (−2.2, −2.0), which
    catches the start (−3.6, −3.2); B of 3.0 at (−2.0, 2.4); C of 4.0 at (2.2, 2.2); and the global one of 6.5 at
    (2.6, −2.4), on the box [−4.5, 4.5]².

    Returns:
        The landscape, in two dimensions.
    """
    minima = [Minimum(well.name, well.center, well.depth) for well in DEEP_WELLS]
    return Landscape(
        "deep-wells",
        GaussianWells(DEEP_WELLS, DEEP_WELLS_BOWL),
        bounds=BOX,
        start=DEEP_WELLS_START,
        minima=minima,
    )


def plateau() -> Landscape:
    """A wide plain with a gradient of less than 10⁻³ around the start, and one well of depth 1 far off.

    L = 1 − exp(−r²/2) + 10⁻⁴ r²/2 with r the distance from (2.5, 2.0), on the box [−5, 5]² from (−3, −3). The slope
    always points to the well, but it is so small that fixed steps hardly move; steps that are scaled by the
    gradient's size do.

    Returns:
        The landscape, in two dimensions.
    """
    return Landscape(
        "plateau",
        Plateau(PLATEAU_CENTER, PLATEAU_TILT),
        bounds=PLATEAU_BOX,
        start=PLATEAU_START,
        minima=[Minimum("global", PLATEAU_CENTER)],
    )
