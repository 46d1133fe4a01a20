"""Random fields have the covariance they declare, and critical points as theory says."""

import math

import pytest
import torch

import lossatlas as la
from lossatlas.surface.landscapes import field_indices, random_field
from lossatlas.surface.landscapes._landscape import Formula


def test_the_covariance_is_the_declared_one():
    """Over 600 fields; four standard errors each, so a false alarm in about 3 of 10,000 runs of a new seed."""
    length, fields = 0.7, 600
    distances = torch.tensor([0.0, 0.35, 0.7, 1.4], dtype=torch.float64)
    direction = torch.tensor([0.6, -0.8, 0.0], dtype=torch.float64)
    points = distances[:, None] * direction
    heights = torch.stack([random_field(3, s, waves=200, length=length).values(points) for s in range(fields)])
    products = heights * heights[:, :1]
    expected = torch.exp(-(distances**2) / (2 * length**2))
    gap = (products.mean(0) - expected).abs() / (products.std(0) / math.sqrt(fields))
    assert bool((gap < 4).all()), gap


@pytest.mark.slow
def test_slope_and_hessian_have_the_moments_of_the_field():
    """At height h the Hessian is (M − h I)/ℓ²: its mean slides with h, the rest is GOE; four standard errors."""
    length, fields, n = 2.0, 400, 4
    eye, origin = torch.eye(n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64)
    rows = []
    for seed in range(fields):
        surface = random_field(n, seed, length=length)
        value, gradient = surface.gradients(origin[None])
        h = surface.products(origin, eye) * length**2 + float(value) * eye
        rows.append([float((gradient**2).sum()) * length**2 / n, *h[0, :2].tolist(), float(h[1, 1]), float(value)])
    slope, diagonal, beside, other, height = torch.tensor(rows, dtype=torch.float64).T
    for sample, expected in (
        (slope, 1.0),
        (diagonal**2, 2.0),
        (beside**2, 1.0),
        (diagonal * other, 0.0),
        (diagonal * height, 0.0),
    ):
        assert abs(float(sample.mean()) - expected) < 4 * float(sample.std()) / math.sqrt(fields)


def test_the_closed_hessian_is_that_of_the_double_backward():
    surface = random_field(6, 3, waves=77).moved(rotation=0.4, shift=[0.1] * 6)
    u = torch.randn(6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    v = torch.randn(6, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    formula = surface.formula
    assert torch.allclose(formula.curve(u, v), Formula.curve(formula, u, v), rtol=1e-12, atol=1e-12)


@pytest.mark.slow
def test_indices_in_two_and_three_dimensions_are_the_published_ones():
    two, three = field_indices(2), field_indices(3)
    assert torch.allclose(two.shares, torch.tensor([0.25, 0.5, 0.25], dtype=torch.float64), atol=0.004)
    root = 6 * math.sqrt(6)
    peak = (29 - root) / (29 + root) / (2 * (1 + (29 - root) / (29 + root)))  # Bardeen et al. 1986, eq. 4.11b
    assert float(three.shares[0]) == pytest.approx(peak, abs=4 * float(three.errors[0]) + 1e-9)
    # Euler characteristic: as many of even as of odd index, in every dimension.
    for n in (2, 3, 6):
        found = field_indices(n)
        signs = torch.tensor([(-1.0) ** k for k in range(n + 1)], dtype=torch.float64)
        assert abs(float(found.shares @ signs)) < 4 * float(found.errors.norm()) + 1e-12


@pytest.mark.slow
def test_indices_agree_with_determinants_drawn_one_by_one():
    """The same Kac-Rice shares, weighted by |det| directly; four standard errors of both."""
    n, samples = 4, 60_000
    generator = torch.Generator().manual_seed(5)
    raw = torch.randn(samples, n, n, generator=generator, dtype=torch.float64)
    height = torch.randn(samples, generator=generator, dtype=torch.float64)
    eigenvalues = torch.linalg.eigvalsh((raw + raw.mT) / math.sqrt(2)) - height[:, None]
    weight = eigenvalues.prod(1).abs()
    member = torch.nn.functional.one_hot((eigenvalues < 0).sum(1), n + 1).double()
    shares = weight @ member / weight.sum()
    errors = (weight[:, None] * (member - shares)).std(0) / weight.mean() / math.sqrt(samples)
    found = field_indices(n, seed=1)
    assert bool(((found.shares - shares).abs() < 4 * (errors**2 + found.errors**2).sqrt()).all())
    high = (weight * height) @ member / (weight @ member)
    assert torch.allclose(found.heights, high, atol=0.15)


@pytest.mark.parametrize(
    "settings", [{"dimension": 0}, {"seed": -1}, {"waves": 0}, {"length": 0.0}, {"length": math.inf}]
)
def test_a_field_refuses_what_cannot_be(settings):
    with pytest.raises(la.InputError, match="expected"):
        random_field(**settings)


def test_too_few_matrices_are_refused():
    with pytest.raises(la.InputError, match="from 100 to"):
        field_indices(3, samples=10)
