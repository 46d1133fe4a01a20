"""Principal components of a path from inner products alone: exact from whole points, with an error from sketches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

import numpy as np
import torch
from torch import Tensor

from lossatlas import _checks, archive
from lossatlas._errors import PlaneError

if TYPE_CHECKING:
    from lossatlas.draw import CurvesDisplay

Centering = Literal["final", "mean"]
# Groups of a sketch's entries that are left out in turn.
GROUPS = 32
FLAT = 1e-12


@final
@dataclass(frozen=True, eq=False)
class Coordinates(archive.Result):
    """A path on the two directions in which it moves most.

    Attributes:
        steps: (n,) of the recorded points.
        coords: (n, 2), in units of parameter space.
        residuals: (n,), how much of each point's distance from the center lies outside of the plane: 0 to 1.
        shares: (2,), of the path's squared length along each axis.
        centering: ``final`` or ``mean``.
        error: standard error of the coordinates, ‖error‖ / ‖coords‖ over the whole path; 0 where they are exact.
        shares_error: (2,), standard errors of the shares.
        bound: 2/√m for a sketch of m numbers, which bounds the standard error of each squared length; 0 if exact.
    """

    KIND: ClassVar[str] = "coordinates"

    steps: np.ndarray
    coords: np.ndarray
    residuals: np.ndarray
    shares: np.ndarray
    centering: Centering
    error: float
    shares_error: np.ndarray
    bound: float

    @property
    def sentence(self) -> str:
        """What they are, and how far off."""
        first, second = self.shares
        how = "exact" if self.bound == 0 else f"to {self.error:.2%} (standard error; bound of lengths {self.bound:.2%})"
        return f"{len(self.steps)} points, the axes hold {first:.1%} and {second:.1%} of the path; coordinates {how}."

    def plot(self, ax: Any = None) -> CurvesDisplay:
        """Draw the path on its two components.

        Args:
            ax: matplotlib axes, or None for a new figure.
        """
        from lossatlas.draw import CurvesDisplay

        first, second = self.shares
        name = "path" + ", which ends at (0, 0)" * (self.centering == "final")
        return CurvesDisplay(
            {name: (self.coords[:, 0], self.coords[:, 1])},
            xlabel=f"component 1 ({first:.0%} of the path)", ylabel=f"component 2 ({second:.0%})", xscale="linear",
            yscale="linear", points=True, title=f"path, steps {self.steps[0]} to {self.steps[-1]}", note=self.sentence,
        ).plot(ax)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Components:
    """Two leading components of n centered rows, as combinations of the rows.

    Attributes:
        mix: (n, 2), component k is Σᵢ mix[i, k] rowᵢ, of unit length.
        coords: (n, 2), the rows on them.
        shares: (2,), of the squared length of all rows.
    """

    mix: Tensor
    coords: Tensor
    shares: Tensor


def centered(rows: Tensor, centering: Centering, origin: int = -1) -> Tensor:
    """Points (n, …) as their differences from one of them, or from their mean.

    Raises:
        InputError: for another centering.
    """
    _checks.one_of("centering", centering, ("final", "mean"))
    return rows - (rows[origin] if centering == "final" else rows.mean(0))


def components(gram: Tensor) -> Components:
    """The two leading components from inner products K = M Mᵀ = U Σ² Uᵀ of centered rows: V = Mᵀ U Σ⁻¹.

    Raises:
        PlaneError: if the rows span no plane.
    """
    squares, inside = torch.linalg.eigh(gram)
    squares, inside = squares.flip(0).clamp_min(0), inside.flip(1)
    if len(gram) < 3 or float(squares[1]) <= FLAT * float(squares[0]):
        raise PlaneError(
            f"the {len(gram)} recorded points span no plane; expected at least three that are not on one line. Record "
            "more steps, or draw a line between the two ends."
        )
    mix = inside[:, :2] / squares[:2].sqrt()
    mix = mix * torch.where(mix[0] < 0, -1.0, 1.0)
    return Components(mix, gram @ mix, squares[:2] / squares.sum())


def from_sketches(
    sketches: Tensor, centering: Centering, meeting: float, origin: int = -1
) -> tuple[Components, float, Tensor]:
    """Components of n points from their sketches (n, m), and standard errors of coordinates and shares.

    Entries of a sketch are nearly independent terms of every inner product. They are left out in `GROUPS` groups in
    turn, and the spread of what comes out is the jackknife's standard error (Efron and Stein 1981). It also sees that
    entries hold different parameters, which is no error of their sum; where parameters are alike that is 1/c of the
    variance with c parameters in an entry, and is taken out. Where few parameters make up the path it stays on the high
    side.

    Args:
        sketches: (n, m).
        centering: ``final`` or ``mean``.
        meeting: 1 − 1/c, as a `Sketch` says it.
        origin: the row that the others are taken from.

    Returns:
        The components, the standard error of the coordinates relative to their size, and that of the shares (2,).
    """
    rows = centered(sketches, centering, origin)
    m = rows.shape[1]
    parts = torch.stack([part @ part.T for part in rows.tensor_split(min(GROUPS, m), dim=1)])
    whole = components(parts.sum(0))
    scale = len(parts) / (len(parts) - 1)
    spread, shares = 0.0, torch.zeros(2, dtype=torch.float64)
    for part in parts:
        without = components(scale * (parts.sum(0) - part))
        turned = without.coords * torch.where((without.coords * whole.coords).sum(0) < 0, -1.0, 1.0)
        spread += float((turned - whole.coords).square().sum())
        shares += (without.shares - whole.shares).square()
    error = (meeting * spread / scale) ** 0.5 / float(whole.coords.norm())
    return whole, error, (meeting * shares / scale).sqrt()
