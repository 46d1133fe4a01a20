"""C7: four ways out of a trap, each switched on and off. On the four wells, and from minima of a narrow digits MLP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lossatlas.lessons._lesson import Check, Ending, Lesson, Row, spent
from lossatlas.lessons._network_basins import EXAMPLES, LEFT, RATE, SETTLING, ground, heights, initial, settled, trained
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
QUICK_FULL, QUICK_SETTLING = 60, 400
FRESH = (0, 1, 2, 5)
PEOPLE = (2, 5, 10, 20)


def experiment(runs: int, seed: int, quick: bool = False) -> Iterator[Row]:
    """Success against the level of each kind of noise; the lowest level is off; then a network."""
    yield from _landscapes(runs, seed)
    full, settling = (QUICK_FULL, QUICK_SETTLING) if quick else (FULL, SETTLING)
    yield from _network(max(2, runs // RUNS_PER_NETWORK), seed, full, settling)


def _landscapes(runs: int, seed: int) -> Iterator[Row]:
    yield (
        f"On the four wells, from the start above the trap A, each kind of noise is tried at several levels, the first of which is none: "
        f"{runs:,} runs at each level, {STEPS} steps (descents, proposals or generations) in each run."
    )
    surface = landscapes.four_wells()
    ladders: dict[str, dict[str, Optimizer]] = {
        "noise in the gradient": {f"ν = {v:g}": optimizer("gradient-noise", scale=v) for v in NOISES},
        "noise in the search": {f"T₀ = {t:g}": optimizer("annealing", temperature=t) for t in WELL_TEMPERATURES},
        "noise in the start": {f"{k} starts": optimizer("restart", restarts=k) for k in RESTARTS},
        "a population": {f"{p} individuals": optimizer("genetic", population=p, elite=1) for p in WELL_PEOPLE},
    }
    meters, data = [], {}
    for kind, ladder in ladders.items():
        result = race(surface, ladder, steps=STEPS, runs=runs, seed=seed)
        meters += list(result.meter.values())
        shares = {label: (result.rate(label, "global"), *result.interval(label, "global")) for label in ladder}
        data[kind] = shares
        first, *rest = shares.values()
        best = max(rest, key=lambda share: share[0])
        yield Check(
            f"{kind} gets out of the trap (more often than without it, 95 % intervals apart)",
            _levels(shares),
            best[1] > first[2],
        )
    _, high = wilson(0, runs)
    yield Ending(
        spent(*meters),
        caveats=(
            "A step of a population costs its size in queries: shares are per run, not per query.",
            f"No success in {runs:,} runs still leaves room for {high:.1%}.",
        ),
        data={kind: {label: list(share) for label, share in shares.items()} for kind, shares in data.items()},
        pictures={
            "wells": _picture(
                data, "Out of the trap A of the four wells", f"{runs:,} runs at each level, {STEPS} steps each; gray: without noise",
                "share of runs that reached the global well, 95 % intervals",
            )
        },
    )  # fmt: skip


def _levels(shares: dict[str, tuple[float, float, float]]) -> str:
    """Every level with its share, the first of which is none."""
    first, *_ = shares.values()
    best = max(shares, key=lambda label: shares[label][0])
    return (
        ", ".join(f"{share[0]:.0%} at {label}" for label, share in shares.items())
        + f" ({first[1]:.0%} to {first[2]:.0%} without it, {shares[best][1]:.0%} to {shares[best][2]:.0%} at {best})"
    )


def _network(runs: int, seed: int, full: int = FULL, settling: int = SETTLING) -> Iterator[Row]:
    """From the bottom of every trap: each kind of noise at several levels, the first of them none."""
    yield (
        f"The same from {runs} traps of a digits MLP 64-{WIDTH}-10 on {EXAMPLES} digits, too narrow to fit them, each the worst of {TRAPS} "
        f"minima; every level costs as much as {full} full-batch gradients. A run is out if, after a descent to the bottom, it lies "
        f"lower and behind a barrier of more than {LEFT:.3f} on the straight line."
    )
    surface, meters = ground(WIDTH, seed), list[Meter]()
    traps = _traps(surface, runs, seed, meters, settling)
    ladders = {
        "noise in the gradient": _gradient(surface, traps, seed, meters, full),
        "noise in the search": _search(
            surface, traps, {f"T₀ = {t:g}": optimizer("annealing", temperature=t, step=STEP) for t in TEMPERATURES},
            seed, meters, full,
        ),
        "noise in the start": _start(surface, traps, runs, seed, meters, full),
        "a population": _search(
            surface, traps, {f"{p} individuals": optimizer("genetic", population=p, elite=1) for p in PEOPLE}, seed, meters, full,
        ),
    }  # fmt: skip
    levels = [(kind, label) for kind, ladder in ladders.items() for label in ladder]
    ends = torch.cat([traps, *(ladders[kind][label] for kind, label in levels)])
    bottoms = settled(surface, ends, settling)
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
    for kind, ladder in shares.items():
        yield _check(kind, ladder)
    needed = _needed(runs)
    yield Ending(
        spent(*meters),
        caveats=(
            f"The traps of the network have a loss of {interval(depth.tolist())}. Proposals and mutations are of sizes that were stated, "
            "not tuned, and a search among many weights has few proposals for each.",
            f"With {runs} traps "
            + (f"fewer than {needed} that get out cannot be told from none." if needed else "no difference could be seen."),
            f"The descent to the bottom raised the loss in {rose} of {len(ends)} cases, where its rate is too large for a stop: those "
            "count as they ended.",
        ),
        data={
            "network": {
                kind: {label: list(share) for label, share in ladder.items()} for kind, ladder in shares.items()
            }
        },
        pictures={
            "network": _picture(
                shares, "Out of bad minima of a narrow digits MLP",
                f"{runs} traps; every level at the cost of {full} full-batch gradients; gray: without noise",
                "share of runs that got out, 95 % intervals",
            )
        },
    )  # fmt: skip


def _traps(surface: NetworkSurface, runs: int, seed: int, meters: list[Meter], settling: int | None = None) -> Tensor:
    """The worst of a few minima, for every run."""
    first = settled(surface, initial(surface, WIDTH, range(seed, seed + TRAPS * runs)), settling)
    meters.append(first.meter)
    worst = first.loss[:, -1].reshape(runs, TRAPS).argmax(1)
    return first.final.reshape(runs, TRAPS, -1)[torch.arange(runs), torch.from_numpy(worst)]


def _gradient(surface: NetworkSurface, traps: Tensor, seed: int, meters: list[Meter], full: int) -> dict[str, Tensor]:
    """Gradient descent on smaller and smaller mini-batches."""
    ends = {}
    for size in BATCHES:
        batch = None if size == EXAMPLES else size
        runner = trained(
            surface, traps, optimizer("gd", lr=RATE), steps=full * EXAMPLES // size, batch_size=batch, seed=seed
        )
        meters.append(runner.meter)
        ends["full batch" if batch is None else f"batch {size}"] = runner.final
    return ends


def _search(
    surface: NetworkSurface, traps: Tensor, ladder: dict[str, Optimizer], seed: int, meters: list[Meter], full: int
) -> dict[str, Tensor]:
    """Methods that evaluate values only: the best point that each has evaluated."""
    values = int(full * Exchange().gradient)
    made = race(surface, ladder, start=traps, steps=values, budget=Budget(values), runs=len(traps), seed=seed)
    meters += list(made.meter.values())
    return {label: made.final(label) for label in ladder}


def _start(
    surface: NetworkSurface, traps: Tensor, runs: int, seed: int, meters: list[Meter], full: int
) -> dict[str, Tensor]:
    """Fresh initializations that share the cost, and the lowest of what they led to; descent from the trap for none."""
    ends = {}
    for count in FRESH:
        begin = seed + 10_000
        points = traps if count == 0 else initial(surface, WIDTH, range(begin, begin + count * runs))
        each = max(1, count)
        runner = settled(surface, points, full // each)
        meters.append(runner.meter)
        best = torch.from_numpy(runner.loss[:, -1].reshape(runs, each).argmin(1))
        ends[f"{count} fresh start{'s' * (count != 1)}"] = runner.final.reshape(runs, each, -1)[
            torch.arange(runs), best
        ]
    return ends


def _check(kind: str, ladder: dict[str, tuple[float, float, float]]) -> Check:
    off, *rest = ladder.values()
    best = max(rest, key=lambda share: share[0])
    return Check(
        f"{kind} gets out of a bad minimum of the network (more often than without it, 95 % intervals apart)",
        _levels(ladder),
        best[1] > off[2],
    )


def _needed(runs: int) -> int | None:
    """The least number of successes whose interval is apart from that of none."""
    return next((hits for hits in range(1, runs + 1) if wilson(hits, runs)[0] > wilson(0, runs)[1]), None)


def _picture(shares: dict[str, dict[str, tuple[float, float, float]]], title: str, note: str, xlabel: str) -> Any:
    from lossatlas.draw import BarsDisplay

    labels = [f"{kind}: {label}" for kind, ladder in shares.items() for label in ladder]
    middle, low, high = np.array([share for ladder in shares.values() for share in ladder.values()]).T
    off = {f"{kind}: {next(iter(ladder))}": "#9a9a9a" for kind, ladder in shares.items()}
    return BarsDisplay(labels, middle, low, high, xlabel=xlabel, title=title, note=note).plot(palette=off)


LESSON = Lesson(
    "C7",
    CLAIM,
    experiment,
    runs=300,
    quick=150,
    depends="the size of the noise: too little stays in the trap, and too much settles nowhere.",
)
