"""The extreme eigenvalues of the Hessian at the points of a plane: where a picture of it looks convex, and whether it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from lossatlas import _checks, archive
from lossatlas._said import several
from lossatlas.probe import Meter

if TYPE_CHECKING:
    from lossatlas.draw import CellsDisplay

# What is known of a cell, by the number that stands for it.
STATES = ("not measured", "converged", "not converged", "not finite")
MISSING, CONVERGED, UNCONVERGED, NOT_FINITE = range(4)
QUANTITIES = {"ratio": "|λmin/λmax|", "largest": "λmax", "smallest": "λmin"}


@dataclass(frozen=True, eq=False)
class CurvatureMap(archive.Result):
    """Both ends of the spectrum of the Hessian, of all parameters, at the points of a plane.

    Attributes:
        alpha: (nx,) coordinates along the first direction.
        beta: (ny,) along the second.
        largest: (ny, nx, k) the largest eigenvalues, descending; NaN where there are none.
        smallest: (ny, nx, k) the smallest, ascending.
        largest_residuals: (ny, nx, k) ‖Hv − λv‖ of each; an eigenvalue of H lies within that distance.
        smallest_residuals: (ny, nx, k) of the smallest.
        states: (ny, nx) what is known of each cell, a number of `STATES`: 0 not measured, 1 converged, 2 not converged, 3 not
            finite.
        products: (ny, nx) Hessian products that each cell took.
        labels: of the axes, with their unit.
        dimension: N, how many eigenvalues there are.
        meter: what was evaluated for it.
        provenance: surface, plane and settings, plain JSON values.
        status: ``complete``, ``interrupted`` or ``unfinished``, and what must be known of the eigenvalues.
    """

    KIND: ClassVar[str] = "curvature-map"
    SAYS: ClassVar[tuple[str, ...]] = ("cells", "unconverged", "negative", "largest_ratio")

    alpha: np.ndarray
    beta: np.ndarray
    largest: np.ndarray
    smallest: np.ndarray
    largest_residuals: np.ndarray
    smallest_residuals: np.ndarray
    states: np.ndarray
    products: np.ndarray
    labels: tuple[str, str]
    dimension: int
    meter: Meter
    provenance: dict[str, Any]
    status: str

    @property
    def ratio(self) -> np.ndarray:
        """(ny, nx) |λmin/λmax|: near 0 where curvature is almost only upward, above 1 where most of it is downward.

        Source: Li et al., Visualizing the loss landscape of neural nets, NeurIPS 2018, arXiv:1712.09913, section 6.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.abs(self.smallest[..., 0] / self.largest[..., 0]))

    @property
    def ratio_bounds(self) -> np.ndarray:
        """(ny, nx, 2) how low and how high the ratio is with the residuals of both eigenvalues."""
        low, high = np.abs(self.smallest[..., 0]), np.abs(self.largest[..., 0])
        off, over = self.smallest_residuals[..., 0], self.largest_residuals[..., 0]
        least, most = np.maximum(low - off, 0), low + off
        with np.errstate(divide="ignore", invalid="ignore"):
            ends = [least / (high + over), np.where(high > over, most / (high - over), np.inf)]
        return np.where(np.isnan(self.ratio)[..., None], np.nan, np.stack(ends, -1))

    @property
    def cells(self) -> int:
        """How many were measured."""
        return int((self.states != MISSING).sum())

    @property
    def unconverged(self) -> int:
        """Cells in which an eigenvalue did not converge."""
        return int((self.states == UNCONVERGED).sum())

    @property
    def negative(self) -> int:
        """Cells with negative curvature that is certain: λmin + its residual < 0."""
        with np.errstate(invalid="ignore"):
            return int((self.smallest[..., 0] + self.smallest_residuals[..., 0] < 0).sum())

    @property
    def largest_ratio(self) -> float:
        """The largest |λmin/λmax| of all cells; NaN where there is none."""
        known = self.ratio[np.isfinite(self.ratio)]
        return float(known.max()) if known.size else float("nan")

    def reading(self) -> list[str]:
        """What the record says, in sentences."""
        ratio, bounds = self.ratio, self.ratio_bounds
        known = np.isfinite(ratio)
        if not known.any():
            return [self.status]
        cost = f"from {several(self.meter.products, 'Hessian product')}"
        high = np.unravel_index(int(np.nanargmax(np.where(known, ratio, np.nan))), ratio.shape)
        low, most = bounds[high]
        return [
            f"|λmin/λmax| of {several(self.cells, 'cell')} of {ratio.size:,} from {ratio[known].min():.3g} to {ratio[high]:.3g} "
            f"(between {low:.3g} and {most:.3g}, at {self.alpha[high[1]]:.3g}, {self.beta[high[0]]:.3g}), {cost}",
            f"negative curvature is certain at {self.negative:,} of them",
            *([self.status] if self.status != "complete" else []),
        ]

    def to_dataframe(self) -> Any:
        """One row per cell, as a pandas data frame.

        Raises:
            InputError: if pandas is not installed.
        """
        ratio, bounds = self.ratio, self.ratio_bounds
        return archive.data_frame(
            [
                {
                    "alpha": float(self.alpha[j]), "beta": float(self.beta[i]), "largest": float(self.largest[i, j, 0]),
                    "largest_residual": float(self.largest_residuals[i, j, 0]), "smallest": float(self.smallest[i, j, 0]),
                    "smallest_residual": float(self.smallest_residuals[i, j, 0]), "ratio": float(ratio[i, j]),
                    "ratio_low": float(bounds[i, j, 0]), "ratio_high": float(bounds[i, j, 1]),
                    "state": STATES[int(self.states[i, j])], "products": int(self.products[i, j]),
                }
                for i in range(len(self.beta)) for j in range(len(self.alpha))
            ]
        )  # fmt: skip

    def plot(self, ax: Any = None, *, quantity: str = "ratio") -> CellsDisplay:
        """The cells in color, those that did not converge hatched.

        Args:
            ax: matplotlib axes, or None for a new figure.
            quantity: ``ratio``, ``largest`` or ``smallest``.

        Raises:
            UnknownNameError: for another quantity.
        """
        from lossatlas.draw import CellsDisplay

        _checks.one_of("quantity of a curvature map", quantity, QUANTITIES)
        values = self.ratio if quantity == "ratio" else getattr(self, quantity)[..., 0]
        return CellsDisplay(
            self.alpha, self.beta, values, xlabel=self.labels[0], ylabel=self.labels[1], zlabel=QUANTITIES[quantity],
            title=f"{QUANTITIES[quantity]} over the plane", doubtful=self.states == UNCONVERGED,
            doubt="did not converge", center=(0.0, 0.0),
            note=f"Eigenvalues of the Hessian of all {several(self.dimension, 'parameter')} at each cell, not of the plane's own",
        ).plot(ax)  # fmt: skip
