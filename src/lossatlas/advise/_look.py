"""The small counted probe of a surface in a box: a design, repeats, and differences; every point of it can be used again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil, inf, isfinite, nan, sqrt

import numpy as np
import torch
from scipy.stats import chi2, qmc
from torch import Tensor

from lossatlas import _statistics
from lossatlas.advise import _thresholds as at
from lossatlas.advise._fact import Fact
from lossatlas.advise._purse import Purse
from lossatlas.advise._shape import hessian, shape
from lossatlas.advise._walker import Walker
from lossatlas.probe import Exchange, Gradients, Values
from lossatlas.surface import Surface

# Parts of a design that are evaluated and timed one by one.
PARTS = 4
# Repeats of a value once two of them differ.
REPEATS = 5
DIRECTIONS = 2


@dataclass(eq=False)
class Look:
    """What a probe found.

    Attributes:
        points: (n, N) of the design.
        values: (n,) there.
        facts: by name, in the order in which they were found.
        cost: values, or their worth.
        curvature: largest second derivative of the fitted quadratic, in size; NaN where none was fitted.
    """

    points: Tensor
    values: Tensor
    facts: dict[str, Fact] = field(default_factory=dict)
    cost: float = 0.0
    curvature: float = nan

    def ranked(self) -> Tensor:
        """The points of the design, best first."""
        return self.points[torch.where(self.values.isnan(), inf, self.values).argsort(stable=True)]


def allowed(surface: Surface, budget: float) -> int:
    """How many values a probe may take: a share of the budget, and no less than the smallest probe needs."""
    share = int(min(at.PROBE_SHARE * budget, at.PROBE_VALUES * surface.dimension))
    return max(share, smallest(surface))


def smallest(surface: Surface) -> int:
    """Values that a probe of N + 2 points, repeats and differences takes."""
    return surface.dimension + 2 + extra(surface.gradients_known)


def least(surface: Surface) -> int:
    """The smallest budget that leaves room for a probe."""
    return ceil(smallest(surface) / at.PROBE_MOST)


def extra(gradients: bool) -> int:
    """What repeats, differences and the proof of a gradient take besides the design."""
    return 1 + 2 * DIRECTIONS + (int(Exchange().gradient) if gradients else 0)


def look(surface: Surface, purse: Purse, seed: int, population: Walker | None) -> Look:
    """Probe a surface: at most `allowed` values.

    Args:
        surface: in a box.
        purse: pays.
        seed: of design and directions.
        population: an optimizer whose first generation is the design where it fits, so that it need not pay for it again.
    """
    n, begun = surface.dimension, purse.spent
    assert surface.box is not None
    box = surface.box.double()
    low, width = box[:, 0], box[:, 1] - box[:, 0]
    room = allowed(surface, purse.budget) - extra(surface.gradients_known)
    generator = np.random.default_rng((seed, 1))
    seconds: list[float] = []

    def timed(points: Tensor) -> Tensor:
        before = purse.probe.meter.surface_seconds
        values = purse.pay(Values(points[None].to(surface.device, surface.dtype))).values[0]
        seconds.append((purse.probe.meter.surface_seconds - before) / len(points))
        return values

    if population is not None and population.query is not None and purse.price(population.query) <= room:
        before = purse.probe.meter.surface_seconds
        points, values = population.first(purse)
        seconds.append((purse.probe.meter.surface_seconds - before) / len(points))
    else:
        cube = qmc.Sobol(n, rng=generator).random(1 << max(0, room - 1).bit_length())[:room]
        points = (low + width * torch.from_numpy(cube)).to(surface.device, surface.dtype)
        values = torch.cat([timed(part) for part in points.chunk(PARTS)])
    found = Look(points, values)
    known = torch.isfinite(values)
    cube = ((points.double().cpu() - low) / width).numpy()

    def say(fact: Fact) -> None:
        found.facts[fact.name] = fact

    say(Fact("dimension", "parameters", n, n, n))
    say(Fact("budget", "budget for each dimension, in values", *[purse.budget / n] * 3))
    if bool(known.any()):
        inside, heights = cube[known.cpu().numpy()], values[known].cpu().numpy()
        for fact in shape(inside, heights, seed):
            say(fact)
        fitted = hessian(inside, heights)
        if fitted is not None:
            found.curvature = float(np.abs(np.linalg.eigvalsh(fitted / np.outer(width, width))).max())
        _at_best(surface, purse, found, width, generator, timed, say)
    low_end, high_end = _statistics.mean_interval(seconds)
    say(Fact("price", "seconds that an evaluation takes", float(np.median(seconds)), max(0.0, low_end), high_end))
    found.cost = purse.spent - begun
    return found


def _at_best(
    surface: Surface,
    purse: Purse,
    found: Look,
    width: Tensor,
    generator: np.random.Generator,
    timed: Callable[[Tensor], Tensor],
    say: Callable[[Fact], None],
) -> None:
    """Noise, roughness and the proof of the gradient, at the best point of the design."""
    finite = found.values[torch.isfinite(found.values)].double()
    best, here = found.ranked()[0], float(found.values[torch.where(found.values.isnan(), inf, found.values).argmin()])
    spread = float(finite.quantile(0.75) - finite.quantile(0.25)) or float(finite.max() - finite.min())
    repeats = [here, float(timed(best[None])[0])]
    if repeats[0] != repeats[1]:
        while len(repeats) < REPEATS and purse.left >= 1:
            repeats.append(float(timed(best[None])[0]))
    say(_noise(repeats, spread))
    u = generator.standard_normal((DIRECTIONS, len(width)))
    steps = at.STEP * width * torch.from_numpy(u / np.linalg.norm(u, axis=1, keepdims=True))
    steps = steps.to(best)
    assert surface.box is not None
    around = timed(within(torch.cat([best + steps, best - steps]), surface.box)).double().cpu().numpy().reshape(2, -1)
    first, second = np.abs(around[0] - around[1]) / 2, np.abs(around[0] - 2 * here + around[1])
    ratio = np.where(first > 0, second / np.where(first > 0, first, 1.0), np.where(second > 0, inf, nan))
    ratio = ratio[~np.isnan(ratio)]
    what = f"second over first difference at steps of {at.STEP:g} of the box (0 where smooth)"
    rough = (
        Fact("rough", what, nan)
        if not len(ratio)
        else Fact("rough", what, float(np.median(ratio)), ratio.min(), ratio.max())
    )
    say(rough)
    if surface.gradients_known:
        answer = purse.pay(Gradients(best[None]))
        told = (answer.gradients[0].double() @ steps.double().T).cpu().numpy()
        seen = (around[0] - around[1]) / 2
        size = max(float(np.abs(seen).max()), float(np.abs(told).max()))
        off = np.abs(told - seen) / size if size > 0 and isfinite(size) else np.zeros(1)
        what = "disagreement of the gradient with differences of values, as a share"
        say(Fact("gradient", what, float(np.median(off)), float(off.min()), float(off.max()), Exchange().gradient))
    honest = float(surface.gradients_known and found.facts["gradient"].low < at.HONEST)
    say(Fact("honest", "gradients are given and agree with differences (1 for yes)", honest, honest, honest))


def within(points: Tensor, box: Tensor) -> Tensor:
    """Points moved to the edge of the box where they lie outside."""
    return points.clamp(box[:, 0].to(points), box[:, 1].to(points))


def _noise(repeats: list[float], spread: float) -> Fact:
    """Standard deviation of repeats as a share of the spread of the design, with the interval of a variance."""
    what = "noise of a value, as a share of the spread of the losses"
    if repeats[0] == repeats[1]:
        return Fact("noise", what, 0.0, 0.0, 0.0, 1.0)
    deviation, k = float(np.std(repeats, ddof=1)), len(repeats) - 1
    ends = [deviation * sqrt(k / float(chi2.ppf(p, k))) / (spread or 1.0) for p in (0.975, 0.025)]
    return Fact("noise", what, deviation / (spread or 1.0), ends[0], ends[1], k)
