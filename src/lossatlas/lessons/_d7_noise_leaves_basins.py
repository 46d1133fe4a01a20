"""D7: mini-batch noise helps to leave a basin: full batches against mini-batches from the same minima of a network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lossatlas._layout import Sample
from lossatlas.lessons import _network_basins as basins
from lossatlas.lessons._lesson import Check, Ending, Lesson, Row, spent
from lossatlas.lessons._network_basins import LEFT, RATE, dead, ground, heights, initial, settled, trained
from lossatlas.lessons._statistics import interval, mean
from lossatlas.optimize import GradientNoise, Optimizer, optimizer
from lossatlas.probe import Gradients, Meter, Probe
from lossatlas.race import wilson
from lossatlas.surface import NetworkSurface

CLAIM = (
    "The noise of mini-batches helps to leave a basin: from a minimum that full-batch descent has come to rest in, mini-batch "
    "descent at the same rate gets out, and lower, where full batches stay."
)
# Fixed before the first run: a network too narrow to fit its data, and one that fits them. Mini-batches of BATCH, as many of
# them as cost FULL full batches.
NETWORKS = {"narrow": 3, "wide": 16}
FULL, BATCH = 150, 10
QUICK_NETWORKS, QUICK_FULL, QUICK_SETTLING = {"narrow": 3}, 40, 400
DRAWS = 32
ARMS = {
    "full batch": "full batch, same cost",
    "more": "full batch, as many updates",
    "mini-batch": "mini-batch, same cost",
    "isotropic": "isotropic noise of that size",
}


@dataclass(frozen=True)
class Outcome:
    """What came of one arm on one network.

    Attributes:
        barriers: (runs,) between the bottoms of start and end.
        loss: (runs,) at the bottom that the end leads to.
        before: (runs,) at the bottom of the start.
        distance: (runs,) between the two.
        dead: (runs,) hidden units that answer to no example, at the bottom that the end leads to.
    """

    barriers: list[float]
    loss: list[float]
    before: list[float]
    distance: list[float]
    dead: list[int]

    @property
    def out(self) -> int:
        """How many runs left their basin."""
        return sum(height > LEFT for height in self.barriers)

    @property
    def share(self) -> tuple[float, float, float]:
        """The same as a share with its interval."""
        return (self.out / len(self.barriers), *wilson(self.out, len(self.barriers)))

    @property
    def sentence(self) -> str:
        """In words."""
        share, low, high = self.share
        return f"{share:.0%} of {len(self.barriers)} runs ({low:.0%} to {high:.0%})"


def experiment(runs: int, seed: int, networks: dict[str, int] | None = None, quick: bool = False) -> Iterator[Row]:
    """Descend to minima; go on from each in four ways; descend again; look for a barrier on the way back.

    Args:
        runs: initializations per network.
        seed: of the first.
        networks: names to widths of the hidden layer.
        quick: whether to take a narrow network alone, and shorter descents.
    """
    networks = networks or (QUICK_NETWORKS if quick else NETWORKS)
    full, settling = (QUICK_FULL, QUICK_SETTLING) if quick else (FULL, basins.SETTLING)
    updates = full * basins.EXAMPLES // BATCH
    yield (
        f"Digits MLPs 64-h-10 with h = {', '.join(f'{w} ({n})' for n, w in networks.items())} descend on {basins.EXAMPLES} digits to a "
        f"minimum, {runs} times. From there they go on at the same rate of {RATE}: {full} full batches; {updates:,} mini-batches of "
        f"{BATCH}, which read as many examples; or {updates:,} full batches. Then all descend {settling:,} full-batch steps to the "
        f"bottom. A run has left its basin if the straight line between the bottoms rises by more than {LEFT:.3f} = ln(10)/100."
    )
    meters: list[Meter] = []
    data: dict[str, Any] = {}
    said, noted = {}, []
    for name, width in networks.items():
        found, noise = _on(ground(width, seed), width, runs, seed, meters, full, settling)
        said[name] = found
        yield from _checks(name, found)
        start, control = found["mini-batch"].before, found["isotropic"]
        noted.append(
            f"On the {name} network, isotropic Gaussian noise of the size of the mini-batches' (σ = {noise:.2g} per coordinate) left in "
            f"{control.sentence}, to bottoms that lie lower by {_lower(control)}; the starts' own losses are {interval(start)}; of "
            f"{runs * width} hidden units, "
            + ", ".join(
                f"{sum(found[arm].dead)} after {ARMS[arm]}" for arm in ("full batch", "mini-batch", "isotropic")
            )
            + " answer to no example."
        )
        data[name] = {arm: vars(outcome) | {"out": outcome.out} for arm, outcome in found.items()} | {"noise": noise}
    yield Ending(
        spent(*meters),
        caveats=(
            *noted,
            "A barrier on the straight line is not one on every path (D4): left means that descent leads elsewhere, not that no low "
            "path leads back.",
            "Where nothing left its basin, lower is further down the same one, where more updates lead without noise too.",
            "This is one rate and one size of mini-batches: with others more or fewer may leave.",
        ),
        data=data,
        pictures={"left": _picture(said, runs)},
    )


def _on(
    surface: NetworkSurface, width: int, runs: int, seed: int, meters: list[Meter], full: int, settling: int
) -> tuple[dict[str, Outcome], float]:
    """All arms on one network; the size of the noise."""
    updates = full * basins.EXAMPLES // BATCH
    begin = settled(surface, initial(surface, width, range(seed, seed + runs)), settling)
    size, meter = _noise(surface, begin.final, seed)
    gd = optimizer("gd", lr=RATE)
    arms: dict[str, tuple[Optimizer, int, int | None]] = {
        "full batch": (gd, full, None),
        "more": (gd, updates, None),
        "mini-batch": (gd, updates, BATCH),
        "isotropic": (GradientNoise(gd, scale=size, fading=0.0), updates, None),
    }
    walked = {
        name: trained(surface, begin.final, rule, steps=steps, batch_size=batch, seed=seed)
        for name, (rule, steps, batch) in arms.items()
    }
    ends = torch.cat([begin.final, *(runner.final for runner in walked.values())])
    bottoms = settled(surface, ends, settling)
    home, *others = torch.split(bottoms.final, runs)
    before, *losses = torch.split(torch.from_numpy(bottoms.loss[:, -1]), runs)
    found = {}
    meters += [begin.meter, bottoms.meter, meter, *(runner.meter for runner in walked.values())]
    for name, points, loss in zip(arms, others, losses, strict=True):
        barriers, cost = heights(surface, home, points)
        meters.append(cost)
        away = (points - home).norm(dim=1)
        found[name] = Outcome(barriers.tolist(), loss.tolist(), before.tolist(), away.tolist(), dead(points, width))
    return found, size


def _noise(surface: NetworkSurface, points: Tensor, seed: int) -> tuple[float, Meter]:
    """Root mean square, per coordinate, of a mini-batch's gradient about the full one, over points (runs, N)."""
    probe = Probe(surface)
    whole = probe.evaluate(Gradients(points)).gradients
    rows = points.repeat_interleave(DRAWS, 0)
    seeds = torch.arange(len(rows)) + 10**6 * (1 + seed)
    drawn = probe.evaluate(Gradients(rows, Sample(BATCH, seeds))).gradients
    return float((drawn - whole.repeat_interleave(DRAWS, 0)).square().mean().sqrt()), probe.meter


