"""Facts of a probe against slow obvious computations, and the tree on facts that are given."""

import math

import numpy as np
import pytest
import torch

import lossatlas as la
from lossatlas.advise import _thresholds as at
from lossatlas.advise._advise_network import _condition
from lossatlas.advise._fact import Fact
from lossatlas.advise._jackknife import jackknife
from lossatlas.advise._purse import Purse
from lossatlas.advise._shape import _unexplained, _unranked, hessian, shape
from lossatlas.advise._tree import TREE, Leaf, Question, walk
from lossatlas.probe import Gradients, Probe, Values
from lossatlas.surface import Sample


def facts(f, n, count=60, seed=0):
    points = np.random.default_rng(seed).random((count, n))
    return {fact.name: fact for fact in shape(points, f(points), seed)}


def test_a_quadratic_is_one_and_its_condition_is_found():
    matrix = np.array([[2.0, 0.3, 0.0], [0.3, 50.0, 1.0], [0.0, 1.0, 700.0]])
    found = facts(lambda u: ((u - 0.4) @ matrix * (u - 0.4)).sum(1), 3)
    eigenvalues = np.linalg.eigvalsh(matrix)
    assert found["quadratic"].value == pytest.approx(1.0) and found["quadratic"].low > 0.999
    assert found["condition"].value == pytest.approx(eigenvalues[-1] / eigenvalues[0], rel=1e-6)
    points = np.random.default_rng(1).random((40, 3))
    fitted = hessian(points, ((points - 0.4) @ matrix * (points - 0.4)).sum(1))
    assert fitted == pytest.approx(2 * matrix, abs=1e-8)


def test_adjusted_r_squared_is_that_of_a_plain_regression():
    generator = np.random.default_rng(2)
    points = generator.random((50, 2))
    values = points[:, 0] ** 2 + np.sin(9 * points[:, 1])
    x, y = (points - 0.5).T
    matrix = np.column_stack([np.ones(50), x, y, x * x, x * y, y * y])
    left = values - matrix @ np.linalg.solve(matrix.T @ matrix, matrix.T @ values)
    plain = 1 - (left @ left / (50 - 6)) / (((values - values.mean()) ** 2).sum() / 49)
    found = facts(lambda u: u[:, 0] ** 2 + np.sin(9 * u[:, 1]), 2, 50, 2)["quadratic"]
    assert found.value == pytest.approx(plain) and found.low < plain < found.high


def test_ranks_are_blind_to_monotone_maps_and_values_are_not():
    a = facts(lambda u: ((u - 0.5) ** 2).sum(1), 2)
    b = facts(lambda u: np.exp(20 * ((u - 0.5) ** 2).sum(1)), 2)
    assert a["quadratic-ranks"] == b["quadratic-ranks"] and b["quadratic"].value < 0.9
    assert b["valley"].value == max(b["quadratic"].value, b["quadratic-ranks"].value)


def test_nearest_better_is_the_obvious_double_loop():
    points = np.random.default_rng(3).random((30, 2))
    values = points[:, 0] + 2 * points[:, 1] ** 2
    near, better = [], []
    for i in range(30):
        apart = [math.dist(points[i], points[j]) for j in range(30) if j != i]
        lower = [math.dist(points[i], points[j]) for j in range(30) if values[j] < values[i]]
        if lower:
            near.append(min(apart))
            better.append(min(lower))
    found = {fact.name: fact for fact in shape(points, values, 0)}["nearest-better"]
    assert found.value == pytest.approx(np.mean(near) / np.mean(better))


@pytest.mark.slow
def test_ripples_are_found_where_they_are_and_not_elsewhere():
    rippled = facts(lambda u: ((u - 0.5) ** 2).sum(1) + 0.3 * np.cos(2 * np.pi * 6 * u[:, 0]), 2, 60)
    assert rippled["ripples"].low > 1
    # Shuffled remainders exceed their own 95 % quantile in one of twenty: of 20 designs 5 or more with probability 0.003.
    noise = [
        facts(lambda u, k=k: np.random.default_rng(k).standard_normal(len(u)), 2, 60, k)["ripples"].value
        for k in range(20)
    ]
    assert sum(value > 1 for value in noise) < 5


def test_the_jackknife_of_a_mean_is_students_interval():
    values = np.random.default_rng(4).standard_normal(20)
    mean, low, high = jackknife(lambda points, given: float(given.mean()), np.zeros((20, 1)), values)
    half = 2.0930240544 * values.std(ddof=1) / math.sqrt(20)
    assert (mean, low, high) == pytest.approx((values.mean(), values.mean() - half, values.mean() + half))


