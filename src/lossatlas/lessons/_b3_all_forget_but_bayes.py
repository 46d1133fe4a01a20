"""B3: no algorithm builds the surface; all but Bayesian optimization forget."""

from __future__ import annotations

from lossatlas.lessons._lesson import Check, Lesson, Part, spent
from lossatlas.optimize import catalog, optimizer
from lossatlas.race import race
from lossatlas.surface import landscapes

CLAIM = "No algorithm builds the surface. All of them forget what they evaluated, except Bayesian optimization."
STEPS, FEW = 600, 60
# Less than one float64 per query is forgetting: what is held does not grow with what was evaluated.
FLOAT = 8.0


def experiment(runs: int, seed: int) -> Part:
    """Bytes that each algorithm's frame holds, against the number of its queries."""
    surface = landscapes.four_wells()
    names = [name for name in catalog if name not in ("bayes", "center")]
    racers = {name: optimizer(name) for name in names}
    racers["hill-climbing"] = optimizer("hill-climbing", step=0.01)
    many = race(surface, racers, steps=STEPS, seed=seed)
    few = race(surface, ["bayes"], steps=FEW, seed=seed)
    grown = {label: track.growth for label, track in many.tracks.items()}
    held = {label: track.memory[-1][1] for label, track in many.tracks.items() if track.memory}
    worst = max(grown, key=lambda label: abs(grown[label]))
    slope, kept = few.tracks["bayes"].growth, few.tracks["bayes"].memory[-1]
    window = many.tracks["lbfgs"].memory
    checks = (
        Check(
            f"{len(names)} algorithms hold no more the more they evaluate (growth below one number per query)",
            f"largest growth {grown[worst]:+.3g} bytes per query ({worst}); what they hold at the end: "
            f"{min(held.values()):,.0f} to {max(held.values()):,.0f} bytes",
            all(abs(value) < FLOAT for value in grown.values()),
        ),
        Check(
            "random restart and best-so-far hold no more than what they wrap",
            f"restart {held['restart']:,.0f}, best-so-far {held['best-so-far']:,.0f}, gd {held['gd']:,.0f} bytes",
            held["best-so-far"] <= held["gd"] + 16 and held["restart"] <= held["gd"] + 64,
        ),
        Check(
            "Bayesian optimization holds more with every query",
            f"{slope:,.0f} bytes per query, {kept[1]:,.0f} bytes after {kept[0]} queries",
            slope > FLOAT,
        ),
        Check(
            "L-BFGS holds a window of pairs and then no more",
            f"{window[0][1]:,.0f} bytes after {window[0][0]} queries, {window[-1][1]:,.0f} after {window[-1][0]}",
            grown["lbfgs"] == 0 or abs(grown["lbfgs"]) < FLOAT,
        ),
    )
    return Part(
        f"{STEPS} answers each on the four wells ({FEW} for Bayesian optimization); tensors and arrays in reach of the "
        "generator's frame, measured sixteen times on the way, growth over the second half.",
        checks,
        spent(*many.meter.values(), *few.meter.values()),
        caveats=("random numbers drawn ahead, the query and its answer are not counted",),
        data={"bytes_per_query": {**grown, "bayes": slope}, "bytes": {**held, "bayes": kept[1]}},
    )


LESSON = Lesson("B3", CLAIM, experiment)
