"""F2: an algorithm gets stuck because it sees only its neighborhood; every fix buys more of the map."""

from __future__ import annotations

import torch

from lossatlas.lessons._lesson import Check, Lesson, Part, spent
from lossatlas.optimize import optimizer
from lossatlas.race import Race, basins, counterfactual, race
from lossatlas.surface import Surface, landscapes

CLAIM = "An algorithm gets stuck because it sees only its neighborhood; each fix buys a little more global information."
STEPS, CELLS = 300, 20


def experiment(runs: int, seed: int) -> Part:
    """What gradient descent saw of the map when it stopped, which fixes get it out, and what those saw."""
    checks, meters, data = [], [], {}
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
        prices = ", ".join(f"{f.kind} {f.setting:g} for {f.price:,.0f}" for f in sound) or "none"
        data[surface.name] = {**why.record(), "seen": seen, "seen_by_fixes": views}
        checks += [
            Check(
                f"{surface.name}: gradient descent ends in A, having evaluated nothing outside its basin",
                f"in {stuck.verdicts['gd'].wells[0]}; {home:.0%} of {STEPS} points in that basin, {seen:.1%} of {CELLS**2} cells",
                stuck.verdicts["gd"].wells[0] == "A" and home == 1.0,
            ),
            Check(
                f"{surface.name}: some fix gets it out (in half of its runs)",
                f"queries per success: {prices}",
                bool(sound),
            ),
            Check(
                f"{surface.name}: every fix that does saw more of the map",
                ", ".join(f"{kind} {share:.1%}" for kind, share in views.items()) or "–",
                bool(views) and all(share > seen for share in views.values()),
            ),
        ]
    return Part(
        f"Gradient descent at its default rate, {STEPS} steps; five kinds of fixes, each from its smallest setting upward, "
        f"{runs} seeds; cells of a {CELLS} × {CELLS} grid over the box that a point was evaluated in.",
        tuple(checks),
        spent(*meters),
        caveats=("the ladders of settings are coarse; a fix that fails may work at a setting between",),
        data=data,
    )


def _seen(surface: Surface, result: Race, label: str) -> float:
    """Share of the box's cells in which a run evaluated, averaged over runs."""
    assert surface.box is not None
    low, high = surface.box[:, 0], surface.box[:, 1]
    path = result.trajectories[label]
    cells = ((path - low) / (high - low) * CELLS).clamp(0, CELLS - 1).nan_to_num(0).long()
    index = cells[..., 0] * CELLS + cells[..., 1]
    return sum(len(torch.unique(row)) for row in index) / len(index) / CELLS**2


LESSON = Lesson("F2", CLAIM, experiment, runs=40)
