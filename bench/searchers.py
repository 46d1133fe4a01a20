"""Searchers beside SciPy's and pycma's on BBOB: share of targets reached per evaluation, and the CPU time of their own.

python bench/searchers.py dimension [first-last function] [contestant …]

Runs what is not kept in bench/searchers.json, and writes bench/searchers.md from it. 24 functions, one instance, five runs each
from uniform random starts, 1,000 D evaluations, 51 targets from 1e2 to 1e-8. Libraries evaluate the same functions one point at
a time and begin again at points uniform in the box until the budget is spent.
"""

from __future__ import annotations

import fcntl
import json
import math
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import ioh
import numpy as np
import torch

import lossatlas as la
from lossatlas.optimize import Optimizer

TARGETS = np.logspace(2, -8, 51)
FUNCTIONS, INSTANCES, RUNS = range(1, 25), (1,), 5
BUDGETS = (10, 25, 50, 100, 200, 500, 1000)
KEPT = Path(__file__).with_name("searchers.json")

OURS: dict[str, Optimizer] = {
    "Nelder–Mead": la.optimizer("nelder-mead"),
    "L-BFGS by differences": la.optimizer("finite-differences", inner=la.optimizer("lbfgs", restarts=1000)),
    "CMA-ES": la.optimizer("cma"),
}


class Clock:
    """Losses of a surface in order, and the CPU seconds spent in it."""

    def __init__(self, surface: la.Surface, budget: int) -> None:
        self.surface, self.budget, self.seen, self.seconds = surface, budget, [], 0.0
        self.read = surface.read
        # The same function, one point at a time.
        self.single = ioh.get_problem(surface.function, surface.instance, surface.dimension)

    def batch(self, points: torch.Tensor) -> object:
        begin = time.process_time()
        reading = self.read(points)
        self.seconds += time.process_time() - begin
        return reading

    def one(self, point: np.ndarray) -> float:
        if len(self.seen) >= self.budget:
            raise StopIteration
        begin = time.process_time()
        value = self.single(point)
        self.seconds += time.process_time() - begin
        self.seen.append(value)
        return value


def nelder_mead(value: Callable, point: np.ndarray, box: np.ndarray, rng: np.random.Generator) -> None:
    from scipy.optimize import minimize

    while True:
        # The tolerances of ours, which SciPy takes in units of θ; its own first simplex.
        options = {"xatol": 1e-4 * 10, "fatol": 1e-11, "maxfev": 10**9, "maxiter": 10**9}
        minimize(value, point, method="Nelder-Mead", bounds=box, options=options)
        point = box[:, 0] + (box[:, 1] - box[:, 0]) * rng.random(len(box))


def lbfgsb(value: Callable, point: np.ndarray, box: np.ndarray, rng: np.random.Generator) -> None:
    from scipy.optimize import minimize

    while True:
        options = {"ftol": 1e-15, "gtol": 1e-12, "maxfun": 10**9, "maxiter": 10**9}
        minimize(value, point, method="L-BFGS-B", bounds=box, options=options)
        point = box[:, 0] + (box[:, 1] - box[:, 0]) * rng.random(len(box))


def pycma(value: Callable, point: np.ndarray, box: np.ndarray, rng: np.random.Generator) -> None:
    import cma

    size, width = 4 + int(3 * np.log(len(point))), box[:, 1] - box[:, 0]
    while True:
        settings = {
            "verbose": -9,
            "seed": int(rng.integers(1, 2**31)),
            "popsize": size,
            "bounds": [list(box[:, 0]), list(box[:, 1])],
        }
        strategy = cma.CMAEvolutionStrategy(point, 0.2 * width[0], settings)
        while not strategy.stop():
            points = strategy.ask()
            strategy.tell(points, [value(one) for one in points])
        size, point = 2 * size, box[:, 0] + width * rng.random(len(box))


THEIRS: dict[str, Callable] = {
    "SciPy Nelder–Mead": nelder_mead,
    "SciPy L-BFGS-B by differences": lbfgsb,
    "pycma IPOP": pycma,
}


# Each beside what it is compared with.
PAIRS = dict(zip(OURS, ([name] for name in THEIRS), strict=True))


def starts(function: int, instance: int, dimension: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1000 * function + instance)
    return 10 * torch.rand(RUNS, dimension, generator=generator, dtype=torch.float64) - 5


