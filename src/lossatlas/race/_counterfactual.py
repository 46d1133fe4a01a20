"""What would have got a racer out: the smallest fix of each kind that does, found by running it, and its price."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from lossatlas._errors import InputError
from lossatlas.optimize import Annealing, GradientNoise, Momentum, Optimizer, Restart
from lossatlas.probe import Meter
from lossatlas.race._driver import race
from lossatlas.race._inputs import check
from lossatlas.race._race import Race
from lossatlas.race._statistics import wilson
from lossatlas.race._table import Table

# Ladders from the smallest change to the largest, the same on every surface.
MOMENTA = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99)
TEMPERATURES = (0.1, 0.3, 1.0, 3.0, 10.0)
RESTARTS = (2, 3, 5, 9, 17)
NOISES = (0.3, 1.0, 3.0, 10.0, 30.0)
LARGER = (2.0, 4.0, 8.0, 16.0, 32.0)
HALF = 0.5


@dataclass(frozen=True)
class Fix:
    """One kind of fix.

    Attributes:
        kind: ``momentum``, ``temperature``, ``restarts``, ``gradient noise`` or ``larger rate``.
        setting: the smallest that gets out in at least half of the runs, or None if none of the ladder does.
        tried: (setting, share of runs that got out) from the smallest on.
        share: of runs that got out at that setting, with its 95 % interval; of the best one where none suffices.
        interval: of that share.
        price: queries per success at that setting (expected running time); infinity without one.
        runs: seeds behind the share; 1 where nothing is left to chance.
    """

    kind: str
    setting: float | None
    tried: tuple[tuple[float, float], ...]
    share: float
    interval: tuple[float, float]
    price: float
    runs: int

    @property
    def odds(self) -> str:
        """The share in words, with its interval."""
        if self.runs == 1:
            return "always (no chance in it)" if self.share else "never (no chance in it)"
        return f"{self.share:.0%} of {self.runs} runs, 95 % interval {self.interval[0]:.0%} to {self.interval[1]:.0%}"


@dataclass(frozen=True, eq=False)
class Counterfactual:
    """What a racer knew when it stopped, and what would have got it out.

    Attributes:
        racer: its label.
        well: where it ended.
        knew: what it had asked, in words.
        fixes: one per kind, the cheapest first.
        target: the loss that counts as out.
        meter: what all of this asked.
        runs: seeds per setting.
    """

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
        where = f"in the basin of {self.well}" if self.well else "in no known well"
        text = f"{self.racer} ended {where}, knowing {self.knew}."
        sound = [fix for fix in self.fixes if fix.setting is not None]
        if not sound:
            return text + " No fix that was tried gets out in half of the runs."
        best = sound[0]
        text += f" The cheapest fix that gets out: {best.kind} {best.setting:g}, {best.price:,.0f} queries per success"
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

    def record(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "racer": self.racer,
            "well": self.well,
            "sentence": self.sentence,
            "fixes": [
                {
                    "kind": f.kind,
                    "setting": f.setting,
                    "tried": [list(pair) for pair in f.tried],
                    "share": f.share,
                    "interval": list(f.interval),
                    "price": f.price if math.isfinite(f.price) else None,
                }
                for f in self.fixes
            ],
            "meter": self.meter.record(),
        }


def counterfactual(given: Race, racer: str, *, runs: int = 40, seed: int = 0) -> Counterfactual:
    """Run the fixes that a stuck racer did not have, each from the same start, from its smallest setting upward.

    Out means a loss below all other wells' minima: nothing but the deepest well has such points. Fixes are momentum,
    temperature (annealing in its place), restarts, gradient noise and a larger rate; the ladders of settings are the
    same everywhere. The first setting of a ladder that gets out in at least half of the runs is its answer.

    Args:
        given: a race on a surface with known wells.
        racer: the label of one that asks for gradients.
        runs: seeds per setting.
        seed: of all randomness.

    Raises:
        InputError: if the wells are not known, or the racer has no learning rate.
    """
    check("counterfactual", given.surface, seed, runs=runs)
    track = given.tracks.get(racer)
    values = sorted(well.value for well in given.surface.wells)
    if track is None or not values or not hasattr(track.optimizer, "rate"):
        raise InputError(
            f"got racer {racer!r} on {given.surface.name} with {len(values)} known wells; expected one of "
            f"{', '.join(given.tracks)} that has a learning rate, on a surface with known wells."
        )
    one: Any = track.optimizer
    rate = float(one.rate)
    target = values[1] - 1e-9 * abs(values[1]) if len(values) > 1 else values[0] + 1e-6 * (1 + abs(values[0]))
    ladders: dict[str, list[tuple[float, Optimizer]]] = {
        "momentum": [(m, Momentum(rate=rate, momentum=m)) for m in MOMENTA],
        "temperature": [(t, Annealing(temperature=t)) for t in TEMPERATURES],
        "restarts": [(float(k), Restart(one, restarts=k)) for k in RESTARTS],
        "gradient noise": [(s, GradientNoise(one, scale=s)) for s in NOISES],
        "larger rate": [(f, replace(one, rate=f * rate)) for f in LARGER],
    }
    if "momentum" in {f.name for f in fields(one)}:
        ladders["momentum"] = [(m, replace(one, momentum=m)) for m in MOMENTA if m > float(one.momentum)]
    if given.surface.box is None:
        ladders.pop("restarts")
    start = track.positions[:, 0][0]
    meter = Meter()
    fixes = [
        _climb(given, kind, ladder, start, target, runs, seed, meter) for kind, ladder in ladders.items() if ladder
    ]
    fixes.sort(key=lambda fix: (fix.setting is None, fix.price))
    spent = track.meter
    knew = f"{spent.queries // len(track.final):,} answers along one path"
    return Counterfactual(racer, given.verdicts[racer].wells[0], knew, tuple(fixes), target, meter, runs)


def _climb(
    given: Race,
    kind: str,
    ladder: list[tuple[float, Optimizer]],
    start: torch.Tensor,
    target: float,
    runs: int,
    seed: int,
    meter: Meter,
) -> Fix:
    tried: list[tuple[float, float]] = []
    best = (-1.0, (0.0, 1.0), math.inf)
    for setting, optimizer in ladder:
        # Without chance every run is the same: one tells.
        chance = kind in ("temperature", "restarts", "gradient noise")
        many = runs if chance else 1
        result = race(given.surface, {kind: optimizer}, start=start, steps=given.steps, runs=many, seed=seed)
        out = int((result.tracks[kind].loss <= target).sum())
        for name in ("calls", "values", "gradients", "products", "examples"):
            setattr(meter, name, getattr(meter, name) + getattr(result.meter[kind], name))
        share = out / many
        tried.append((setting, share))
        if share > best[0]:
            best = (share, wilson(out, many), result.ert(kind, target))
        if share >= HALF:
            return Fix(kind, setting, tuple(tried), share, wilson(out, many), result.ert(kind, target), many)
    return Fix(kind, None, tuple(tried), max(best[0], 0.0), best[1], math.inf, many)
