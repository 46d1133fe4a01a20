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
from lossatlas.train import digits, digits_mlp, fit

POINTS, EXAMPLES = 51, 1000


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
    return _row(what, model, *data, rounds=1, target="≥ 10")


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

    if rounds > 1:
        seconds = pairs(ours, theirs, rounds)
    else:
        ours()
        mine = [_time(ours) for _ in range(3)]
        other = _time(theirs)
        ratios = [other / m for m in mine]
        spread = f"{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})"
        seconds = f"{statistics.median(mine):.2f}", f"{other:.1f}", spread
    few, truth = ours(), ours(exact=True)
    return [
        f"{POINTS}×{POINTS} chart at the default tolerance, {what}, vs loss-landscapes 3.0.6",
        *seconds,
        target,
        _error(few, truth),
    ]


def _time(program: object) -> float:
    begin = time.perf_counter()
    program()  # type: ignore[operator]
    return time.perf_counter() - begin


def _error(few: la.Chart, truth: la.Chart) -> str:
    """The chart's true error against the full exact grid, beside its own certificate."""
    off, span = few.loss - truth.loss, float(np.ptp(truth.loss))
    rms = float(np.sqrt((off**2).mean())) / span
    low, high = (end / span for end in few.certificate.interval)
    asked = ", ".join(f"{f['values']} {name}" for name, f in few.meter["fields"].items())
    return (
        f"true rms {rms:.2%} of range (certified {low:.2%} to {high:.2%}), median {np.median(np.abs(off / truth.loss)):.2%} "
        f"of the loss, largest {np.abs(off).max() / span:.2%}; asked {asked}"
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
