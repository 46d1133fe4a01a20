"""Slices cross the border of a process: what comes back gives the same values, bit for bit."""

import copy
import pickle

import pytest
import torch
from torch import nn

import lossatlas as la

COORDS = torch.linspace(-1, 1, 14, dtype=torch.float64).reshape(7, 2)


def _mlp():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    return la.NetworkSurface(model, "cross_entropy", (torch.randn(11, 5).double(), torch.arange(11) % 3))


def _normed(mode=None):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Tanh(), nn.Flatten(), nn.Linear(12, 2)).double()
    data = torch.randn(9, 1, 4, 4).double(), torch.randn(9, 2).double()
    return la.NetworkSurface(model.eval(), "mse", data, batchnorm=mode)


def _between():
    surface = _normed()
    ends = [copy.deepcopy(surface.model) for _ in range(2)]
    for end in ends:
        for weight in end.parameters():
            weight.data += 0.1 * torch.randn_like(weight)
        end[1].running_var.mul_(2)
    return surface, la.Plane.between(surface, surface.model, *ends)


def _random(surface):
    return surface, la.Plane.random(surface, seed=1)


def _moved():
    surface = la.landscapes.rosenbrock(dimension=3)
    return surface, la.Plane.of(surface, [1.0, 0.5, 0.0], [0.0, 0.3, 1.0])


class Waves(la.Surface):
    """A user's own surface whose reader is a closure that cannot be pickled."""

    def __init__(self):
        self.name, self.layout = "waves", la.Layout.vector(3)
        self.start = torch.zeros(3, dtype=torch.float64)

    def read(self, points):
        from lossatlas.surface import Reading

        return Reading(points.sin().sum(1))

    def reader(self, frame, *, steady=False):
        return lambda coords: self.read(frame.points(coords))

    def gradients(self, points, sample=None):
        return self.read(points).values, points.cos()

    def products(self, point, vectors):
        return -point.sin() * vectors


CASES = {
    "landscape": _moved,
    "layers": lambda: _random(_mlp()),
    "batch norm, frozen": lambda: _random(_normed()),
    "batch norm, between models": _between,
    "batch norm, recomputed": lambda: _random(_normed("recompute")),
    "batch norm, by batches": lambda: _random(_normed("batch")),
    "a user's reader": lambda: (lambda s: (s, la.Plane.of(s, [1.0, 0, 0], [0, 1.0, 0])))(Waves()),
}


@pytest.mark.parametrize("steady", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_a_pickled_slice_gives_the_same_bits(case, steady):
    surface, plane = CASES[case]()
    piece = surface.on(plane, steady=steady)
    values, gradients = piece.values(COORDS), piece.gradients(COORDS)[1]
    twin = pickle.loads(pickle.dumps(piece))
    assert torch.equal(twin.values(COORDS), values)
    assert torch.equal(twin.gradients(COORDS)[1], gradients)
    assert twin.fingerprint() == piece.fingerprint() and twin.steady == piece.steady
