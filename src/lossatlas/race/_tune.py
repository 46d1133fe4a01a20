"""Blind tuning: hyper-parameters by the loss alone, the same number of counted trials for every contestant."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from lossatlas import archive
from lossatlas._errors import InputError
from lossatlas._progress import Show
from lossatlas.draw import Table
from lossatlas.optimize import Optimizer, catalog, resolve
from lossatlas.optimize import optimizer as optimizer_of
from lossatlas.probe import Meter
from lossatlas.race._driver import race
from lossatlas.race._inputs import check, check_record
from lossatlas.race._settings import changed, numbers_of
from lossatlas.surface import PointLike, Surface

# What is searched, by the name of the setting: on a logarithmic scale, or 1 − x on one (factors that keep).
LOGARITHMIC = {
    "lr": (1e-4, 1.0),
    "step": (1e-2, 2.0),
    "temperature": (1e-2, 1e2),
    "sigma": (3e-2, 1.0),
    "gamma": (1e-3, 1e2),
    "scale": (1e-2, 1e1),
    "first": (1e-3, 1.0),
}
KEPT = {
    "momentum": (1e-3, 0.5),
    "cooling": (1e-3, 0.1),
    "betas[0]": (1e-2, 0.5),
    "alpha": (1e-3, 0.2),
    "mutation": (0.2, 0.95),
}


@dataclass(frozen=True, eq=False)
class Tuning(archive.Result):
    """What blind tuning found.

    Attributes:
        best: the optimizer with the settings of the lowest score.
        trials: (settings, score) of every trial; the first has the defaults. The score is the median over runs of the
            loss of the result, infinity where most runs diverged.
        meter: what all trials cost; it belongs to the contestant's cost.
        seed: of the settings and the runs.
    """

    KIND: ClassVar[str] = "tuning"
    SAYS: ClassVar[tuple[str, ...]] = ("score",)

    best: Optimizer
    trials: tuple[tuple[dict[str, Any], float], ...]
    meter: Meter
    seed: int

    @property
    def score(self) -> float:
        """Of the best trial."""
        return min(score for _, score in self.trials)

    @property
    def sentence(self) -> str:
        """What came out of how many trials."""
        count = len(self.trials)
        return f"{self.best.title}: a median loss of {self.score:.6g}, the best of {count} trial{'s' * (count != 1)}"

    def table(self) -> Table:
        """The trials, best first."""
        searched = list(self.trials[0][0])
        rows = [
            [f"{k}", *(f"{settings[name]:.4g}" for name in searched), f"{score:.6g}"]
            for k, (settings, score) in sorted(enumerate(self.trials), key=lambda item: item[1][1])
        ]
        title = (
            f"{self.best.title}: {len(self.trials)} trials, {self.meter.queries:,} queries, scored on the loss alone"
        )
        return Table(title, ["trial", *searched, "median loss"], rows)


def tune(
    optimizer: str | Optimizer,
    surface: Surface,
    *,
    trials: int = 25,
    steps: int = 300,
    runs: int = 1,
    start: PointLike | Sequence[PointLike] | None = None,
    seed: int = 0,
    progress: Show = True,
) -> Tuning:
    """Search an optimizer's settings at random, scored by the loss of its results and nothing else.

    Known minima are never looked at. Every contestant gets the same number of trials however many settings it has, so
    that more knobs are no advantage; the first trial has the settings given. All trials race at once and are counted.

    Args:
        optimizer: a name or an optimizer.
        surface: what it is tuned on.
        trials: settings tried, the given ones included.
        steps: steps per trial and descent.
        runs: runs per trial.
        start: as in `race`.
        seed: random seed of settings and runs.
        progress: as in `race`.

    Raises:
        InputError: for no trials, or an optimizer without settings to search.

    Example:
        >>> import lossatlas as la
        >>> found = la.tune("gd", la.landscapes.regression(), trials=8, steps=50)
        >>> len(found.trials), found.meter.gradients
        (8, 400)
    """
    trials, steps, runs, seed = check("tune", surface, seed, trials=trials, steps=steps, runs=runs)
    check_record(trials * runs, steps, surface.dimension)
    given = resolve(optimizer)
    space = searched(given)
    if not space and trials > 1:
        known = ", ".join(name for name in catalog if searched(optimizer_of(name)))
        raise InputError(f"{given.name} has no setting that is searched; expected one of {known}, or trials=1.")
    generator = np.random.default_rng(seed)
    drawn = drawn_settings(given, space, LOGARITHMIC, trials, generator)
    contestants = {f"{given.name} {k}": changed(given, settings) for k, settings in enumerate(drawn)}
    result = race(surface, contestants, start=start, steps=steps, runs=runs, seed=seed, progress=progress)
    scored = []
    for settings, track in zip(drawn, result.tracks.values(), strict=True):
        losses = torch.where(track.loss.isfinite(), track.loss, float("inf"))
        losses = torch.where(torch.tensor([why == "diverged" for why in track.stopped]), float("inf"), losses)
        scored.append((settings, float(losses.quantile(0.5, interpolation="higher"))))
    best = min(range(len(scored)), key=lambda k: scored[k][1])
    return Tuning(list(contestants.values())[best], tuple(scored), sum(result.meter.values(), Meter()), seed)


def searched(optimizer: Optimizer) -> list[str]:
    """Which of an optimizer's settings blind tuning searches."""
    return [name for name in numbers_of(optimizer) if name in LOGARITHMIC or name in KEPT]


def drawn_settings(
    given: Optimizer,
    names: Sequence[str],
    logarithmic: Mapping[str, tuple[float, float]],
    trials: int,
    generator: np.random.Generator,
) -> list[dict[str, float]]:
    """The settings of every trial: the given ones, then others drawn at random.

    Args:
        given: the optimizer.
        names: what is searched.
        logarithmic: ranges that are drawn on a logarithmic scale; the others are of `KEPT`.
        trials: how many.
        generator: of random numbers.
    """

    def draw(name: str) -> float:
        low, high = logarithmic.get(name) or KEPT[name]
        value = math.exp(generator.uniform(math.log(low), math.log(high)))
        return value if name in logarithmic else 1 - value

    own = numbers_of(given)
    return [{name: float(own[name]) for name in names}] + [
        {name: draw(name) for name in names} for _ in range(trials - 1)
    ]
