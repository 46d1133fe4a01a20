"""Forecasts of charts held against what then happened: seconds, evaluations and bytes, the card among them.

python bench/forecast.py          every network
python bench/forecast.py mlp      one of them
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

import lossatlas as la
from lossatlas.demo import digits, digits_cnn, digits_mlp, digits_transformer, fit

SEEDS = (1, 2, 3)
# Of networks whose number of nodes is decided on the way, seconds are held against the forecast for that number.
HEAD = "| network | chart | evaluations: forecast (range), true | seconds, forecast / true | at the true number | bytes, forecast / true |"


def mlp() -> la.Surface:
    """The digits MLP."""
    model, data = digits_mlp(), digits("all")
    fit(model, data, epochs=10)
    return la.NetworkSurface(model, "cross_entropy", data)


def cnn() -> la.Surface:
    """The digits CNN with batch norm."""
    model, data = digits_cnn(), digits("all", images=True)
    fit(model, data, epochs=5)
    return la.NetworkSurface(model, "cross_entropy", data)


def transformer() -> la.Surface:
    """A small transformer."""
    model, data = digits_transformer(), digits("all")
    fit(model, data, epochs=5)
    return la.NetworkSurface(model, "cross_entropy", data)


def objective() -> la.Surface:
    """An MLP whose objective reads its weights: the loss itself is interpolated."""
    model, data = digits_mlp(), digits("all")
    fit(model, data, epochs=5)

    def penalized(net: nn.Module, batch: Any) -> torch.Tensor:
        x, y = batch
        return nn.functional.cross_entropy(net(x), y) + 1e-3 * sum(p.square().sum() for p in net.parameters())

    return la.NetworkSurface(model, objective=penalized, data=data)


def formula() -> la.Surface:
    """A landscape."""
    return la.landscapes.rastrigin()


KINDS: dict[str, dict[str, Any]] = {
    "plane": {},
    "plane, ledger": {"ledger": True},
    "exact 21×21": {"points": 21, "exact": True},
    "exact 21×21, ledger": {"points": 21, "exact": True, "ledger": True},
    "line of 61": {"points": 61},
    "line of 301": {"points": 301},
}
NETWORKS: dict[str, Callable[[], la.Surface]] = {f.__name__: f for f in (mlp, cnn, transformer, objective, formula)}


def measure(name: str) -> list[str]:
    """Rows of a table for one network."""
    surface = NETWORKS[name]()
    return [_row(name, surface, kind, settings) for kind, settings in KINDS.items()] + [_card(name, surface)]


def _row(name: str, surface: la.Surface, kind: str, settings: dict[str, Any]) -> str:
    ratios, level, sizes, said, true = [], [], [], None, 0
    for seed in SEEDS:
        plane: Any = (la.Line if "line" in kind else la.Plane).random(surface, seed=seed)
        with tempfile.TemporaryDirectory() as folder:
            given = {k: v for k, v in settings.items() if k != "ledger"}
            ledger = Path(folder) / "run" if settings.get("ledger") else None
            said = la.forecast(surface, plane, ledger=ledger, **given)
            begin = time.perf_counter()
            made = la.chart(surface, plane, ledger=ledger, progress=False, **given)
            seconds = time.perf_counter() - begin
            out = ledger or Path(folder)
            made.save(out)
            true = made.meter.values
            kept = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
            if ledger is None and said.sizes.get("outputs"):
                kept += round(said.sizes["outputs"] * true / said.evaluations)
        ratios.append(said.seconds / seconds)
        low, _ = said.evaluations_within or (said.evaluations, said.evaluations)
        inside = said.seconds_within or (said.seconds, said.seconds)
        points, values = (
            ((low, said.evaluations), (inside[0], said.seconds))
            if low < said.evaluations
            else ((0, true), (0, said.seconds))
        )
        slope = (values[1] - values[0]) / (points[1] - points[0])
        level.append((values[0] + slope * (true - points[0])) / seconds)
        spread = said.bytes_within or (said.bytes, said.bytes)
        steep = (said.bytes - spread[0]) / max(1, said.evaluations - low)
        sizes.append((spread[0] + steep * (true - low) if low < said.evaluations else said.bytes) / kept)
    assert said is not None
    within = said.evaluations_within
    return f"| {name} | {kind} | {said.evaluations:,} {within}, {true:,} | {_spread(ratios)} | {_spread(level)} | {_spread(sizes)} |"


def _card(name: str, surface: la.Surface) -> str:
    plane = la.Plane.random(surface, seed=1)
    made = la.chart(surface, plane, points=21, exact=True, progress=False)
    said = la.forecast(surface, plane, points=21, exact=True, card=True)
    begin = time.perf_counter()
    card = made.card()
    seconds = time.perf_counter() - begin
    return f"| {name} | card | worth {card.meter.cost():,.0f} losses | {said.parts['card'] / seconds:.2f} | | |"


def _spread(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


if __name__ == "__main__":
    print(HEAD + "\n|---|---|---|---|---|---|")
    for wanted in sys.argv[1:] or NETWORKS:
        for row in measure(wanted):
            print(row, flush=True)
