"""Both ends of a Hessian's spectrum from one Krylov space, with residuals: rigorous error bounds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from lossatlas import _checks, archive
from lossatlas._errors import InputError
from lossatlas._progress import Show, counted
from lossatlas.curvature._lanczos import Krylov
from lossatlas.curvature._operator import SMALL, Operator
from lossatlas.probe import Meter
from lossatlas.surface import PointLike

if TYPE_CHECKING:
    from lossatlas.draw import BarsDisplay

BASIS_BYTES = 2**30
End = Literal["both", "largest", "smallest"]


@dataclass(frozen=True, eq=False)
class Eigenpairs(archive.Result):
    """Eigenvalues from one end of the spectrum, outermost first.

    Attributes:
        values: (k,) float64.
        vectors: (k, N) float64, of unit length; zero outside the blocks it was restricted to.
        residuals: (k,) ‖Hv − λv‖, the rounding of products included; an eigenvalue of H lies within that distance of λ.
        converged: (k,) whether the residual is within the tolerance.
    """

    KIND: ClassVar[str] = "eigenpairs"

    values: np.ndarray
    vectors: np.ndarray
    residuals: np.ndarray
    converged: np.ndarray

    def overlap(self, other: Eigenpairs) -> float:
        """How far two eigenspaces are the same: ‖V Wᵀ‖_F² / k for the rows V and W of both, k of the smaller one.

        1 where one space lies in the other, 0 where they are orthogonal; random spaces have max(k, l)/N.

        Args:
            other: of a Hessian of as many parameters, such as that of another checkpoint.

        Raises:
            InputError: for anything else.

        Source: Gur-Ari, Roberts and Dyer, Gradient descent happens in a tiny subspace, arXiv:1812.04754, section 3.

        Example:
            >>> import lossatlas as la
            >>> bowl = la.landscapes.quadratic(condition=9.0, dimension=3)
            >>> ends = la.extremes(bowl, 1)
            >>> round(ends.largest.overlap(ends.largest), 6), round(ends.largest.overlap(ends.smallest), 6)
            (1.0, 0.0)
        """
        if not isinstance(other, Eigenpairs) or other.vectors.shape[1:] != self.vectors.shape[1:]:
            given = f"{other.vectors.shape[1]:,} parameters" if isinstance(other, Eigenpairs) else _checks.shown(other)
            raise InputError(
                f"got {given}; expected the Eigenpairs of a Hessian of {self.vectors.shape[1]:,} parameters, such as "
                "extremes(surface).largest."
            )
        return shared(self.vectors, other.vectors)


def shared(one: np.ndarray, other: np.ndarray) -> float:
    """‖V Wᵀ‖_F² over the smaller number of rows, for orthonormal rows V (k, N) and W (l, N); NaN without any."""
    least = min(len(one), len(other))
    return float(np.square(one @ other.T).sum() / least) if least else math.nan


@dataclass(frozen=True, eq=False)
class Extremes(archive.Result):
    """Both ends of the spectrum of a Hessian.

    Attributes:
        largest: the k largest, descending.
        smallest: the k smallest, ascending.
        meter: what was evaluated for it.
        provenance: surface, point and settings, plain JSON values.
        status: ``converged``, or how many of which end are not, and how products were taken if not exactly.
    """

    KIND: ClassVar[str] = "extremes"
    SAYS: ClassVar[tuple[str, ...]] = ("r_e", "r_e_bounds")

    largest: Eigenpairs
    smallest: Eigenpairs
    meter: Meter
    provenance: dict[str, Any]
    status: str

    @property
    def norm(self) -> float:
        """‖H‖, the largest eigenvalue in magnitude."""
        return float(max(abs(self.largest.values[0]), abs(self.smallest.values[0])))

    @property
    def r_e(self) -> float:
        """The criterion r_e = |λmin/λmax|; NaN where the Hessian vanishes.

        Source: Gabdullin, Investigating generalization capabilities of neural networks by means of loss landscapes and Hessian
        analysis, arXiv:2412.10146; |λmin/λmax| too in Li et al., NeurIPS 2018, arXiv:1712.09913.
        """
        return ratio(self.smallest.values[0], self.largest.values[0])

    @property
    def r_e_bounds(self) -> tuple[float, float]:
        """How low and how high r_e is with the residuals of both eigenvalues."""
        (low, off), (high, over) = ((abs(end.values[0]), end.residuals[0]) for end in (self.smallest, self.largest))
        return ratio(max(low - off, 0.0), high + over), ratio(low + off, high - over) if high > over else math.inf

    def reading(self) -> list[str]:
        """What the record says, in sentences."""
        top, low = self.largest, self.smallest
        says = [
            f"λmax = {top.values[0]:.5g} ± {top.residuals[0]:.1g}, λmin = {low.values[0]:.5g} ± {low.residuals[0]:.1g}"
            f" of {self.provenance['dimension']:,} eigenvalues, from {self.meter.products:,} Hessian products",
            self.status,
        ]
        if low.values[0] + low.residuals[0] < 0:
            says.append("there is negative curvature: this is no minimum")
        elif not low.converged.all():
            says.append(
                "no negative curvature was found, which does not prove a minimum: the lower end has not converged"
            )
        return says

    def plot(self, ax: Any = None) -> BarsDisplay:
        """Every eigenvalue with its residual to both sides.

        Args:
            ax: matplotlib axes, or None for a new figure.
        """
        from lossatlas.draw import BarsDisplay

        k = len(self.largest.values)
        labels = [f"largest {i + 1}" for i in range(k)] + [f"smallest {i + 1}" for i in reversed(range(k))]
        flags = np.r_[self.largest.converged, self.smallest.converged[::-1]]
        labels = [label if fine else f"{label} (not converged)" for label, fine in zip(labels, flags, strict=True)]
        values = np.r_[self.largest.values, self.smallest.values[::-1]]
        residuals = np.r_[self.largest.residuals, self.smallest.residuals[::-1]]
        return BarsDisplay(
            labels,
            values,
            values - residuals,
            values + residuals,
            xlabel="eigenvalue ± residual (units of the loss)",
            title=f"Both ends of {self.provenance['dimension']:,} eigenvalues",
            rates=False,
            note=self.status[:1].upper() + self.status[1:],
        ).plot(ax)


def ratio(over: float, under: float) -> float:
    """|a/b|; NaN for 0/0, infinite for b = 0 alone."""
    if under == 0:
        return math.nan if over == 0 else math.inf
    return abs(float(over) / float(under))


def find_extremes(
    operator: Operator, k: int, seed: int, tolerance: float, limit: int | None, ends: End,
    start: PointLike | Extremes | None, progress: Show,
) -> Extremes:  # fmt: skip
    """See `Hessian.extremes`."""
    _checks.one_of("end of the spectrum", ends, ("both", "largest", "smallest"))
    seed = _checks.seed(seed)
    tolerance = _checks.number("tolerance", tolerance, above=0, below=1, do="It is a share, such as 1e-4.")
    n = operator.dimension
    k = _checks.whole("k", k, 1, n, do=f"There are {n:,} eigenvalues.")
    limit = 100 + 20 * k if limit is None else _checks.whole("limit", limit, 1, _checks.MOST_WORK - 1)
    start = start.largest.vectors[0] if isinstance(start, Extremes) else start
    hint = None if start is None else operator.direction(start, "a start")
    settings: dict[str, Any] = {"k": k, "seed": seed, "tolerance": tolerance, "limit": limit, "ends": ends}
    if operator.known or n <= max(SMALL, 2 * k + 2):
        return _from_dense(operator, k, settings)
    if limit < 2 * k + 2:
        raise InputError(
            f"got limit={limit} products; expected at least {2 * k + 2} for {k} eigenvalues from each end. Give a "
            "higher limit or a smaller k."
        )
    krylov = Krylov(_start(operator, hint, seed), _rows(n, k, limit), seed)
    needed = {"both": [True, True], "largest": [True, False], "smallest": [False, True]}[ends]
    with counted("Hessian products", limit, progress) as report:
        settings["products"] = _grow(krylov, operator, k, limit, tolerance, needed, report)
    settings["method"] = "Lanczos, re-orthogonalized" + (", restarted" if settings["products"] > krylov.size else "")
    values, inner, residuals = krylov.ritz()
    done = _converged(values, residuals, tolerance, operator.noise)
    residuals = np.hypot(residuals, operator.rounding * np.abs(values).max())
    pairs = []
    for rows in (np.arange(len(values))[::-1][:k], np.arange(k)):
        vectors = krylov.vectors(inner[:, rows])
        off = np.hypot(residuals[rows], operator.doubt(vectors).numpy())
        pairs.append(Eigenpairs(values[rows], operator.lift(vectors).cpu().numpy(), off, done[rows]))
    status = _status(pairs, needed, settings["products"])
    return Extremes(pairs[0], pairs[1], operator.spent(), operator.provenance(**settings), operator.remark(status))


def _grow(
    krylov: Krylov, operator: Operator, k: int, limit: int, tolerance: float, needed: list[bool], report: Any
) -> int:
    """Take products until both wanted ends have converged; how many that took."""
    taken, due = 0, 2 * k + 2
    while True:
        krylov.take(operator.apply(krylov.next[None])[0])
        taken += 1
        report(taken)
        last = taken == limit or krylov.whole
        if taken >= due or last or krylov.full:
            values, inner, residuals = krylov.ritz()
            done = _converged(values, residuals, tolerance, operator.noise)
            if last or all(
                done[rows].all() for rows, want in ((slice(-k, None), needed[0]), (slice(k), needed[1])) if want
            ):
                return taken
            due = taken + max(1, krylov.size // 10)
            if krylov.full:
                krylov.restart(inner[:, _kept(len(values), k, needed)])


def _kept(m: int, k: int, needed: list[bool]) -> np.ndarray:
    """Which Ritz pairs survive a restart: half of the basis, mostly of the ends that are wanted, k of each at least."""
    spare = max(0, m // 2 - 2 * k) // sum(needed)
    top, low = (k + spare * want for want in needed)
    return np.concatenate([np.arange(low), np.arange(m - top, m)])


def _converged(values: np.ndarray, residuals: np.ndarray, tolerance: float, noise: float) -> np.ndarray:
    allowed = np.maximum(tolerance * np.abs(values), noise * np.abs(values).max())
    return np.asarray(residuals <= allowed)


def _status(pairs: list[Eigenpairs], needed: list[bool], taken: int) -> str:
    if all(np.all(end.values == 0) for end in pairs):
        return "converged: every product was zero, the Hessian vanishes here"
    short = [
        f"{(~end.converged).sum()} of {len(end.values)} {name}"
        for end, name, want in zip(pairs, ("largest", "smallest"), needed, strict=True)
        if want and not end.converged.all()
    ]
    return "converged" if not short else f"not converged within {taken} products: {' and '.join(short)}"


def _start(operator: Operator, start: Tensor | None, seed: int) -> Tensor:
    device = operator.surface.device
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(operator.dimension, generator=generator, dtype=torch.float64).to(device)
    if start is None:
        return drawn
    # A hint that happens to be an eigenvector would span one dimension: a little of everything is mixed in.
    mixed: Tensor = start / start.norm() + 0.1 * drawn / drawn.norm()
    return mixed


def _rows(n: int, k: int, limit: int) -> int:
    """Directions kept before a restart: as many as are wanted, unless they would not fit into memory."""
    return min(n, limit, max(4 * k + 20, BASIS_BYTES // (8 * n)))


def _from_dense(operator: Operator, k: int, settings: dict[str, Any]) -> Extremes:
    matrix = operator.dense()
    values, basis = torch.linalg.eigh(matrix)
    residuals = torch.hypot((matrix @ basis - basis * values).norm(dim=0), operator.rounding * values.abs().max())
    vectors = basis.T.to(operator.surface.device)
    pairs = []
    for r in (torch.arange(len(values)).flip(0)[:k], torch.arange(k)):
        off = torch.hypot(residuals[r], operator.doubt(vectors[r]))
        found = operator.lift(vectors[r]).cpu().numpy()
        pairs.append(Eigenpairs(values[r].numpy(), found, off.numpy(), np.ones(k, dtype=bool)))
    record = operator.provenance(**settings, method="dense")
    return Extremes(pairs[0], pairs[1], operator.spent(), record, operator.remark(_status(pairs, [True, True], 0)))
