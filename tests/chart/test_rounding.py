"""Charts of models in half precision, whose steps may be mostly rounding."""

import re

import numpy as np
import pytest
import torch
from torch import nn

import lossatlas as la


def _surface(dtype):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 20), nn.Tanh(), nn.Linear(20, 3)).to(dtype)
    x, y = torch.randn(40, 6).to(dtype), torch.randint(3, (40,))
    return la.NetworkSurface(model, "cross_entropy", (x, y))


def _note(chart):
    return next((note for note in chart.provenance["notes"] if "rounding of" in note), "")


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


def test_a_span_that_is_rounding_altogether_is_called_that_and_ordinary_ones_are_not():
    surface = _surface(torch.bfloat16)
    plane = la.Plane.random(surface, seed=0, normalization="filter")
    small = la.chart(surface, plane, span=1e-4, points=9, exact=True, progress=False)
    assert _note(small).startswith("every step along")
    assert not _note(la.chart(surface, plane, span=1.0, points=9, exact=True, progress=False))
    surface = _surface(torch.float32)
    plane = la.Plane.random(surface, seed=0, normalization="filter")
    assert not _note(la.chart(surface, plane, span=1e-3, points=9, exact=True, progress=False))
    assert "convert the model to float64" in _note(
        la.chart(surface, plane, span=1e-7, points=21, exact=True, progress=False)
    )


def test_landscapes_have_no_such_note():
    ground = la.landscapes.himmelblau()
    assert not _note(la.chart(ground, la.Plane.random(ground, seed=0), points=9, exact=True, progress=False))
