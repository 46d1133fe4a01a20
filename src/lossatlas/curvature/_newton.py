"""Searches for points where the gradient is zero: Newton's method with the smallest residual, and the gradient's norm.

Every search holds an `Evaluator`, which keeps the budget and remembers the point with the smallest gradient.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.sparse.linalg import LinearOperator, minres
from torch import Tensor

from lossatlas._errors import BudgetError, LossError
from lossatlas.curvature._operator import Operator
from lossatlas.probe import Gradients

ARMIJO = 1e-4
HALVINGS = 10
PATIENCE, PROGRESS = 5, 0.9
DAMPING, LEVEL = 1e-3, 1e-12
LOW, RESTING = 1e-4, 0.99
CUT = 1e-8
INNER = 25
REASONS = {
    "converged": "the gradient is zero to the tolerance",
    "stuck": "no step makes the gradient noticeably smaller",
    "steps": "its steps were used up",
    "budget": "its budget was used up",
    "not finite": "it met a loss, gradient or curvature that is not finite",
}


@final
class Evaluator:
    """What a search may evaluate: gradients and Hessian products, within a budget.

    Args:
        operator: the Hessian, anywhere on the surface.
        budget: queries of any kind, or None.

    Attributes:
        best: the point with the smallest gradient seen, float64.
        steepness: the gradient there.
        value: the loss there.
        curvature: the largest ‖H‖ seen, or a lower bound of it where only products were taken.
        steepest: ‖g‖ where the search began.
    """

    def __init__(self, operator: Operator, budget: int | None) -> None:
        self.operator, self.probe = operator.trusting(), operator.probe
        self._limit = None if budget is None else self.probe.meter.queries + budget
        self.best = self.steepness = torch.empty(0)
        self.value, self.curvature = math.nan, 0.0
        self._size = math.inf

    def gradient(self, theta: Tensor) -> Tensor:
        """The gradient (N,) in float64.

        Raises:
            BudgetError: before the budget is overrun.
            LossError: if loss or gradient are not finite.
        """
        self._room(1)
        answer = self.probe.evaluate(Gradients(theta.to(self.operator.point.dtype)[None]))
        value, gradient = float(answer.values[0]), answer.gradients[0].double()
        size = float(gradient.norm())
        if not self.best.numel():
            self.best, self.steepness, self.value = theta, gradient, value
        if not (math.isfinite(value) and math.isfinite(size)):
            raise LossError("a loss or gradient on the way is not finite.")
        if size < self._size:
            self.best, self.steepness, self.value, self._size = theta, gradient, value, size
        return gradient

    def hessian(self, theta: Tensor) -> Tensor:
        """The dense Hessian (N, N), where θ lies."""
        self._room(self.operator.dimension)
        matrix = self.operator.at(theta).dense().to(theta.device)
        # The Frobenius norm would be up to √N too large, a norm of products alone too small.
        self.curvature = max(self.curvature, float(torch.linalg.eigvalsh(matrix).abs().max()))
        return matrix

    def product(self, theta: Tensor, vector: Tensor) -> Tensor:
        """The Hessian times one vector (N,)."""
        self._room(1)
        product = self.operator.at(theta).apply(vector[None])[0]
        length = float(vector.norm())
        if length:
            self.curvature = max(self.curvature, float(product.norm()) / length)
        return product

    def _room(self, queries: int) -> None:
        queries *= 1 if self.operator.method == "second derivatives" or queries == 1 else 2
        if self._limit is not None and self.probe.meter.queries + queries > self._limit:
            raise BudgetError("the next query would overrun the budget of this search; nothing was evaluated.")


@dataclass(frozen=True)
class Rules:
    """When a search has arrived and when it gives up.

    Attributes:
        tolerance: arrived once ‖g‖ ≤ tolerance · ‖H‖ · max(1, ‖θ‖).
        steps: at most.
        reach: the longest step.
        dense: whether to form the Hessian, or to take products only.
    """

    tolerance: float
    steps: int
    reach: float
    dense: bool

    def arrived(self, gradient: Tensor, norm: float, theta: Tensor) -> bool:
        """Whether the gradient is zero: a relative change of θ by the tolerance would explain it."""
        return float(gradient.norm()) <= self.tolerance * norm * max(1.0, float(theta.norm()))


def search(evaluator: Evaluator, start: Tensor, method: str, rules: Rules) -> tuple[str, int]:
    """Look for a critical point from a start; the point is `evaluator.best`.

    Args:
        evaluator: what may be evaluated.
        start: shape (N,).
        method: ``newton`` or ``gradient-norm``.
        rules: see `Rules`.

    Returns:
        Why it ended, a key of `REASONS`, and how many steps it took.
    """
    steps = [0]
    try:
        how = {"newton": _newton, "gradient-norm": _gradient_norm}[method]
        reason = how(evaluator, start.double(), rules, steps)
        if reason == "stuck" and method == "newton" and rules.dense:
            # Where Newton's steps fail the norm of the gradient is followed down, to tell what lies there.
            reason = _gradient_norm(evaluator, evaluator.best, rules, steps)
    except BudgetError:
        reason = "budget"
    except LossError:
        reason = "not finite"
    return reason, steps[0]


def _newton(evaluator: Evaluator, theta: Tensor, rules: Rules, steps: list[int]) -> str:
    """Newton-MR: p = −H⁺g, then halve the step until ‖g‖² falls by ρ α 2 pᵀHg (Roosta et al. 2018)."""
    gradient = evaluator.gradient(theta)
    sizes: list[float] = []
    while True:
        direction, image, norm = (_pseudo if rules.dense else _krylov)(evaluator, theta, gradient)
        if rules.arrived(gradient, norm, theta):
            return "converged"
        if steps[0] >= rules.steps:
            return "steps"
        sizes.append(float(gradient.norm()))
        length = float(direction.norm())
        idle = len(sizes) > PATIENCE and sizes[-1] > PROGRESS * sizes[-1 - PATIENCE]
        if idle or not 0 < length < math.inf:
            return "stuck"
        alpha = min(1.0, rules.reach / length)
        size, descent = float(gradient @ gradient), 2 * float(image @ gradient)
        for _ in range(HALVINGS):
            trial = theta + alpha * direction
            new = evaluator.gradient(trial)
            if float(new @ new) <= size + ARMIJO * alpha * descent and float(new @ new) < size:
                break
            alpha /= 2
        else:
            return "stuck"
        theta, gradient = trial, new
        steps[0] += 1


def _pseudo(evaluator: Evaluator, theta: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor, float]:
    """The step −H⁺g, its image H p and ‖H‖; eigenvalues below 1e-8 ‖H‖ count as zero."""
    values, basis = torch.linalg.eigh(evaluator.hessian(theta))
    norm = float(values.abs().max())
    kept = values.abs() > CUT * norm
    parts = torch.where(kept, basis.T @ gradient, 0.0)
    return -(basis @ (parts / torch.where(kept, values, 1.0))), -(basis @ parts), norm


def _krylov(evaluator: Evaluator, theta: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor, float]:
    """The same step by at most 25 steps of MINRES; ‖H‖ is then a lower bound."""

    def apply(vector: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return evaluator.product(theta, torch.from_numpy(np.ascontiguousarray(vector)).to(theta)).cpu().numpy()

    if not bool(gradient.any()):
        evaluator.product(theta, torch.ones_like(gradient))
        return torch.zeros_like(gradient), torch.zeros_like(gradient), evaluator.curvature
    n = len(gradient)
    found, _ = minres(
        LinearOperator((n, n), matvec=apply, dtype=np.float64), -gradient.cpu().numpy(), maxiter=INNER, rtol=1e-10
    )
    direction = torch.from_numpy(found).to(theta)
    return direction, evaluator.product(theta, direction), evaluator.curvature


def _gradient_norm(evaluator: Evaluator, theta: Tensor, rules: Rules, steps: list[int]) -> str:
    """Minimize ½‖g‖², with the Hessian or with products only."""
    return (_damped if rules.dense else _quasi_newton)(evaluator, theta, rules, steps)


def _damped(evaluator: Evaluator, theta: Tensor, rules: Rules, steps: list[int]) -> str:
    """Levenberg–Marquardt on g: p = −(H² + μI)⁻¹Hg, μ after the share of the promised decrease that came (Nielsen 1999)."""
    gradient, moved = evaluator.gradient(theta), True
    damping, growth = DAMPING, 2.0
    sizes: list[float] = []
    while True:
        if moved:
            values, basis = torch.linalg.eigh(evaluator.hessian(theta))
            norm = float(values.abs().max())
            parts = basis.T @ gradient
            if rules.arrived(gradient, norm, theta):
                return "converged"
        if steps[0] >= rules.steps:
            return "steps"
        steps[0] += 1
        pull = values * parts
        flatness = float(pull.norm()) / max(norm * float(gradient.norm()), 1e-300)
        sizes += [float(gradient.norm())] if moved else []
        idle = len(sizes) > PATIENCE and sizes[-1] > RESTING * sizes[-1 - PATIENCE]
        # In a valley of higher order the gradient goes on to shrink while Hg does; on gradient-flat ground it does not.
        if flatness <= LEVEL or (flatness <= LOW and idle):
            return "stuck"
        step = -pull / (values**2 + damping * norm**2)
        length = float(step.norm())
        step = step * min(1.0, rules.reach / length)
        if length <= LEVEL * max(1.0, float(theta.norm())):
            return "stuck"
        trial = theta + basis @ step
        new = evaluator.gradient(trial)
        size, left = float(gradient @ gradient), float((parts + values * step).square().sum())
        if size - left <= LEVEL * size:
            return "stuck"
        gain = min(1.0, (size - float(new @ new)) / (size - left))
        moved = gain > ARMIJO
        if moved:
            theta, gradient = trial, new
            damping, growth = damping * max(1 / 3, 1 - (2 * gain - 1) ** 3), 2.0
        else:
            damping, growth = damping * growth, 2 * growth


def _quasi_newton(evaluator: Evaluator, theta: Tensor, rules: Rules, steps: list[int]) -> str:
    """L-BFGS on ½‖g‖², whose gradient Hg takes one product."""

    def both(vector: np.ndarray[Any, Any]) -> tuple[float, np.ndarray[Any, Any]]:
        steps[0] += 1
        point = torch.from_numpy(np.array(vector, dtype=np.float64)).to(theta)
        gradient = evaluator.gradient(point)
        return 0.5 * float(gradient @ gradient), evaluator.product(point, gradient).cpu().numpy()

    options = {"maxiter": rules.steps, "maxfun": 10 * rules.steps, "ftol": 0.0, "gtol": 1e-300}
    done = minimize(both, theta.cpu().numpy(), jac=True, method="L-BFGS-B", options=options)
    if rules.arrived(evaluator.steepness, evaluator.curvature, evaluator.best):
        return "converged"
    return "steps" if done.nit >= rules.steps else "stuck"
