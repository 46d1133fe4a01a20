"""What a statement asks before it is shown, where its lesson's own question does not fit: each answer is measured, none is written down."""

from __future__ import annotations

from typing import Any

from lossatlas._errors import InputError
from lossatlas.optimize import optimizer
from lossatlas.page._building import Building
from lossatlas.page._lessons import end
from lossatlas.race import race
from lossatlas.surface import Surface, landscapes, standard_dimension
from lossatlas.surface.landscapes import landscape

# Nodes per axis of the page's finest map, and the steps after which one is asked how much of it was evaluated.
NODES, SEEN = 201, 50


def predicted(building: Building, asked: str, place: str | None, where: str | None) -> dict[str, Any]:
    """The question and its answer.

    Args:
        building: the scene so far: shares of many runs are read from it.
        asked: ``end:NAME``, where an optimizer ends; ``rate:NAME``, how many of its runs end in the global well; ``seen:NAME``, how
            many points it evaluates in its first steps; ``step:NAME``, how many in one; ``dimension:NAME``, of a standard model.
        place: name of the landscape beside the statement.
        where: its id in the scene.

    Raises:
        InputError: for a kind that is not known, or shares that the scene does not hold.
    """
    kind, _, name = asked.partition(":")
    if kind == "dimension":
        found = standard_dimension(name)
        return _number(
            f"How many dimensions has the loss surface of {found.name}?", found.surface, "dimensions", 1, 10**12
        )
    if kind == "end" and place is not None:
        return end(landscape(place), name)
    title = optimizer(name).title
    if kind == "rate":
        for many in building.parts["many"]:
            shares = [one["share"] for one in many["shares"] if one["well"] == "global"]
            if many["surface"] == where and many["optimizer"] == name and shares:
                n = many["n"]
                question = f"Of {n:,} runs of {title} from this start, how many find the global well?"
                return {
                    **_number(question, round(shares[0] * n), f"of {n:,} runs", 0, n),
                    "sentence": many["sentence"],
                }
    surface = landscape(place) if place is not None else landscapes.four_wells()
    if kind == "step":
        question = f"How many points does {title} evaluate in one step, with two parameters?"
        return _number(question, _evaluated(surface, name, 2) - _evaluated(surface, name, 1), "points", 1, 50)
    if kind == "seen":
        question = f"The page's map has {NODES} × {NODES} = {NODES**2:,} nodes. How many points has {title} evaluated after {SEEN} steps?"
        return _number(question, _evaluated(surface, name, SEEN), "points", 1, NODES**2)
    raise InputError(f"a statement asks for {asked!r}, which this scene cannot answer; expected one of end, rate, seen, step and "
                     "dimension with a name, and for a rate a race of many runs on the same landscape.")  # fmt: skip


def _evaluated(surface: Surface, name: str, steps: int) -> int:
    """Points at which a value or a gradient was evaluated."""
    meter = race(surface, [optimizer(name)], steps=steps, progress=False).meter[name]
    return meter.values + meter.gradients


def _number(question: str, answer: int, unit: str, lower: int, upper: int) -> dict[str, Any]:
    return {
        "kind": "number",
        "question": question,
        "options": None,
        "answer": answer,
        "unit": unit,
        "lower": lower,
        "upper": upper,
    }
