"""The kind of end of each run: what the record says of the last steps, and a referee's look at the last point."""

from __future__ import annotations

from math import inf

import torch
from torch import Tensor

from lossatlas.optimize import Optimizer, Wrapper
from lossatlas.probe import Probe
from lossatlas.race._descent import LARGEST, hessians
from lossatlas.race._track import Track
from lossatlas.surface import Surface

KINDS = {
    "minimum": "at rest in a minimum",
    "saddle": "at rest at a saddle: the ground falls in some direction",
    "plateau": "on a plateau: the gradient is too small to lead anywhere",
    "boundary": "at the edge of the box, the ground falling outward",
    "step-size cycle": "cycling at the length of a step",
    "decay offset": "held off the minimum, toward the origin, by weight decay",
    "on its way": "not yet settled",
    "off the grid": "where no step of that length improves",
    "one look": "at the one point it evaluated",
    "no look": "where it began: it never evaluated anything",
    "divergence": "beyond finite numbers",
    "not run": "nowhere: it did not run",
    "unknown": "at a point whose gradient is not known",
}
WINDOW = 40
# Ranges of losses whose curvatures need no other unit.
ORDINARY = (1e-9, 1e9)
SMALL_STEP, SMALL_DISTANCE, CREEP = 1e-3, 1e-2, 0.05


def kinds(surface: Surface, referee: Probe, track: Track, gradients: Tensor) -> tuple[str, ...]:
    """How each run of a racer ended.

    At rest means that the mean step of the last `WINDOW` answers is below 1e-3 of the path's mean step. A cycle is
    motion that goes on (steps do not shrink) and leads nowhere (net displacement below a tenth of the path), both over
    the last quarter. A minimum has a positive Hessian and lies, by Newton's step, within 1 % of the
    landscape's length; a decay offset stands toward the origin from there and only creeps (steps below 5 %
    of the mean); a plateau has a gradient that over that whole length would change the loss by less than 1 % of
    the range of the record. Where a method that wanders stood at the end is not looked at: its result is the best point
    it evaluated.

    Args:
        surface: what was walked on.
        referee: its probe, counted for nobody else.
        track: the racer's record.
        gradients: (runs, N) gradients at its results.
    """
    final, path = track.final, None if track.optimizer.wanders else track.positions
    runs, n = final.shape
    sides = _sides(surface, final)
    length = float(sides.min())
    # Coordinates whose sides are all as long as the shortest, and losses in units of the record's range where that is extreme.
    stretch, level = sides / length, _levels(track.losses).to(final)
    outward = _outward(surface, final, gradients)
    gradients = gradients.double() * stretch / level[:, None]
    if n <= LARGEST:
        newton, lowest = _newton(referee, final, gradients, sides, level)
        distances, least = newton.norm(dim=1).tolist(), lowest.tolist()
    else:
        newton, distances, least = None, [None] * runs, [None] * runs
    still = torch.zeros(runs, dtype=torch.bool)
    cycle, rest = _motion(path) if path is not None else (still, still)
    sound, size = torch.isfinite(gradients).all(1).tolist(), gradients.norm(dim=1).tolist()
    edge, cycles, rests = outward.tolist(), cycle.tolist(), rest.tolist()
    queries = track.meter.per_run.tolist()
    decay = _weight_decay(track.optimizer)
    found = []
    for b, why in enumerate(track.stopped):
        if why in ("diverged", "not applicable") or not sound[b]:
            found.append("not run" if why == "not applicable" else "divergence")
        elif edge[b]:
            found.append("boundary")
        else:
            kind = _kind(cycles[b], rests[b], size[b], distances[b], least[b], length)
            held = kind in ("on its way", "minimum") and decay > 0 and path is not None and newton is not None
            if held and _held_off(path[b], final[b] + newton[b] * stretch, 1e-9 * length):  # type: ignore[index]
                kind = "decay offset"
            if not queries[b]:
                kind = "no look"
            elif kind == "on its way" and why == "finished":
                kind = "one look" if track.positions.shape[1] <= 2 else "off the grid"
            found.append(kind)
    return tuple(found)


