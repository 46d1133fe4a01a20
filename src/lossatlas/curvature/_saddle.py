"""The ways down from a saddle: its directions of negative curvature, and where both sides of one of them lead."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from lossatlas import _checks, archive
from lossatlas._errors import InputError
from lossatlas.curvature._catch import CriticalPoint
from lossatlas.curvature._critical import DENSE_INDEX, DENSE_SEARCH, ZERO, Judge
from lossatlas.curvature._extremes import Eigenpairs
from lossatlas.curvature._hessian import Hessian
from lossatlas.curvature._newton import Evaluator, Rules, search
from lossatlas.curvature._operator import How
from lossatlas.probe import Gradients, Meter, Probe
from lossatlas.surface import PointLike, Surface, need_surface

if TYPE_CHECKING:
    from lossatlas.draw import ProfileDisplay

ENDS = ("ahead", "back")
PUSH, STRIDE = 1e-3, 0.01


@dataclass(frozen=True, eq=False)
class Side(archive.Result):
    """One way down.

    Attributes:
        distance: (T,) length of the way so far, from the saddle, 0 first.
        loss: (T,) along it.
        end: where it ended, labeled.
        well: name of the known well there, or None.
        status: ``settled`` where the gradient vanished, or ``on its way``.
    """

    distance: np.ndarray
    loss: np.ndarray
    end: CriticalPoint
    well: str | None
    status: str

    @property
    def sentence(self) -> str:
        """Where it led, in words."""
        place = f"in the well {self.well}" if self.well else f"at {self.end.sentence}"
        return (
            f"down by {self.loss[0] - self.end.loss:.4g} over a way of {self.distance[-1]:.4g}, {self.status} {place}"
        )


@dataclass(frozen=True, eq=False)
class SaddleDescent(archive.Result):
    """Both sides of a saddle.

    Attributes:
        saddle: where the ways begin, labeled.
        curvature: the negative eigenvalue along the direction; NaN for a direction that was given.
        sides: the way along the direction, and the one against it.
        meter: what was evaluated for it.
        provenance: surface, settings and versions, plain JSON values.
        status: of the saddle: whether it is a true one.
    """

    KIND: ClassVar[str] = "saddle-descent"
    SAYS: ClassVar[tuple[str, ...]] = ("same_end",)

    saddle: CriticalPoint
    curvature: float
    sides: tuple[Side, Side]
    meter: Meter
    provenance: dict[str, Any]
    status: str

    @property
    def same_end(self) -> bool:
        """Whether both ways end at the same point, to a thousandth of its size."""
        one, two = (side.end.point for side in self.sides)
        return float((one - two).norm()) <= 1e-3 * max(1.0, float(one.norm()))

    @property
    def sentence(self) -> str:
        """Both ways in words."""
        ways = "; ".join(f"{name} {side.sentence}" for name, side in zip(ENDS, self.sides, strict=True))
        return f"from loss {self.saddle.loss:.6g}: {ways}; {'the same end' if self.same_end else 'two different ends'}"

    def plot(self, ax: Any = None) -> ProfileDisplay:
        """The loss along both ways, the saddle in the middle."""
        from lossatlas.draw import ProfileDisplay

        ahead, back = self.sides
        t = np.concatenate([-back.distance[:0:-1], ahead.distance])
        y = np.concatenate([back.loss[:0:-1], ahead.loss])
        return ProfileDisplay(
            t, y, xlabel="way down from the saddle, in units of θ", marks=[("saddle", 0.0)], note=self.status
        ).plot(ax)


def saddle_directions(
    surface: Surface,
    k: int | None = None,
    *,
    point: PointLike | None = None,
    epsilon: float | None = None,
    seed: int = 0,
    how: How = "auto",
    probe: Probe | None = None,
) -> Eigenpairs:
    """The directions in which a surface curves down at a point, the steepest first.

    Args:
        surface: any surface that knows gradients.
        k: how many at most; all of them by default, five where the Hessian is too large to form (above 1,000 parameters).
        point: where, whatever describes a point (a vector, state dict, module or file); the surface's own by default.
        epsilon: eigenvalues above −epsilon do not count; by default the rounding of the Hessian.
        seed: of Lanczos' starting vector where the Hessian is not formed.
        how: as of `Hessian`: ``exact``, ``differences`` or ``auto``.
        probe: what evaluates and counts; a new one by default.

    Returns:
        `Eigenpairs` with negative values, ascending; none of them if the surface curves down nowhere.

    Raises:
        InputError: for a k below 1 or above N.

    Example:
        >>> import torch, lossatlas as la
        >>> saddle = torch.tensor([0.08667750, 2.88425470], dtype=torch.float64)
        >>> len(saddle_directions(la.landscapes.himmelblau(), point=saddle).values)
        1
    """
    need_surface(surface, "saddle_directions")
    n = surface.dimension
    k = None if k is None else _checks.whole("k", k, 1, n, do=f"There are {n:,} directions; None takes all of them.")
    seed = _checks.seed(seed)
    if epsilon is not None:
        epsilon = _checks.number("epsilon", epsilon, least=0, do="None takes the rounding of the Hessian.")
    return _below(Hessian(surface, point, how=how, probe=probe), k, epsilon, seed)


def _below(operator: Hessian, k: int | None, epsilon: float | None, seed: int) -> Eigenpairs:
    """Eigenpairs below −epsilon, ascending."""
    n = operator.dimension
    if n > DENSE_INDEX:
        found = operator.extremes(k or 5, seed=seed, progress=False).smallest
        below = found.values < -(epsilon or 0.0)
        return Eigenpairs(found.values[below], found.vectors[below], found.residuals[below], found.converged[below])
    values, basis = torch.linalg.eigh(operator.dense())
    if epsilon is None:
        epsilon = ZERO * n * float(torch.finfo(operator.surface.dtype).eps) * float(values.abs().max())
    rows = int((values < -epsilon).sum())
    rows = rows if k is None else min(rows, k)
    vectors = basis[:, :rows].T.contiguous().numpy()
    return Eigenpairs(values[:rows].numpy(), vectors, np.zeros(rows), np.ones(rows, bool))


def descend_both_sides(
    surface: Surface,
    *,
    point: PointLike | None = None,
    direction: PointLike | None = None,
    push: float | None = None,
    limit: int = 2000,
    stride: float | None = None,
    how: How = "auto",
    probe: Probe | None = None,
) -> SaddleDescent:
    """Step off a saddle to both sides, and walk down until the ground is level.

    Descent is steepest descent with steps of at most `stride`, longer after a success and halved after a failure, so that it
    follows the valley it is in. Where it has come to rest, Newton's method takes it to the critical point next to it, for
    up to 200 parameters.

    Args:
        surface: any surface that knows gradients.
        point: the saddle, shape (N,); the model's own point on a network, else the surface's start.
        direction: which way to step off, whatever describes one (an eigenvector, say); the most negative curvature by default.
        push: how far to step off; a thousandth of max(1, ‖θ‖) by default.
        limit: gradients at most for each side.
        stride: longest step; a hundredth of the box's shortest side, or of max(1, ‖θ‖).
        how: as of `Hessian`: ``exact``, ``differences`` or ``auto``.
        probe: what evaluates and counts; a new one by default.

    Returns:
        The `SaddleDescent`; its sides say in which known well they end, or what kind of point it is.

    Raises:
        InputError: if the surface curves down nowhere there, or lengths do not fit.

    Example:
        >>> import torch, lossatlas as la
        >>> saddle = torch.tensor([0.08667750, 2.88425470], dtype=torch.float64)
        >>> down = descend_both_sides(la.landscapes.himmelblau(), point=saddle)
        >>> [side.end.kind for side in down.sides], down.same_end
        (['minimum', 'minimum'], False)
    """
    operator = Hessian(surface, point, how=how, probe=probe)
    theta = operator.point.double()
    size = max(1.0, float(theta.norm()))
    curvature, unit = _way(surface, operator, direction)
    longest = _length("stride", stride, STRIDE * (_side(surface) or size))
    push = _length("push", push, min(PUSH * size, longest))
    limit = _checks.whole("limit", limit, 1, _checks.MOST_WORK - 1, do="These are gradients of each side.")
    judge = Judge(surface, None, None, None, 0)
    saddle = judge(operator, theta, 0.0)
    distance, losses, ends, rested = _walk(operator.probe, theta, saddle.loss, push * unit, longest, limit)
    sides = []
    for b in range(2):
        at = _settle(operator, judge, ends[b], longest, rested[b])
        way = np.array(distance[b])
        status = "settled" if at.label == "true" else "on its way"
        sides.append(Side(way, np.array(losses[b]), at, _well(surface, at.point, longest), status))
    settings = {
        "push": push,
        "stride": longest,
        "limit": limit,
        "direction": "given" if direction is not None else "most negative",
    }
    status = "begun at a true critical point" if saddle.label == "true" else f"begun at a point that is {saddle.label}"
    return SaddleDescent(
        saddle,
        curvature,
        (sides[0], sides[1]),
        operator.spent(),
        operator.provenance(**settings),
        operator.remark(status),
    )


def _way(surface: Surface, operator: Hessian, direction: PointLike | None) -> tuple[float, Tensor]:
    if direction is not None:
        way = operator.direction(direction, "a direction")
        return math.nan, way / way.norm()
    found = _below(operator, 1, None, 0)
    if not len(found.values):
        raise InputError(
            f"{surface.name} curves down nowhere at the point given; expected a saddle or a maximum. Find one with "
            "critical_points, or give a direction."
        )
    return float(found.values[0]), torch.from_numpy(found.vectors[0]).to(operator.point.device, torch.float64)


def _walk(
    probe: Probe, theta: Tensor, height: float, push: Tensor, longest: float, limit: int
) -> tuple[list[list[float]], list[list[float]], Tensor, list[bool]]:
    """Normalized descent of both sides at once; rows do not meet."""
    here = torch.stack([theta + push, theta - push])
    answer = probe.evaluate(Gradients(here))
    values, gradients = answer.values, answer.gradients.double()
    distance = [[0.0, float(push.norm())] for _ in range(2)]
    losses = [[height, float(value)] for value in values]
    length = torch.full((2,), longest, dtype=torch.float64, device=here.device)
    for _ in range(limit - 1):
        norm = gradients.norm(dim=1)
        moving = (norm > 0) & (length > 1e-9 * longest)
        if not bool(moving.any()):
            break
        trial = here - (length / norm.clamp_min(1e-300))[:, None] * gradients
        answer = probe.evaluate(Gradients(trial, active=moving))
        better = moving & (answer.values < values)
        for b in range(2):
            if bool(better[b]):
                distance[b].append(distance[b][-1] + float(length[b]))
                losses[b].append(float(answer.values[b]))
        here = torch.where(better[:, None], trial, here)
        values = torch.where(better, answer.values, values)
        gradients = torch.where(better[:, None], answer.gradients.double(), gradients)
        length = torch.where(better, (1.5 * length).clamp_max(longest), 0.5 * length)
    return distance, losses, here, [not bool(m) for m in (gradients.norm(dim=1) > 0) & (length > 1e-9 * longest)]


def _settle(operator: Hessian, judge: Judge, end: Tensor, longest: float, rested: bool) -> CriticalPoint:
    """The minimum next to the end of a walk, if Newton's method finds one there; else the end itself."""
    found = judge(operator, end, 0.0)
    if not rested or found.label == "true" or operator.dimension > DENSE_SEARCH:
        return found
    evaluator = Evaluator(operator, None)
    search(evaluator, end, "newton", Rules(judge.tolerance, 20, longest, True))
    near = float((evaluator.best - end).norm()) <= longest and evaluator.value <= found.loss + 1e-12 * abs(found.loss)
    polished = judge(operator, evaluator.best, evaluator.curvature, (evaluator.value, evaluator.steepness))
    return replace(polished, status="polished by Newton's method") if near and polished.label == "true" else found


def _well(surface: Surface, point: Tensor, near: float) -> str | None:
    return next(
        (w.name for w in surface.wells if float((w.minimum.double().to(point.device) - point).norm()) <= near), None
    )


def _side(surface: Surface) -> float | None:
    return None if surface.box is None else float((surface.box[:, 1] - surface.box[:, 0]).min())


def _length(name: str, given: float | None, default: float) -> float:
    return default if given is None else _checks.number(name, given, above=0, do="None takes the default.")
