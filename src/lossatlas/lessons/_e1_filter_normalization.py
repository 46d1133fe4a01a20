"""E1: two random directions, filter-normalized, the loss on a grid (Li et al. 2018)."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from lossatlas.chart import Chart, Plane, chart
from lossatlas.curvature import rescale, spread
from lossatlas.demo import digits, digits_mlp, fit
from lossatlas.lessons._lesson import Check, Ending, Lesson, Row, spent
from lossatlas.surface import NetworkSurface

CLAIM = (
    "A picture of a real network: two random directions, each filter of them as long as the filter it moves, and the loss on a "
    "grid (Li et al. 2018); networks that are the same function then have the same picture."
)
SHAPE, POINTS, DRAWN, LAYER, UNIT = (7, 5), 15, 31, 5.0, 4.5
EQUAL, DIFFERENT = 1e-4, 0.1


def experiment(runs: int, seed: int) -> Iterator[Row]:
    """Hold charts against a plain double loop written from the paper, and equal functions against each other."""
    yield (
        f"A ReLU network 64-32-10 is trained on digits and charted over ±1 in filter norms, from {runs} seeds, beside a double loop that "
        "was written from the paper. Two copies of it, one rescaled by layers and one by units, are the same function and are charted "
        "on planes with the same seeds."
    )
    model = digits_mlp((32,), seed=seed)
    fit(model, digits("train"), epochs=5, seed=seed)
    model = model.double()
    data = digits("test")
    data = (data[0].double(), data[1])
    surface = NetworkSurface(model, "cross_entropy", data, name="a digits MLP")
    layered = NetworkSurface(rescale(model, LAYER), "cross_entropy", data, name="the same MLP, its layers rescaled")
    united = NetworkSurface(rescale(model, spread(model, seed=seed, ratio=UNIT)), "cross_entropy", data)
    charts: list[Chart] = []

    def picture(
        of: NetworkSurface, normalization: str, at: int, shape: tuple[int, int] = (POINTS, POINTS)
    ) -> np.ndarray:
        plane = Plane.random(of, seed=at, normalization=normalization)
        charts.append(chart(of, plane, points=shape, exact=True, progress=False))
        return charts[-1].loss

    def apart(other: NetworkSurface, normalization: str) -> float:
        """The largest relative difference between two pictures, in the median over seeds."""
        found = []
        for at in range(seed, seed + runs):
            one, two = picture(surface, normalization, at), picture(other, normalization, at)
            found.append(float(np.abs(two / one - 1).max()))
        return float(np.median(found))

    gap = max(
        float(np.abs(picture(surface, "li2018", at, SHAPE) / _plain(model, data, at) - 1).max())
        for at in range(seed, seed + runs)
    )
    yield Check(
        "the picture is the paper's: every cell as in a plain double loop (to 1e-6, since its directions are float32)",
        f"off by {gap:.0e} of the loss at most, over {runs} seeds of {SHAPE[0]}×{SHAPE[1]} cells",
        gap < 1e-6,
    )
    same = float((united.loss_at_theta - surface.loss_at_theta) / surface.loss_at_theta)
    layer_none, layer_filter = apart(layered, "none"), apart(layered, "filter")
    yield Check(
        f"without normalization an equal function, one layer times {LAYER:g} and the next divided by it, has another picture (by more "
        f"than {DIFFERENT:g} somewhere)",
        f"off by {layer_none:.2g} of the loss where it differs most, in the median of {runs} seeds",
        layer_none > DIFFERENT,
    )
    yield Check(
        f"normalized by filters it has the same picture (to {EQUAL:g})",
        f"off by {layer_filter:.0e} at most",
        layer_filter < EQUAL,
    )
    unit_filter, unit_weight = apart(united, "filter"), apart(united, "weight")
    yield Check(
        f"normalized by filters it also has the same picture when single units are rescaled, up to {UNIT:g}-fold (to {EQUAL:g})",
        f"off by {unit_filter:.2g}, although the losses in the center are the same (to {max(abs(same), 1e-16):.0e})",
        unit_filter < EQUAL,
    )
    yield Check(
        f"with directions scaled to every single weight it has the same picture then too (to {EQUAL:g})",
        f"off by {unit_weight:.0e} at most",
        unit_weight < EQUAL,
    )
    drawn = {}
    for name, of, normalization in (
        ("network", surface, "filter"), ("rescaled", layered, "filter"), ("rescaled-unnormalized", layered, "none")
    ):  # fmt: skip
        plane = Plane.random(of, seed=seed, normalization=normalization)
        charts.append(chart(of, plane, points=DRAWN, exact=True, progress=False))
        drawn[name] = charts[-1].plot()
    yield Ending(
        spent(*(one.meter for one in charts)),
        caveats=(
            "Filter normalization sees rows; a rescaled unit also shrinks a column of the next layer, which lies across its rows.",
            "`balance()` puts a network into one scale before it is drawn or compared.",
        ),
        data={
            "layer": {"none": layer_none, "filter": layer_filter},
            "unit": {"filter": unit_filter, "weight": unit_weight},
        },
        pictures=drawn,
    )


def _plain(model: nn.Module, data: tuple[torch.Tensor, torch.Tensor], seed: int) -> np.ndarray:
    """The grid by two loops: a Gaussian tensor per weight, each row scaled to the row it moves, vectors left alone."""
    generator = torch.Generator().manual_seed(seed)
    directions = []
    for _ in range(2):
        parts = []
        for weight in model.parameters():
            part = torch.randn(weight.shape, generator=generator)
            if weight.ndim <= 1:
                part.zero_()
            else:
                for row, filter_ in zip(part, weight.detach(), strict=True):
                    row.mul_(filter_.norm().float() / (row.norm() + 1e-10))
            parts.append(part.double())
        directions.append(parts)
    mine = copy.deepcopy(model)
    losses = np.empty((SHAPE[1], SHAPE[0]))
    with torch.no_grad():
        for j, beta in enumerate(np.linspace(-1, 1, SHAPE[1])):
            for i, alpha in enumerate(np.linspace(-1, 1, SHAPE[0])):
                for moved, weight, one, two in zip(mine.parameters(), model.parameters(), *directions, strict=True):
                    moved.copy_(weight + alpha * one + beta * two)
                losses[j, i] = float(nn.functional.cross_entropy(mine(data[0]), data[1]))
    return losses


LESSON = Lesson(
    "E1",
    CLAIM,
    experiment,
    runs=5,
    quick=2,
    depends="what is rescaled: whole layers leave a filter-normalized picture as it is, single units do not.",
)
