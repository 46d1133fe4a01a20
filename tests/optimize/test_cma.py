"""CMA-ES beside its author's program, and its restarts."""

import math

import cma
import numpy as np
import pytest
import torch

import lossatlas as la
from lossatlas.optimize import Streams
from lossatlas.optimize.search._cma import _constants
from lossatlas.probe import Answer


@pytest.mark.parametrize(("n", "size"), [(2, 6), (2, 24), (5, 8), (10, 10), (40, 15)])
def test_the_constants_are_those_of_its_author(n, size):
    strategy = cma.CMAEvolutionStrategy(n * [0.0], 1.0, {"verbose": -9, "popsize": size, "seed": 1})
    ours, theirs = _constants(n, size), strategy.sp
    assert ours.mass == pytest.approx(theirs.weights.mueff) and ours.parents == theirs.weights.mu
    assert np.allclose(ours.weights[: ours.parents], theirs.weights.positive_weights)
    assert ours.rank_one == pytest.approx(theirs.c1) and ours.rank_mu == pytest.approx(theirs.cmu)
    assert ours.cumulation == pytest.approx(theirs.cc)
    assert np.allclose(ours.weights[ours.parents :], theirs.weights[ours.parents :])


def generations(rule, n, count, value):
    """Points of each generation, (generations, λ, N), and where the mean went."""
    walker = rule.walk(torch.ones(1, n).double(), la.Layout.vector(n), Streams(0, 1))
    query, seen = next(walker), []
    for _ in range(count):
        seen.append(query.points[0].clone())
        query = walker.send(Answer(value(query.points[0])[None]))
    return torch.stack(seen)


def test_the_first_generations_are_those_of_the_equations():
    """Hansen 2016, equations (9)–(47), in plain loops over one run, given the same samples."""
    n, size, sigma = 3, 7, 0.7

    def value(x):
        return (torch.tensor([1.0, 30.0, 1000.0]).double() * (x - 0.3) ** 2).sum(-1)

    seen = generations(la.optimizer("cma", sigma=sigma), n, 8, value).numpy()
    raw = [math.log((size + 1) / 2) - math.log(i) for i in range(1, size + 1)]
    mu = size // 2
    mueff = sum(raw[:mu]) ** 2 / sum(w * w for w in raw[:mu])
    muneg = sum(raw[mu:]) ** 2 / sum(w * w for w in raw[mu:])
    cc, cs = (4 + mueff / n) / (n + 4 + 2 * mueff / n), (mueff + 2) / (n + mueff + 5)
    ds = 1 + 2 * max(0.0, math.sqrt((mueff - 1) / (n + 1)) - 1) + cs
    c1 = 2 / ((n + 1.3) ** 2 + mueff)
    cmu = min(1 - c1, 2 * (0.25 + mueff + 1 / mueff - 2) / ((n + 2) ** 2 + mueff))
    minus = min(1 + c1 / cmu, 1 + 2 * muneg / (mueff + 2), (1 - c1 - cmu) / (n * cmu))
    total, against = sum(w for w in raw if w > 0), -sum(w for w in raw if w < 0)
    weights = [w / total if w >= 0 else minus * w / against for w in raw]
    chi = math.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n * n))
    mean, C, ps, pc = np.ones(n), np.eye(n), np.zeros(n), np.zeros(n)
    for g in range(7):
        # The next samples are a linear image of standard normal numbers that the mean and covariance say: they are undone.
        points = seen[g]
        order = np.argsort(value(torch.from_numpy(points)).numpy())
        y = (points[order] - mean) / sigma
        squares, axes = np.linalg.eigh(C)
        inverse = axes @ np.diag(squares**-0.5) @ axes.T
        step = sum(w * one for w, one in zip(weights[:mu], y, strict=False))
        mean = mean + sigma * step
        ps = (1 - cs) * ps + math.sqrt(cs * (2 - cs) * mueff) * inverse @ step
        steady = np.linalg.norm(ps) / math.sqrt(1 - (1 - cs) ** (2 * (g + 1))) < (1.4 + 2 / (n + 1)) * chi
        pc = (1 - cc) * pc + steady * math.sqrt(cc * (2 - cc) * mueff) * step
        C_new = (1 + c1 * (1 - steady) * cc * (2 - cc) - c1 - cmu * sum(weights)) * C + c1 * np.outer(pc, pc)
        for w, one in zip(weights, y, strict=True):
            scale = w if w >= 0 else w * n / np.linalg.norm(inverse @ one) ** 2
            C_new = C_new + cmu * scale * np.outer(one, one)
        C, sigma = C_new, sigma * math.exp(min(1.0, cs / ds * (np.linalg.norm(ps) / chi - 1)))
        # What the next samples are of: whitened by this mean and covariance they are the stream's own numbers.
        squares, axes = np.linalg.eigh(C)
        whitened = ((seen[g + 1] - mean) / sigma) @ axes / np.sqrt(squares)
        normal = Streams(0, 1).normal((g + 2) * size, n)[0, (g + 1) * size :].numpy()
        assert np.allclose(np.abs(whitened), np.abs(normal), rtol=1e-6, atol=1e-9)


@pytest.mark.slow
def test_it_finds_minima_of_ravines_and_never_leaves_the_box():
    surface = la.landscapes.rosenbrock()
    outside = []
    read = surface.read
    surface.read = lambda points: (
        outside.append(bool(((points < surface.box[:, 0]) | (points > surface.box[:, 1])).any())),
        read(points),
    )[1]
    race = la.race(surface, ["cma"], steps=150, runs=3, seed=1, progress=False)
    assert not any(outside)
    assert bool((race.tracks["cma"].loss < 1e-9).all())
    assert race.meter["cma"].per_run.tolist() == [900] * 3


def test_a_level_surface_makes_it_begin_again_with_twice_the_samples():
    surface = la.landscapes.himmelblau()
    walker = la.optimizer("cma", restarts=2).walk(surface.start[None], surface.layout, Streams(0, 1))
    query, seen = next(walker), []
    try:
        while True:
            assert query.points.shape == (1, 6, 2)
            seen.append(query.points[0].mean(0))
            query = walker.send(Answer(torch.ones(1, 6).double()))
    except StopIteration:
        pass
    # 10 + ⌈30 N/λ⌉ generations of 6, 12 and 24 samples without a difference.
    lengths = [(10 + math.ceil(60 / size)) * size // 6 for size in (6, 12, 24)]
    assert len(seen) == sum(lengths)


def test_infinite_losses_rank_last_and_do_not_end_it():
    surface = la.landscapes.himmelblau()
    walker = la.optimizer("cma").walk(surface.start.expand(3, 2).clone(), surface.layout, Streams(0, 3))
    query = next(walker)
    for _ in range(60):
        values = surface.values(query.points.reshape(-1, 2)).reshape(3, -1)
        query = walker.send(Answer(torch.where(query.points[..., 0] > 0, float("nan"), values)))
    assert bool((query.at.theta[:, 0] <= 0).all()) and bool((query.at.values < 1e-3).all())
