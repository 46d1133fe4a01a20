"""The advisor on BBOB beside always taking the same algorithm, and controls: written to bench/advise.md.

python bench/advise.py run DIMENSION [SECONDS [K OF]]   records what is missing (its K-th of OF parts), resumed where it was
python bench/advise.py table                            makes bench/advise.md of what is recorded

Protocol. All thresholds of `lossatlas.advise` were set on the landscapes of the catalog (moved and turned, values only), before
anything was run here; their digest stands in every record, and a record of other thresholds is refused. Nothing was chosen on the suite
for the advice. What the controls choose (the single best, the pair, the group's best, the virtual best) is chosen on instances
CHOSEN, and for the first three without the function that is scored; all is scored on instances SCORED.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

import lossatlas as la
from lossatlas.advise import _advise, _thresholds, _tree

HERE = Path(__file__).parent
TARGETS = np.logspace(2, -8, 51)
BUDGETS = (50, 100, 200, 500, 1000)
# Half of each budget too: what two algorithms side by side have.
MARKS = tuple(sorted({*BUDGETS, *(budget // 2 for budget in BUDGETS)}))
SCORED, CHOSEN = (1, 2, 3), (6,)
FUNCTIONS = range(1, 25)
GROUPS = ((1, 5), (6, 9), (10, 14), (15, 19), (20, 24))
ALGORITHMS: dict[str, Any] = {
    "nelder-mead": la.optimizer("nelder-mead"),
    "lbfgs-differences": la.optimizer("finite-differences", inner=la.optimizer("lbfgs", restarts=10000)),
    "cma": la.optimizer("cma"),
    "de": la.optimizer("de"),
}
SCHEMES = ("advise", "random leaf", "shuffled facts")
LEAVES = (_tree.RANKS, _tree.RUGGED, _tree.SMOOTH, _tree.VALLEYS)
# A target that no run has reached counts as so many budgets.
MISS = 10


def start(function: int, instance: int, dimension: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1000 * function + instance)
    return 10 * torch.rand(dimension, generator=generator, dtype=torch.float64) - 5


def hits(seen: np.ndarray, optimum: float, dimension: int) -> dict[str, Any]:
    """Targets reached by each mark, and evaluations until 1e-1."""
    best = np.fmin.accumulate(seen) - optimum
    reached = {str(mark): int((best[min(mark * dimension, len(best)) - 1] <= TARGETS).sum()) for mark in MARKS}
    met = np.flatnonzero(best <= 1e-1)
    return {"reached": reached, "cost": int(met[0]) + 1 if len(met) else None}


def alone(name: str, function: int, instance: int, dimension: int) -> dict[str, Any]:
    surface = la.landscapes.Bbob(function, dimension, instance)
    budget = max(BUDGETS) * dimension
    race = la.race(
        surface, {name: ALGORITHMS[name]}, start=start(function, instance, dimension), steps=budget, budget=budget,
        seed=1000 * function + instance, progress=False,
    )  # fmt: skip
    return hits(race.tracks[name].seen[0].numpy(), surface.optimum, dimension)


def advised(
    scheme: str, function: int, instance: int, dimension: int, budget: int, pool: dict[str, Any]
) -> dict[str, Any]:
    """An advice, or one whose tree walks on facts that are not the surface's."""
    surface = la.landscapes.Bbob(function, dimension, instance)
    seed = 1000 * function + instance
    generator = np.random.default_rng((seed, budget))
    walk = _tree.walk

    def other(facts: Any) -> Any:
        if scheme == "random leaf":
            return [], [LEAVES[generator.integers(len(LEAVES))]]
        drawn = pool[str(budget)][generator.integers(len(pool[str(budget)]))]
        return walk({name: la.Fact(name, "", *numbers) for name, numbers in drawn.items()})

    with mock.patch.object(_advise, "walk", walk if scheme == "advise" else other):
        advice = la.advise(surface, budget=budget * dimension, seed=seed, progress=False)
    assert advice.spent <= budget * dimension and len(advice.seen) <= budget * dimension
    found = hits(advice.seen, surface.optimum, dimension)
    told = {fact.name: [fact.value, fact.low, fact.high] for fact in advice.facts}
    return {
        "reached": found["reached"][str(budget)], "cost": found["cost"], "advised": advice.advised, "winner": advice.winner,
        "outcome": advice.outcome, "facts": told if scheme == "advise" else None, "spent": advice.spent,
    }  # fmt: skip


