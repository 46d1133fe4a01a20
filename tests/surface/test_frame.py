"""Frames: coordinates to points and back, and directions that are none."""

import sys

import pytest
import torch

from lossatlas._errors import PlaneError
from lossatlas.surface import Frame


def _frame(k=2, n=50):
    generator = torch.Generator().manual_seed(0)
    return Frame(torch.randn(n, generator=generator).double(), torch.randn(k, n, generator=generator).double())


@pytest.mark.parametrize("k", [1, 2])
def test_points_are_origin_plus_coordinates_times_directions(k):
    frame = _frame(k)
    coords = torch.randn(7, k, dtype=torch.float64)
    assert torch.allclose(frame.points(coords), frame.origin + coords @ frame.directions, atol=1e-12)
    assert torch.equal(frame.points(torch.zeros(1, k))[0], frame.origin)
    assert torch.equal(frame.points(coords)[3:4], frame.points(coords[3:4]))


@pytest.mark.parametrize("k", [1, 2])
def test_project_gives_back_coordinates_of_oblique_directions(k):
    frame = _frame(k)
    coords = torch.randn(5, k, dtype=torch.float64)
    found, residual = frame.project(frame.points(coords))
    assert torch.allclose(found, coords, atol=1e-9) and bool((residual < 1e-9).all())
    alone, _ = frame.project(frame.points(coords[:1])[0])
    assert torch.allclose(alone, coords[0], atol=1e-9)
    zero, nothing = frame.project(frame.origin)
    assert float(nothing) == 0 and torch.allclose(zero, torch.zeros(k, dtype=torch.float64))


def test_project_is_least_squares_and_says_how_far_off():
    frame = _frame()
    theta = torch.randn(50, dtype=torch.float64)
    coords, residual = frame.project(theta)
    expected = torch.linalg.lstsq(frame.directions.T, (theta - frame.origin)[:, None]).solution[:, 0]
    assert torch.allclose(coords, expected, atol=1e-10)
    missing = theta - frame.origin - expected @ frame.directions
    assert float(residual) == pytest.approx(float(missing.norm() / (theta - frame.origin).norm()))


@pytest.mark.parametrize(
    ("directions", "words"),
    [
        (torch.zeros(1, 3), "zero length"),
        (torch.tensor([[1.0, 2, 3], [0, 0, 0]]), "direction 2"),
        (torch.tensor([[1.0, 2, 3], [-2, -4, -6]]), "parallel"),
        (torch.tensor([[1.0, 2, float("nan")]]), "nan"),
        (torch.ones(1, 4), "shape"),
        (torch.ones(3), "shape"),
    ],
)
def test_directions_that_span_nothing_are_refused(directions, words):
    with pytest.raises(PlaneError, match=words):
        Frame(torch.zeros(3), directions)


def test_long_vectors_are_taken_a_piece_at_a_time(monkeypatch):
    frame, theta = _frame(), torch.randn(3, 50, generator=torch.Generator().manual_seed(1)).double()
    whole = frame.project(theta)
    monkeypatch.setattr(sys.modules["lossatlas.surface._frame"], "CHUNK", 7)
    for found, expected in zip(_frame().project(theta), whole, strict=True):
        assert torch.allclose(found, expected, rtol=1e-12)
    with pytest.raises(PlaneError, match="parallel"):
        Frame(frame.origin, torch.stack([frame.directions[0], -3 * frame.directions[0]]))
