"""The race of learning rates: what a rate is worth depends on how many steps it is for, and on which mini-batches."""

import math

import pytest
import torch
from torch import nn

import lossatlas as la
from lossatlas.advise._portfolio import Candidate
from lossatlas.advise._purse import Purse
from lossatlas.advise._race_rates import KEPT, Racing, Rates
from lossatlas.demo import digits, digits_mlp
from lossatlas.optimize import optimizer
from lossatlas.probe import Probe


def bowl():
    """½(w₁² + w₂²/20): the start lies almost on the flat axis, where rates above 2/λ = 2 look best for a while."""
    model = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1e-6, 1.0]]))
    x = torch.tensor([[1.0, 0.0], [0.0, math.sqrt(0.05)]])
    return la.NetworkSurface(model.double(), "mse", (x.double(), torch.zeros(2, 1).double()))


def raced(budget):
    surface = bowl()
    purse = Purse(Probe(surface), budget)
    rates = Rates(surface, purse, surface.theta.detach().clone(), None, 0, 0.0)
    for lr in (2.15, 2.15 / 4, 2.15 * 4):
        rates.enter("gd", lr, "")
    return rates, rates.run()


def test_the_score_is_the_geometric_mean_over_the_orders_of_the_data():
    one = Racing(Candidate("gd 1", optimizer("gd", lr=1.0), why=""), "gd", 1.0, None, loss=1.0, others=[4.0])
    assert one.score == pytest.approx(2.0)
    one.others = [math.inf]
    assert one.score == math.inf


@pytest.mark.slow
def test_for_few_steps_a_rate_beyond_the_bound_is_best_and_for_many_one_below():
    short, first = raced(1000)
    long, last = raced(6000)
    assert short.steps == 40 and first.lr == pytest.approx(2.15)
    assert long.steps == 320 and last.lr == pytest.approx(2.15 / math.sqrt(2), rel=1e-3)
    for rates, one in ((short, first), (long, last)):
        sharp, flat = 1 - one.lr, 1 - 0.05 * one.lr
        w = 1e-6 * sharp**rates.steps, flat**rates.steps
        assert one.loss == pytest.approx(0.5 * (w[0] ** 2 + 0.05 * w[1] ** 2), rel=1e-6)
        assert {other.steps for other in rates.last} == {rates.steps} and len(rates.last) >= KEPT
        assert rates.purse.spent <= rates.purse.budget


@pytest.mark.slow
def test_the_best_run_again_on_other_mini_batches():
    surface = la.NetworkSurface(digits_mlp((4,)), "cross_entropy", digits("test"))
    advice = la.advise(surface, budget=900, batch_size=16, progress=False)
    again = [leg for leg in advice.legs if leg.part == "other mini-batches"]
    assert {leg.racer for leg in again} == set(advice.lowest)
    first = {leg.racer: leg.loss for leg in advice.legs if leg.part in ("heat", "between", "finer")}
    for leg in again:
        assert leg.loss != first[leg.racer]
        assert advice.lowest[leg.racer] == pytest.approx(math.sqrt(leg.loss * first[leg.racer]))
    assert advice.horizon >= 40 and advice.spent <= 900
    assert any(f"{advice.horizon} steps" in line for line in advice.reading())
