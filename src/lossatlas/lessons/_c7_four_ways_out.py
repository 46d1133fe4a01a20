"""C7: four ways out of a trap, each switched on and off. On the four wells, and from minima of a narrow digits MLP."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lossatlas.lessons._lesson import Check, Lesson, Part, spent
from lossatlas.lessons._network_basins import EXAMPLES, LEFT, RATE, ground, heights, initial, settled, trained
from lossatlas.lessons._statistics import interval
from lossatlas.optimize import Optimizer, optimizer
from lossatlas.probe import Budget, Exchange, Meter
from lossatlas.race import race, wilson
from lossatlas.surface import NetworkSurface, landscapes

CLAIM = "There are four ways out of a trap: noise in the gradient, noise in the search, noise in the start, and a population."
STEPS = 300
NOISES = (0.0, 1.0, 3.0, 10.0, 30.0)
WELL_TEMPERATURES = (1e-9, 0.3, 1.0, 4.0, 10.0)
RESTARTS = (1, 2, 3, 5, 9)
WELL_PEOPLE = (2, 5, 10, 20, 40)
# A run on a landscape costs next to nothing, one on a network does not.
RUNS_PER_NETWORK = 25
# On the network, fixed before the first run. Every run costs as much as FULL full-batch gradients; a trap is the highest of
# TRAPS minima.
WIDTH, FULL, TRAPS = 3, 150, 3
BATCHES = (EXAMPLES, 25, 10, 5)
TEMPERATURES, STEP = (1e-9, 0.003, 0.03, 0.3), 0.05
FRESH = (0, 1, 2, 5)
PEOPLE = (2, 5, 10, 20)


def experiment(runs: int, seed: int) -> tuple[Part, Part]:
    """Success against the level of each kind of noise; the lowest level is off; then a network."""
    return _landscapes(runs, seed), _network(max(2, runs // RUNS_PER_NETWORK), seed)


def _landscapes(runs: int, seed: int) -> Part:
    surface = landscapes.four_wells()
    ladders: dict[str, dict[str, Optimizer]] = {
        "noise in the gradient": {f"ν = {v:g}": optimizer("gradient-noise", scale=v) for v in NOISES},
        "noise in the search": {f"T₀ = {t:g}": optimizer("annealing", temperature=t) for t in WELL_TEMPERATURES},
        "noise in the start": {f"{k} starts": optimizer("restart", restarts=k) for k in RESTARTS},
        "a population": {f"{p} individuals": optimizer("genetic", population=p, elite=1) for p in WELL_PEOPLE},
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
    return Part(
        f"The four wells, {runs:,} seeds per level, {STEPS} steps (for each descent, proposal or generation).",
        tuple(checks),
        spent(*meters),
        caveats=(
            "a step of a population costs its size in queries: shares are per run, not per query",
            f"no success in {runs:,} runs still leaves room for {high:.1%}",
        ),
        data={kind: {label: list(share) for label, share in shares.items()} for kind, shares in data.items()},
    )


def _network(runs: int, seed: int) -> Part:
    """From the bottom of every trap: each kind of noise at several levels, the first of them none."""
    surface, meters = ground(WIDTH, seed), list[Meter]()
    traps = _traps(surface, runs, seed, meters)
    ladders = {
        "noise in the gradient": _gradient(surface, traps, seed, meters),
        "noise in the search": _search(
            surface, traps, {f"T₀ = {t:g}": optimizer("annealing", temperature=t, step=STEP) for t in TEMPERATURES},
            seed, meters,
        ),
        "noise in the start": _start(surface, traps, runs, seed, meters),
        "a population": _search(
            surface, traps, {f"{p} individuals": optimizer("genetic", population=p, elite=1) for p in PEOPLE}, seed, meters
        ),
    }  # fmt: skip
    levels = [(kind, label) for kind, ladder in ladders.items() for label in ladder]
    ends = torch.cat([traps, *(ladders[kind][label] for kind, label in levels)])
    bottoms = settled(surface, ends)
    meters.append(bottoms.meter)
    rose = int((bottoms.loss[:, -1] > bottoms.loss[:, 0]).sum())
    home, *others = torch.split(bottoms.final, runs)
    depth, *losses = torch.split(torch.from_numpy(bottoms.loss[:, -1]), runs)
    shares: dict[str, dict[str, tuple[float, float, float]]] = {kind: {} for kind in ladders}
    for (kind, label), points, loss in zip(levels, others, losses, strict=True):
        walls, cost = heights(surface, home, points)
        meters.append(cost)
        hits = int(((torch.from_numpy(walls) > LEFT) & (loss < depth)).sum())
        shares[kind][label] = (hits / runs, *wilson(hits, runs))
    return Part(
        f"A digits MLP 64-{WIDTH}-10 on {EXAMPLES} digits, too narrow to fit them: {runs} traps, each the highest of {TRAPS} minima from "
        f"fresh initializations; every level at the cost of {FULL} full-batch gradients. Out: after descent to the bottom, behind a "
        f"barrier of more than {LEFT:.3f} on the straight line, and lower.",
        tuple(_check(kind, ladder) for kind, ladder in shares.items()),
        spent(*meters),
        caveats=(
            f"network: traps have a loss of {interval(depth.tolist())} at their bottoms; proposals and mutations are of sizes that "
            "were stated, not tuned, and a search among many weights has few proposals for each",
            f"network: with {runs} traps an interval is apart from that of none out from {_needed(runs)} on: smaller differences are "
            "not seen",
            f"network: descent to the bottom raised the loss in {rose} of {len(ends)} cases, where its rate is too large for a "
            "stop: those count as they ended",
        ),
        data={
            "network": {
                kind: {label: list(share) for label, share in ladder.items()} for kind, ladder in shares.items()
            }
        },
        pictures={"network": _picture(shares, runs)},
    )


def _traps(surface: NetworkSurface, runs: int, seed: int, meters: list[Meter]) -> Tensor:
    """The worst of a few minima, for every run."""
    first = settled(surface, initial(surface, WIDTH, range(seed, seed + TRAPS * runs)))
    meters.append(first.meter)
    worst = first.loss[:, -1].reshape(runs, TRAPS).argmax(1)
    return first.final.reshape(runs, TRAPS, -1)[torch.arange(runs), torch.from_numpy(worst)]


def _gradient(surface: NetworkSurface, traps: Tensor, seed: int, meters: list[Meter]) -> dict[str, Tensor]:
    """Gradient descent on smaller and smaller mini-batches."""
    ends = {}
    for size in BATCHES:
        batch = None if size == EXAMPLES else size
        runner = trained(
            surface, traps, optimizer("gd", lr=RATE), steps=FULL * EXAMPLES // size, batch_size=batch, seed=seed
        )
        meters.append(runner.meter)
        ends["full batch" if batch is None else f"batch {size}"] = runner.final
    return ends


def _search(
    surface: NetworkSurface, traps: Tensor, ladder: dict[str, Optimizer], seed: int, meters: list[Meter]
) -> dict[str, Tensor]:
    """Methods that evaluate values only: the best point that each has evaluated."""
    values = int(FULL * Exchange().gradient)
    made = race(surface, ladder, start=traps, steps=values, budget=Budget(values), runs=len(traps), seed=seed)
    meters += list(made.meter.values())
    return {label: made.final(label) for label in ladder}


def _start(surface: NetworkSurface, traps: Tensor, runs: int, seed: int, meters: list[Meter]) -> dict[str, Tensor]:
    """Fresh initializations that share the cost, and the lowest of what they led to; descent from the trap for none."""
    ends = {}
    for count in FRESH:
        begin = seed + 10_000
        points = traps if count == 0 else initial(surface, WIDTH, range(begin, begin + count * runs))
        each = max(1, count)
        runner = settled(surface, points, FULL // each)
        meters.append(runner.meter)
        best = torch.from_numpy(runner.loss[:, -1].reshape(runs, each).argmin(1))
        ends[f"{count} fresh start{'s' * (count != 1)}"] = runner.final.reshape(runs, each, -1)[
            torch.arange(runs), best
        ]
    return ends


def _check(kind: str, ladder: dict[str, tuple[float, float, float]]) -> Check:
    off, *rest = ladder.values()
    best = max(rest, key=lambda share: share[0])
    levels = ", ".join(f"{label} {share[0]:.0%}" for label, share in ladder.items())
    return Check(
        f"network: {kind} gets out more often than without it (95 % intervals apart)",
        f"{levels}; off {off[1]:.0%} to {off[2]:.0%}, best {best[1]:.0%} to {best[2]:.0%}",
        best[1] > off[2],
    )


def _needed(runs: int) -> int | None:
    """The least number of successes whose interval is apart from that of none."""
    return next((hits for hits in range(1, runs + 1) if wilson(hits, runs)[0] > wilson(0, runs)[1]), None)


def _picture(shares: dict[str, dict[str, tuple[float, float, float]]], runs: int) -> Any:
    from lossatlas.draw import BarsDisplay

    labels = [f"{kind}: {label}" for kind, ladder in shares.items() for label in ladder]
    middle, low, high = np.array([share for ladder in shares.values() for share in ladder.values()]).T
    off = {f"{kind}: {next(iter(ladder))}": "#9a9a9a" for kind, ladder in shares.items()}
    return BarsDisplay(
        labels,
        middle,
        low,
        high,
        xlabel="share of runs that got out, 95 % intervals",
        title="Out of bad minima of a narrow digits MLP",
        note=f"{runs} traps; every level at the cost of {FULL} full-batch gradients; gray: what the levels below are held against",
    ).plot(palette=off)


LESSON = Lesson("C7", CLAIM, experiment, runs=300)
