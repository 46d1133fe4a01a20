"""What would have got a racer out: the smallest fix of each kind that does, found by running it, and its price."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from lossatlas import _checks, archive
from lossatlas._errors import InputError
from lossatlas._progress import Progress, Show
from lossatlas.draw import Table
from lossatlas.optimize import Annealing, FiniteDifferences, GradientNoise, Momentum, Optimizer, Restart
from lossatlas.probe import Gradients, Meter
from lossatlas.race._driver import race
from lossatlas.race._inputs import check, one_of
from lossatlas.race._race import Race
from lossatlas.race._settings import changed, numbers_of
from lossatlas.race._statistics import wilson
from lossatlas.race._verdict import named

# Ladders from the smallest change to the largest, the same on every surface.
MOMENTA = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99)
TEMPERATURES = (0.1, 0.3, 1.0, 3.0, 10.0)
RESTARTS = (2, 3, 5, 9, 17)
NOISES = (0.3, 1.0, 3.0, 10.0, 30.0)
LARGER = (2.0, 4.0, 8.0, 16.0, 32.0)
HALF = 0.5

Ladder = list[tuple[float, Optimizer]]


@dataclass(frozen=True)
class Fix(archive.Result):
    """One kind of fix.

    Attributes:
        kind: ``momentum``, ``temperature``, ``restarts``, ``gradient noise``, or ``larger lr`` (``larger step``).
        setting: the smallest that gets out in at least half of the runs, or None if none of the ladder does.
        tried: (setting, share of runs that got out) from the smallest on.
        share: of runs that got out at that setting, with its 95 % interval; of the best one where none suffices.
        interval: of that share.
        price: queries per success at that setting (expected running time); infinity without one.
        runs: seeds behind the share; 1 where the method is deterministic.
        optimizer: what gets out, or None.
    """

    kind: str
    setting: float | None
    tried: tuple[tuple[float, float], ...]
    share: float
    interval: tuple[float, float]
    price: float
    runs: int
    optimizer: Optimizer | None

    @property
    def odds(self) -> str:
        """The share in words, with its interval."""
        if self.runs == 1:
            return "always (deterministic)" if self.share else "never (deterministic)"
        return f"{self.share:.0%} of {self.runs} runs, 95 % interval {self.interval[0]:.0%} to {self.interval[1]:.0%}"


@dataclass(frozen=True, eq=False)
class Counterfactual(archive.Result):
    """What a racer knew when it stopped, and what would have got it out.

    Attributes:
        racer: its label.
        well: where most of its runs ended, or None.
        knew: what it had evaluated, in words.
        fixes: one per kind, the cheapest first.
        target: the loss that counts as out.
        meter: what all of this cost.
        runs: seeds per setting.
    """

    KIND: ClassVar[str] = "counterfactual"

    racer: str
    well: str | None
    knew: str
    fixes: tuple[Fix, ...]
    target: float
    meter: Meter
    runs: int

    @property
    def sentence(self) -> str:
        """In words, from the record."""
        where = f"in the basin of {named(self.well)}" if self.well else "in no known well"
        text = f"{self.racer} ended {where}, knowing {self.knew}."
        sound = [fix for fix in self.fixes if fix.setting is not None]
        if not sound:
            return text + " No fix that was tried gets out in half of the runs."
        best = sound[0]
        text += (
            f" The cheapest fix that gets out: {best.kind} {best.setting:g}, for {best.price:,.0f} queries per success"
        )
        text += f" ({best.odds})."
        failed = [fix.kind for fix in self.fixes if fix.setting is None]
        if failed:
            text += f" Not enough, up to the largest tried: {', '.join(failed)}."
        return text

    def table(self) -> Table:
        """One row per kind of fix."""
        rows = []
        for fix in self.fixes:
            setting = f"{fix.setting:g}" if fix.setting is not None else f"none up to {fix.tried[-1][0]:g}"
            price = f"{fix.price:,.0f}" if math.isfinite(fix.price) else "–"
            rows.append([fix.kind, setting, fix.odds, price])
        return Table(
            f"What would have got {self.racer} out (below a loss of {self.target:.4g})",
            ["fix", "smallest that does", "gets out", "queries per success"],
            rows,
        )


def counterfactual(given: Race, racer: str, *, runs: int = 40, seed: int = 0, progress: Show = True) -> Counterfactual:
    """Run the fixes that a stuck racer did not have, each from the same start, from its smallest setting upward.

    Out means a loss below all other wells' minima: nothing but the deepest well has such points. The fixes are

    * momentum: more of the racer's own, else the heavy ball in its place, for racers that query gradients;
    * temperature: annealing in its place, a hotter one for annealing itself;
    * restarts: the racer again from random places, where there is a box;
    * gradient noise: added to the gradients that the racer queries;
    * a larger learning rate, or step, where it has one.

    The ladders of settings are the same everywhere; the first setting of a ladder that gets out in at least half of the
    runs is its answer.

    Args:
        given: a race on a surface with known wells.
        racer: its label.
        runs: seeds per setting, where the method is random.
        seed: random seed.
        progress: True for a bar on the error stream of a terminal, False for silence, or a function of (kinds of fixes
            done, kinds in all).

    Raises:
        UnknownNameError: if there is no such racer.
        InputError: if the wells are not known.
    """
    if not isinstance(given, Race):
        raise InputError(f"counterfactual got {_checks.shown(given)}; expected a race, as lossatlas.race returns it.")
    runs, seed = check("counterfactual", given.surface, seed, runs=runs)
    one_of("racer in this race", racer, given.tracks)
    track, values = given.tracks[racer], sorted(well.value for well in given.surface.wells)
    if not values:
        raise InputError(
            f"got {given.surface.name}, whose wells are not known; expected a surface with known wells, as without them "
            "nobody can say what is stuck and what is out."
        )
    target = values[1] - 1e-9 * abs(values[1]) if len(values) > 1 else values[0] + 1e-6 * (1 + abs(values[0]))
    meters: list[Meter] = []
    ladders = {kind: one for kind, one in _ladders(track.optimizer, given.surface.box is not None).items() if one}
    fixes = []
    with Progress(len(ladders), progress, "trying fixes") as bar:
        for kind, ladder in ladders.items():
            fixes.append(_climb(given, kind, ladder, track.start[0], target, runs, seed, meters))
            bar.advance(1)
    fixes.sort(key=lambda fix: (fix.setting is None, fix.price))
    knew = f"{track.meter.queries // len(track.final):,} answers"
    well = Counter(given.verdicts[racer].wells).most_common(1)[0][0]
    return Counterfactual(racer, well, knew, tuple(fixes), target, sum(meters, Meter()), runs)


def _ladders(one: Optimizer, box: bool) -> dict[str, Ladder]:
    """The fixes that this racer lacks, each from its smallest setting upward."""
    own = numbers_of(one)
    ladders: dict[str, Ladder] = {}
    if Gradients in one.queries:
        keeps = next((name for name in ("momentum", "betas[0]") if name in own), None)
        if keeps is not None:
            ladders["momentum"] = [(m, changed(one, {keeps: m})) for m in MOMENTA if m > own[keeps]]
        elif "lr" in own:
            ladders["momentum"] = [(m, Momentum(lr=own["lr"], momentum=m)) for m in MOMENTA]
        ladders["gradient noise"] = [(s, GradientNoise(one, scale=s)) for s in NOISES]
    if isinstance(one, Annealing):
        ladders["temperature"] = [(t, replace(one, temperature=t)) for t in TEMPERATURES if t > one.temperature]
    else:
        ladders["temperature"] = [(t, Annealing(temperature=t)) for t in TEMPERATURES]
    if box and isinstance(one, Restart):
        inner = replace(one, length=None)
        ladders["restarts"] = [(float(k), replace(inner, restarts=k)) for k in RESTARTS if k > one.restarts]
    elif box:
        ladders["restarts"] = [(float(k), Restart(one, restarts=k)) for k in RESTARTS]
    for name in ("lr", "step"):
        if name in own and not isinstance(one, FiniteDifferences):
            ladders[f"larger {name}"] = [(f, changed(one, {name: f * own[name]})) for f in LARGER]
    return ladders


def _climb(
    given: Race,
    kind: str,
    ladder: Ladder,
    start: torch.Tensor,
    target: float,
    runs: int,
    seed: int,
    meters: list[Meter],
) -> Fix:
    tried: list[tuple[float, float]] = []
    best = (-1.0, (0.0, 1.0), 1)
    for setting, optimizer in ladder:
        # Two runs tell whether the method is random: where it is not, one speaks for all.
        result = race(
            given.surface,
            {kind: optimizer},
            start=start,
            steps=given.steps,
            runs=min(2, runs),
            seed=seed,
            progress=False,
        )
        meters.append(result.meter[kind])
        if result.runs < runs and not result.tracks[kind].alike:
            result = race(
                given.surface, {kind: optimizer}, start=start, steps=given.steps, runs=runs, seed=seed, progress=False
            )
            meters.append(result.meter[kind])
        many = 1 if result.tracks[kind].alike else result.runs
        out = int((result.tracks[kind].loss <= target)[:many].sum())
        share = out / many
        tried.append((setting, share))
        if share > best[0]:
            best = (share, wilson(out, many), many)
        if share >= HALF:
            return Fix(
                kind,
                setting,
                tuple(tried),
                share,
                best[1],
                result.ert(kind, target),
                many,
                result.tracks[kind].optimizer,
            )
    return Fix(kind, None, tuple(tried), best[0], best[1], math.inf, best[2], None)
