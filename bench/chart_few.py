"""Charts at the default tolerance against `random_plane` of loss-landscapes 3.0.6, with their true errors beside them."""

from __future__ import annotations

import copy
import statistics
import time

import loss_landscapes
import numpy as np
import torch
from loss_landscapes.metrics import Loss
from pairs import pairs
from resnet import cifar, resnet
from torch import nn

import lossatlas as la
from lossatlas.demo import digits, digits_mlp, fit

POINTS, EXAMPLES = 51, 1000
PART, CHECKED = 7, 100


def mlp() -> list[str]:
    """The digits MLP of `chart_mlp`, 1,797 examples."""
    x, y = digits("all")
    model = digits_mlp(seed=0)
    fit(model, (x, y), epochs=10, seed=0)
    return _row("digits MLP 64-64-64-10, 1,797 examples", model, x, y, rounds=9, target="≥ 60")


def network() -> list[str]:
    """A ResNet-20 with batch norm, trained on 1,000 real images."""
    data = cifar(EXAMPLES)
    what = f"ResNet-20 with batch norm, {EXAMPLES:,} CIFAR-10 images"
    if data is None:
        return [what, "–", "–", "–", "≥ 10", "not run: the images are not here"]
    model = resnet(seed=0)
    fit(model, data, epochs=12, batch_size=64, rate=2e-3, seed=0)
    x, y = data
    fresh, cells = np.random.default_rng(1), []
    mine, other = [], []
    for _ in range(3):
        begin = time.perf_counter()
        surface = la.NetworkSurface(model, "cross_entropy", (x, y))
        plane = la.Plane.random(surface, seed=0, normalization="filter")
        few = la.chart(surface, plane, span=1.0, points=POINTS, progress=False)
        mine.append(time.perf_counter() - begin)
        begin = time.perf_counter()
        metric = Loss(nn.CrossEntropyLoss(), x, y)
        loss_landscapes.random_plane(
            copy.deepcopy(model), metric, distance=1, steps=PART, normalization="filter", deepcopy_model=True
        )
        other.append((time.perf_counter() - begin) * POINTS**2 / PART**2)
    cells = fresh.choice(POINTS**2, CHECKED, replace=False)
    coords = np.stack([few.alpha[cells % POINTS], few.beta[cells // POINTS]], 1)
    truth = surface.on(plane).values(torch.from_numpy(coords)).numpy()
    ratios = [b / a for a, b in zip(mine, other, strict=True)]
    return [
        f"{POINTS}×{POINTS} chart at the default tolerance, {what}, vs loss-landscapes 3.0.6 (from {PART}×{PART} of its cells)",
        f"{statistics.median(mine):.1f}",
        f"{statistics.median(other):.0f} (extrapolated)",
        f"{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})",
        "≥ 10",
        _error(few, few.loss.ravel()[cells], truth, f", {CHECKED} cells drawn anew"),
    ]


def _row(what: str, model: nn.Module, x: torch.Tensor, y: torch.Tensor, rounds: int, target: str) -> list[str]:
    def ours(points: int = POINTS, exact: bool = False) -> la.Chart:
        surface = la.NetworkSurface(model, "cross_entropy", (x, y))
        plane = la.Plane.random(surface, seed=0, normalization="filter")
        return la.chart(surface, plane, span=1.0, points=points, exact=exact, progress=False)

    def theirs() -> object:
        metric = Loss(nn.CrossEntropyLoss(), x, y)
        return loss_landscapes.random_plane(
            copy.deepcopy(model), metric, distance=1, steps=POINTS, normalization="filter", deepcopy_model=True
        )

    seconds = pairs(ours, theirs, rounds)
    few, truth = ours(), ours(exact=True)
    return [
        f"{POINTS}×{POINTS} chart at the default tolerance, {what}, vs loss-landscapes 3.0.6",
        *seconds,
        target,
        _error(few, few.loss, truth.loss, ""),
    ]


def _error(few: la.Chart, found: np.ndarray, truth: np.ndarray, where: str) -> str:
    """The chart's true error, beside its own certificate."""
    off, span = found - truth, few.certificate.range
    rms = float(np.sqrt((off**2).mean())) / span
    low, high = (end / span for end in few.certificate.interval)
    asked = ", ".join(f"{f['values']} {name}" for name, f in few.meter["fields"].items())
    return (
        f"true rms {rms:.2%} of range{where} (certified {low:.2%} to {high:.2%}), median "
        f"{np.median(np.abs(off / truth)):.2%} of the loss, largest {np.abs(off).max() / span:.2%}; asked {asked}"
    )


def resolution() -> list[str]:
    """The same chart on 401×401 cells instead of 51×51."""
    x, y = digits("all")
    model = digits_mlp(seed=0)
    fit(model, (x, y), epochs=10, seed=0)
    surface = la.NetworkSurface(model, "cross_entropy", (x, y))
    plane = la.Plane.random(surface, seed=0)

    def at(points: int) -> la.Chart:
        return la.chart(surface, plane, points=points, progress=False)

    seconds = pairs(lambda: at(POINTS), lambda: at(401), 9)
    coarse, fine = (at(points).meter["examples"] for points in (POINTS, 401))
    what = "401×401 cells (second column) instead of 51×51 (first), digits MLP, default tolerance"
    return [what, *seconds, "≤ 1.5", f"examples read: {fine / coarse:.2f} times as many"]
