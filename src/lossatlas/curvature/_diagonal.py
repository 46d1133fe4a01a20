"""The diagonal of the Hessian from random signs, every entry with its error; exact where that is no dearer."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lossatlas import _checks, _statistics, archive
from lossatlas._progress import Show, counted
from lossatlas.curvature._operator import How, Operator
from lossatlas.curvature._trace import FLOOR, ROWS, Signs, check_width
from lossatlas.probe import Probe
from lossatlas.surface import PointLike, Surface

if TYPE_CHECKING:
    from lossatlas.draw import CurvesDisplay

KIND = "diagonal"


@dataclass(frozen=True, eq=False)
class Diagonal:
    """H_ii for every parameter.

    Attributes:
        values: (n,) the estimates, in the order of θ (of the blocks it was restricted to).
        errors: (n,) their standard errors, 0 where it is exact.
        confidence: of `interval`.
        samples: random vectors behind it; 0 where it is exact.
        meter: what was asked for it.
        provenance: surface, point and settings, plain JSON values.
        status: ``converged``, ``exact``, or that the limit came first.
    """

    values: np.ndarray
    errors: np.ndarray
    confidence: float
    samples: int
    meter: dict[str, Any]
    provenance: dict[str, Any]
    status: str

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
            f"{len(self.values):,} entries from {low:.4g} to {high:.4g}, known {sure} from "
            f"{self.meter['products']:,} products; {self.status}"
        )

    def plot(self, ax: Any = None) -> CurvesDisplay:
        """The entries in descending order, with their intervals.

        Args:
            ax: matplotlib axes, or None for a new figure.
        """
        from lossatlas.draw import CurvesDisplay

        order = np.argsort(-self.values)
        low, high = self.interval[order].T
        curves = {"H_ii": (np.arange(1.0, len(order) + 1), self.values[order], low, high)}
        return CurvesDisplay(curves, xlabel="parameters, in descending order", ylabel="H_ii", note=self.sentence).plot(
            ax
        )

    def record(self) -> dict[str, Any]:
        """Everything but the arrays, as plain JSON values."""
        return {
            "confidence": self.confidence,
            "samples": self.samples,
            "error": self.error,
            "sentence": self.sentence,
            "meter": self.meter,
            "provenance": self.provenance,
            "status": self.status,
        }

    def save(self, folder: str | Path) -> Path:
        """Write it into a folder: `diagonal.json` and `diagonal.safetensors`, atomically.

        Raises:
            OutputError: if the folder cannot be written; nothing is then half-written.
        """
        return archive.save(folder, KIND, {"values": self.values, "errors": self.errors}, self.record())

    @classmethod
    def restore(cls, arrays: dict[str, np.ndarray], record: dict[str, Any]) -> Diagonal:
        """The diagonal that was saved."""
        rest = (record[name] for name in ("confidence", "samples", "meter", "provenance", "status"))
        return cls(arrays["values"], arrays["errors"], *rest)

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self.sentence)}</p>"


def diagonal(
    surface: Surface,
    *,
    point: PointLike | None = None,
    relative: float = 0.05,
    confidence: float = 0.95,
    limit: int = 1000,
    seed: int = 0,
    scaling: PointLike | None = None,
    blocks: str | Sequence[str] | None = None,
    how: How = "auto",
    probe: Probe | None = None,
    progress: Show = False,
) -> Diagonal:
    """The diagonal of the Hessian, E v ∘ Hv over random signs v; the variance of an entry is Σ_{j≠i} H_ij².

    Where the limit allows for one product per parameter the diagonal is exact.

    Args:
        surface: any surface that knows gradients.
        point: where, whatever describes a point (a vector, state dict, module or file); the surface's own by default.
        relative: stop once the standard errors together are below this share of the length of the diagonal.
        confidence: of the intervals.
        limit: Hessian products at most.
        seed: of the random vectors.
        scaling: D of shape (N,), for D H D.
        blocks: names of layout blocks to restrict H to.
        how: to take products, as in `Operator`.
        probe: the door to ask at; a new one by default.
        progress: True for a bar, or a function of (products done, limit).

    Returns:
        The `Diagonal`.

    Source: Bekas, Kokiopoulou and Saad, Applied Numerical Mathematics 57 (2007).

    Example:
        >>> import lossatlas as la
        >>> surface = la.landscapes.quadratic(condition=4.0, dimension=2, rotation=0.0)
        >>> diagonal(surface).values.round(6).tolist()
        [1.0, 4.0]
    """
    limit, seed = check_width(relative, confidence, limit), _checks.seed(seed)
    operator = Operator(surface, point, probe=probe, scaling=scaling, blocks=blocks, how=how)
    settings = {"relative": relative, "confidence": confidence, "limit": limit, "seed": seed}
    n = operator.dimension
    with counted("Hessian products", min(n, limit), progress) as report:
        if n <= limit:
            values = _exact(operator, report)
            errors, count, status = np.zeros(n), 0, "exact"
        else:
            values, errors, count = _estimated(operator, seed, relative, limit, report)
            enough = np.linalg.norm(errors) <= relative * np.linalg.norm(values)
            status = "converged" if enough else f"not converged: the limit of {limit:,} came first"
    record = operator.provenance(**settings)
    return Diagonal(values, errors, confidence, count, operator.bill(), record, operator.remark(status))


def _exact(operator: Operator, report: Any) -> np.ndarray:
    n = operator.dimension
    values = torch.empty(n, dtype=torch.float64)
    for first in range(0, n, FLOOR):
        rows = torch.zeros(min(FLOOR, n - first), n, dtype=torch.float64)
        rows[:, first : first + len(rows)].fill_diagonal_(1.0)
        found = operator.apply(rows).cpu()
        values[first : first + len(rows)] = found[:, first : first + len(rows)].diagonal()
        report(first + len(rows))
    return values.numpy()


def _estimated(
    operator: Operator, seed: int, relative: float, limit: int, report: Any
) -> tuple[np.ndarray, np.ndarray, int]:
    """Running mean and spread of v ∘ Hv; neither keeps the single draws."""
    signs = Signs(operator, seed)
    mean = torch.zeros(operator.dimension, dtype=torch.float64, device=operator.surface.device)
    squares, count = mean.clone(), 0
    while True:
        vectors = signs.draw(min(ROWS if count else FLOOR, limit - count))
        for row in vectors * operator.apply(vectors):
            count += 1
            step = row - mean
            mean += step / count
            squares += step * (row - mean)
        report(count)
        errors = (squares / (count - 1) / count).sqrt()
        if float(errors.norm()) <= relative * float(mean.norm()) or count >= limit:
            return mean.cpu().numpy(), errors.cpu().numpy(), count