def losses(name: str, function: int, instance: int, dimension: int, budget: int) -> tuple[np.ndarray, float]:
    """Losses above the optimum (runs, budget), and the contestant's own CPU seconds."""
    surface = la.landscapes.Bbob(function, dimension, instance)
    begins, seed = starts(function, instance, dimension), 1000 * function + instance
    box, clock = surface.box.numpy(), Clock(surface, budget)
    begin = time.process_time()
    if name in OURS:
        surface.read = clock.batch
        race = la.race(
            surface, {"x": OURS[name]}, start=begins, runs=RUNS, steps=budget, budget=budget, seed=seed, progress=False
        )
        spent = time.process_time() - begin - clock.seconds
        seen = race.tracks["x"].seen.numpy()
    else:
        rows = []
        for run in range(RUNS):
            clock.seen = []
            try:
                THEIRS[name](clock.one, begins[run].numpy(), box, np.random.default_rng([seed, run]))
            except StopIteration:
                rows.append(clock.seen)
        spent = time.process_time() - begin - clock.seconds
        seen = np.array(rows)
    return seen - surface.optimum, spent


def run(name: str, function: int, dimension: int) -> dict:
    """How many evaluations each run took to each target, None where it did not get there, and the contestant's CPU seconds."""
    rows, seconds = [], 0.0
    for instance in INSTANCES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            seen, spent = losses(name, function, instance, dimension, BUDGETS[-1] * dimension)
        seconds += spent
        for row in seen:
            counted = row[~np.isnan(row)]
            assert len(counted) <= BUDGETS[-1] * dimension
            best = np.minimum.accumulate(counted)
            reached = [int(np.searchsorted(-best, -target)) for target in TARGETS]
            rows.append([hit + 1 if hit < len(best) else None for hit in reached])
    return {"hits": rows, "seconds": round(seconds, 2)}


def keep(dimension: int, name: str, function: int, found: dict) -> None:
    """Put away what one contestant did on one function; others may write at the same time."""
    with KEPT.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        kept = json.loads(file.read() or "{}")
        kept.setdefault(str(dimension), {}).setdefault(name, {})[str(function)] = found
        file.seek(0)
        file.truncate()
        file.write(json.dumps(kept))


def write() -> None:
    """The table, of what is kept."""
    kept = json.loads(KEPT.read_text())
    lines = [
        "# Searchers beside SciPy's and pycma's on BBOB",
        "",
        "Written by `python bench/searchers.py`. Share of (function, target, run) triples reached within so many evaluations "
        f"per dimension: 24 functions where none are named, instance {', '.join(map(str, INSTANCES))}, {RUNS} runs each from the "
        "same uniform random starts, 51 targets from 1e2 to 1e-8, the box [−5, 5]^N. All begin again at points uniform in the "
        "box. Nothing was tuned on the suite; five runs of a function leave about ±.02 of noise. Own time is CPU time outside "
        "of the functions, the race with its records included, of this machine at the time; ratios are to the library's row.",
    ]
    for dimension, names in sorted(kept.items()):
        lines += [
            "",
            f"## {dimension}-D",
            "",
            f"| algorithm | {' | '.join(f'{k}D' for k in BUDGETS)} | runs at 1e-8 | own CPU s | ratio |",
        ]
        lines.append(f"|---|{'---|' * (len(BUDGETS) + 3)}")
        for ours, theirs in PAIRS.items():
            # Of the functions that all of a pair have run on.
            done = set.intersection(*(set(names.get(name, {})) for name in (ours, *theirs)))
            if not done:
                continue
            seconds = {}
            for name in (ours, *theirs):
                found = [names[name][function] for function in done]
                hits = np.array(
                    [[math.inf if hit is None else hit for hit in row] for one in found for row in one["hits"]]
                )
                shares = [f"{np.mean(hits <= k * int(dimension)):.3f}" for k in BUDGETS]
                seconds[name] = sum(one["seconds"] for one in found)
                partial = "" if len(done) == len(FUNCTIONS) else f" (functions {', '.join(sorted(done, key=int))})"
                ratio = "–" if name == ours else f"{seconds[ours] / seconds[name]:.2f}"
                solved = np.isfinite(hits[:, -1]).mean()
                lines.append(
                    f"| {name}{partial} | {' | '.join(shares)} | {solved:.0%} | {seconds[name]:.1f} | {ratio} |"
                )
    Path(__file__).with_name("searchers.md").write_text("\n".join(lines) + "\n")


def main(words: list[str]) -> None:
    """Run what is wanted and not kept, and write the table."""
    if words:
        dimension, low, high = int(words[0]), *map(int, (words[1] if len(words) > 1 else "1-24").split("-"))
        for function in range(low, high + 1):
            for name in words[2:] or [*OURS, *THEIRS]:
                kept = json.loads(KEPT.read_text()) if KEPT.exists() and KEPT.stat().st_size else {}
                if str(function) not in kept.get(str(dimension), {}).get(name, {}):
                    keep(dimension, name, function, run(name, function, dimension))
    write()


if __name__ == "__main__":
    main(sys.argv[1:])
