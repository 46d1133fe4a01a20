"""The gradient noise scale against the gradients of single examples."""

import numpy as np
import pytest
import torch
from torch import nn

import lossatlas as la

X = torch.randn(60, 4, generator=torch.Generator().manual_seed(1)).double()
Y = torch.arange(60) % 3


def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()


SURFACE = la.NetworkSurface(make(), "cross_entropy", (X, Y))


def one_by_one():
    """tr Σ with n − 1 in its denominator, and ‖G‖, from the gradient of each example by plain autograd."""
    model = make()
    rows = []
    for x, y in zip(X, Y, strict=True):
        loss = nn.functional.cross_entropy(model(x[None]), y[None])
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))]))
    stack = torch.stack(rows)
    return float(stack.var(0).sum()), float(stack.mean(0).norm())


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 20, 59])
def test_it_is_that_of_single_examples(size):
    trace, norm = one_by_one()
    found = la.noise_scale(SURFACE, batch_size=size, batches=200, confidence=0.9999, progress=False)
    assert found.gradient_norm == pytest.approx(norm, rel=1e-12)
    # Each seed draws its own mini-batches: a fair 99.99 % interval misses one of the three in 3,000 seeds.
    assert found.interval[0] <= trace / norm**2 <= found.interval[1]
    assert found.trace == pytest.approx(trace, rel=0.3) and found.value == pytest.approx(found.trace / norm**2)
    assert found.share == found.value / size and len(found.draws) == 200


def test_it_is_counted_saved_told_and_drawn(tmp_path):
    found = la.noise_scale(SURFACE, batch_size=10, batches=4, progress=False)
    assert (found.meter.gradients, found.meter.examples) == (5, 60 + 4 * 10)
    again = la.load(found.save(tmp_path))
    assert (
        again.sentence == found.sentence and "gradient noise scale" in found.sentence and "10 holds" in found.sentence
    )
    np.testing.assert_array_equal(again.draws, found.draws)


def test_where_the_gradient_is_zero_there_is_no_scale():
    zero = la.NetworkSurface(nn.Linear(4, 3).double(), lambda output, target: (output * 0).mean(), (X, Y))
    assert la.noise_scale(zero, batch_size=10, batches=2, progress=False).value == np.inf


@pytest.mark.parametrize(
    "settings", [{"batch_size": 60}, {"batch_size": 0}, {"batches": 1}, {"confidence": 1}, {"seed": -1}], ids=str
)
def test_what_does_not_fit_is_refused(settings):
    with pytest.raises(la.InputError):
        la.noise_scale(SURFACE, **settings)
    with pytest.raises(la.InputError, match="expected a network"):
        la.noise_scale(la.landscapes.himmelblau())