@pytest.mark.slow
@pytest.mark.parametrize("statistic", [_unexplained, _unranked])
def test_intervals_cover_what_many_points_say(statistic):
    """Over 60 designs 95 % intervals hold the value at 4,000 points in 90 % at least: fewer by chance with probability 0.03."""

    def drawn(count, seed):
        u = np.random.default_rng(seed).random((count, 2))
        return u, ((u - 0.3) ** 2 * [1.0, 8.0]).sum(1) + 0.4 * np.sin(7 * u[:, 0]) * np.cos(5 * u[:, 1])

    truth = statistic(*drawn(4000, 99))
    held = [jackknife(statistic, *drawn(50, k)) for k in range(60)]
    assert sum(low <= truth <= high for _, low, high in held) >= 54


def known(**values):
    given = {"budget": 200.0, "price": 1e-4, "honest": 0.0, "noise": 0.0, "rough": 0.01, "valley": 0.9, "ripples": 0.2}
    return {name: Fact(name, name, v, v, v) for name, v in (given | values).items()}


@pytest.mark.parametrize(
    ("values", "leaf"),
    [
        ({"budget": 20.0}, "surrogate"),
        ({"price": 30.0}, "surrogate"),
        ({"honest": 1.0}, "descent"),
        ({"honest": 1.0, "valley": 0.1}, "starts"),
        ({"noise": 0.3}, "ranks"),
        ({"rough": 0.9}, "population"),
        ({}, "differences"),
        ({"valley": 0.1, "ripples": 3.0}, "population"),
        ({"valley": 0.1}, "valleys"),
    ],
)
def test_where_the_tree_goes(values, leaf):
    steps, leaves = walk(known(**values))
    assert [one.name for one in leaves] == [leaf]
    assert all(step.decides for step in steps)


def test_a_threshold_inside_the_interval_cannot_tell_and_both_branches_follow():
    given = known() | {"valley": Fact("valley", "valley", 0.7, 0.5, 0.9)}
    steps, leaves = walk(given)
    assert [one.name for one in leaves] == ["differences", "valleys"]
    assert steps[-2].verdict == "cannot tell" and "cannot tell" in steps[-2].sentence
    given["valley"] = Fact("valley", "valley", 0.55, 0.5, 0.9)
    assert [one.name for one in walk(given)[1]] == ["valleys", "differences"]
    del given["valley"]
    assert {one.name for one in walk(given)[1]} == {"valleys", "differences"}


def test_every_leaf_names_what_the_portfolio_has():
    from lossatlas.advise._portfolio import candidate

    def leaves(node):
        return [node] if isinstance(node, Leaf) else leaves(node.yes) + leaves(node.no)

    assert isinstance(TREE, Question)
    for label in {label for leaf in leaves(TREE) for label in leaf.races} | {
        label for _, label in (*at.HEDGES, *at.HEDGES_BEYOND)
    }:
        assert candidate(label, "", 0.1).label == label


@pytest.mark.slow
def test_noise_is_measured_and_leads_to_ranks():
    from lossatlas.surface import Layout, Reading, Surface

    class Noisy(Surface):
        gradients_known, name = False, "noisy"
        layout = Layout.vector(2, torch.tensor([[-1.0, 1.0]] * 2, dtype=torch.float64))

        def read(self, points):
            return Reading(f(points))

        def gradients(self, points, sample=None):
            raise la.NotApplicableError("values only")

        products = gradients

    generator = torch.Generator().manual_seed(0)

    def f(points):
        return (points**2).sum(1) + 0.5 * torch.randn(len(points), generator=generator, dtype=torch.float64)

    advice = la.advise(Noisy(), budget=300, progress=False)
    fact = next(one for one in advice.facts if one.name == "noise")
    assert fact.low > at.NOISE and "ranks" in advice.leaves and advice.noise > 0


def test_a_purse_counts_gradients_as_three_and_a_mini_batch_by_its_share():
    from lossatlas.demo import digits, digits_mlp

    surface = la.NetworkSurface(digits_mlp((4,)), "cross_entropy", digits("test"))
    purse = Purse(Probe(surface), 4.5)
    theta = surface.theta[None]
    assert purse.price(Gradients(theta)) == 3
    assert purse.price(Gradients(theta, Sample(36, torch.tensor([0])))) == pytest.approx(0.3)
    purse.pay(Gradients(theta))
    assert purse.affords(Values(theta)) and not purse.affords(Gradients(theta))
    purse.pay(Values(theta))
    assert not purse.affords(Values(theta)) and purse.spent == 4 and len(purse.seen) == 2


def test_conditioning_is_over_the_median_in_size():
    nodes, weights = np.array([-1.0, 0.5, 2.0, 40.0]), np.array([0.2, 0.35, 0.4, 0.05])
    assert _condition(nodes, weights) == 40.0
