"""B3: no algorithm builds the surface; all but Bayesian optimization forget."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from lossatlas.lessons._lesson import Check, Ending, Lesson, Row, spent
from lossatlas.optimize import catalog, optimizer, strokes_of
from lossatlas.race import Race, race
from lossatlas.surface import landscapes

CLAIM = "No algorithm builds the surface. All of them forget what they evaluated, except Bayesian optimization."
STEPS, FEW = 600, 60
QUICK_STEPS, QUICK_FEW = 200, 30
DRAWN = ("gd", "adam", "annealing", "beam", "genetic")
# Less than one float64 per query is forgetting: what is held does not grow with what was evaluated.
FLOAT = 8.0


def experiment(runs: int, seed: int, quick: bool = False) -> Iterator[Row]:
    """Bytes that each algorithm's frame holds, against the number of its queries."""
    steps, few_steps = (QUICK_STEPS, QUICK_FEW) if quick else (STEPS, FEW)
    names = [name for name in catalog if name not in ("bayes", "center")]
    yield (
        f"{len(names)} algorithms take {steps} steps on the four wells, Bayesian optimization {few_steps}. Sixteen times on the way, the "
        "bytes within reach of each are measured; growth is taken over the second half."
    )
    surface = landscapes.four_wells()
    racers = {name: optimizer(name) for name in names}
    racers["hill-climbing"] = optimizer("hill-climbing", step=0.01)
    many = race(surface, racers, steps=steps, seed=seed)
    grown = {label: track.growth for label, track in many.tracks.items()}
    held = {label: track.memory[-1][1] for label, track in many.tracks.items() if track.memory}
    worst = max(grown, key=lambda label: abs(grown[label]))
    window = many.tracks["lbfgs"].memory
    yield Check(
        f"the {len(names)} algorithms forget: they hold no more, the more they evaluate (growth below one number per query)",
        f"at most {abs(grown[worst]):.2g} bytes per query ({worst}); at the end they hold {min(held.values()):,.0f} to "
        f"{max(held.values()):,.0f} bytes",
        all(abs(value) < FLOAT for value in grown.values()),
    )
    yield Check(
        "restarts and a memory of the best point add next to nothing to the method that they wrap",
        f"gradient descent holds {held['gd']:,.0f} bytes, with restarts {held['restart']:,.0f}, with the best point "
        f"{held['best-so-far']:,.0f}",
        held["best-so-far"] <= held["gd"] + 16 and held["restart"] <= held["gd"] + 64,
    )
    yield Check(
        "L-BFGS holds a window of its last steps, and then no more",
        f"{window[0][1]:,.0f} bytes after {window[0][0]} queries, {window[-1][1]:,.0f} after {window[-1][0]}",
        abs(grown["lbfgs"]) < FLOAT,
    )
    few = race(surface, ["bayes"], steps=few_steps, seed=seed)
    slope, kept = few.tracks["bayes"].growth, few.tracks["bayes"].memory[-1]
    yield Check(
        "Bayesian optimization keeps every observation: it holds more with every query",
        f"{slope:,.0f} bytes more per query, {kept[1]:,.0f} bytes after {kept[0]}",
        slope > FLOAT,
    )
    yield Ending(
        spent(*many.meter.values(), *few.meter.values()),
        caveats=("Random numbers drawn ahead, the query and its answer are not counted.",),
        data={"bytes_per_query": {**grown, "bayes": slope}, "bytes": {**held, "bayes": kept[1]}},
        pictures={"memory": _picture(many, few)},
    )


def _picture(many: Race, few: Race) -> Any:
    from lossatlas.draw import CurvesDisplay

    tracks = {name: many.tracks[name] for name in DRAWN} | few.tracks
    return CurvesDisplay(
        {name: tuple(np.array(track.memory, dtype=np.float64).T) for name, track in tracks.items()},
        xlabel="queries",
        ylabel="bytes held",
        xscale="log",
        yscale="log",
        points=True,
        title="What an algorithm holds of all that it has evaluated",
        note="Measured on the running algorithms, on the four wells; only Bayesian optimization keeps what it learns",
        looks=strokes_of({name: optimizer(name) for name in tracks}),
    )


LESSON = Lesson(
    "B3",
    CLAIM,
    experiment,
    depends="nothing that was varied here: the memory of each algorithm is written into its rule.",
)
