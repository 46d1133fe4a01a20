"""A 51×51 chart of a digits MLP, exact, against `random_plane` of loss-landscapes 3.0.6."""

from __future__ import annotations

import copy

import loss_landscapes
import numpy as np
import torch
from loss_landscapes.metrics import Loss
from pairs import pairs
from torch import nn

import lossatlas as la
from lossatlas.demo import digits, digits_mlp, fit

POINTS, ROUNDS, CHECKED = 51, 9, 60


def measure() -> list[str]:
    x, y = digits("all")
    model = digits_mlp(seed=0)
    fit(model, (x, y), epochs=10, seed=0)
    surface = la.NetworkSurface(model, "cross_entropy", (x, y))
    plane = la.Plane.random(surface, seed=0, normalization="filter")

    def ours() -> la.Chart:
        fresh = la.NetworkSurface(model, "cross_entropy", (x, y))
        made = la.Plane.random(fresh, seed=0, normalization="filter")
        return la.chart(fresh, made, span=1.0, points=POINTS, exact=True, progress=False)

    def theirs() -> object:
        metric = Loss(nn.CrossEntropyLoss(), x, y)
        return loss_landscapes.random_plane(
            copy.deepcopy(model), metric, distance=1, steps=POINTS, normalization="filter", deepcopy_model=True
        )

    seconds = pairs(ours, theirs, ROUNDS)
    return [
        f"{POINTS}×{POINTS} chart, digits MLP 64-64-64-10, 1,797 examples, exact, vs loss-landscapes 3.0.6",
        *seconds,
        "≥ 4",
        error(ours(), model, plane, x, y),
    ]


def error(chart: la.Chart, model: nn.Module, plane: la.Plane, x: torch.Tensor, y: torch.Tensor) -> str:
    """Largest relative error over random cells against a plain float64 loop."""
    double = copy.deepcopy(model).double()
    frame = plane.frame
    worst = 0.0
    for j, i in np.random.default_rng(0).integers(0, POINTS, (CHECKED, 2)):
        theta = (
            frame.origin.double()
            + chart.alpha[i] * frame.directions[0].double()
            + chart.beta[j] * frame.directions[1].double()
        )
        nn.utils.vector_to_parameters(theta, double.parameters())
        with torch.no_grad():
            true = float(nn.functional.cross_entropy(double(x.double()), y))
        worst = max(worst, abs(float(chart.loss[j, i]) - true) / true)
    return f"{worst:.1e} relative, worst of {CHECKED} cells against float64"
