"""Critical sharpness against the Rayleigh quotient of quadratics, and against a fine scan of a network's loss."""

import math

import numpy as np
import pytest
import torch

import lossatlas as la


def quadratic(seed, dimension=6):
    draw = torch.Generator().manual_seed(seed)
    half = torch.randn(dimension, dimension, generator=draw, dtype=torch.float64)
    matrix, linear = (
        half @ half.T + 0.1 * torch.eye(dimension, dtype=torch.float64),
        torch.randn(dimension, generator=draw).double(),
    )
    size = 10.0 ** int(torch.randint(-2, 3, (1,), generator=draw))
    point = torch.randn(dimension, generator=draw).double() * size

    def loss(x):
        return float(0.5 * x @ matrix.numpy() @ x + x @ linear.numpy() + 3)

    return la.Function(loss, [(-1e6, 1e6)] * dimension), matrix, matrix @ point + linear, point


@pytest.mark.parametrize("seed", range(12))
def test_on_quadratics_it_is_the_rayleigh_quotient_of_the_gradient(seed):
    surface, matrix, gradient, point = quadratic(seed)
    found = la.critical_sharpness(surface, -gradient, point=point)
    right = float(gradient @ matrix @ gradient / gradient.square().sum())
    assert found.value == pytest.approx(right, rel=1e-6)
    assert found.interval[0] <= right <= found.interval[1] <= 1.011 * found.interval[0]
    assert found.status == "complete" and found.meter.values == len(found.steps) < 10 and found.meter.gradients == 0


@pytest.mark.parametrize("start", [1e-6, 1.0, 1e5])
def test_the_first_step_decides_only_the_cost(start):
    surface, matrix, gradient, point = quadratic(3)
    found = la.critical_sharpness(surface, -gradient, point=point, start=start, limit=40)
    assert found.value == pytest.approx(float(gradient @ matrix @ gradient / gradient.square().sum()), rel=1e-6)


def network(dtype=torch.float64):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)).to(dtype)
    return la.NetworkSurface(model, "cross_entropy", (torch.randn(40, 5).to(dtype), torch.randint(3, (40,))))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_on_a_network_the_interval_holds_the_first_crossing_of_a_fine_scan(dtype):
    surface = network(dtype)
    found = la.critical_sharpness(surface)
    theta = surface.own_point
    values, gradients = surface.gradients(theta[None])
    steps = torch.linspace(0, 3 * found.step, 3001, dtype=torch.float64)[1:]
    scan = surface.read((theta.double() - steps[:, None] * gradients.double()).to(dtype)).values
    first = float(steps[int(torch.nonzero(scan >= float(values))[0])])
    assert found.interval[0] <= 2 / first * (1 + 2e-3) and 2 / first <= found.interval[1] * (1 + 2e-3)
    assert found.meter.gradients == 1 and found.meter.values < 10


def test_what_does_not_fall_or_rise_is_said_and_bounded():
    bowl = la.landscapes.quadratic(condition=4.0)
    up = la.critical_sharpness(bowl, torch.tensor([1.0, 0.0]), point=torch.tensor([1.0, 1.0]))
    assert math.isnan(up.value) and math.isinf(up.interval[1]) and "no step lowered the loss" in up.sentence
    slope = la.Function(lambda x: float(x[0]), [(-1e30, 1e30)] * 2)
    down = la.critical_sharpness(slope, torch.tensor([-1.0, 0.0]), point=torch.zeros(2))
    assert math.isnan(down.value) and down.interval[0] == 0 and "no step raised the loss" in down.sentence
    flat = la.Function(lambda x: 1.0, [(-1.0, 1.0)] * 2)
    assert "rounding" in la.critical_sharpness(flat, torch.ones(2), point=torch.zeros(2)).status


def test_a_wall_of_infinite_loss_is_a_rise():
    walled = la.Function(lambda x: math.inf if x[0] > 1 else float(-x[0]), [(-9.0, 9.0)] * 2)
    found = la.critical_sharpness(walled, torch.tensor([1.0, 0.0]), point=torch.zeros(2), limit=40, tolerance=1e-3)
    assert found.interval[0] <= 2.0 <= found.interval[1] and found.status == "complete"


def test_it_is_saved_and_loaded(tmp_path):
    found = la.critical_sharpness(network())
    found.save(tmp_path)
    again = la.load(tmp_path)
    assert again.value == found.value and again.interval == found.interval and again.sentence == found.sentence
    np.testing.assert_array_equal(again.losses, found.losses)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"direction": torch.zeros(2)}, "length 0"),
        ({"direction": torch.tensor([math.nan, 1.0])}, "finite"),
        ({"limit": 2}, "limit"),
        ({"tolerance": 0}, "tolerance"),
        ({"start": -1.0}, "start"),
        ({"probe": 3}, "Probe"),
        ({"direction": [1.0]}, "2"),
    ],
)
def test_arguments_that_cannot_be_meant(settings, said):
    with pytest.raises(la.InputError, match=said):
        la.critical_sharpness(la.landscapes.quadratic(), **settings)
