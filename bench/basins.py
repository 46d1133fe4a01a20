"""Basin maps against a Python loop of torch.optim, and annealing runs by the thousand."""

from __future__ import annotations

import statistics
import time

import torch

import lossatlas as la

POINTS, STEPS, SAMPLED = 200, 500, 200


def measure() -> list[str]:
    """A 200×200 map of Adam on the four wells; the loop runs 200 of its starts and is extrapolated from them."""
    surface = la.landscapes.four_wells()
    adam = la.optimizer("adam", lr=0.05)
    seconds = []
    for _ in range(4):
        begin = time.perf_counter()
        basins = la.basin_map(surface, adam, points=POINTS, steps=STEPS)
        seconds.append(time.perf_counter() - begin)
    seconds = seconds[1:]

    alpha, beta = torch.tensor(basins.x), torch.tensor(basins.y)
    chosen = torch.randperm(POINTS * POINTS, generator=torch.Generator().manual_seed(0))[:SAMPLED]
    loops, gap = [], 0.0
    for part in chosen.chunk(4):
        begin = time.perf_counter()
        for cell in part.tolist():
            start = torch.stack((alpha[cell % POINTS], beta[cell // POINTS]))
            theta = start.to(surface.start.dtype).requires_grad_()
            optimizer = torch.optim.Adam([theta], lr=0.05)
            for _ in range(STEPS):
                optimizer.zero_grad()
                surface.read(theta[None]).values[0].backward()
                optimizer.step()
            end = torch.tensor(basins.final[cell // POINTS, cell % POINTS])
            gap = max(gap, float((end - theta.detach()).abs().max()))
        loops.append((time.perf_counter() - begin) * POINTS * POINTS / len(part))
    ratios = [loop / ours for loop in loops for ours in seconds]
    return [
        f"basin map {POINTS}×{POINTS} of Adam, {STEPS} steps, vs a loop of torch.optim.Adam (from {SAMPLED} starts)",
        f"{statistics.median(seconds):.2f}",
        f"{statistics.median(loops):.0f} (extrapolated)",
        f"{statistics.median(ratios):.0f} ({min(ratios):.0f} to {max(ratios):.0f})",
        "≥ 1,000",
        f"end points agree to {gap:.1e}",
    ]


def annealing() -> list[str]:
    """1,000 annealing runs of 2,000 steps on the four wells in one batch."""
    surface = la.landscapes.four_wells()
    seconds = []
    for seed in range(3):
        begin = time.perf_counter()
        race = la.race(surface, {"annealing": "annealing"}, steps=2_000, runs=1_000, seed=seed)
        seconds.append(time.perf_counter() - begin)
    asked = race.meter["annealing"].values
    what = f"1,000 annealing runs of 2,000 steps in one batch ({asked:,} values asked)"
    return [what, f"{statistics.median(seconds):.2f}", "–", "–", "seconds, not minutes", "–"]
