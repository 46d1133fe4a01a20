"""The trace of the Hessian from random vectors: stopped by its confidence interval, never by a mean that rests."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from lossatlas import _checks, _statistics
from lossatlas._errors import InputError, UnknownNameError
from lossatlas._progress import Show, counted
from lossatlas.curvature._dense import dense
from lossatlas.curvature._estimate import Estimate
from lossatlas.curvature._extremes import Extremes
from lossatlas.curvature._operator import How, Operator
from lossatlas.probe import Probe
from lossatlas.surface import PointLike, Surface

SMALL = 64
# A mean may stop only where Student's interval is fair: stopped by its own width, a 95 % interval held the truth in 93
# to 96 % of 300 repeats on each of five networks.
FLOOR = 32
ROWS = 8
METHODS = ("hutchinson", "hutch++")


def trace(
    surface: Surface,
    *,
    point: PointLike | None = None,
    method: Literal["hutchinson", "hutch++"] = "hutchinson",
    relative: float = 0.05,
    confidence: float = 0.95,
    limit: int = 1000,
    seed: int = 0,
    sketch: int = 16,
    known: Extremes | None = None,
    scaling: PointLike | None = None,
    blocks: str | Sequence[str] | None = None,
    how: How = "auto",
    probe: Probe | None = None,
    progress: Show = False,
) -> Estimate:
    """The trace of the Hessian, tr H = E vᵀHv over random signs v, and ‖H‖_F² = E ‖Hv‖² from the same products.

    Asking goes on until Student's interval is as narrow as wanted, from 32 vectors on. ``hutch++`` first sketches the
    range of H, Q = orth(HS), takes tr QᵀHQ exactly and estimates only the rest, which pays where few eigenvalues
    dominate; its rate is proved for semidefinite H, and it is unbiased for any. With `known` extremes the same is
    done with their eigenvectors, and the sketch is saved. Up to 64 parameters the trace is exact.

    Args:
        surface: any surface that knows gradients.
        point: where, whatever describes a point (a vector, state dict, module or file); the surface's own by default.
        method: ``hutchinson``, or ``hutch++``.
        relative: stop once the interval reaches no farther than this share of the value to both sides.
        confidence: of the interval.
        limit: Hessian products at most.
        seed: of the random vectors; two networks asked with one seed meet the same ones.
        sketch: columns of S for ``hutch++``.
        known: extremes of this very Hessian whose eigenvectors are taken out of the estimate.
        scaling: D of shape (N,), for tr D H D.
        blocks: names of layout blocks to restrict H to.
        how: to take products, as in `Operator`.
        probe: the door to ask at; a new one by default.
        progress: True for a bar, or a function of (products done, limit).

    Returns:
        The `Estimate`, with that of ‖H‖_F² as its `frobenius`.

    Raises:
        UnknownNameError: for another method.
        InputError: for a relative width, confidence, limit or sketch that cannot be, or extremes of another Hessian.

    Source:
        Hutchinson 1990; Meyer, Musco, Musco and Woodruff: Hutch++, SOSA 2021, arXiv:2010.09649.

    Example:
        >>> import lossatlas as la
        >>> found = la.trace(la.landscapes.quadratic(condition=9.0, dimension=2, rotation=0.3))
        >>> round(found.value, 6), found.status
        (10.0, 'exact')
    """
    if method not in METHODS:
        raise UnknownNameError("estimator of the trace", method, METHODS)
    limit, seed = check_width(relative, confidence, limit), _checks.seed(seed)
    sketch = _checks.whole("sketch", sketch)
    operator = Operator(surface, point, probe=probe, scaling=scaling, blocks=blocks, how=how)
    settings = {"method": method, "relative": relative, "confidence": confidence, "limit": limit, "seed": seed}
    if operator.dimension <= SMALL:
        return _exact(operator, settings)
    signs = Signs(operator, seed)
    basis, trace_in, square_in = None, 0.0, 0.0
    if known is not None:
        basis, trace_in, square_in = _known(operator, known, method, settings)
    elif method == "hutch++":
        basis, trace_in, square_in = _sketched(operator, signs, sketch, settings)
    forms, squares = np.empty(0), np.empty(0)
    with counted("Hessian products", limit, progress) as report:
        while True:
            # The last block is cut so that the limit holds to the product.
            vectors = signs.draw(min(ROWS if len(forms) else FLOOR, limit - operator.applied))
            if basis is not None:
                vectors = vectors - (vectors @ basis.T) @ basis
            found = operator.apply(vectors)
            # What was projected out is left out on both sides: gᵀPHPg and ‖HPg‖².
            forms = np.append(forms, (vectors * found).sum(1).cpu().numpy())
            squares = np.append(squares, found.square().sum(1).cpu().numpy())
            report(operator.applied)
            mean, _, half = _statistics.mean(forms, confidence)
            if len(forms) >= FLOOR and (half <= relative * abs(trace_in + mean) or operator.applied >= limit):
                break
    status = operator.remark(_status(half, relative * abs(trace_in + mean), limit))
    bill, record = operator.bill(), operator.provenance(**settings)

    def estimate(quantity: str, part: float, draws: np.ndarray, inner: Estimate | None = None) -> Estimate:
        middle, spread, width = _statistics.mean(draws, confidence)
        ends = (part + middle - width, part + middle + width)
        return Estimate(
            quantity, part + middle, ends, spread, confidence, relative, operator.applied, part + draws, bill, record,
            status, inner,
        )  # fmt: skip

    return estimate("tr H", trace_in, forms, estimate("‖H‖_F²", square_in, squares))


@dataclass(frozen=True, eq=False)
class TraceComparison:
    """The traces of two Hessians, met with the same random vectors.

    Attributes:
        difference: tr H_a − tr H_b, its interval from the paired differences.
        a: the first trace.
        b: the second one.
        correlation: of the draws of a and b; the nearer to 1, the more the pairing helps.
    """

    difference: Estimate
    a: Estimate
    b: Estimate
    correlation: float

    @property
    def sentence(self) -> str:
        """Whether they differ, in words."""
        low, high = self.difference.interval
        verdict = (
            "a has the larger trace" if low > 0 else "b has the larger trace" if high < 0 else "no difference shown"
        )
        unpaired = float(np.hypot(self.a.error, self.b.error))
        paired = self.difference.error
        gain = f"; unpaired its error would be {unpaired / paired:.2g} times as large" if paired else ""
        return (
            f"{verdict}: tr H_a − tr H_b = {self.difference.value:.4g}, {self.difference.confidence:.0%} interval "
            f"[{low:.4g}, {high:.4g}] from {self.difference.samples:,} common vectors{gain}"
        )

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self.sentence)}</p>"


def compare_traces(
    a: Surface,
    b: Surface,
    *,
    points: tuple[PointLike | None, PointLike | None] = (None, None),
    relative: float = 0.05,
    confidence: float = 0.95,
    limit: int = 1000,
    seed: int = 0,
    scalings: tuple[PointLike | None, PointLike | None] = (None, None),
    progress: Show = False,
) -> TraceComparison:
    """Which of two Hessians has the larger trace: both meet the same random vectors, and their differences are averaged.

    Two networks of one architecture, or two checkpoints of a run, share much of the luck of a random vector; the
    interval of the difference is then narrower than those of the traces. Asking goes on until it is as narrow as
    wanted, whichever way it comes out.

    Args:
        a: the first surface.
        b: the second one, of the same dimension; the same surface for two checkpoints.
        points: where on each, (N,) or None.
        relative: stop once the interval of the difference reaches no farther than this share of the larger trace.
        confidence: of the intervals.
        limit: common random vectors at most; each costs a product on both.
        seed: of the vectors.
        scalings: D of each, or None.
        progress: True for a bar, or a function of (vectors done, limit).

    Returns:
        The `TraceComparison`.

    Raises:
        InputError: if the surfaces are of different dimensions.
    """
    limit, seed = check_width(relative, confidence, limit), _checks.seed(seed)
    if a.dimension != b.dimension:
        raise InputError(
            f"got surfaces of {a.dimension:,} and {b.dimension:,} parameters; expected the same number, so that they "
            "can meet the same vectors. Compare their traces by their own intervals instead."
        )
    sides = [Operator(s, p, scaling=d) for s, p, d in zip((a, b), points, scalings, strict=True)]
    signs = Signs(sides[0], seed)
    draws = np.empty((2, 0))
    with counted("Hessian products", limit, progress) as report:
        while True:
            vectors = signs.draw(min(ROWS if draws.size else FLOOR, limit - draws.shape[1]))
            found = [side.apply(vectors).to(vectors.device) for side in sides]
            draws = np.append(draws, [(vectors * product).sum(1).cpu().numpy() for product in found], axis=1)
            report(draws.shape[1])
            _, _, half = _statistics.mean(draws[0] - draws[1], confidence)
            wanted = relative * float(np.abs(draws.mean(1)).max())
            if draws.shape[1] >= FLOOR and (half <= wanted or draws.shape[1] >= limit):
                break
    settings = {"method": "hutchinson, paired", "relative": relative, "confidence": confidence, "seed": seed}
    bills = [side.bill() for side in sides]
    bills.append({name: bills[0][name] + bills[1][name] for name in bills[0]})
    records = [side.provenance(**settings) for side in sides]
    records.append({"a": records[0], "b": records[1]})
    names = ("tr H_a", "tr H_b", "tr H_a − tr H_b")
    status = _status(half, wanted, limit)
    made = []
    for name, row, bill, record in zip(names, [*draws, draws[0] - draws[1]], bills, records, strict=True):
        mean, error, width = _statistics.mean(row, confidence)
        ends = (mean - width, mean + width)
        made.append(
            Estimate(name, mean, ends, error, confidence, relative, bill["products"], row, bill, record, status)
        )
    centered = draws - draws.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(centered, axis=1)
    correlation = float(centered[0] @ centered[1] / lengths.prod()) if lengths.all() else 0.0
    return TraceComparison(made[2], made[0], made[1], correlation)


class Signs:
    """Random vectors of ±1 (Rademacher), the same for one seed whatever the block size."""

    def __init__(self, operator: Operator, seed: int) -> None:
        self._shape, self._device = operator.dimension, operator.surface.device
        self._generator = torch.Generator().manual_seed(seed)

    def draw(self, count: int) -> Tensor:
        """So many vectors (count, n), float64."""
        # Filled row by row, so that blocks of another size continue where these end.
        bits = torch.randint(0, 2, (count, self._shape), generator=self._generator, dtype=torch.int8)
        return 2 * bits.to(self._device).double() - 1


Part = tuple[Tensor | None, float, float]


def _known(operator: Operator, known: Extremes, method: str, settings: dict[str, Any]) -> Part:
    """Orthonormal eigenvectors (r, n), and what they hold of tr H and ‖H‖_F²: no product is needed."""
    if method != "hutchinson":
        raise InputError(
            f"got known extremes with method={method!r}; expected 'hutchinson', since they save the sketch."
        )
    record = operator.provenance()
    other = [name for name in ("surface", "point", "scaling", "blocks") if known.provenance[name] != record[name]]
    if other:
        raise InputError(
            f"the known extremes are of another Hessian (another {' and '.join(other)}); expected those of the one "
            "whose trace is asked for. Take them again, or leave known out."
        )
    ends = (known.largest, known.smallest)
    values, residuals = (np.concatenate([getattr(end, name) for end in ends]) for name in ("values", "residuals"))
    vectors = np.concatenate([end.vectors for end in ends])
    # What was not quite converged would do no harm; what is in both ends would be counted twice.
    _, first = np.unique(values, return_index=True)
    settings["known"] = len(first)
    basis = operator.restrict(torch.from_numpy(vectors[first]))
    return basis, float(values[first].sum()), float((values[first] ** 2 + residuals[first] ** 2).sum())


def _sketched(operator: Operator, signs: Signs, sketch: int, settings: dict[str, Any]) -> Part:
    """An orthonormal basis (r, n) of the range of H S, and what it holds of tr H and ‖H‖_F²."""
    limit = settings["limit"]
    if not 1 <= sketch <= operator.dimension // 2 or limit < 2 * sketch + FLOOR:
        raise InputError(
            f"got sketch={sketch} with limit={limit} on {operator.dimension:,} parameters; expected at least 1, at most "
            f"half the parameters, and a limit of 2·sketch + {FLOOR}. Give a higher limit or a smaller sketch."
        )
    settings["sketch"] = sketch
    range_ = operator.apply(signs.draw(sketch))
    if not bool(range_.any()):
        return None, 0.0, 0.0
    basis, triangle = torch.linalg.qr(range_.T)
    size = triangle.diagonal().abs()
    basis = basis.T[size > 1e-12 * size.max()].contiguous()
    images = operator.apply(basis)
    return basis, float((basis * images).sum()), float(images.square().sum())


def _exact(operator: Operator, settings: dict[str, Any]) -> Estimate:
    matrix = dense(operator)
    bill, record = operator.bill(), operator.provenance(**settings | {"method": "dense"})
    status = operator.remark("exact")

    def estimate(quantity: str, value: float, inner: Estimate | None = None) -> Estimate:
        confidence, relative = settings["confidence"], settings["relative"]
        ends = (value, value)
        return Estimate(
            quantity, value, ends, 0.0, confidence, relative, operator.applied, np.empty(0), bill, record, status, inner
        )

    return estimate("tr H", float(matrix.trace()), estimate("‖H‖_F²", float(matrix.square().sum())))


def _status(half: float, wanted: float, limit: int) -> str:
    if half <= wanted:
        return "converged"
    return f"not converged: the limit of {limit:,} came first"


def check_width(relative: float, confidence: float, limit: int) -> int:
    """Refuse a stopping rule that cannot be kept; the limit as a whole number.

    Raises:
        InputError: saying which.
    """
    if not (relative > 0 and 0 < confidence < 1):
        raise InputError(
            f"got relative={relative} and confidence={confidence}; expected a width above 0, such as 0.05, and a "
            "confidence between 0 and 1, such as 0.95."
        )
    return _checks.whole(
        "limit", limit, FLOOR, do="These are products; with fewer an interval would not hold what it promises."
    )
