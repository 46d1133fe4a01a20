"""Lessons of a scene: claim, prediction, what to watch, what came out, what it does not show. All of it from the evidence."""

from __future__ import annotations

import itertools
from typing import Any

from lossatlas.lessons import Evidence, title
from lossatlas.optimize import optimizer
from lossatlas.page._building import Building
from lossatlas.page._images import of_display
from lossatlas.page._optimizers import TWINS, add_optimizers
from lossatlas.page._surfaces import add_surface
from lossatlas.race import race
from lossatlas.surface import Surface
from lossatlas.surface.landscapes import landscape

# What to watch beside a lesson, where the page can show it: the landscape, and the page's state on it.
_RACE = "v=race&s={id}&t=0"
WATCH = {
    "A1": ("four-wells", "v=explore&s={id}&fog=1"),
    "B1": ("four-wells", _RACE + "&r=gd,momentum,adam&axis=queries"),
    "B2": ("four-wells", _RACE + "&r=hill-climbing,annealing,gd"),
    "B3": ("four-wells", _RACE + "&r=gd,annealing&fog=1"),
    "B5": ("quadratic", _RACE + "&r=adam,adamw"),
    "B6": ("quadratic", _RACE + "&r=lion,gd,adam&steps=30"),
    "B7": ("quadratic", _RACE + "&r=sophia,gd,adam&steps=30"),
    "C1": ("regression", _RACE + "&r=gd,momentum,adam"),
    "C2": ("four-wells", "v=explore&s={id}"),
    "C3": ("four-wells", _RACE + "&r=gd,momentum,annealing"),
    "C4": ("deep-wells", _RACE + "&r=gd,momentum,rmsprop,adam"),
    "C5": ("deep-wells", _RACE + "&r=gd,momentum,rmsprop,adam,lion"),
    "C6": ("quadratic", _RACE + "&r=gd,momentum,rmsprop,adam"),
    "C7": ("four-wells", _RACE + "&r=gd,momentum,annealing"),
    "D1": ("monkey-saddle", _RACE + "&r=gd,momentum"),
    "D2": ("plateau", _RACE + "&r=gd,adam"),
    "G1": ("four-wells", _RACE + "&r=gd,sgd&fog=1"),
    "G3": ("monkey-saddle", _RACE + "&r=gd,momentum,adam"),
    "H1": ("four-wells", _RACE + "&r=hill-climbing,annealing"),
    "H3": ("four-wells", _RACE + "&r=evolution,gd"),
}
# Whose end is asked for before it is shown: Python walks there from the landscape's start.
_ENDS = {"C1": "gd", "C3": "gd", "C4": "momentum", "C5": "adam", "C6": "gd", "D2": "gd"}
# Who is ranked by the loss after EARLY steps before it is shown; where two end alike there is no order to predict.
_ORDERS = {"B6": ("gd", "lion", "adam"), "B7": ("gd", "sophia", "adam")}
STEPS, EARLY = 300, 30
# Losses closer than this share of one another are equal.
TIE = 0.01
OUTCOMES = ["supported", "depends", "not supported here"]


def add_lesson(building: Building, made: Evidence) -> None:
    """A lesson with its evidence."""
    where = state = None
    if made.id in WATCH:
        name, pattern = WATCH[made.id]
        where = add_surface(building, landscape(name))
        state = pattern.format(id=where)
        add_optimizers(building, list(TWINS))
    building.parts["lessons"].append({
        "id": made.id,
        "title": title(made.id),
        "claim": made.claim,
        "experiment": made.experiment,
        "predict": _prediction(made),
        "checks": [
            {"sentence": f"{check.what}: {check.measured}", "held": check.holds, "value": None, "low": None, "high": None}
            for check in made.checks
        ],
        "verdict": made.verdict,
        "outcome": made.outcome,
        "caveats": [*made.caveats, *([f"Depends on: {made.depends}"] if made.depends else [])],
        "cost": ", ".join(f"{value:,} {kind}" for kind, value in made.cost.items() if value) or "no evaluations",
        "surface": where,
        "state": state,
        "figures": [{"name": name, "image": of_display(one)} for name, one in made.pictures.items()],
    })  # fmt: skip


def _prediction(made: Evidence) -> dict[str, Any]:
    """What is asked before the evidence is shown: where a method ends, how many parts of the claim hold, or whether it does."""
    if made.id in _ENDS:
        return end(landscape(WATCH[made.id][0]), _ENDS[made.id])
    if made.id in _ORDERS and (order := _order(landscape(WATCH[made.id][0]), _ORDERS[made.id])) is not None:
        return order
    parts = len(made.checks)
    if parts == 1:
        question = f"{made.claim} Does the experiment support it?"
        answer = OUTCOMES[0] if made.checks[0].holds else OUTCOMES[2]
        return {"kind": "choice", "question": question, "options": [OUTCOMES[0], OUTCOMES[2]], "answer": answer}
    return {
        "kind": "number",
        "question": f"The claim has {parts} parts that were tested. How many of them hold?",
        "options": None,
        "answer": sum(check.holds for check in made.checks),
        "unit": "parts",
        "lower": 0,
        "upper": parts,
    }


def _order(surface: Surface, names: tuple[str, ...]) -> dict[str, Any] | None:
    found = race(surface, list(names), steps=EARLY, progress=False)
    losses = {optimizer(name).title: float(found.tracks[name].loss[0]) for name in names}
    ranked = sorted(losses, key=losses.__getitem__)
    if any(losses[two] - losses[one] <= TIE * abs(losses[two]) for one, two in itertools.pairwise(ranked)):
        return None
    return {
        "kind": "order",
        "question": f"Which of them is lowest after {EARLY} steps at its default settings, which next, which last?",
        "options": list(losses),
        "answer": ranked,
        "unit": None,
        "lower": None,
        "upper": None,
    }


def end(surface: Surface, name: str) -> dict[str, Any]:
    """Where an optimizer ends from the start of a landscape: a point to click."""
    one = optimizer(name)
    found = race(surface, [one], steps=STEPS, progress=False).final(name)[0]
    return {
        "kind": "point",
        "question": f"Where does {one.title} end from this start, after {STEPS} steps? Click there.",
        "options": None,
        "answer": found.tolist(),
        "unit": None,
        "lower": None,
        "upper": None,
    }
