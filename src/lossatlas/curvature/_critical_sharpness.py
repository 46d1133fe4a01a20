"""Critical sharpness: the curvature that a step along one direction meets, from fewer than ten losses."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from torch import Tensor

from lossatlas import _checks, archive
from lossatlas._errors import InputError, LossError, NotApplicableError, StartError
from lossatlas._said import several
from lossatlas._versions import versions
from lossatlas.curvature._operator import probe_of
from lossatlas.probe import Gradients, Meter, Probe, Values
from lossatlas.surface import PointLike, Surface, as_point, need_surface, tensor_digest

if TYPE_CHECKING:
    from lossatlas.draw import CurvesDisplay

ROUNDING = 8.0


@dataclass(frozen=True, eq=False)
class CriticalSharpness(archive.Result):
    """How far a direction can be followed before the loss is back at its start, as a curvature.

    Attributes:
        value: λ_c = 2/η_c; NaN where no such step was found.
        interval: (low, high) 2/η at the nearest steps that were seen to raise and to lower the loss: they hold λ_c of a loss
            that crosses its start once between them. Infinite above if no step lowered it, 0 below if none raised it.
        step: η_c, in units of the direction; NaN where none was found.
        steps: (n,) the steps η that were evaluated, ascending, from 0.
        losses: (n,) L(θ + ηu) at these.
        direction: ``−gradient`` or ``given``.
        length: ‖u‖.
        meter: what was evaluated for it.
        provenance: surface, point, settings and versions, plain JSON values.
        status: ``complete``, or why the interval is wider than asked.
    """

    KIND: ClassVar[str] = "critical-sharpness"
    SAYS: ClassVar[tuple[str, ...]] = ("value",)

    value: float
    interval: tuple[float, float]
    step: float
    steps: np.ndarray
    losses: np.ndarray
    direction: str
    length: float
    meter: Meter
    provenance: dict[str, Any]
    status: str

    @property
    def sentence(self) -> str:
        """The number in words."""
        along = "the negative gradient" if self.direction == "−gradient" else "the given direction"
        cost = f"from {several(len(self.steps), 'loss', 'losses')}"
        if math.isfinite(self.value):
            said = (
                f"critical sharpness along {along}: {self.value:.4g} [{self.interval[0]:.4g}, {self.interval[1]:.4g}], {cost}: a "
                f"step of {self.step:.3g} times the direction brings the loss back to where it began"
            )
        elif self.interval[0] == 0:
            said = f"critical sharpness along {along}: below {self.interval[1]:.4g}, {cost}: no step raised the loss"
        else:
            said = f"critical sharpness along {along}: above {self.interval[0]:.4g}, {cost}: no step lowered the loss"
        return said if self.status == "complete" else f"{said} ({self.status})"

    def reading(self) -> list[str]:
        """What the record says, in sentences."""
        return [self.sentence]

    def plot(self, ax: Any = None) -> CurvesDisplay:
        """The losses along the direction, every evaluated step marked."""
        from lossatlas.draw import CurvesDisplay

        finite = np.isfinite(self.losses)
        steps = self.steps[finite]
        ends, level = steps[[0, -1]], np.full(2, self.losses[0])
        return CurvesDisplay(
            {"L(θ + ηu)": (steps, self.losses[finite]), "L(θ)": (ends, level)},
            xlabel="step η along the direction", points=True, note=self.sentence,
        ).plot(ax)  # fmt: skip


def critical_sharpness(
    surface: Surface,
    direction: PointLike | None = None,
    *,
    point: PointLike | None = None,
    start: float | None = None,
    tolerance: float = 0.01,
    limit: int = 9,
    probe: Probe | None = None,
) -> CriticalSharpness:
    """The critical sharpness λ_c = 2/η_c, where η_c is the step along u with L(θ + η_c u) = L(θ).

    It needs losses only, one gradient where no direction is given, and no Hessian-vector products: a curvature that is
    affordable where those are not. On a quadratic λ_c = uᵀHu / (−gᵀu), which for u = −g is the Rayleigh quotient of the
    gradient and at most λmax. The difference quotient h(η) = (L(θ + ηu) − L(θ))/η is linear there, so that its
    root is found by a secant at once; steps beside the root then confirm it from both sides, and a geometric bisection stands in
    where the loss is no parabola. If the loss crosses its start more than once, one of the crossings is found.

    Args:
        surface: any surface; without a direction one that knows gradients.
        direction: u, the way an optimizer moves, as a vector, state dict or module: an update of Adam for one. By
            default −∇L(θ), the step of gradient descent, and then η is a learning rate.
        point: θ, whatever describes a point; the surface's own by default.
        start: the first η; by default a step of a hundredth of 1 + ‖θ‖.
        tolerance: how narrow the interval is to be, relative to λ_c.
        limit: how many losses at most, that at θ among them.
        probe: what evaluates and counts; a new one by default.

    Returns:
        The `CriticalSharpness`.

    Raises:
        InputError: for a direction of zero or not finite, or settings out of range.
        LossError: if the loss at θ is not finite.
        NotApplicableError: for no direction on a surface without gradients.

    Source:
        Kalra et al., A scalable measure of loss landscape curvature, 2026, arXiv:2601.16979.

    Example:
        >>> import torch, lossatlas as la
        >>> bowl = la.landscapes.quadratic(condition=9.0)
        >>> found = critical_sharpness(bowl, point=torch.tensor([0.0, 1.0]))
        >>> round(found.value, 2), len(found.steps) < 10
        (9.0, True)
    """
    need_surface(surface, "critical_sharpness")
    start = _checks.optional(_checks.number, "start", start, above=0)
    tolerance = _checks.number("tolerance", tolerance, above=0, below=1)
    limit = _checks.whole("limit", limit, 3, _checks.MOST_WORK - 1)
    probe = probe_of(surface, probe)
    before, begin = probe.meter.copy(), time.perf_counter()
    theta = as_point(surface, point, error=StartError)
    if direction is None:
        if not surface.gradients_known:
            raise NotApplicableError(f"{surface.name} knows no gradients; expected direction=, the way to go.")
        answer = probe.evaluate(Gradients(theta[None]))
        along, known = -answer.gradients[0], True
    else:
        answer, along, known = probe.evaluate(Values(theta[None])), surface.vector(direction), False
    first, length = float(answer.values[0]), float(along.double().norm())
    if not math.isfinite(first):
        raise LossError(f"the loss at the point is {first}; expected a finite one to begin with.")
    if not math.isfinite(length) or length == 0:
        what = "the gradient at the point" if direction is None else "the direction"
        raise InputError(f"got {what} of length {length:g}; expected a finite one that is not zero. Give direction=.")
    search = _Search(probe, theta, along, first, -(length**2) if known else None, limit, tolerance)
    status = search.run(start or 0.01 * (1 + float(theta.double().norm())) / length)
    low, high = search.low, search.high
    step = search.root() if 0 < low < high < math.inf else math.nan
    rows = sorted(search.seen)
    settings = {"start": start, "tolerance": tolerance, "limit": limit}
    return CriticalSharpness(
        2 / step, (2 / high, 2 / low if low else math.inf), step, np.array([at for at, _ in rows]),
        np.array([loss for _, loss in rows]), "−gradient" if direction is None else "given", length,
        probe.meter.since(before, time.perf_counter() - begin), 
        {"surface": surface.fingerprint(), "point": tensor_digest(theta), **settings, "versions": versions()}, status,
    )  # fmt: skip


class _Search:
    """A bracket of the first step that brings the loss back, from few losses."""

    def __init__(
        self,
        probe: Probe,
        theta: Tensor,
        along: Tensor,
        first: float,
        slope: float | None,
        limit: int,
        tolerance: float,
    ) -> None:
        self.probe, self.theta, self.along, self.first, self.slope = probe, theta, along, first, slope
        self.limit, self.tolerance = limit, tolerance
        self.low, self.high = 0.0, math.inf
        self.seen: list[tuple[float, float]] = [(0.0, first)]
        self.quotients: dict[float, float] = {} if slope is None else {0.0: slope}
        self.blurred = 0
        self.guess = 0.0

    def run(self, step: float) -> str:
        """Evaluate until the bracket is narrow or the losses are spent; ``complete`` or why it is not narrow."""
        beside = 0.4 * self.tolerance
        while len(self.seen) < self.limit:
            self._see(step)
            if self.high <= self.low * (1 + self.tolerance):
                return "complete"
            step = self._next(beside * 4**self.blurred)
            if not math.isfinite(step) or step in dict(self.seen):
                break
        why = "its change is lost in rounding" if self.blurred else f"the limit of {self.limit} losses was reached"
        return f"the interval is wider than asked: {why}"

    def root(self) -> float:
        """Where h is zero: by inverse interpolation through the bracket and the step nearest to it, or in its middle."""
        ends = [at for at in (self.low, self.high) if at in self.quotients]
        others = sorted(set(self.quotients) - set(ends), key=lambda at: abs(self.quotients[at]))
        for points in ([*ends, *others[:1]], ends):
            found = _inverse([(at, self.quotients[at]) for at in points]) if len(points) > 1 else math.nan
            if self.low < found < self.high:
                return found
        return math.sqrt(self.low * self.high)

    def _see(self, step: float) -> None:
        at = (self.theta.double() + step * self.along.double()).to(self.theta.dtype)
        loss = float(self.probe.evaluate(Values(at[None])).values[0])
        self.seen.append((step, loss))
        change = loss - self.first
        if math.isfinite(change):
            self.quotients[step] = change / step
        unit = self.probe.surface.rounding
        if math.isfinite(change) and abs(change) <= ROUNDING * unit * max(abs(loss), abs(self.first)):
            self.blurred += 1
        elif change < 0:
            self.low = max(self.low, step) if step < self.high else self.low
        else:
            self.high = min(self.high, step)
            self.low = max((at for at, was in self.seen if at < self.high and was < self.first), default=0.0)

    def _next(self, beside: float) -> float:
        near = sorted(self.quotients, key=lambda at: abs(at - (self.low or self.high)))[:2]
        guess = _inverse([(at, self.quotients[at]) for at in near]) if len(near) == 2 else math.nan
        if self.low == 0 and self.high == math.inf:
            # Nothing but rounding so far.
            return 16 * self.seen[-1][0]
        if self.high == math.inf:
            self.guess = guess if guess > self.low else self.guess
            return min(max(guess * (1 + beside), 1.5 * self.low), 64 * self.low) if guess > self.low else 4 * self.low
        if self.low == 0:
            return (
                max(min(guess * (1 - beside), self.high / 1.5), self.high / 64)
                if 0 < guess < self.high
                else self.high / 4
            )
        root = self.root()
        # Where estimates agree, the next step only confirms them; where they do not, it stays clear of the root.
        beside = min(max(beside, abs(root / self.guess - 1) / 2 if self.guess else 0.2), 0.2)
        self.guess = root
        step = root * (1 + beside) if self.high / root > root / self.low else root * (1 - beside)
        return step if self.low < step < self.high else math.sqrt(self.low * self.high)


def _inverse(points: list[tuple[float, float]]) -> float:
    """Where h is zero on the polynomial η(h) through two or three (η, h), after Lagrange; NaN where two h are equal."""
    total = 0.0
    for k, (at, h) in enumerate(points):
        for j, (_, other) in enumerate(points):
            if j != k and h == other:
                return math.nan
            at *= 1.0 if j == k else other / (other - h)
        total += at
    return total
