"""How products are taken can be chosen wherever curvature is measured, and what was chosen stands in the result."""

import logging

import numpy as np
import pytest
import torch
from torch import nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

import lossatlas as la

X, Y = torch.randn(24, 4, generator=torch.Generator().manual_seed(1)).double(), torch.arange(24) % 3


class Once(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        return gradient * ctx.saved_tensors[0].cos()


class Sine(nn.Module):
    def __init__(self, once):
        super().__init__()
        self.function = Once.apply if once else torch.sin

    def forward(self, x):
        return self.function(x)


def surface(once):
    torch.manual_seed(0)
    return la.NetworkSurface(
        nn.Sequential(nn.Linear(4, 5), Sine(once), nn.Linear(5, 3)).double(), "cross_entropy", (X, Y)
    )


ONCE, TWICE = surface(True), surface(False)
MEASURES = {
    "extremes": lambda s, **how: la.extremes(s, 2, **how),
    "sharpness": lambda s, **how: la.sharpness(s, "lambda-max", progress=False, **how),
    "sharpness trace": lambda s, **how: la.sharpness(s, "trace", progress=False, **how),
    "point": lambda s, **how: la.critical_point(s, **how),
    "points": lambda s, **how: la.critical_points(s, starts=s.theta[None], steps=2, progress=False, **how),
    "along": lambda s, **how: la.curvature_along(s, [s.theta], k=1, progress=False, **how),
    "traces": lambda s, **how: la.compare_traces(s, s, progress=False, **how).a,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_the_way_is_chosen_and_named(measure):
    assert "central differences" not in measure(TWICE).status
    assert "central differences (as requested)" in measure(TWICE, how="differences").status
    assert "central differences (double backward" in measure(ONCE).status
    with pytest.raises(la.NotApplicableError):
        measure(ONCE, how="exact")
    with pytest.raises(la.UnknownNameError):
        measure(TWICE, how="guess")


@pytest.mark.slow
def test_both_ways_give_the_same_curvature():
    dense = torch.linalg.eigvalsh(la.hessian(TWICE)).numpy()
    for found in (la.extremes(TWICE, 2, how="differences"), la.extremes(ONCE, 2)):
        np.testing.assert_allclose(found.largest.values, dense[:-3:-1], rtol=1e-6)


@pytest.mark.slow
def test_a_plane_of_eigenvectors_says_it():
    plane = la.Plane.hessian(ONCE)
    assert plane.how["by"] == "central differences of gradients" and "central differences" in " ".join(plane.notes)
    assert "by" not in la.Plane.hessian(TWICE).how
    assert la.Plane.hessian(TWICE, how="differences").how["by"] == "central differences of gradients"
    with pytest.raises(la.NotApplicableError):
        la.Plane.hessian(ONCE, how="exact")


def test_a_fall_back_is_logged(caplog):
    with caplog.at_level(logging.INFO, "lossatlas"):
        la.Hessian(TWICE)
        assert not caplog.records
        la.Hessian(ONCE)
    assert "central differences of gradients, since" in caplog.text


class Words(nn.Module):
    def __init__(self, sparse):
        super().__init__()
        torch.manual_seed(2)
        self.words = nn.Embedding(7, 4, sparse=sparse, dtype=torch.float64)
        self.read = nn.Linear(4, 3).double()

    def forward(self, x):
        return self.read(self.words(x).mean(1).tanh())


@pytest.mark.slow
def test_sparse_gradients_give_the_dense_curvature():
    rows = torch.randint(0, 7, (24, 3), generator=torch.Generator().manual_seed(3))
    sparse, dense = (la.NetworkSurface(Words(one), "cross_entropy", (rows, Y)) for one in (True, False))
    truth = la.hessian(dense)
    np.testing.assert_allclose(la.hessian(sparse).numpy(), truth.numpy(), atol=1e-15)
    np.testing.assert_allclose(la.hessian(sparse, how="differences").numpy(), truth.numpy(), atol=1e-8)
    assert la.sharpness(sparse, "sam").value == pytest.approx(la.sharpness(dense, "sam").value, rel=1e-12)
