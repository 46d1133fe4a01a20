"""L-BFGS within a box, its line search and its restarts, beside SciPy's and the definitions."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.optimize._dcsrch import DCSRCH

import lossatlas as la
from lossatlas.optimize.gradient._lbfgs import _Memory
from lossatlas.optimize.gradient._linesearch import LineSearch
from lossatlas.surface import Layout, Reading, Surface

# The first three are Moré & Thuente's own (1994, section 5).
SHAPES = {
    "rational": (lambda t: -t / (t * t + 2), lambda t: (t * t - 2) / (t * t + 2) ** 2),
    "quintic": (
        lambda t: (t + 0.004) ** 5 - 2 * (t + 0.004) ** 4,
        lambda t: 5 * (t + 0.004) ** 4 - 8 * (t + 0.004) ** 3,
    ),
    "wavy": (lambda t: np.cos(3 * t) - 0.3 * t + 0.05 * t * t - 1, lambda t: -3 * np.sin(3 * t) - 0.3 + 0.1 * t),
    "far": (lambda t: (t - 7.3) ** 2 - np.sin(2 * t), lambda t: 2 * (t - 7.3) - 2 * np.cos(2 * t)),
    "steep": (lambda t: np.exp(t) - 5 * t, lambda t: np.exp(t) - 5),
}


@pytest.mark.parametrize("decrease, curvature", [(1e-3, 0.9), (0.1, 0.1), (1e-3, 1e-3)])
@pytest.mark.parametrize("shape", SHAPES)
def test_trials_are_those_of_minpacks_search(shape, decrease, curvature):
    value, slope = SHAPES[shape]
    firsts = [1e-3, 0.1, 1.0, 3.0, 10.0, 100.0]
    rows, search = np.ones(len(firsts), dtype=bool), LineSearch(len(firsts), decrease, curvature, 40)
    start = np.full(len(firsts), value(0.0)), np.full(len(firsts), slope(0.0))
    search.begin(rows, *start, np.array(firsts), np.full(len(firsts), 1e3))
    ours = [[] for _ in firsts]
    while rows.any():
        trial = search.step
        for b in np.flatnonzero(rows):
            ours[b].append(trial[b])
        heard = search.hear(rows, value(trial), slope(trial))
        rows = rows & ~heard.taken & ~heard.lost
    for first, mine in zip(firsts, ours, strict=True):
        theirs = []
        there = DCSRCH(lambda t, seen=theirs: (seen.append(t), value(t))[1], slope, decrease, curvature, 0.1, 0.0, 1e3)
        there(first, phi0=value(0.0), derphi0=slope(0.0), maxiter=40)
        # Where the bracket has closed, MINPACK evaluates the best trial once more.
        assert len(theirs) - len(mine) in (0, 1)
        assert np.allclose(mine, theirs[: len(mine)], rtol=1e-9)


def test_a_search_backs_away_from_where_there_is_no_loss():
    search, rows = LineSearch(1, 1e-3, 0.9, 20), np.ones(1, dtype=bool)
    search.begin(rows, np.array([1.0]), np.array([-1.0]), np.array([8.0]), np.array([100.0]))
    for expected in (8.0, 4.0, 2.0):
        assert search.step[0] == expected
        heard = search.hear(rows, np.array([np.nan]), np.array([np.nan]))
        assert not heard.taken[0] and not heard.lost[0]
    heard = search.hear(rows, np.array([0.3]), np.array([-0.5]))
    assert heard.taken[0]


def pairs(seed, count, n):
    generator = torch.Generator().manual_seed(seed)
    hessian = torch.randn(n, n, generator=generator, dtype=torch.float64)
    hessian = hessian @ hessian.T + torch.eye(n)
    steps = torch.randn(count, n, generator=generator, dtype=torch.float64)
    return steps, steps @ hessian, torch.randn(n, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("n", [3, 20])
def test_the_compact_form_is_the_two_loop_recursion(n):
    """Nocedal & Wright 2006, algorithm 7.4, of the last four pairs of six, in two runs of different histories."""
    memory = _Memory(4, torch.zeros(2, n, dtype=torch.float64))
    histories, gradients = [[], []], []
    for b in range(2):
        steps, changes, gradient = pairs(b, 6 - 3 * b, n)
        histories[b] = list(zip(steps, changes, strict=True))
        gradients.append(gradient)
    for j in range(6):
        rows = np.array([True, j % 2 == 0])
        taken = [histories[0][j], histories[1][j // 2]]
        memory.keep(torch.stack([y for _, y in taken]), torch.stack([s for s, _ in taken]), rows)
    found = memory.times(torch.stack(gradients), None)
    for b in range(2):
        q, factors, kept = gradients[b], [], histories[b][-4:]
        for s, y in reversed(kept):
            factors.append(s @ q / (s @ y))
            q = q - factors[-1] * y
        s, y = kept[-1]
        q = q * (s @ y) / (y @ y)
        for (s, y), factor in zip(kept, reversed(factors), strict=True):
            q = q + (factor - y @ q / (s @ y)) * s
        assert torch.allclose(found[b], q, rtol=1e-9, atol=1e-12)


def both(surface):
    def value(x):
        found, slope = surface.gradients(torch.from_numpy(x)[None])
        return float(found), slope[0].numpy()

    return value


class Bowl(Surface):
    """½ (θ − c)ᵀ A (θ − c) with its minimum outside of the box."""

    name = "bowl"

    def __init__(self, seed, n):
        generator = torch.Generator().manual_seed(seed)
        half = torch.randn(n, n, generator=generator, dtype=torch.float64)
        self.matrix = half @ half.T + 0.1 * torch.eye(n)
        self.center = 2 * torch.randn(n, generator=generator, dtype=torch.float64)
        self.layout = Layout.vector(n, box=torch.tensor([[-1.0, 1.0]] * n, dtype=torch.float64))
        self.start = torch.zeros(n, dtype=torch.float64)

    def gradients(self, points, sample=None):
        slope = (points - self.center) @ self.matrix
        return 0.5 * ((points - self.center) * slope).sum(1), slope

    def read(self, points):
        return Reading(self.gradients(points)[0])

    def products(self, point, vectors, sample=None):
        return vectors @ self.matrix


@pytest.mark.slow
@pytest.mark.parametrize("differences", [False, True])
@pytest.mark.parametrize("n", [2, 5, 20])
def test_in_a_box_it_ends_at_the_point_of_karush_kuhn_and_tucker(n, differences):
    rule, edges = la.optimizer("lbfgs", tolerance=1e-9, ftol=0.0), 0
    rule = la.optimizer("finite-differences", inner=rule) if differences else rule
    for seed in range(5):
        surface = Bowl(seed, n)
        race = la.race(surface, {"x": rule}, steps=300, progress=False)
        theirs = minimize(
            both(surface),
            np.zeros(n),
            jac=True,
            bounds=surface.box.numpy(),
            method="L-BFGS-B",
            options={"gtol": 1e-11, "ftol": 0},
        )
        end = race.final("x")[0]
        slope = surface.gradients(end[None])[1][0]
        atol = 1e-5 if differences else 1e-8
        assert np.allclose(end.numpy(), theirs.x, atol=atol)
        inside = (end > -1) & (end < 1)
        edges += int((~inside).sum())
        assert float(slope[inside].abs().max() if inside.any() else 0.0) < 10 * atol
        assert bool((slope[~inside] * end[~inside] < 0).all())
        if not differences:
            assert race.status["x"] == ("finished",)
            # To the same loss about as soon as SciPy, which finds the edges by its Cauchy point.
            seen, least = race.tracks["x"].seen[0].numpy(), float(theirs.fun)
            assert int(np.argmax(seen <= least + 1e-9 * abs(least))) <= theirs.nfev + 5
    assert edges >= 3


def test_differences_at_an_edge_of_the_box_are_taken_inward():
    surface = la.landscapes.Bbob(5, 3, 1)  # a slope whose minimum is a corner
    low, high = surface.box.unbind(1)
    read, outside = surface.read, []
    surface.read = lambda points: (outside.append(bool(((points < low) | (points > high)).any())), read(points))[1]
    rule = la.optimizer("finite-differences", inner=la.optimizer("lbfgs", restarts=5))
    race = la.race(surface, {"x": rule}, steps=60, runs=3, progress=False)
    assert not any(outside)
    assert float((race.tracks["x"].loss - surface.optimum).abs().max()) < 1e-9


@pytest.mark.slow
def test_restarts_begin_uniformly_in_the_box_and_keep_the_best():
    surface = la.landscapes.rastrigin()
    rule = la.optimizer("lbfgs", restarts=50)
    race = la.race(surface, {"x": rule, "one": "lbfgs"}, steps=120, runs=3, progress=False)
    track = race.tracks["x"]
    assert bool((track.losses[:, 1:].diff() <= 0).all())
    assert rule.wanders and not la.optimizer("lbfgs").wanders
    assert float(track.loss.max()) < float(race.tracks["one"].loss.min())
    assert torch.equal(track.loss, track.seen.nan_to_num(nan=float("inf")).amin(1))
    ends = la.race(surface, {"x": rule}, steps=120, runs=3, progress=False).final("x")
    assert torch.equal(ends, race.final("x"))


def test_without_a_box_there_is_nowhere_to_begin_again():
    surface = la.Function(lambda x: (x[0] - 1) ** 2 + x[1] ** 4, start=[3.0, 2.0])
    race = la.race(surface, [la.optimizer("lbfgs", restarts=5)], steps=300, progress=False)
    assert race.status["lbfgs"] == ("finished",) and float(race.tracks["lbfgs"].loss[0]) < 1e-12
