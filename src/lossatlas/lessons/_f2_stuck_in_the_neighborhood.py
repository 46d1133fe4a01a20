"""F2: an algorithm gets stuck because it sees only its neighborhood; every fix buys more of the map."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from lossatlas.lessons._lesson import Check, Ending, Lesson, Row, spent
from lossatlas.optimize import optimizer
from lossatlas.race import Race, basins, counterfactual, race
from lossatlas.surface import Surface, landscapes

CLAIM = "An algorithm gets stuck because it sees only its neighborhood; each fix buys a little more global information."
STEPS, CELLS = 300, 20


def experiment(runs: int, seed: int) -> Iterator[Row]:
    """What gradient descent saw of the map when it stopped, which fixes get it out, and what those saw."""
    yield (
        f"Gradient descent takes {STEPS} steps on the four wells and on the deep wells. Five kinds of fixes are tried, each from its "
        f"smallest setting upward until half of {runs} runs get out, and what each evaluated of the map is counted in cells of a {CELLS} × "
        f"{CELLS} grid."
    )
    from lossatlas.draw import BarsDisplay

    meters, data = [], {}
    seen_by: dict[str, Any] = {}
    for surface in (landscapes.four_wells(), landscapes.deep_wells()):
        stuck = race(surface, ["gd"], steps=STEPS, seed=seed)
        why = counterfactual(stuck, "gd", runs=runs, seed=seed)
        seen = _seen(surface, stuck, "gd")
        names, _ = basins(surface, stuck.trajectories["gd"][0])
        home = names.count("A") / len(names)
        sound = [fix for fix in why.fixes if fix.setting is not None]
        made = {
            "momentum": lambda s: optimizer("momentum", momentum=s),
            "temperature": lambda s: optimizer("annealing", temperature=s),
            "restarts": lambda s: optimizer("restart", restarts=int(s)),
            "gradient noise": lambda s: optimizer("gradient-noise", scale=s),
            "larger lr": lambda s: optimizer("gd", lr=0.05 * s),
        }
        views = {}
        for fix in sound:
            assert fix.setting is not None
            out = race(surface, {fix.kind: made[fix.kind](fix.setting)}, steps=STEPS, runs=runs, seed=seed)
            views[fix.kind] = _seen(surface, out, fix.kind)
            meters.append(out.meter[fix.kind])
        meters += [stuck.meter["gd"], why.meter]
        prices = ", ".join(f"{f.kind} of {f.setting:g} for {f.price:,.0f}" for f in sound) or "none"
        data[surface.name] = {**why.record(), "seen": seen, "seen_by_fixes": views}
        name = surface.name.replace("-", " ")
        seen_by |= {f"{name}: {kind}": share for kind, share in {"gradient descent": seen, **views}.items()}
        yield Check(
            f"on the {name} gradient descent ends in A, and has evaluated nothing outside of its basin",
            f"it ends in {stuck.verdicts['gd'].wells[0]}; {home:.0%} of its {STEPS} points lie in that basin, in {seen:.1%} of the map's "
            f"{CELLS**2} cells",
            stuck.verdicts["gd"].wells[0] == "A" and home == 1.0,
        )
        yield Check(
            "some fix gets it out (in half of its runs)",
            f"queries for each success are, {prices}",
            bool(sound),
        )
        yield Check(
            "every fix that gets it out has seen more of the map",
            ", ".join(f"{kind} {share:.1%}" for kind, share in views.items()) or "there is none",
            bool(views) and all(share > seen for share in views.values()),
        )
    shares = np.array(list(seen_by.values())) * 100
    picture: Any = BarsDisplay(
        list(seen_by),
        shares,
        shares,
        shares,
        xlabel="% of the map's cells in which a point was evaluated",
        title="What gradient descent saw of the map, and what the fixes that got out saw",
        note=f"Mean over {runs} runs; each fix at the smallest setting with which half of the runs get out",
    )
    yield Ending(
        spent(*meters),
        caveats=("The ladders of settings are coarse: a fix that fails may work at a setting between.",),
        data=data,
        pictures={"seen": picture},
    )


def _seen(surface: Surface, result: Race, label: str) -> float:
    """Share of the box's cells in which a run evaluated, averaged over runs."""
    assert surface.box is not None
    low, high = surface.box[:, 0], surface.box[:, 1]
    path = result.trajectories[label]
    cells = ((path - low) / (high - low) * CELLS).clamp(0, CELLS - 1).nan_to_num(0).long()
    index = cells[..., 0] * CELLS + cells[..., 1]
    return sum(len(torch.unique(row)) for row in index) / len(index) / CELLS**2


LESSON = Lesson(
    "F2",
    CLAIM,
    experiment,
    runs=40,
    quick=4,
    depends="the depth of the trap: the deeper it is, the more of the map a way out has to see.",
)