def jobs(dimension: int) -> list[tuple[str, int, int, int]]:
    """(scheme, function, instance, budget), the most wanted first."""
    found = [(name, f, i, 0) for i in (SCORED[0], *CHOSEN) for name in ALGORITHMS for f in FUNCTIONS]
    found = [("advise", f, SCORED[0], b) for b in BUDGETS for f in FUNCTIONS] + found
    found += [(scheme, f, SCORED[0], b) for scheme in SCHEMES[1:] for b in BUDGETS for f in FUNCTIONS]
    for i in SCORED[1:]:
        found += [("advise", f, i, b) for b in BUDGETS for f in FUNCTIONS]
        found += [(name, f, i, 0) for name in ALGORITHMS for f in FUNCTIONS]
    return found


def recorded(dimension: int) -> dict[str, Any]:
    """The runs in all files of a dimension, made with the thresholds as they are."""
    runs: dict[str, Any] = {}
    for file in sorted(HERE.glob(f"advise-{dimension}*.json")):
        record = json.loads(file.read_text())
        if record["thresholds"] != _thresholds.digest():
            raise SystemExit(f"{file.name} was made with other thresholds; remove it to run anew.")
        runs |= record["runs"]
    return runs


def run(dimension: int, seconds: float, part: int, parts: int) -> None:
    """Record what is missing, for so long."""
    file, end = HERE / f"advise-{dimension}-{part}.json", time.monotonic() + seconds
    torch.set_num_threads(1)
    own = recorded(dimension)
    done, missing = 0, [job for job in jobs(dimension)[part::parts] if "/".join(map(str, job)) not in own]
    for scheme, function, instance, budget in missing:
        if time.monotonic() > end:
            break
        if scheme in ALGORITHMS:
            found = alone(scheme, function, instance, dimension)
        else:
            every = recorded(dimension) if scheme != "advise" else {}
            pool = {
                str(b): [
                    r["facts"]
                    for key, r in sorted(every.items())
                    if key.startswith("advise/") and key.endswith(f"/{b}")
                ]
                for b in BUDGETS
            }
            found = advised(scheme, function, instance, dimension, budget, pool)
        own["/".join(map(str, (scheme, function, instance, budget)))] = found
        done += 1
        if done % 8 == 0:
            write(file, own)
    write(file, own)
    print(f"{dimension}-D, part {part} of {parts}: {done} of {len(missing)} recorded", flush=True)


def write(file: Path, runs: dict[str, Any]) -> None:
    record = {"thresholds": _thresholds.digest(), "runs": runs}
    draft = file.with_suffix(".part")
    draft.write_text(json.dumps(record, separators=(",", ":")))
    draft.replace(file)


