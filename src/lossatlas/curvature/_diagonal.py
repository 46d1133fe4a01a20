"""The diagonal of the Hessian from random signs, every entry with its error; exact where that is no dearer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from lossatlas import _checks, _statistics, archive
from lossatlas._progress import Show, counted
from lossatlas._said import several
from lossatlas.curvature._operator import Operator
from lossatlas.curvature._samples import FEWEST, check_width, samples, status_of
from lossatlas.probe import Meter

if TYPE_CHECKING:
    from lossatlas.draw import CurvesDisplay


@dataclass(frozen=True, eq=False)
class Diagonal(archive.Result):
    """H_ii for every parameter, or another diagonal.

    Attributes:
        values: (n,) the estimates, in the order of θ (of the blocks it was restricted to).
        errors: (n,) their standard errors, 0 where it is exact.
        confidence: of `interval`.
        samples: random vectors behind it; 0 where it is exact.
        meter: what was evaluated for it.
        provenance: surface, point and settings, plain JSON values.
        status: ``converged``, ``exact``, or that the limit came first.
        quantity: ``H_ii`` of the Hessian, ``F_ii`` of the empirical Fisher matrix.
    """

    KIND: ClassVar[str] = "diagonal"
    SAYS: ClassVar[tuple[str, ...]] = ("error",)

    values: np.ndarray
    errors: np.ndarray
    confidence: float
    samples: int
    meter: Meter
    provenance: dict[str, Any]
    status: str
    quantity: str = "H_ii"

    @property
    def interval(self) -> np.ndarray:
        """(n, 2) Student's interval of each entry; one in twenty misses at 95 %."""
        z = _statistics.quantile(self.confidence, self.samples - 1) if self.samples else 0.0
        return np.stack([self.values - z * self.errors, self.values + z * self.errors], 1)

    @property
    def error(self) -> float:
        """‖errors‖ / ‖values‖: how far the whole vector may be off, as a share of its length."""
        length = float(np.linalg.norm(self.values))
        return float(np.linalg.norm(self.errors)) / length if length else 0.0

    @property
    def sentence(self) -> str:
        """The diagonal in words."""
        low, high = float(self.values.min()), float(self.values.max())
        sure = f"to {self.error:.2g} of its length" if self.samples else "exactly"
        return (
            f"{several(len(self.values), 'entry', 'entries')} from {low:.4g} to {high:.4g}, known {sure} from "
            f"{self._cost()}; {self.status}"
        )

    def _cost(self) -> str:
        return (
            several(self.meter.products, "product")
            if self.meter.products
            else several(self.meter.gradients, "gradient")
        )

    def plot(self, ax: Any = None) -> CurvesDisplay:
        """The entries in descending order, with their intervals.

        Args:
            ax: matplotlib axes, or None for a new figure.
        """
        from lossatlas.draw import CurvesDisplay

        order = np.argsort(-self.values)
        low, high = self.interval[order].T
        curves = {self.quantity: (np.arange(1.0, len(order) + 1), self.values[order], low, high)}
        return CurvesDisplay(
            curves, xlabel="parameters, in descending order", ylabel=self.quantity, note=self.sentence
        ).plot(ax)


def estimate_diagonal(
    operator: Operator, relative: float, confidence: float, limit: int, seed: int, progress: Show
) -> Diagonal:
    """See `Hessian.diagonal`."""
    (relative, confidence, limit), seed = check_width(relative, confidence, limit), _checks.seed(seed)
    settings = {"relative": relative, "confidence": confidence, "limit": limit, "seed": seed}
    n = operator.dimension
    if operator.known or n <= limit:
        values, errors, count, status = _exact(operator, progress), np.zeros(n), 0, "exact"
    else:
        values, errors, count = _estimated(operator, seed, relative, limit, progress)
        status = status_of(float(np.linalg.norm(errors)), relative * float(np.linalg.norm(values)), limit)
    record = operator.provenance(**settings)
    return Diagonal(values, errors, confidence, count, operator.spent(), record, operator.remark(status))


def _exact(operator: Operator, progress: Show) -> np.ndarray:
    if operator.known:
        return operator.dense().diagonal().numpy()
    values = torch.empty(operator.dimension, dtype=torch.float64)
    with counted("Hessian products", len(values), progress) as report:
        for span, found in operator.columns():
            values[span] = found[:, span].diagonal()
            report(span.stop)
    return values.numpy()


def _estimated(
    operator: Operator, seed: int, relative: float, limit: int, progress: Show
) -> tuple[np.ndarray, np.ndarray, int]:
    """E v ∘ Hv."""
    found = samples(operator, seed, limit, progress=progress)
    return averaged((vectors * products for vectors, products in found), relative)


def averaged(blocks: Iterable[torch.Tensor], relative: float) -> tuple[np.ndarray, np.ndarray, int]:
    """The mean of rows (n,), standard errors, and of how many: until these are as small as wanted. No rows are kept.

    Args:
        blocks: of rows (k, n), until there are no more.
        relative: stop once the standard errors together are below this share of the length of the mean.
    """
    mean = squares = torch.zeros(1, dtype=torch.float64)
    errors, count = squares, 0
    for block in blocks:
        for row in block:
            count += 1
            if count == 1:
                mean, squares = torch.zeros_like(row), torch.zeros_like(row)
            step = row - mean
            mean += step / count
            squares += step * (row - mean)
        errors = (squares / max(count - 1, 1) / count).sqrt()
        if count >= FEWEST and float(errors.norm()) <= relative * float(mean.norm()):
            break
    return mean.cpu().numpy(), errors.cpu().numpy(), count
