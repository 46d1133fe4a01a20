"""Charts of models in half precision, whose steps may be mostly rounding."""

import re

import numpy as np
import pytest
import torch
from torch import nn

import lossatlas as la
from lossatlas.chart.sampling._floor import floor, readings
from lossatlas.chart.sampling._grid import grid


def _surface(dtype):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 20), nn.Tanh(), nn.Linear(20, 3)).to(dtype)
    x, y = torch.randn(40, 6).to(dtype), torch.randint(3, (40,))
    return la.NetworkSurface(model, "cross_entropy", (x, y))


def _note(chart):
    return next((note for note in chart.provenance["notes"] if "rounding of" in note), "")


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_it_is_said_from_which_coordinate_on_the_loss_is_seen(dtype):
    surface = _surface(dtype)
    plane = la.Plane.random(surface, seed=0, normalization="filter")
    span = 8 * torch.finfo(dtype).eps
    chart = la.chart(surface, plane, span=span, points=81, exact=True, progress=False)
    note = _note(chart)
    assert str(dtype).removeprefix("torch.") in note and "convert the model to float32" in note
    at = float(re.search(r"< ([\d.e-]+)", note).group(1))
    # By hand: what rounding adds to a step of that length, parameter by parameter.
    origin, direction = plane.frame.origin.double(), plane.frame.directions[0].double()
    added = [float((p.to(dtype).double() - p).pow(2).sum()) for p in (origin + at * direction)]
    assert np.sqrt(sum(added)) / float((at * direction).norm()) == pytest.approx(0.5, rel=0.05)
    assert note in chart.provenance["captions"]


@pytest.mark.slow
def test_a_span_that_is_rounding_altogether_is_called_that_and_ordinary_ones_are_not():
    surface = _surface(torch.bfloat16)
    plane = la.Plane.random(surface, seed=0, normalization="filter")
    small = la.chart(surface, plane, span=1e-4, points=9, exact=True, progress=False)
    assert _note(small).startswith("every step along")
    ordinary = la.chart(surface, plane, span=1.0, points=9, exact=True, progress=False)
    assert (
        _note(ordinary).endswith("no cell but the center is that close")
        and _note(ordinary) in ordinary.provenance["captions"]
    )
    surface = _surface(torch.float32)
    plane = la.Plane.random(surface, seed=0, normalization="filter")
    assert not _note(la.chart(surface, plane, span=1e-3, points=9, exact=True, progress=False))
    assert "convert the model to float64" in _note(
        la.chart(surface, plane, span=1e-7, points=21, exact=True, progress=False)
    )


def test_landscapes_have_no_such_note():
    ground = la.landscapes.himmelblau()
    assert not _note(la.chart(ground, la.Plane.random(ground, seed=0), points=9, exact=True, progress=False))


def _slowly(surface, plane, center):
    """By how much two evaluations differ, of 300 places around one, a paraboloid taken out."""
    away = 0.02 * torch.rand(300, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    losses = surface.on(plane).values(away + center).numpy()
    x, y = away.numpy().T
    shape = np.stack([np.ones(300), x, y, x * x, y * y, x * y], 1)
    left = losses - shape @ np.linalg.lstsq(shape, losses, rcond=None)[0]
    return float(np.quantile(np.abs(left[:150] - left[150:]), 0.95) / np.abs(losses).mean())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_how_far_rounding_moves_a_loss_is_measured(dtype):
    surface = _surface(dtype)
    plane = la.Plane.random(surface, seed=0)
    made = la.chart(surface, plane, points=9, exact=True, progress=False)
    assert made.meter.values == 81 + readings(surface.rounding, 0.02) == 81 + 16
    for found, center in zip(made.certificate.rounding, (0.0, 0.5), strict=True):
        # Of eight readings each.
        assert 1 / 3 < found / _slowly(surface, plane, center) < 3
    assert "rounded differently differ by" in made.certificate.sentence


def test_in_full_precision_nothing_is_evaluated_for_it():
    surface = _surface(torch.float32)
    made = la.chart(surface, la.Plane.random(surface, seed=0), points=9, exact=True, progress=False)
    assert made.certificate.rounding is None and made.meter.values == 81
    assert readings(torch.finfo(torch.float32).eps, 1e-5) == 16 and readings(torch.finfo(torch.float64).eps, 1e-9) == 0
    assert all(at < 1e-6 for at in made.provenance["resolved"]["mostly_rounding_below"].values())


@pytest.mark.slow
def test_nodes_are_not_added_where_only_rounding_is_left():
    surface = _surface(torch.bfloat16)
    made = la.chart(surface, la.Plane.random(surface, seed=0), points=61, tolerance=2e-4, progress=False)
    near, _ = made.certificate.rounding
    assert near > 2e-4 and not made.certificate.reached
    assert "the rest of the error is rounding" in made.provenance["sampler"] and made.meter.values < 400
    assert made.certificate.near.p95 <= near


def test_cells_are_not_bisected_below_what_rounding_makes():
    cells = grid(1.0, 41, 1)
    coarse = lambda x: torch.tensor(1 + x**2).bfloat16().double().numpy()  # noqa: E731
    found = floor(lambda coords: coarse(coords[:, 0]), cells, np.array([0.01]))
    # Numbers between 1 and 2 are 2⁻⁷ apart in bfloat16: two rounded ones differ by less in most cases.
    assert 0 < max(found) < 3 * 2**-7
    assert floor(lambda coords: 1 + coords[:, 0] ** 2, cells, np.array([0.01])) == pytest.approx((0, 0), abs=1e-14)


def test_a_streamed_model_of_mixed_types_says_it_too():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 20), nn.Tanh(), nn.Linear(20, 3)).bfloat16().eval()
    x, y = torch.randn(40, 6).bfloat16(), torch.randint(3, (40,))
    surface = la.StreamedSurface(model, nn.functional.cross_entropy, (x, y))
    made = la.chart(surface, surface.plane, points=5, exact=True, progress=False)
    at = made.provenance["resolved"]["mostly_rounding_below"]["α"]
    step = [(w.detach().double(), surface.direction(name)[0].double() * at) for name, w in model.named_parameters()]
    added = sum(float((((w + d).bfloat16().double()) - w - d).square().sum()) for w, d in step)
    assert np.sqrt(added / sum(float(d.square().sum()) for _, d in step)) == pytest.approx(0.5, rel=0.02)
    assert made.provenance["resolved"]["dtype"] == "bfloat16" and made.certificate.rounding is not None
