"""The trace of the Hessian from random vectors: stopped by its confidence interval, never by a mean that rests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from lossatlas import _checks, _statistics, archive
from lossatlas._errors import InputError
from lossatlas._progress import Show
from lossatlas.curvature._estimate import Estimate
from lossatlas.curvature._extremes import Extremes
from lossatlas.curvature._operator import SMALL, How, Operator
from lossatlas.curvature._samples import FEWEST, Signs, check_width, samples, status_of
from lossatlas.surface import PointLike, Surface, need_surface

METHODS = ("hutchinson", "hutch++")
Method = Literal["hutchinson", "hutch++"]


def estimate_traces(
    operator: Operator, weights: Sequence[PointLike], relative: float, confidence: float, limit: int, seed: int,
    progress: Show, *, method: Method = "hutchinson", sketch: int = 16, known: Extremes | None = None,
) -> tuple[Estimate, ...]:  # fmt: skip
    """The trace, then tr WH for each weight: see `Hessian.trace` and `Hessian.traces`."""
    _checks.one_of("estimator of the trace", method, METHODS)
    (relative, confidence, limit), seed = check_width(relative, confidence, limit), _checks.seed(seed)
    sketch = _checks.whole("sketch", sketch, 1, _checks.MOST_WORK - 1)
    if known is not None and not isinstance(known, Extremes):
        raise InputError(f"got known={_checks.shown(known)}; expected the Extremes of this Hessian, or None.")
    kept = [operator.direction(one, f"weights, number {k + 1},", zero=True) for k, one in enumerate(weights)]
    settings = {"method": method, "relative": relative, "confidence": confidence, "limit": limit, "seed": seed}
    if operator.known or operator.dimension <= SMALL:
        return _exact(operator, kept, settings)
    basis, skip, inside, square_inside = None, 0, 0.0, 0.0
    if known is not None:
        basis, inside, square_inside = _known(operator, known, method, settings)
    elif method == "hutch++":
        skip = sketch
        basis, inside, square_inside = _sketched(operator, seed, sketch, settings)
    draws = np.empty((2 + len(kept), 0))
    drawn = samples(operator, seed, limit - operator.applied, skip=skip, basis=basis, progress=progress)
    for vectors, products in drawn:
        # What was projected out is left out on both sides: gᵀPHPg and ‖HPg‖².
        entries = vectors * products
        sums = [products.square().sum(1), entries.sum(1), *(entries @ one for one in kept)]
        draws = np.append(draws, torch.stack(sums).cpu().numpy(), axis=1)
        mean, _, half = _statistics.mean(draws[1], confidence)
        if draws.shape[1] >= FEWEST and half <= relative * abs(inside + mean):
            break
    status = operator.remark(status_of(half, relative * abs(inside + mean), limit))
    norm = _estimate(operator, "‖H‖_F²", draws[0], settings, status, known=square_inside)
    whole = _estimate(operator, "tr H", draws[1], settings, status, known=inside, frobenius=norm)
    return whole, *(
        _estimate(operator, f"tr W{_digits(k)}H", row, settings, status) for k, row in enumerate(draws[2:], start=1)
    )


@dataclass(frozen=True, eq=False)
class TraceComparison(archive.Result):
    """The traces of two Hessians, met with the same random vectors.

    Attributes:
        difference: tr H_a − tr H_b, its interval from the paired differences.
        a: the first trace.
        b: the second one.
        correlation: of the draws of a and b; the nearer to 1, the more the pairing helps.
    """

    KIND: ClassVar[str] = "trace-comparison"

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
    how: How = "auto",
    progress: Show = True,
) -> TraceComparison:
    """Which of two Hessians has the larger trace: both meet the same random vectors, and their differences are averaged.

    Two networks of one architecture, or two checkpoints of a run, share much of the luck of a random vector; the
    interval of the difference is then narrower than those of the traces. Vectors are added until it is as narrow as
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
        how: as of `Hessian`, for both: ``exact``, ``differences`` or ``auto``.
        progress: True for a bar on the error stream of a terminal, False for silence, or a function of (vectors done, limit).

    Returns:
        The `TraceComparison`.

    Raises:
        InputError: if the surfaces are of different dimensions.
    """
    (relative, confidence, limit), seed = check_width(relative, confidence, limit), _checks.seed(seed)
    need_surface(a, "compare_traces")
    need_surface(b, "compare_traces")
    points, scalings = _pair("points", points), _pair("scalings", scalings)
    if a.dimension != b.dimension:
        raise InputError(
            f"got surfaces of {a.dimension:,} and {b.dimension:,} parameters; expected the same number, so that they "
            "can meet the same vectors. Compare their traces by their own intervals instead."
        )
    sides = [Operator(s, p, scaling=d, how=how) for s, p, d in zip((a, b), points, scalings, strict=True)]
    draws = np.empty((2, 0))
    for vectors, products in samples(sides[0], seed, limit, progress=progress):
        beside = sides[1].apply(vectors).to(vectors.device)
        draws = np.append(draws, [(vectors * one).sum(1).cpu().numpy() for one in (products, beside)], axis=1)
        _, _, half = _statistics.mean(draws[0] - draws[1], confidence)
        wanted = relative * float(np.abs(draws.mean(1)).max())
        if draws.shape[1] >= FEWEST and half <= wanted:
            break
    settings = {"method": "hutchinson, paired", "relative": relative, "confidence": confidence, "seed": seed}
    status = status_of(half, wanted, limit)
    one, two = (
        _estimate(side, name, row, settings, side.remark(status), products=side.spent().products)
        for side, name, row in zip(sides, ("tr H_a", "tr H_b"), draws, strict=True)
    )
    difference = replace(
        _estimate(sides[0], "tr H_a − tr H_b", draws[0] - draws[1], settings, sides[0].remark(status)),
        products=one.products + two.products,
        meter=one.meter + two.meter,
        provenance={"a": one.provenance, "b": two.provenance},
    )
    centered = draws - draws.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(centered, axis=1)
    correlation = float(centered[0] @ centered[1] / lengths.prod()) if lengths.all() else 0.0
    return TraceComparison(difference, one, two, correlation)


def _pair(name: str, given: Any) -> tuple[Any, Any]:
    """One entry for each of two surfaces."""
    listed = isinstance(given, list | tuple) or (isinstance(given, Tensor | np.ndarray) and given.ndim == 2)
    if not listed or getattr(given, "is_nested", False) or len(given) != 2:
        raise InputError(
            f"got {name}={_checks.shown(given)}; expected two entries, one for each surface: ({name[:-1]} of a, "
            f"{name[:-1]} of b), either of them None for the default."
        )
    return given[0], given[1]


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
            "whose trace is wanted. Take them again, or leave known out."
        )
    ends = (known.largest, known.smallest)
    values, residuals = (np.concatenate([getattr(end, name) for end in ends]) for name in ("values", "residuals"))
    vectors = np.concatenate([end.vectors for end in ends])
    # What was not quite converged would do no harm; what is in both ends would be counted twice.
    _, first = np.unique(values, return_index=True)
    settings["known"] = len(first)
    basis = operator.restrict(torch.from_numpy(vectors[first]))
    return basis, float(values[first].sum()), float((values[first] ** 2 + residuals[first] ** 2).sum())


def _sketched(operator: Operator, seed: int, sketch: int, settings: dict[str, Any]) -> Part:
    """An orthonormal basis (r, n) of the range of H S, and what it holds of tr H and ‖H‖_F²."""
    limit = settings["limit"]
    if not 1 <= sketch <= operator.dimension // 2 or limit < 2 * sketch + FEWEST:
        raise InputError(
            f"got sketch={sketch} with limit={limit} on {operator.dimension:,} parameters; expected at least 1, at most "
            f"half the parameters, and a limit of 2·sketch + {FEWEST}. Give a higher limit or a smaller sketch."
        )
    settings["sketch"] = sketch
    range_ = operator.apply(Signs(operator, seed).draw(sketch))
    if not bool(range_.any()):
        return None, 0.0, 0.0
    basis, triangle = torch.linalg.qr(range_.T)
    size = triangle.diagonal().abs()
    basis = basis.T[size > 1e-12 * size.max()].contiguous()
    images = operator.apply(basis)
    return basis, float((basis * images).sum()), float(images.square().sum())


def _exact(operator: Operator, weights: list[Tensor], settings: dict[str, Any]) -> tuple[Estimate, ...]:
    matrix, none = operator.dense(), np.empty(0)
    settings, status = settings | {"method": "dense"}, operator.remark("exact")
    norm = _estimate(operator, "‖H‖_F²", none, settings, status, known=float(matrix.square().sum()))
    whole = _estimate(operator, "tr H", none, settings, status, known=float(matrix.trace()), frobenius=norm)
    sums = [float(one.cpu() @ matrix.diagonal()) for one in weights]
    return whole, *(
        _estimate(operator, f"tr W{_digits(k)}H", none, settings, status, known=value)
        for k, value in enumerate(sums, start=1)
    )


def _estimate(
    operator: Operator, quantity: str, draws: np.ndarray, settings: dict[str, Any], status: str, *, known: float = 0.0,
    products: int | None = None, frobenius: Estimate | None = None,
) -> Estimate:  # fmt: skip
    """The mean of draws, added to what is known exactly; without draws that alone."""
    mean, error, half = _statistics.mean(draws, settings["confidence"]) if len(draws) else (0.0, 0.0, 0.0)
    value = known + mean
    return Estimate(
        quantity=quantity,
        value=value,
        interval=(value - half, value + half),
        error=error,
        confidence=settings["confidence"],
        relative=settings["relative"],
        products=operator.applied if products is None else products,
        draws=known + draws,
        meter=operator.spent(),
        provenance=operator.provenance(**settings),
        status=status,
        frobenius=frobenius,
    )


def _digits(number: int) -> str:
    return "".join("₀₁₂₃₄₅₆₇₈₉"[int(digit)] for digit in str(number))