class Scores:
    """What is recorded of one dimension, as shares of targets and costs to 1e-1, on the functions that have run whole."""

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self.runs = recorded(dimension)
        self.functions = [f for f in FUNCTIONS if self._whole(f, SCORED[0])]
        self.scored = [i for i in SCORED if all(self._whole(f, i) for f in self.functions)]

    def _whole(self, function: int, instance: int) -> bool:
        wanted = [f"advise/{function}/{instance}/{b}" for b in BUDGETS]
        wanted += [f"{name}/{function}/{i}/0" for name in ALGORITHMS for i in (instance, *CHOSEN)]
        return all(key in self.runs for key in wanted)

    def share(self, name: str, function: int, mark: int, instances: Any = None) -> float:
        """Mean share of the targets that an algorithm has reached by a mark."""
        told = [self.runs[f"{name}/{function}/{i}/0"]["reached"][str(mark)] for i in instances or self.scored]
        return float(np.mean(told)) / len(TARGETS)

    def chosen(self, function: int, mark: int, among: Any = None) -> str:
        """The algorithm that is best on the other instances of the other functions."""
        others = [f for f in among or self.functions if f != function and f in self.functions] or self.functions
        return max(ALGORITHMS, key=lambda name: np.mean([self.share(name, f, mark, CHOSEN) for f in others]))

    def advice(self, scheme: str, budget: int) -> np.ndarray | None:
        """(24,) share by function; None where not all is recorded."""
        instances = self.scored if scheme == "advise" else self.scored[:1]
        keys = [[f"{scheme}/{f}/{i}/{budget}" for i in instances] for f in self.functions]
        if not all(key in self.runs for row in keys for key in row):
            return None
        return np.array([np.mean([self.runs[key]["reached"] for key in row]) for row in keys]) / len(TARGETS)

    def rows(self, budget: int) -> dict[str, np.ndarray | None]:
        """(24,) share by function, of everything that is compared."""
        found: dict[str, np.ndarray | None] = {scheme: self.advice(scheme, budget) for scheme in SCHEMES}
        found |= {name: np.array([self.share(name, f, budget) for f in self.functions]) for name in ALGORITHMS}
        found["single best, chosen without the function"] = np.array(
            [self.share(self.chosen(f, budget), f, budget) for f in self.functions]
        )
        found["single best, chosen on the same runs"] = max((found[name] for name in ALGORITHMS), key=np.mean)
        found["blind pair, half each"] = np.array([self._pair(f, budget) for f in self.functions])
        group = {f: range(low, high + 1) for low, high in GROUPS for f in range(low, high + 1)}
        found["oracle of the function's group"] = np.array(
            [self.share(self.chosen(f, budget, group[f]), f, budget) for f in self.functions]
        )
        found["virtual best, chosen on other instances"] = np.array(
            [
                self.share(max(ALGORITHMS, key=lambda name: self.share(name, f, budget, CHOSEN)), f, budget)
                for f in self.functions
            ]
        )
        return found

    def _pair(self, function: int, budget: int) -> float:
        def both(pair: tuple[str, str], f: int, instances: Any) -> float:
            told = [
                max(self.runs[f"{name}/{f}/{i}/0"]["reached"][str(budget // 2)] for name in pair) for i in instances
            ]
            return float(np.mean(told)) / len(TARGETS)

        others = [f for f in self.functions if f != function]
        pairs = list(itertools.combinations(ALGORITHMS, 2))
        best = max(pairs, key=lambda pair: np.mean([both(pair, f, CHOSEN) for f in others]))
        return both(best, function, self.scored)

    def ert(self, name: str, function: int) -> float:
        """Evaluations to 1e-1 over successes, at the largest budget."""
        budget = max(BUDGETS)
        keys = [f"{name}/{function}/{i}/{budget if name in SCHEMES else 0}" for i in self.scored]
        costs = [self.runs[key]["cost"] for key in keys]
        whole = budget * self.dimension
        reached = sum(cost is not None for cost in costs)
        return sum(whole if cost is None else cost for cost in costs) / reached if reached else float(MISS * whole)


def interval(difference: np.ndarray) -> tuple[float, float]:
    """95 % of bootstrap means over functions."""
    generator = np.random.default_rng(0)
    means = difference[generator.integers(len(difference), size=(2000, len(difference)))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def relative(scores: Scores) -> list[str]:
    """Running times to 1e-1 over the best algorithm of each function."""
    names = [*ALGORITHMS, "advise"]
    ert = {name: np.array([scores.ert(name, f) for f in scores.functions]) for name in names}
    best = np.min([ert[name] for name in ALGORITHMS], axis=0)
    geometric = {name: float(np.exp(np.log(ert[name] / best).mean())) for name in names}
    most = float(MISS * max(BUDGETS) * scores.dimension)
    sbs = min(ALGORITHMS, key=lambda name: geometric[name])
    ratio = np.log(ert["advise"] / ert[sbs])
    low, high = np.exp(interval(ratio))
    worst = int(np.argmax(ratio))
    rows = {
        "geometric mean": [f"{geometric[name]:.2f}" for name in names],
        "mean": [f"{float((ert[name] / best).mean()):.2f}" for name in names],
        "functions reached": [str(int((ert[name] < most).sum())) for name in names],
    }
    return [
        "",
        f"relERT to 1e-1 at {max(BUDGETS)} D over the best algorithm of each function (a target that no run reached counts as {MISS} "
        "budgets):",
        "",
        f"| | {' | '.join(names)} |",
        f"|---|{'---|' * len(names)}",
        *(f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items()),
        "",
        f"Advice over the single best by this measure ({sbs}): geometric mean {np.exp(ratio.mean()):.2f} [{low:.2f}, {high:.2f}]; worst "
        f"function f{scores.functions[worst]}, {np.exp(ratio[worst]):.1f} times its cost.",
        "",
    ]


def section(scores: Scores) -> list[str]:
    """The tables of one dimension."""
    rows = {budget: scores.rows(budget) for budget in BUDGETS}
    missing = [f"f{f}" for f in FUNCTIONS if f not in scores.functions]
    note = f" ({', '.join(missing)} have not run whole)" if missing else ""
    lines = [
        f"## {scores.dimension}-D: {len(scores.functions)} functions{note}, scored on instances {', '.join(map(str, scores.scored))}",
        "",
        f"| | {' | '.join(f'{b} D' for b in BUDGETS)} |",
        f"|---|{'---|' * len(BUDGETS)}",
    ]
    for name in rows[BUDGETS[0]]:
        shown = ["–" if row[name] is None else f"{np.mean(row[name]):.3f}" for row in rows.values()]
        lines.append(f"| {name} | {' | '.join(shown)} |")
    for against in ("chosen without the function", "chosen on the same runs"):
        cells = []
        for row in rows.values():
            difference = row["advise"] - row[f"single best, {against}"]
            low, high = interval(difference)
            cells.append(f"{difference.mean():+.3f} [{low:+.3f}, {high:+.3f}]")
        lines.append(f"| **advise − single best, {against}** | {' | '.join(cells)} |")
    lines += relative(scores)
    told = [
        r["outcome"]
        for key, r in scores.runs.items()
        if key.startswith("advise/")
        and int(key.split("/")[2]) in scores.scored
        and int(key.split("/")[1]) in scores.functions
    ]
    outcomes = ", ".join(f"{name} {told.count(name)}" for name in sorted(set(told)))
    gap = []
    for budget, row in rows.items():
        single = row["single best, chosen without the function"]
        room = (row["virtual best, chosen on other instances"] - single).mean()
        gap.append(f"{budget} D: {(row['advise'] - single).mean():+.3f} of {room:+.3f}")
    lines += [f"Outcomes of the race: {outcomes}.", ""]
    return [*lines, f"Of the honest room (virtual best − single best): {'; '.join(gap)}.", ""]


def table() -> None:
    protocol = " ".join((__doc__ or "").split("Protocol. ")[1].split())
    protocol = protocol.replace("CHOSEN", ", ".join(map(str, CHOSEN))).replace("SCORED", ", ".join(map(str, SCORED)))
    lines = [
        "# The advisor on BBOB",
        "",
        "Written by `python bench/advise.py table`. Share of 51 targets (1e2 to 1e-8) reached within a budget, one run per instance; the "
        f"probe, the race and the rest are all counted, and no advice went over its budget. {protocol}",
        "",
    ]
    for dimension in (2, 5):
        scores = Scores(dimension)
        if len(scores.functions) > 2:
            lines += section(scores)
    (HERE / "advise.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    if sys.argv[1:2] == ["run"]:
        words = [*sys.argv[2:], *("2", "1e9", "0", "1")[len(sys.argv) - 2 :]]
        run(int(words[0]), float(words[1]), int(words[2]), int(words[3]))
    else:
        table()
