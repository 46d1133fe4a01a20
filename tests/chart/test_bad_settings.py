"""What a chart refuses, in one sentence, before or instead of a picture that is not true."""

import numpy as np
import pytest
import torch
from torch import nn

import lossatlas as la
from lossatlas._errors import InputError, LossError


@pytest.fixture
def surface():
    torch.manual_seed(0)
    data = (torch.randn(64, 3), torch.randint(0, 2, (64,)))
    return la.NetworkSurface(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), "cross_entropy", data)


@pytest.mark.parametrize("span", [((-1, 1), (0, 1), (0, 2)), (1, 2, 3), None, (1, "x"), ((1,),)])
def test_a_span_that_is_none_is_refused(surface, span):
    with pytest.raises(InputError, match="span"):
        la.chart(surface, la.Plane.random(surface), span=span, points=5, progress=False)


def test_the_span_of_a_line_is_found_too(surface):
    line = la.Line.random(surface, seed=0)
    made = la.chart(surface, line, span="auto", growth=1.5, points=9, exact=True, progress=False)
    low, high = made.alpha[0], made.alpha[-1]
    assert low < 0 < high and made.loss[0, [0, -1]].max() == pytest.approx(1.5 * surface.loss_at_theta, rel=0.3)


@pytest.mark.parametrize("settings", [{"seed": -1}, {"seed": 1.5}, {"subset": 50.5}, {"subset": "x"}, {"subset": True},
                                      {"subset": 65}, {"subset": 65, "exact": True}])  # fmt: skip
def test_settings_that_are_none_are_refused(surface, settings):
    with pytest.raises(InputError, match=r"seed|subset"):
        la.chart(surface, la.Plane.random(surface), points=5, progress=False, **settings)


def test_a_loss_that_is_finite_at_the_center_alone_is_refused():
    class Brittle(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3, 2)
            self.register_buffer("own", self.linear.weight.detach().clone())

        def forward(self, x):
            return self.linear(x) + torch.where((self.linear.weight == self.own).all(), 0.0, float("nan"))

    torch.manual_seed(0)
    surface = la.NetworkSurface(Brittle(), "cross_entropy", (torch.randn(64, 3), torch.randint(0, 2, (64,))))
    plane = la.Plane.random(surface, seed=0)
    with pytest.raises(LossError, match="away from the center"):
        la.chart(surface, plane, points=31, progress=False)
    assert np.isfinite(la.chart(surface, plane, points=9, exact=True, progress=False).loss).sum() == 1


@pytest.mark.slow
def test_a_comparison_with_a_ledger_asks_nothing_twice(surface, tmp_path):
    pair = {"one": surface, "other": la.landscapes.himmelblau()}
    settings = {"seeds": 2, "points": 5, "progress": False, "ledger": tmp_path}
    first, again = (la.compare(pair, **settings) for _ in range(2))
    assert first.meter.values == 100 and again.meter.values == 0 and again.meter.recalled == 100
    for name in pair:
        assert all(np.array_equal(a.loss, b.loss) for a, b in zip(first.charts[name], again.charts[name], strict=True))
