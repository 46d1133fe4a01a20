"""Forty planes of small networks: the default chart has as many minima as the dense truth."""

import numpy as np
import pytest
import torch
from torch import nn

import lossatlas as la
from lossatlas.demo import digits

POINTS, FINE, EXAMPLES = 31, 61, 300


def trained(seed, width=16, activation=nn.Tanh, steps=150):
    pixels, labels = digits()
    pixels, labels = pixels[:EXAMPLES], labels[:EXAMPLES]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(64, width), activation(), nn.Linear(width, 10))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(pixels), labels).backward()
        optimizer.step()
    return model, la.NetworkSurface(model, "cross_entropy", (pixels, labels))


def planes():
    """Twenty random planes, ten through three minima, and ten random ones of networks that are hardly trained."""
    kinds = [(seed, width, activation) for seed, (width, activation) in enumerate(
        [(16, nn.Tanh), (24, nn.ReLU), (12, nn.Tanh), (16, nn.ReLU), (32, nn.GELU)]
    )]  # fmt: skip
    for seed, width, activation in kinds:
        _, surface = trained(seed, width, activation)
        others = [trained(seed + 100 * k, width, activation)[0] for k in (1, 2, 3)]
        for k in range(4):
            yield surface, la.Plane.random(surface, seed=k), 1.0
        yield surface, la.Plane.between(surface, surface.theta, others[0], others[1]), (-1.0, 2.0)
        yield surface, la.Plane.between(surface, surface.theta, others[1], others[2]), (-1.0, 2.0)
        _, early = trained(seed, width, activation, steps=5)
        for k in range(2):
            yield early, la.Plane.random(early, seed=10 + k), 1.0


@pytest.fixture(scope="module")
def counts():
    """Metric to (40, 3) counts: of the default chart, of the dense truth in its cells, and in cells of half the size."""
    found = {"loss": [], "log": []}
    for surface, plane, span in planes():
        settings = {"span": span, "progress": False}
        charts = [
            la.chart(surface, plane, points=POINTS, **settings),
            la.chart(surface, plane, points=POINTS, exact=True, **settings),
            la.chart(surface, plane, points=FINE, exact=True, **settings),
        ]
        for metric, rows in found.items():
            # A reconstruction that goes below zero has no logarithm, and no count that could be right.
            rows.append([c.topology(metric=metric).count if metric == "loss" or c.positive else -1 for c in charts])
    return {metric: np.array(rows) for metric, rows in found.items()}


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["loss", "log"])
def test_what_is_resolved_on_coarse_cells_is_there_on_fine_ones(counts, metric):
    _, coarse, fine = counts[metric].T
    # A test of single bowls alone would prove little.
    assert len(fine) == 40 and (fine > 1).sum() >= 8 and (fine == 1).sum() >= 20
    assert (coarse <= fine).all() and (coarse == fine).mean() >= 0.9, counts[metric].tolist()


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["loss", "log"])
def test_the_default_chart_invents_no_minima(counts, metric):
    chart, _, fine = counts[metric].T
    assert (chart <= fine).mean() >= 0.95, counts[metric].tolist()


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["loss", "log"])
def test_the_default_chart_counts_the_minima_of_the_dense_truth_on_95_percent_of_planes(counts, metric):
    chart, truth, _ = counts[metric].T
    assert (chart == truth).mean() >= 0.95, counts[metric].tolist()
