"""Does the advised learning rate train as low as the best of a fine grid? Six digits networks, held out.

    python bench/advise_networks.py run [NETWORK …]
    python bench/advise_networks.py table

Protocol. For each network and initialization `advise` gets one budget, on mini-batches of 64 of the 1,437 training digits. The
optimizer that it names then trains from the same initial weights at the advised rate and at 17 rates around it, in factors of √2
from 1/16 to 16, for as many steps as the advice was raced over, on mini-batches that the advice has not seen, the same for all
rates. What is compared is the training loss at the end, its geometric mean over those runs. The settings of the race of rates were
chosen on other networks (`bench/advise_networks.md` says which); these six were run once the settings were fixed.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import lossatlas as la
from lossatlas import archive
from lossatlas.demo import digits
from lossatlas.optimize import optimizer
from lossatlas.race import network_race

FILE, TABLE = Path(__file__).with_suffix(".json"), Path(__file__).with_suffix(".md")
BUDGET, RUNS, SEEDS, BATCH = 1100, 6, (0, 1), 64
FACTORS = [2.0 ** (k / 2) for k in range(-8, 9)]
# Far from the seed that the advice draws its mini-batches with.
UNSEEN = 1000


class Residual(nn.Module):
    """x + a two-layer branch with dropout, which is off where losses are evaluated."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Dropout(0.2), nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        moved: Tensor = self.branch(x)
        return x + moved


def network(name: str, seed: int) -> nn.Module:
    """One of the six, at its initialization."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return {
            "tanh, 2 layers": lambda: _mlp(nn.Tanh, 32, 2),
            "ReLU, 1 layer": lambda: _mlp(nn.ReLU, 64, 1),
            "tanh, 5 layers": lambda: _mlp(nn.Tanh, 32, 5),
            "CNN": _cnn,
            "ReLU with batch norm": _normed,
            "residual, dropout off": lambda: nn.Sequential(nn.Linear(64, 32), *(Residual(32) for _ in range(3)), nn.Linear(32, 10)),
        }[name]().eval()  # fmt: skip


NETWORKS = ("tanh, 2 layers", "ReLU, 1 layer", "tanh, 5 layers", "CNN", "ReLU with batch norm", "residual, dropout off")


def _mlp(kind: type[nn.Module], width: int, depth: int) -> nn.Module:
    layers: list[nn.Module] = [nn.Linear(64, width), kind()]
    for _ in range(depth - 1):
        layers += [nn.Linear(width, width), kind()]
    return nn.Sequential(*layers, nn.Linear(width, 10))


def _cnn() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3, stride=2, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip


def _normed() -> nn.Module:
    model = nn.Sequential(
        nn.Linear(64, 48), nn.BatchNorm1d(48), nn.ReLU(), nn.Linear(48, 48), nn.BatchNorm1d(48), nn.ReLU(), nn.Linear(48, 10)
    )  # fmt: skip
    # The statistics of the initial network, which its surface holds fixed.
    for module in model:
        if isinstance(module, nn.BatchNorm1d):
            module.momentum = 1.0
    with torch.no_grad():
        model.train()(digits("train")[0])
    return model


def measured(name: str, seed: int) -> dict[str, object]:
    """The advice for one initialization, and the losses of the grid."""
    surface = la.NetworkSurface(network(name, seed), "cross_entropy", digits("train"))
    begin = time.process_time()
    advice = la.advise(surface, budget=BUDGET, batch_size=BATCH, seed=seed, progress=False)
    seconds = time.process_time() - begin
    rule = advice.optimizer
    grid = {f"{factor:.4g}": rule.lr * factor for factor in FACTORS}
    raced = network_race(
        surface, {label: optimizer(rule.name, lr=lr) for label, lr in grid.items()}, batch_size=BATCH, steps=advice.horizon,
        runs=RUNS, checks=1, ends=0, seed=UNSEEN + seed, progress=False,
    )  # fmt: skip
    losses = {
        label: [x if np.isfinite(x) else None for x in raced.runners[label].loss[:, -1].tolist()] for label in grid
    }
    return {
        "optimizer": rule.name, "rate": rule.lr, "steps": advice.horizon, "spent": advice.spent, "seconds": seconds,
        "facts": {fact.name: fact.value for fact in advice.facts}, "losses": losses,
    }  # fmt: skip


def mean(losses: list[float | None]) -> float:
    """Geometric, since losses span decades; infinite where a run diverged."""
    finite = [loss for loss in losses if loss is not None]
    return float(np.exp(np.mean(np.log(finite)))) if len(finite) == len(losses) else float("inf")


def rows(found: dict[str, dict[str, Any]]) -> list[list[str]]:
    """One row per network and initialization."""
    made = []
    for name in NETWORKS:
        for seed, one in found.get(name, {}).items():
            losses = {float(factor): mean(runs) for factor, runs in one["losses"].items()}
            best = min(losses, key=losses.__getitem__)
            made.append([
                name, seed, f"{one['optimizer']} {one['rate']:.3g}", f"{one['steps']}", f"{one['spent']:.0f}", f"{losses[1.0]:.3g}",
                f"{one['rate'] * best:.3g}", f"{losses[best]:.3g}", f"{losses[1.0] / losses[best]:.2f}",
            ])  # fmt: skip
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("networks", nargs="*", help="all six by default")
    given = parser.parse_args()
    found = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    if given.what == "run":
        for seed in SEEDS:
            for name in given.networks or NETWORKS:
                if str(seed) not in found.get(name, {}):
                    found.setdefault(name, {})[str(seed)] = measured(name, seed)
                    archive.write_json(FILE, found)
                    print(name, seed, rows({name: {str(seed): found[name][str(seed)]}}), flush=True)
    head = [
        "network",
        "initialization",
        "advised",
        "steps",
        "values spent",
        "loss",
        "best rate of the grid",
        "its loss",
        "ratio",
    ]
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in rows(found):
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
