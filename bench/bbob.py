"""BBOB by COCO's definitions: 24 functions, instances 1–5, 51 targets, written to bench/bbob.md.

python bench/bbob.py [dimension] [evaluations]
"""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path

import numpy as np
import torch

import lossatlas as la
from lossatlas.optimize import Optimizer
from lossatlas.race import ert

TARGETS = np.logspace(2, -8, 51)
INSTANCES = range(1, 6)
# Settings said once, from the methods' own defaults and the box of ten: none is tuned on the suite.
CONTESTANTS: dict[str, tuple[Optimizer, int]] = {
    "random search": (la.optimizer("random"), 2000),
    "evaluate the center": (la.optimizer("center"), 2000),
    "hill climbing, restarts": (
        la.optimizer("restart", inner=la.optimizer("hill-climbing", step=1.0, finer=30), restarts=400, length=500),
        2000,
    ),
    "annealing, restarts": (
        la.optimizer("restart", inner=la.optimizer("annealing", step=0.5, cooling=0.955), restarts=10, length=200),
        2000,
    ),
    "local beam": (la.optimizer("beam"), 2000),
    "genetic algorithm": (la.optimizer("genetic"), 2000),
    "evolution strategies": (la.optimizer("evolution"), 2000),
    "differential evolution": (la.optimizer("de"), 2000),
    "CMA-ES": (la.optimizer("cma"), 2000),
    "L-BFGS by differences, restarts": (
        la.optimizer(
            "restart", inner=la.optimizer("finite-differences", inner=la.optimizer("lbfgs")), restarts=200, length=500
        ),
        2000,
    ),
    "Bayesian optimization": (la.optimizer("bayes"), 100),
}
# Best ERT of some 30 algorithms of BBOB-2009 in 2-D, to 1e1, 1e-1 and 1e-8, as published (Hansen et al. 2010).
BEST_2009 = {"10D": 0.230, "50D": 0.525, "100D": 0.605, "500D": 0.896, "1000D": 0.951}


def run(name: str, dimension: int, evaluations: int) -> tuple[list[float], dict[int, list[list[float]]], float]:
    """Costs of all (function, target, run) triples, per function too, and the seconds it took."""
    optimizer, most = CONTESTANTS[name]
    budget = min(most, evaluations)
    begin, costs, by_function = time.perf_counter(), [], {}
    for function in range(1, 25):
        rows = []
        for instance in INSTANCES:
            surface = la.landscapes.Bbob(function, dimension, instance)
            seed = 1000 * function + instance
            start = 10 * torch.rand(dimension, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 5
            race = la.race(surface, {"x": optimizer}, start=start, steps=budget, budget=budget, seed=seed)
            seen = np.fmin.accumulate(race.tracks["x"].seen[0].numpy()) - surface.optimum
            billed = seen.size
            hits = [int(np.searchsorted(-seen, -target)) for target in TARGETS]
            rows.append([float(hit + 1) if hit < billed else math.inf for hit in hits])
        by_function[function] = rows
        costs += [cost for row in rows for cost in row]
    return costs, by_function, time.perf_counter() - begin


def main(dimension: int = 2, evaluations: int = 2000) -> None:
    budgets = {f"{k}D": k * dimension for k in (10, 50, 100, 500, 1000) if k * dimension <= evaluations}
    lines = [
        f"# BBOB, {dimension}-D, instances 1–5, {evaluations:,} evaluations",
        "",
        "Written by `make bench-bbob`. Share of (function, target, run) triples reached within so many evaluations per "
        "dimension; 24 functions, 51 targets from 1e2 to 1e-8, one run per instance, uniform random start, the box "
        "[−5, 5]^N. No setting was tuned on the suite.",
        "",
        f"| algorithm | {' | '.join(budgets)} | runs at 1e-8 | seconds |",
        f"|---|{'---|' * (len(budgets) + 2)}",
    ]
    if dimension == 2:
        lines.append(f"| best of 2009 (published) | {' | '.join(f'{BEST_2009[k]:.3f}' for k in budgets)} | – | – |")
    tables = {}
    for name in CONTESTANTS:
        costs, by_function, seconds = run(name, dimension, evaluations)
        tables[name] = by_function
        most = min(CONTESTANTS[name][1], evaluations)
        shares = {key: float(np.mean(np.array(costs) <= limit)) for key, limit in budgets.items()}
        cells = [f"{share:.3f}" if budgets[key] <= most else "–" for key, share in shares.items()]
        solved = np.mean([math.isfinite(row[-1]) for rows in by_function.values() for row in rows])
        lines.append(f"| {name} | {' | '.join(cells)} | {solved:.0%} | {seconds:.0f} |")
        print(lines[-1], flush=True)
    lines += ["", "## ERT to 1e-1", "", f"| f | {' | '.join(tables)} |", f"|---|{'---|' * len(tables)}"]
    place = int(np.argmin(np.abs(TARGETS - 1e-1)))
    for function in range(1, 25):
        cells = []
        for name, by_function in tables.items():
            costs = [row[place] for row in by_function[function]]
            spent = [min(CONTESTANTS[name][1], evaluations)] * len(costs)
            value = ert(costs, spent)
            cells.append(f"{value:,.0f}" if math.isfinite(value) else "–")
        lines.append(f"| {function} | {' | '.join(cells)} |")
    Path(__file__).with_name("bbob.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:]))
