"""Laws that hold for every surface: landscapes, each moved and turned, networks, and slices of both."""

import json
import math

import numpy as np
import pytest
import torch
from torch import nn

import lossatlas as la
from lossatlas.surface import Frame, Sample
from lossatlas.surface.landscapes import catalog


def _moved(name):
    surface = la.landscapes.landscape(name)
    shift = torch.linspace(0.3, -0.7, surface.dimension, dtype=torch.float64)
    return surface.moved(shift=shift, rotation=0.4)


def _network():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    return la.NetworkSurface(model, "cross_entropy", (torch.randn(11, 5).double(), torch.arange(11) % 3))


def _conv():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(12, 2)).double()
    return la.NetworkSurface(model, "mse", (torch.randn(9, 1, 4, 4).double(), torch.randn(9, 2).double()))


def _slice_of(surface, k):
    generator = torch.Generator().manual_seed(2)
    directions = torch.randn(k, surface.dimension, generator=generator, dtype=torch.float64)
    return surface.on(Frame(surface.start.double(), directions))


SURFACES = {
    **{name: (lambda name=name: la.landscapes.landscape(name)) for name in catalog},
    **{f"{name}, moved": (lambda name=name: _moved(name)) for name in catalog},
    "quadratic of 6": lambda: la.landscapes.quadratic(condition=1e3, dimension=6, rotation=0.3),
    "rastrigin of 4": lambda: la.landscapes.rastrigin(dimension=4).moved(rotation=0.2),
    "network": _network,
    "convolution": _conv,
    "plane of a network": lambda: _slice_of(_network(), 2),
    "line of a network": lambda: _slice_of(_conv(), 1),
    "plane of a landscape": lambda: _slice_of(la.landscapes.rosenbrock(dimension=3), 2),
}


@pytest.fixture(params=SURFACES, scope="module")
def surface(request):
    return SURFACES[request.param]()


