"""The empirical Fisher diagonal against the gradients of single examples by plain autograd."""

import numpy as np
import pytest
import torch
from torch import nn

import lossatlas as la

X = torch.randn(40, 4, generator=torch.Generator().manual_seed(1)).double()
Y = torch.arange(40) % 3


def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()


SURFACE = la.NetworkSurface(make(), "cross_entropy", (X, Y))


def one_by_one():
    model, total = make(), 0.0
    for x, y in zip(X, Y, strict=True):
        loss = nn.functional.cross_entropy(model(x[None]), y[None])
        total = total + torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))]) ** 2
    return (total / len(X)).numpy()


@pytest.mark.slow
def test_it_is_the_mean_square_of_single_gradients():
    found = la.fisher_diagonal(SURFACE, relative=1e-6, limit=400, progress=False)
    truth = one_by_one()
    assert found.samples == found.meter.gradients == found.meter.examples == 400 and found.status.startswith(
        "not converged"
    )
    z = (found.values - truth) / found.errors
    # 43 correlated entries, each within 4.5 standard errors but in 1 of 3,000 seeds.
    assert np.abs(z).max() < 4.5 and np.sqrt((z**2).mean()) < 2.5
    assert np.linalg.norm(found.values - truth) < 4 * found.error * np.linalg.norm(truth)


@pytest.mark.slow
def test_it_stops_where_it_is_known_well_enough_and_says_what_it_is(tmp_path):
    found = la.fisher_diagonal(SURFACE, relative=0.3, progress=False)
    assert found.status == "converged" and found.error <= 0.3 and found.samples < 1000
    assert found.quantity == "F_ii" and f"from {found.samples} gradients" in found.sentence
    assert la.load(found.save(tmp_path)).sentence == found.sentence
    other = la.fisher_diagonal(SURFACE, relative=0.3, seed=1, progress=False)
    assert not np.array_equal(found.values, other.values)


def test_what_does_not_fit_is_refused():
    with pytest.raises(la.InputError, match="expected a network"):
        la.fisher_diagonal(la.landscapes.himmelblau())
    with pytest.raises(la.InputError):
        la.fisher_diagonal(SURFACE, limit=3)
