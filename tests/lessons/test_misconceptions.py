"""The lessons on misconceptions and on search: their numbers against slow, obvious computations."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

import lossatlas as la
from lossatlas.demo import digits, digits_mlp
from lossatlas.lessons import _g1_descent_builds_no_surface as _g1
from lossatlas.lessons import _g2_pictures_are_not_the_loss as _g2
from lossatlas.lessons import _g3_saddles_are_the_obstacle as _g3
from lossatlas.lessons import _h1_fitness_is_minus_loss as _h1
from lossatlas.lessons import _h2_populations_gather as _h2
from lossatlas.lessons import _h3_values_are_surfaces_too as _h3
from lossatlas.probe import Probe
from lossatlas.surface import landscapes


def test_the_error_of_a_flat_map_is_one():
    truth = np.random.default_rng(0).normal(3, 2, 400)
    assert _g1.error(truth, np.full(400, truth.mean())) == pytest.approx(1)
    assert _g1.error(truth, truth) == 0
    half = truth.mean() + (truth - truth.mean()) / 2
    assert _g1.error(truth, half) == pytest.approx(0.5)


@pytest.mark.slow
def test_a_surface_that_training_changes_would_be_found_out(monkeypatch):
    """A stand-in for training that also changes the data: then the losses differ."""
    before, after, _ = _g1._twice(0)
    assert torch.equal(before, after)
    real = _g1.digits
    taken = []
    monkeypatch.setattr(_g1, "digits", lambda part: taken.append(part) or (real(part)[0] * len(taken), real(part)[1]))
    before, after, _ = _g1._twice(0)
    assert not (before == after).any()


def test_what_a_plane_shows_of_a_vector_is_its_projection():
    surface = la.NetworkSurface(digits_mlp((4,)), "cross_entropy", digits("test"))
    plane = la.Plane.random(surface, seed=3)
    vector = torch.randn(surface.dimension, generator=torch.Generator().manual_seed(1))
    one, two = plane.frame.directions.double()
    # By least squares: the residual is what the plane does not show.
    _, residual, *_ = np.linalg.lstsq(torch.stack([one, two], 1).numpy(), vector.double().numpy(), rcond=None)
    expected = 1 - residual[0] / float(vector.double().square().sum())
    assert _g2.shown(vector, plane) == pytest.approx(expected, rel=1e-6)
    assert _g2.shown(2 * one - 3 * two, plane) == pytest.approx(1)


@pytest.mark.slow
def test_the_saddle_is_one_by_plain_torch():
    """Gradient and Hessian of the network at its start, by autograd over a plain model."""
    surface = _g3._saddle_surface(0)
    x, y = digits("train")
    x, y = x[: _g3.EXAMPLES].double(), y[: _g3.EXAMPLES]
    hidden = _g3.HIDDEN

    def loss(theta):
        a, b, c, d = torch.split(theta, [64 * hidden, hidden, 10 * hidden, 10])
        return functional.cross_entropy((x @ a.reshape(hidden, 64).T + b).tanh() @ c.reshape(10, hidden).T + d, y)

    theta = surface.theta.clone().requires_grad_()
    value = loss(theta)
    (gradient,) = torch.autograd.grad(value, theta)
    assert float(value.detach()) == pytest.approx(surface.loss_at_theta, abs=1e-12) and float(gradient.norm()) < 1e-12
    values = torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, surface.theta))
    length, least, largest = _g3._at(surface, surface.theta, [])
    assert length < 1e-8
    assert (least, largest) == pytest.approx((float(values[0]), float(values[-1])), rel=1e-2)


def test_the_first_step_below_is_found():
    rows = np.array([[3.0, 2.0, 1.0, 0.5], [3.0, 2.9, 2.8, 2.7]])
    assert _g3.first(rows, 1.0).tolist() == [2.0, 4.0]


def test_a_climber_of_the_fitness_is_a_descent_by_hand():
    surface = landscapes.four_wells()
    path, meter = _h1._climb(surface, surface.start, 0.1, 40)
    here, walked = surface.start.clone(), [surface.start.clone()]
    for _ in range(40):
        around = [here + 0.1 * s * torch.eye(2, dtype=torch.float64)[i] for s in (1, -1) for i in (0, 1)]
        losses = [float(surface.values(point[None])) for point in around]
        if min(losses) >= float(surface.values(here[None])):
            break
        here = around[int(np.argmin(losses))]
        walked.append(here)
    assert torch.equal(path, torch.stack(walked)) and meter.values == 1 + 4 * len(path)


def test_walks_are_the_same_only_bit_for_bit():
    walks = torch.tensor([[[0.0], [1.0]], [[0.0], [float("nan")]]])
    assert _h1._same(walks, walks.clone()) == 2
    assert _h1._same(walks, walks + torch.tensor([[[0.0], [1e-7]], [[0.0], [0.0]]])) == 1
    assert _h1._same(walks, walks[:, :1]) == 0


def test_generations_are_the_queries_of_the_method():
    surface = landscapes.deep_wells()
    kept, meter = _h2._generations(surface, "beam", 2, 0, (0, 3))
    assert [tuple(part.shape) for part in kept] == [(2, 10, 2), (2, 60, 2)]
    assert meter.values == 2 * (10 + 3 * 60)
    race = la.race(surface, {"beam": la.optimizer("beam", beams=10)}, steps=4, runs=2)
    best = kept[1].reshape(-1, 2)[surface.values(kept[1].reshape(-1, 2)).argmin()]
    assert race.tracks["beam"].loss.min() <= surface.values(best[None])[0]
    assert float(race.tracks["beam"].seen[0, 10:].min()) <= float(surface.values(kept[1][0]).min())


@pytest.mark.slow
def test_the_value_of_a_policy_is_the_mean_over_its_actions():
    """Quadrature against 400,000 drawn actions; five standard errors."""
    surface = landscapes.four_wells()
    theta, sigma = torch.tensor([1.0, -0.5], dtype=torch.float64), 1.0
    probe = Probe(surface)
    noise = torch.randn(400_000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    losses = surface.values(theta + sigma * noise)
    error = float(losses.std()) / math.sqrt(len(losses))
    assert abs(float(_h3.values_of(surface, theta[None], sigma, probe)) - float(losses.mean())) < 5 * error
    step = 1e-4
    eye = torch.eye(2, dtype=torch.float64)
    ends = [_h3.values_of(surface, theta + s * step * eye, sigma, probe) for s in (1, -1)]
    slope = _h3.slopes_of(surface, theta[None], sigma, probe)[0]
    assert torch.allclose(slope, (ends[0] - ends[1]) / (2 * step), atol=1e-5)


def test_minima_of_a_map_are_counted():
    x = np.linspace(0, 4 * np.pi, 81)
    field = np.sin(x)[:, None] + np.cos(x)[None, :]
    by_hand = sum(
        all(field[i, j] < field[i + a, j + b] for a in (-1, 0, 1) for b in (-1, 0, 1) if (a, b) != (0, 0))
        for i in range(1, 80)
        for j in range(1, 80)
    )
    assert _h3.minima(field) == by_hand == 4
