"""C7: four ways out of a trap, each switched on and off."""

from __future__ import annotations

from lossatlas.lessons._c7_network import network
from lossatlas.lessons._lesson import Check, Evidence, Lesson, bill
from lossatlas.lessons._part import joined
from lossatlas.optimize import Optimizer, optimizer
from lossatlas.race import race, wilson
from lossatlas.surface import landscapes

CLAIM = "There are four ways out of a trap: noise in the gradient, noise in the search, noise in the start, and a population."
STEPS = 300
NOISES = (0.0, 1.0, 3.0, 10.0, 30.0)
TEMPERATURES = (1e-9, 0.3, 1.0, 4.0, 10.0)
RESTARTS = (1, 2, 3, 5, 9)
PEOPLE = (2, 5, 10, 20, 40)
# A run on a landscape costs next to nothing, one on a network does not.
RUNS_PER_NETWORK = 25


def experiment(runs: int, seed: int) -> Evidence:
    """Success against the level of each kind of noise; the lowest level is off; then a network."""
    return joined(_landscapes(runs, seed), network(max(2, runs // RUNS_PER_NETWORK), seed), runs)


def _landscapes(runs: int, seed: int) -> Evidence:
    surface = landscapes.four_wells()
    ladders: dict[str, dict[str, Optimizer]] = {
        "noise in the gradient": {f"ν = {v:g}": optimizer("gradient-noise", scale=v) for v in NOISES},
        "noise in the search": {f"T₀ = {t:g}": optimizer("annealing", temperature=t) for t in TEMPERATURES},
        "noise in the start": {f"{k} starts": optimizer("restart", restarts=k) for k in RESTARTS},
        "a population": {f"{p} individuals": optimizer("genetic", population=p, elite=1) for p in PEOPLE},
    }
    checks, meters, data = [], [], {}
    for kind, ladder in ladders.items():
        result = race(surface, ladder, steps=STEPS, runs=runs, seed=seed)
        meters += list(result.meter.values())
        shares = {label: (result.rate(label, "global"), *result.interval(label, "global")) for label in ladder}
        data[kind] = shares
        first, *rest = shares.values()
        best = max(rest, key=lambda share: share[0])
        levels = ", ".join(f"{label} {share[0]:.0%}" for label, share in shares.items())
        checks.append(
            Check(
                f"{kind} gets out more often than without it (95 % intervals apart)",
                f"{levels}; off {first[1]:.0%} to {first[2]:.0%}, best {best[1]:.0%} to {best[2]:.0%}",
                best[1] > first[2],
            )
        )
    _, high = wilson(0, runs)
    return Evidence(
        "C7",
        CLAIM,
        f"The four wells, {runs:,} seeds per level, {STEPS} steps (for each descent, proposal or generation).",
        tuple(checks),
        bill(*meters),
        caveats=(
            "a step of a population costs its size in queries: shares are per run, not per query",
            f"no success in {runs:,} runs still leaves room for {high:.1%}",
        ),
        seed=seed,
        runs=runs,
        data={kind: {label: list(share) for label, share in shares.items()} for kind, shares in data.items()},
    )


LESSON = Lesson("C7", CLAIM, experiment, runs=300)
