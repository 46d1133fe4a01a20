"""The search for critical points: every catch is labeled by its gradient and its Hessian before it is handed out."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from numbers import Real
from typing import Literal

import torch
from torch import Tensor

from lossatlas import _checks
from lossatlas._errors import InputError, LossError, StartError
from lossatlas._progress import Show, counted
from lossatlas._said import several
from lossatlas.curvature._catch import CriticalPoint, CriticalPoints, Label
from lossatlas.curvature._hessian import Hessian
from lossatlas.curvature._newton import REASONS, Evaluator, Rules, search
from lossatlas.curvature._operator import How, probe_of
from lossatlas.probe import Gradients, Probe
from lossatlas.surface import PointLike, Surface, as_points, need_surface

METHODS = ("newton", "gradient-norm")
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}
FLAT = 1e-3
ZERO = 10.0
DENSE_SEARCH, DENSE_INDEX = 200, 1000


def critical_point(
    surface: Surface,
    *,
    point: PointLike | None = None,
    epsilon: float | None = None,
    tolerance: float | None = None,
    exact: bool | None = None,
    seed: int = 0,
    how: How = "auto",
    probe: Probe | None = None,
) -> CriticalPoint:
    """Whether a point is critical, and its index; nothing is searched for.

    Args:
        surface: any surface that knows gradients.
        point: where, whatever describes a point (a vector, state dict, module or file); the surface's own by default.
        epsilon: what counts as a negative eigenvalue; see `critical_points`.
        tolerance: of the gradient; see `critical_points`.
        exact: whether to form the dense Hessian; by default for up to 1,000 parameters.
        seed: of the starting vector of Lanczos where the Hessian is not formed.
        how: as of `Hessian`: ``exact``, ``differences`` or ``auto``.
        probe: what evaluates and counts; a new one by default.

    Returns:
        The `CriticalPoint`, with its label.

    Example:
        >>> import torch, lossatlas as la
        >>> surface = la.landscapes.himmelblau()
        >>> here = critical_point(surface, point=torch.tensor([3.0, 2.0], dtype=torch.float64))
        >>> here.label, here.kind
        ('true', 'minimum')
    """
    seed = _checks.seed(seed)
    operator = Hessian(surface, point, how=how, probe=probe)
    judge = Judge(surface, epsilon, tolerance, exact, seed)
    return judge(operator, operator.point.double(), 0.0)


def critical_points(
    surface: Surface,
    *,
    starts: int | PointLike | Sequence[PointLike] = 20,
    method: Literal["newton", "gradient-norm"] = "newton",
    budget: int | None = None,
    steps: int = 200,
    seed: int = 0,
    spread: float = 0.5,
    epsilon: float | None = None,
    tolerance: float | None = None,
    exact: bool | None = None,
    how: How = "auto",
    probe: Probe | None = None,
    progress: Show = True,
) -> CriticalPoints:
    """Search for critical points of any index, and label every catch.

    Searches for critical points often end where only the *norm* of the gradient is stationary, Hg = 0 with g ≠ 0. Such
    gradient-flat points are no critical points, and yet their indices follow their losses as beautifully as if they were
    (Frye et al. 2021). So a catch is

    ==================  ====================================================================================
    ``true``            ‖g‖ ≤ tolerance · ‖H‖ · max(1, ‖θ‖): moving θ by the tolerance would make up for g
    ``gradient-flat``   else, and r = ‖Hg‖ / (‖H‖ ‖g‖) ≤ 1e-3
    ``unfinished``      else
    ==================  ====================================================================================

    ``newton`` takes steps p = −H⁺g, halved until ‖g‖² falls far enough (Newton-MR), with the dense Hessian for up to
    200 parameters and 25 steps of MINRES above. ``gradient-norm`` minimizes ½‖g‖² with H as the
    Jacobian of g (Levenberg–Marquardt), above 200 parameters by L-BFGS with one product a step.

    Args:
        surface: any surface that knows gradients. Make a network's model double first: in float32 a gradient cannot be
            told from zero closely enough.
        starts: points, as rows (B, N) or a sequence of whatever describes one; or how many to draw, uniformly in the
            surface's box, or around θ where it has none.
        method: ``newton`` or ``gradient-norm``.
        budget: queries of any kind (values, gradients, products) that one search may make; labels come on top.
        steps: of one search at most.
        seed: of the starts.
        spread: where there is no box: starts are θ + spread · σ z with z ~ N(0, I) and σ the root mean square of each
            parameter block.
        epsilon: an eigenvalue below −epsilon is negative, one within it has no sign. By default, with the dense Hessian,
            10 · tolerance times the largest ‖H‖ met on the way; without it there is no index unless an epsilon is given.
        tolerance: of the gradient: 1e-10 in float64, 1e-5 in float32.
        exact: whether to form the dense Hessian for the label; by default for up to 1,000 parameters.
        how: as of `Hessian`: ``exact``, ``differences`` or ``auto``.
        probe: what evaluates and counts; a new one by default.
        progress: True for a bar on the error stream of a terminal, False for silence, or a function of
            (searches done, starts).

    Returns:
        The `CriticalPoints`. If it is interrupted with Ctrl-C, those that were done.

    Raises:
        InputError: for starts, a budget, steps, a spread or thresholds that do not fit.
        UnknownNameError: for another method.
        LossError: if no start has a finite loss, gradient and curvature.

    Source:
        Roosta et al., Newton-MR, arXiv:1810.00303; Dauphin et al., NeurIPS 2014; Frye et al., Critical point-finding
        methods reveal gradient-flat regions of deep network losses, Neural Computation 33 (2021).

    Example:
        >>> import lossatlas as la
        >>> found = critical_points(la.landscapes.himmelblau(), starts=60)
        >>> sorted(point.kind for point in found.distinct()).count("minimum")
        4
    """
    need_surface(surface, "critical_points")
    _checks.one_of("method to find critical points", method, METHODS)
    budget = None if budget is None else _checks.whole("budget", budget)
    steps, seed = _checks.whole("steps", steps), _checks.seed(seed)
    _checks.work("critical_points", {"steps": steps})
    spread = _checks.number("spread", spread, above=0)
    judge = Judge(surface, epsilon, tolerance, exact, seed)
    points = _starts(surface, starts, seed, spread)
    probe = probe_of(surface, probe)
    begin, before_all = time.perf_counter(), probe.meter.copy()
    operator, begun = _operator(surface, points, how, probe)
    rules = Rules(judge.tolerance, steps, _reach(surface, points), surface.dimension <= DENSE_SEARCH)
    caught: list[CriticalPoint] = []
    status = "complete"
    try:
        with counted("searches", len(points), progress) as report:
            for b, start in enumerate(points):
                before = probe.meter.queries
                evaluator = Evaluator(operator, budget)
                reason, taken = search(evaluator, start, method, rules)
                spent = probe.meter.queries - before
                one = judge(operator, evaluator.best, evaluator.curvature, (evaluator.value, evaluator.steepness))
                caught.append(replace(one, start=b, steps=taken, status=REASONS[reason], queries=spent))
                report(b + 1)
    except KeyboardInterrupt:
        status = "interrupted"
    status = operator.remark(status)
    settings = {
        "method": method, "budget": budget, "steps": steps, "seed": seed, "spread": spread,
        "tolerance": judge.tolerance, "flat": FLAT, "epsilon": epsilon, "searched_with": "dense Hessian" if rules.dense else
        "products", "skipped_before_a_finite_start": begun,
    }  # fmt: skip
    record = {**operator.provenance(**settings), "point": None}
    meter = probe.meter.since(before_all, time.perf_counter() - begin)
    return CriticalPoints(tuple(caught), points, meter, record, status)


class Judge:
    """Labels points by the thresholds of one search."""

    def __init__(
        self, surface: Surface, epsilon: float | None, tolerance: float | None, exact: bool | None, seed: int
    ) -> None:
        default = "None takes the default."
        self.surface, self.seed = surface, seed
        self.epsilon = _checks.optional(_checks.number, "epsilon", epsilon, above=0, do=default)
        tolerance = _checks.optional(_checks.number, "tolerance", tolerance, above=0, do=default)
        self.tolerance = TOLERANCE.get(surface.dtype, 1e-5) if tolerance is None else tolerance
        self.exact = surface.dimension <= DENSE_INDEX if exact is None else _checks.flag("exact", exact)

    def __call__(
        self, operator: Hessian, theta: Tensor, curvature: float, known: tuple[float, Tensor] | None = None
    ) -> CriticalPoint:
        before = operator.probe.meter.queries
        if known is None:
            answer = operator.probe.evaluate(Gradients(theta.to(operator.point.dtype)[None]))
            known = float(answer.values[0]), answer.gradients[0].double()
        loss, gradient = known
        size = float(gradient.norm())
        nan = math.nan
        blank = CriticalPoint(theta, loss, "unfinished", size, nan, nan, nan, None, False, None, self.epsilon, None)
        blank = replace(blank, status=operator.remark(blank.status))
        if not (math.isfinite(loss) and math.isfinite(size)):
            return blank
        try:
            found = (self._dense if self.exact else self._products)(operator.at(theta), blank, gradient, curvature)
        except LossError:
            return blank
        label: Label = "unfinished"
        if size <= self.tolerance * found.hessian_norm * max(1.0, float(theta.norm())):
            label = "true"
        elif found.flatness <= FLAT:
            label = "gradient-flat"
        return replace(found, label=label, certificate=operator.probe.meter.queries - before)

    def _dense(self, operator: Hessian, blank: CriticalPoint, gradient: Tensor, curvature: float) -> CriticalPoint:
        values, basis = torch.linalg.eigh(operator.dense())
        gradient = gradient.cpu()  # as the matrix is
        norm = float(values.abs().max())
        rounding = len(values) * float(torch.finfo(self.surface.dtype).eps)
        epsilon = max(ZERO * self.tolerance, rounding) * max(norm, curvature)
        epsilon = epsilon if self.epsilon is None else self.epsilon
        parts = basis.T @ gradient
        kept = values.abs() > FLAT * norm
        step = float(torch.where(kept, parts / torch.where(kept, values, 1.0), 0.0).norm())
        left, size = float(parts[~kept].norm()), float(gradient.norm())
        whole = norm * step + size
        return replace(
            blank,
            hessian_norm=norm,
            flatness=_ratio(float((values * parts).norm()), norm * size),
            newton_residual=left / whole if whole else 0.0,
            index=int((values < -epsilon).sum()),
            exact=True,
            zeros=int((values.abs() <= epsilon).sum()),
            epsilon=epsilon,
            eigenvalues=values.numpy(),
        )

    def _products(self, operator: Hessian, blank: CriticalPoint, gradient: Tensor, curvature: float) -> CriticalPoint:
        k = 1 if self.epsilon is None else max(1, min(10, self.surface.dimension // 4))
        ends = operator.extremes(k, seed=self.seed, tolerance=1e-3, progress=False)
        low, high = ends.smallest.values, ends.largest.values
        norm = max((abs(float(v)) for v in (*low, *high)), default=0.0)
        size = float(gradient.norm())
        curved = float(operator.apply(gradient[None])[0].norm()) if size else 0.0
        return replace(
            blank,
            hessian_norm=norm,
            flatness=_ratio(curved, norm * size),
            # Ritz values lie inside the spectrum: as many eigenvalues as Ritz values are below −epsilon, if not more.
            index=None if self.epsilon is None else int((low < -self.epsilon).sum()),
        )


def _ratio(above: float, below: float) -> float:
    return above / below if below else 0.0


def _operator(surface: Surface, points: Tensor, how: How, probe: Probe) -> tuple[Hessian, int]:
    """The operator, checked at the first start where it is finite, and how many starts were not."""
    for b, start in enumerate(points.to(surface.dtype)):
        answer = probe.evaluate(Gradients(start[None])) if surface.gradients_known else None
        if answer is not None and not (answer.values.isfinite().all() and answer.gradients.isfinite().all()):
            last: LossError | str = f"the loss is {float(answer.values[0])}, or an entry of its gradient is not finite."
            continue
        try:
            return Hessian(surface, start, how=how, probe=probe), b
        except LossError as error:
            last = error
    raise LossError(
        f"none of {several(len(points), 'start')} on {surface.name} has a finite loss, gradient and curvature; expected at least one. "
        f"At the last: {last}"
    )


def _starts(surface: Surface, starts: int | PointLike | Sequence[PointLike], seed: int, spread: float) -> Tensor:
    if not isinstance(starts, Real) and getattr(starts, "ndim", 1) > 0:
        return as_points(surface, starts, "starts", error=StartError).to(torch.float64)
    starts = _checks.whole(
        "starts", starts, 1, max(1, _checks.MOST_HELD // surface.dimension), do="Or give points of shape (B, N)."
    )
    generator = torch.Generator().manual_seed(seed)
    if surface.box is not None:
        low, high = surface.box.double().unbind(1)
        unit = torch.rand(starts, surface.dimension, generator=generator, dtype=torch.float64)
        return (low + (high - low) * unit.to(low.device)).to(surface.device)
    center = surface.own_point
    if center is None:
        raise InputError(
            f"{surface.name} has neither a box nor a start to draw starts around; give starts as points of shape "
            f"(B, {surface.dimension})."
        )
    center = center.double()
    whole = float(center.square().mean().sqrt()) or 1.0
    scale = torch.empty_like(center)
    for block in surface.layout.blocks:
        scale[block.span] = float(center[block.span].square().mean().sqrt()) or whole
    drawn = torch.randn(starts, surface.dimension, generator=generator, dtype=torch.float64).to(center.device)
    return center + spread * scale * drawn


def _reach(surface: Surface, points: Tensor) -> float:
    """The longest step: a quarter of the box's diagonal, else the size of the starts."""
    if surface.box is not None:
        return float((surface.box[:, 1] - surface.box[:, 0]).norm()) / 4
    return max(1.0, float(points.norm(dim=1).median()))
