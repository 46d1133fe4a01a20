"""Hessians known beforehand: of matrices, and of small networks by torch.func, another road than the products take."""

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, jacrev
from torch.nn.attention import SDPBackend, sdpa_kernel

import lossatlas as la
from lossatlas.surface import Layout, Reading, Surface


class MatrixSurface(Surface):
    """½ θᵀAθ: gradients, products and everything else are known."""

    def __init__(self, matrix, dtype=torch.float64, layout=None):
        self.matrix, self.dtype, self.name = matrix.to(dtype), dtype, "a matrix"
        self.layout = layout or Layout.vector(len(matrix))
        self.start = torch.zeros(len(matrix), dtype=dtype)

    def read(self, points):
        return Reading(((points @ self.matrix) * points).sum(1).double() / 2)

    def gradients(self, points, sample=None):
        return self.read(points).values, points @ self.matrix

    def products(self, point, vectors):
        return (vectors.to(self.dtype) @ self.matrix).double()


class Tiny(nn.Module):
    """One transformer layer over five tokens, and a head tied to the embedding."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(7, 6)
        self.layer = nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0, batch_first=True)
        self.head = nn.Linear(6, 7, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens):
        return self.head(self.layer(self.embed(tokens)).mean(1))


class Partly(nn.Module):
    """A frozen layer, and a parameter that the output never meets."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.idle = nn.Linear(6, 12), nn.Linear(12, 4), nn.Linear(3, 5)
        self.first.weight.requires_grad_(False)

    def forward(self, x):
        return self.second(torch.tanh(self.first(x)))


def _mlp():
    model = nn.Sequential(nn.Linear(6, 14), nn.Tanh(), nn.Linear(14, 10), nn.ReLU(), nn.Linear(10, 4))
    return model, "cross_entropy", torch.randn(61, 6), torch.randint(4, (61,))


def _cnn():
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5), nn.ReLU(),
        nn.Flatten(), nn.Linear(20, 3),
    )  # fmt: skip
    images = torch.randn(53, 1, 6, 6)
    with torch.no_grad():
        model(images)  # running statistics other than 0 and 1
    return model.eval(), "cross_entropy", images, torch.randint(3, (53,))


def _transformer():
    return Tiny().eval(), "cross_entropy", torch.randint(7, (47, 5)), torch.randint(7, (47,))


def _regression():
    model = nn.Sequential(nn.Linear(5, 20), nn.Tanh(), nn.Linear(20, 3))
    return model, "mse", torch.randn(67, 5), torch.randn(67, 3)


def _partly():
    return Partly(), "cross_entropy", torch.randn(61, 6), torch.randint(4, (61,))


MODELS = {
    "MLP": _mlp,
    "CNN with batch norm": _cnn,
    "transformer, tied": _transformer,
    "regression": _regression,
    "frozen and unused": _partly,
}
LOSSES = {"cross_entropy": F.cross_entropy, "mse": F.mse_loss}


@dataclass
class Oracle:
    """A network in float64 after a few steps of training, its Hessian by torch.func over all data at once."""

    model: nn.Module
    loss: str
    data: tuple
    surface: la.NetworkSurface
    matrix: torch.Tensor
    values: torch.Tensor


def _oracle(make):
    torch.manual_seed(0)
    model, loss, x, y = make()
    x, y = (t.double() if t.is_floating_point() else t for t in (x, y))
    model = model.double()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.01)
    for _ in range(20):
        optimizer.zero_grad()
        LOSSES[loss](model(x), y).backward()
        optimizer.step()
    optimizer.zero_grad()
    surface = la.NetworkSurface(model, loss, (x, y), batch_size=25)  # the last batch is smaller

    def whole(theta):
        return LOSSES[loss](functional_call(model, surface.layout.split(theta), (x,)), y)

    with sdpa_kernel(SDPBackend.MATH):
        if any(isinstance(module, nn.LayerNorm) for module in model.modules()):
            # With torch 2.13 torch.func's own is not symmetric where it differentiates the gains of layer norm.
            matrix = torch.autograd.functional.hessian(whole, surface.theta)
        else:
            matrix = jacrev(jacrev(whole))(surface.theta).detach()
    return Oracle(model, loss, (x, y), surface, matrix, torch.linalg.eigvalsh(matrix))


@pytest.fixture(scope="session")
def oracles():
    """Networks by name, each made once."""
    made = {}

    def get(name):
        if name not in made:
            with torch.random.fork_rng():
                made[name] = _oracle(MODELS[name])
        return made[name]

    return get


@pytest.fixture(scope="session")
def matrix_surface():
    return MatrixSurface
