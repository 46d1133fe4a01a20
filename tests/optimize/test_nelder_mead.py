"""Nelder–Mead beside SciPy's: the same points in the same order, and restarts that sample the box."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

import lossatlas as la
from lossatlas.optimize import Streams
from lossatlas.probe import Answer


def simplex(box, start, size=0.05):
    edge = size * (box[:, 1] - box[:, 0])
    return np.vstack([start, start + np.diag(np.where(start + edge > box[:, 1], -edge, edge))])


def losses(surface, count, adaptive):
    """What SciPy's Nelder–Mead evaluates, in order."""
    box, seen = surface.box.numpy(), []

    def value(point):
        seen.append(float(surface.values(torch.tensor(point)[None])[0]))
        return seen[-1]

    start = surface.start.numpy()
    options = {"initial_simplex": simplex(box, start), "maxfev": count, "xatol": 0, "fatol": 0, "adaptive": adaptive}
    minimize(value, start, method="Nelder-Mead", bounds=box, options=options)
    return np.array(seen[:count])


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize(
    ("surface", "count"),
    [
        (la.landscapes.rosenbrock(), 200),
        (la.landscapes.quadratic(condition=30.0, dimension=4, rotation=0.4), 150),
        (la.landscapes.rastrigin(), 80),
        (la.landscapes.Bbob(5, 3, 1), 35),  # a slope that drives it to a corner of the box
    ],
    ids=lambda given: getattr(given, "name", None),
)
def test_every_point_is_the_one_that_scipy_evaluates(surface, count, adaptive):
    rule = la.optimizer("nelder-mead", adaptive=adaptive, restarts=0, xatol=0, fatol=0)
    race = la.race(surface, [rule], steps=count, progress=False)
    theirs = losses(surface, count, adaptive)
    assert len(theirs) == count and np.array_equal(race.tracks["nelder-mead"].seen[0].numpy(), theirs)
    assert race.meter["nelder-mead"].values == count


def test_it_ends_where_scipy_does_without_restarts():
    surface = la.landscapes.himmelblau()
    race = la.race(
        surface, [la.optimizer("nelder-mead", restarts=0, xatol=1e-5, fatol=1e-8)], steps=500, progress=False
    )
    box, count = surface.box.numpy(), 0
    width = box[0, 1] - box[0, 0]

    def value(point):
        nonlocal count
        count += 1
        return float(surface.values(torch.tensor(point)[None])[0])

    options = {"initial_simplex": simplex(box, surface.start.numpy()), "xatol": 1e-5 * width, "fatol": 1e-8}
    found = minimize(value, surface.start.numpy(), method="Nelder-Mead", bounds=box, options=options)
    assert race.status["nelder-mead"] == ("finished",)
    assert race.meter["nelder-mead"].values == count
    assert np.array_equal(race.final("nelder-mead")[0].numpy(), found.x)


def points(walker, surface, count):
    query, seen = next(walker), []
    for _ in range(count):
        seen.append(query.points.clone())
        query = walker.send(Answer(surface.values(query.points)))
    return torch.stack(seen)


@pytest.mark.slow
def test_restarts_sample_the_whole_box():
    surface, runs = la.landscapes.himmelblau(), 50
    rule = la.optimizer("nelder-mead", xatol=1e9, fatol=1e9)  # every simplex has collapsed as soon as it is whole
    seen = points(rule.walk(surface.start.expand(runs, 2).clone(), surface.layout, Streams(0, runs)), surface, 90)
    begins = seen[3::3].reshape(-1, 2)
    low, high = surface.box.unbind(1)
    shares = ((begins - low) / (high - low)).sort(0).values
    n = len(shares)
    # Kolmogorov–Smirnov: above 1.95/√n by chance once in a thousand.
    assert float((shares - (torch.arange(n)[:, None] + 0.5) / n).abs().max()) < 1.95 / n**0.5
    assert bool(((seen >= low) & (seen <= high)).all())


@pytest.mark.slow
def test_a_restart_finds_the_well_that_one_descent_misses():
    surface = la.landscapes.four_wells()
    one, many = la.optimizer("nelder-mead", restarts=0), la.optimizer("nelder-mead")
    race = la.race(surface, {"one": one, "many": many}, start=(-3.8, -3.5), steps=500, runs=4, progress=False)
    assert race.rate("one", "global") == 0 and race.rate("many", "global") > 0.5
    assert race.meter["many"].per_run.tolist() == [500] * 4


@pytest.mark.slow
def test_a_level_surface_and_one_without_losses_are_left_for_new_starts():
    surface = la.landscapes.himmelblau()
    for level in (3.0, float("inf"), float("nan")):
        walker = la.optimizer("nelder-mead", xatol=0.01).walk(surface.start[None], surface.layout, Streams(0, 1))
        query, seen = next(walker), []
        for _ in range(200):
            seen.append(query.points[0])
            query = walker.send(Answer(torch.full((1,), level, dtype=torch.float64)))
        seen = torch.stack(seen)
        assert float((seen - surface.start).norm(dim=1).max()) > 2.0


def test_in_one_dimension_and_without_a_box():
    surface = la.Function(lambda x: (x[0] - 1) ** 2, start=[0.0])
    for adaptive in (False, True):
        rule = la.optimizer("nelder-mead", adaptive=adaptive)
        race = la.race(surface, [rule], start=[-0.4], steps=300, progress=False)
        assert race.status["nelder-mead"] == ("finished",)
        assert float(race.final("nelder-mead")[0, 0]) == pytest.approx(1, abs=1e-4)