def _kind(cycle: bool, rest: bool, size: float, distance: float | None, least: float | None, length: float) -> str:
    flat = least is not None and abs(least) * length**2 < 1e-2 and size * length < 1e-2
    if cycle:
        return "step-size cycle"
    if flat and not rest:
        return "plateau"
    if least is not None and least < 0 and size * length < 1e-3:
        return "saddle"
    if least is not None and least > 0 and distance is not None and distance < SMALL_DISTANCE * length:
        return "minimum"
    if least is None and size * length < 1e-6:
        return "minimum"
    return "on its way"


def _weight_decay(optimizer: Optimizer) -> float:
    """λ of the rule, or of the one that it wraps."""
    while isinstance(optimizer, Wrapper):
        optimizer = optimizer.inner
    return float(getattr(optimizer, "weight_decay", 0.0))


def _held_off(path: Tensor, target: Tensor, least: float) -> bool:
    """Whether a path only creeps by now, and stands toward the origin from the minimum.

    Without noise in the gradient the offset of decoupled decay fades, but only as slowly as the mean square forgets.
    """
    steps = path.diff(dim=0).double().norm(dim=1)
    creeping = bool(steps[-min(WINDOW, len(steps)) :].mean() < CREEP * steps.mean())
    offset = path[-1] - target
    pull = torch.nn.functional.cosine_similarity(offset, -target, dim=0)
    return creeping and bool(offset.norm() > least) and float(pull) > 0.9


def _sides(surface: Surface, final: Tensor) -> Tensor:
    """A length of the ground along each coordinate, (N,): a tenth of the box, or one."""
    if surface.box is None:
        return torch.ones(final.shape[1], dtype=torch.float64, device=final.device)
    return (surface.box[:, 1] - surface.box[:, 0]).double().to(final.device) / 10


def _levels(losses: Tensor) -> Tensor:
    """What losses of each run are measured in, (runs,): 1 where their range is within `ORDINARY`, else their range."""
    low = torch.where(losses.isfinite(), losses, inf).amin(1)
    high = torch.where(losses.isfinite(), losses, -inf).amax(1)
    # The half of each, since the difference may be too large for a number.
    half = torch.nan_to_num(high / 2 - low / 2, nan=0.0, posinf=0.0, neginf=0.0).clamp_min(0.0)
    least, most = ORDINARY
    return torch.where((half > 0) & ((half < least / 2) | (half > most / 2)), half, 0.5) * 2


def _newton(referee: Probe, final: Tensor, gradients: Tensor, sides: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
    """Newton's step −H⁻¹g and the smallest eigenvalue of H at each final point, H by central differences.

    In coordinates and losses measured as the gradients are.
    """
    stretch = sides / sides.min()
    hessian = hessians(referee, final, sides) / level[:, None, None] * stretch * stretch[:, None]
    values, vectors = torch.linalg.eigh(torch.where(hessian.isfinite(), hessian, 0.0))
    safe = torch.where(values.abs() > 1e-300, values, 1e-300)
    along = (vectors.transpose(1, 2) @ gradients.double()[..., None])[..., 0]
    step = -(vectors @ (along / safe)[..., None])[..., 0]
    return torch.nan_to_num(step, nan=0.0, posinf=1e300, neginf=-1e300), values[:, 0]


def _outward(surface: Surface, final: Tensor, gradients: Tensor) -> Tensor:
    if surface.box is None:
        return torch.zeros(len(final), dtype=torch.bool)
    low, high = surface.box[:, 0].to(final), surface.box[:, 1].to(final)
    near = 1e-9 * (high - low)
    beyond = ((final <= low + near) & (gradients > 0)) | ((final >= high - near) & (gradients < 0))
    return beyond.any(1).cpu()


def _motion(path: Tensor) -> tuple[Tensor, Tensor]:
    """Whether each run goes round in the last quarter of its path, and whether it has come to rest."""
    steps = (path[:, 1:] - path[:, :-1]).double().norm(dim=2)
    total = steps.shape[1]
    window = min(WINDOW, total // 2)
    if window < 4:
        still = torch.zeros(len(path), dtype=torch.bool)
        return still, still
    rest = steps[:, -window:].mean(1) < SMALL_STEP * steps.nanmean(1)
    around = max(window, total // 4)
    last = steps[:, -around:]
    half = around // 2
    net = (path[:, -1] - path[:, -1 - around]).double().norm(dim=1)
    goes_on = last[:, half:].mean(1) > 0.7 * last[:, :half].mean(1)
    cycle = goes_on & (net < 0.1 * last.sum(1)) & ~rest
    return cycle.cpu(), rest.cpu()