def _points(surface, count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    if surface.box is not None:
        low, high = surface.box[:, 0], surface.box[:, 1]
        return low + (high - low) * torch.rand(count, surface.dimension, generator=generator, dtype=torch.float64)
    around = torch.randn(count, surface.dimension, generator=generator, dtype=torch.float64)
    return surface.start.double() + 0.3 * around


def test_values_are_one_number_per_point_in_float64(surface):
    points = _points(surface, 7)
    values = surface.values(points)
    assert values.shape == (7,) and values.dtype == torch.float64
    assert surface.values(points[:0]).shape == (0,)
    assert surface.dimension == points.shape[1] and surface.start.shape == (surface.dimension,)


def test_same_point_same_answer_and_points_are_left_alone(surface):
    points = _points(surface, 5)
    before = points.clone()
    assert torch.equal(surface.values(points), surface.values(points))
    surface.gradients(points)
    assert torch.equal(points, before)


def test_the_gradient_comes_with_the_value(surface):
    points = _points(surface, 6)
    values, gradients = surface.gradients(points)
    assert gradients.shape == points.shape
    assert torch.allclose(values, surface.values(points), rtol=1e-12, atol=1e-12)


def test_gradients_are_central_differences(surface):
    points = _points(surface, 4, seed=3)
    gradients = surface.gradients(points)[1]
    h = 1e-5
    for i in range(surface.dimension):
        step = torch.zeros(surface.dimension, dtype=torch.float64)
        step[i] = h
        slope = (surface.values(points + step) - surface.values(points - step)) / (2 * h)
        scale = 1 + gradients[:, i].abs() + surface.values(points).abs()
        assert bool(((slope - gradients[:, i]).abs() < 3e-6 * scale).all())


def test_products_are_differences_of_gradients(surface):
    (point,) = _points(surface, 1, seed=4)
    vectors = torch.randn(3, surface.dimension, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    products = surface.products(point, vectors)
    assert products.shape == vectors.shape
    h = 1e-5
    for vector, product in zip(vectors, products, strict=True):
        beyond, before = surface.gradients(torch.stack([point + h * vector, point - h * vector]))[1]
        slope = (beyond - before) / (2 * h)
        assert torch.allclose(product, slope, rtol=1e-4, atol=1e-4 * (1 + float(product.norm())))


def test_products_are_symmetric(surface):
    (point,) = _points(surface, 1, seed=6)
    u, v = torch.randn(2, surface.dimension, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    hu, hv = surface.products(point, torch.stack([u, v]))
    assert float(v @ hu) == pytest.approx(float(u @ hv), rel=1e-9, abs=1e-9)


def test_fingerprints_are_json_and_the_same_twice(surface):
    once = json.dumps(surface.fingerprint(), allow_nan=False)
    assert once == json.dumps(surface.fingerprint())
    assert json.loads(once)["dimension"] == surface.dimension


LANDSCAPES = [name for name in SURFACES if not any(w in name for w in ("network", "convolution", "plane", "line"))]


@pytest.fixture(params=LANDSCAPES, scope="module")
def ground(request):
    return SURFACES[request.param]()


def test_at_every_declared_minimum_the_gradient_is_zero_and_the_value_as_listed(ground):
    for well in ground.wells:
        values, gradients = ground.gradients(well.minimum[None])
        assert float(values) == pytest.approx(well.value, rel=0, abs=1e-14)
        assert float(gradients.norm()) < 1e-9, well.name
        around = torch.randn(64, ground.dimension, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        assert bool((ground.values(well.minimum + 1e-3 * around) > well.value).all()), well.name
        if not ground.name.startswith("ackley"):  # a cone's tip has no Hessian
            hessian = ground.products(well.minimum, torch.eye(ground.dimension, dtype=torch.float64))
            assert float(torch.linalg.eigvalsh(hessian).min()) > 0, well.name
    if ground.wells and ground.wells_complete:
        lowest = min(well.value for well in ground.wells)
        assert float(ground.values(_points(ground, 4000, seed=8)).min()) >= lowest - 1e-12
        assert min(ground.wells, key=lambda well: well.value).name == "global"


def test_closed_form_gradient_is_autograd(ground):
    points = _points(ground, 9, seed=9).requires_grad_()
    (slopes,) = torch.autograd.grad(ground.values(points).sum(), points)
    closed = ground.gradients(points.detach())[1]
    assert torch.allclose(slopes, closed, rtol=1e-10, atol=1e-10 * (1 + float(closed.abs().max())))


def test_a_row_has_the_bits_of_that_row_alone(ground):
    points = _points(ground, 33, seed=10)
    values, gradients = ground.gradients(points)
    together = ground.values(points)
    for b in (0, 7, 32):
        assert torch.equal(ground.values(points[b : b + 1])[0], together[b])
        value, gradient = ground.gradients(points[b : b + 1])
        assert torch.equal(value[0], values[b]) and torch.equal(gradient[0], gradients[b])


def test_float32_points_are_read_in_float64(ground):
    points = _points(ground, 5, seed=11).float()
    assert torch.equal(ground.values(points), ground.values(points.double()))


def test_start_and_wells_lie_in_the_box(ground):
    low, high = ground.box[:, 0], ground.box[:, 1]
    for point in [ground.start, *(well.minimum for well in ground.wells)]:
        assert bool(((point >= low - 1e-9) & (point <= high + 1e-9)).all())


@pytest.mark.parametrize("name", sorted(catalog))
def test_moving_a_landscape_moves_its_values_along(name):
    plain, moved = la.landscapes.landscape(name), _moved(name)
    assert float(moved.values(moved.start[None])) == pytest.approx(
        float(plain.values(plain.start[None])), rel=1e-12, abs=1e-12
    )
    for before, after in zip(plain.wells, moved.wells, strict=True):
        assert after.value == pytest.approx(before.value, rel=1e-12, abs=1e-12)
        assert not torch.allclose(before.minimum, after.minimum)
    lengths = [float(s.gradients(s.start[None])[1].norm()) for s in (plain, moved)]
    assert lengths[0] == pytest.approx(lengths[1], rel=1e-10)


# Published values: Surjanovic & Bingham's library of test functions, and textbook arithmetic.
GOLDEN = [
    ("rosenbrock", (1.0, 1.0), 0.0),
    ("rosenbrock", (-1.2, 1.0), 24.2),
    ("himmelblau", (3.0, 2.0), 0.0),
    ("himmelblau", (-2.805118, 3.131312), 0.0),
    ("himmelblau", (-3.779310, -3.283186), 0.0),
    ("himmelblau", (3.584428, -1.848126), 0.0),
    ("himmelblau", (0.0, 0.0), 170.0),
    ("beale", (3.0, 0.5), 0.0),
    ("beale", (0.0, 0.0), 14.203125),
    ("rastrigin", (0.0, 0.0), 0.0),
    ("rastrigin", (1.0, 1.0), 2.0),
    ("ackley", (0.0, 0.0), 0.0),
    ("ackley", (1.0, 1.0), 3.6253849384403627),
    ("monkey-saddle", (0.0, 0.0), 0.0),
    ("monkey-saddle", (1.0, 1.0), -2.0),
]


@pytest.mark.parametrize(("name", "point", "value"), GOLDEN)
def test_published_values(name, point, value):
    surface = la.landscapes.landscape(name)
    tolerance = 2e-9 if name == "himmelblau" else 0.0  # its minima are published to six decimals
    assert float(surface.values(torch.tensor([point], dtype=torch.float64))) == pytest.approx(
        value, abs=1e-10 * (1 + value) + tolerance
    )


def test_the_quadratic_has_the_condition_it_is_given():
    surface = la.landscapes.quadratic(condition=250.0, dimension=5, rotation=0.7)
    hessian = surface.products(surface.start, torch.eye(5, dtype=torch.float64))
    eigenvalues = torch.linalg.eigvalsh(hessian)
    assert float(eigenvalues[-1] / eigenvalues[0]) == pytest.approx(250.0, rel=1e-9)


def test_the_regression_bowl_ends_at_numpys_least_squares():
    surface = la.landscapes.regression()
    x, y = (np.asarray(part) for part in surface.formula.data)
    solution, residual, *_ = np.linalg.lstsq(np.stack([x, np.ones_like(x)], 1), y, rcond=None)
    assert np.allclose(surface.wells[0].minimum, solution, atol=1e-12)
    assert surface.wells[0].value == pytest.approx(float(residual[0]) / len(y), rel=1e-12)


def test_the_four_wells_are_as_the_note_says():
    """Declared places and depths, A shallow, and the start above the pass between A and the global well."""
    surface = la.landscapes.four_wells()
    names = {well.name: well for well in surface.wells}
    assert names["global"].center.tolist() == [3.0, -1.0] and names["A"].center.tolist() == [-2.5, -2.5]
    assert surface.start.tolist() == [-3.8, -3.5]
    a, deep = names["A"].minimum, names["global"].minimum
    along = torch.linspace(0, 1, 4001, dtype=torch.float64)[:, None]
    pass_height = float(surface.values(a + along * (deep - a)).max())
    assert float(surface.values(surface.start[None])) > pass_height
    assert names["A"].depth == min(well.depth for well in surface.wells)


def test_declared_noise_is_drawn_from_the_rows_own_seed_and_shrinks_with_the_batch():
    surface = la.landscapes.quadratic().moved(noise=0.5)
    points = surface.start.repeat(2000, 1)
    seeds = torch.arange(2000)
    exact = surface.gradients(points)[1]
    one = surface.gradients(points, Sample(1, seeds))[1] - exact
    many = surface.gradients(points, Sample(25, seeds))[1] - exact
    assert float(one.std()) == pytest.approx(0.5, rel=0.05)
    assert torch.allclose(many, one / 5, atol=1e-12)
    alone = surface.gradients(points[:1], Sample(1, seeds[7:8]))[1] - exact[:1]
    assert torch.equal(alone[0], one[7])
    assert torch.equal(surface.gradients(points[:3])[1], exact[:3])


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"shift": [1.0]}, "shift"),
        ({"shift": [math.nan, 0.0]}, "finite"),
        ({"rotation": math.inf}, "rotation"),
        ({"noise": -1.0}, "noise"),
    ],
)
def test_a_landscape_refuses_what_does_not_fit(settings, part):
    with pytest.raises(la.InputError, match=part):
        la.landscapes.four_wells().moved(**settings)


def test_an_unknown_landscape_names_the_nearest():
    with pytest.raises(la.InputError, match="himmelblau"):
        la.landscapes.landscape("himelblau")


def test_points_of_another_dimension_are_refused(surface):
    with pytest.raises(ValueError, match=r"expected|shape"):
        surface.values(torch.zeros(3, surface.dimension + 1, dtype=torch.float64))