def _checks(name: str, found: dict[str, Outcome]) -> list[Check]:
    mini, full, more = found["mini-batch"], found["full batch"], found["more"]
    gained = [a - b for a, b in zip(full.loss, mini.loss, strict=True)]
    later = [a - b for a, b in zip(more.loss, mini.loss, strict=True)]
    return [
        Check(
            f"mini-batches leave basins of the {name} network more often than full batches of the same cost (95 % intervals apart)",
            f"in {mini.sentence}, and full batches in {full.sentence}",
            mini.share[1] > full.share[2],
        ),
        Check(
            f"and more often than as many full-batch steps, at {basins.EXAMPLES // BATCH} times the cost (95 % intervals apart)",
            f"in {mini.sentence}, and full batches in {more.sentence}",
            mini.share[1] > more.share[2],
        ),
        Check(
            "the bottoms that they lead to are lower than those of full batches (mean difference of the losses, interval above 0)",
            f"lower by {interval(gained, '+.2g')}, of {interval(full.loss, '.2g')}, and in "
            f"{sum(g > 0 for g in gained)} of {len(gained)} runs; than those of as many full-batch steps by {interval(later, '+.2g')}",
            mean(gained)[1] > 0,
        ),
    ]


def _lower(outcome: Outcome) -> str:
    return interval([a - b for a, b in zip(outcome.before, outcome.loss, strict=True)], "+.3g")


def _picture(said: dict[str, dict[str, Outcome]], runs: int) -> Any:
    from lossatlas.draw import BarsDisplay

    labels, shares = [], []
    for name, found in said.items():
        for arm, outcome in found.items():
            labels.append(f"{name}: {ARMS[arm]}")
            shares.append(outcome.share)
    middle, low, high = np.array(shares).T
    return BarsDisplay(
        labels,
        middle,
        low,
        high,
        xlabel="share of runs that left their basin, 95 % intervals",
        title="From minima of digits networks, at one rate",
        note=f"{runs} runs each; left: a barrier above {LEFT:.3f} on the straight line between the bottoms of start and end",
    )


LESSON = Lesson(
    "D7",
    CLAIM,
    experiment,
    runs=16,
    quick=6,
    depends="the learning rate, the size of the mini-batches and the width: wide networks have few basins to leave.",
)
