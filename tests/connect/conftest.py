"""Landscapes whose barriers are known in closed form, and small trained networks, made once for all tests here."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

import lossatlas as la
from lossatlas.demo import digits, digits_cnn, digits_mlp, fit
from lossatlas.surface.landscapes._landscape import Formula, Landscape, Minimum


@dataclass(frozen=True)
class BentValley(Formula):
    """(x² − 1)² + k (y − c (1 − x²))²: wells at (±1, 0), joined by a valley along the parabola y = c (1 − x²).

    On the straight line y = 0 the loss is (1 + k c²)(1 − x²)², so its barrier is 1 + k c². Along the valley it is
    (x² − 1)², so the lowest way over has height 1, at (0, c). The parabola is a quadratic Bézier curve with its
    middle control point at (0, 2c).
    """

    stiffness: float = 4.0
    bend: float = 1.0

    def value(self, u: Tensor) -> Tensor:
        x, y = u.unbind(0)
        off = y - self.bend * (1 - x * x)
        return (x * x - 1) ** 2 + self.stiffness * off * off

    def gradient(self, u: Tensor) -> tuple[Tensor, Tensor]:
        x, y = u.unbind(0)
        off = y - self.bend * (1 - x * x)
        slope = torch.stack([4 * x * (x * x - 1) + 4 * self.stiffness * self.bend * x * off, 2 * self.stiffness * off])
        return self.value(u), slope


@dataclass(frozen=True)
class Ring(Formula):
    """(x² + y² − 1)²: a circle of minima. The straight line through the middle has barrier 1, the circle none."""

    def value(self, u: Tensor) -> Tensor:
        return (u[0] * u[0] + u[1] * u[1] - 1) ** 2

    def gradient(self, u: Tensor) -> tuple[Tensor, Tensor]:
        off = u[0] * u[0] + u[1] * u[1] - 1
        return off * off, 4 * off * u


@pytest.fixture(scope="session")
def bent_valley():
    """Makes a `BentValley` with its wells known, turned so that no axis is special."""

    def make(stiffness: float = 4.0, bend: float = 1.0) -> Landscape:
        minima = [Minimum("global", (-1.0, 0.0)), Minimum("twin", (1.0, 0.0))]
        formula = BentValley(stiffness, bend)
        ground = Landscape("bent-valley", formula, bounds=[(-2, 2), (-2, 4)], start=(-1.0, 0.0), minima=minima)
        return ground.moved(rotation=0.3)

    return make


@pytest.fixture(scope="session")
def ring():
    """A `Ring`."""
    return Landscape("ring", Ring(), bounds=[(-2, 2), (-2, 2)], start=(-1.0, 0.0))


@pytest.fixture(scope="session")
def mlps():
    """Two digits MLPs from different seeds with their train and test surfaces."""
    data, held_out = digits("train"), digits("test")
    models = [digits_mlp((32, 32), seed=seed) for seed in (0, 1)]
    for seed, model in enumerate(models):
        fit(model, data, epochs=8, batch_size=128, lr=3e-3, seed=seed)
    return (
        models,
        la.NetworkSurface(models[0], "cross_entropy", data),
        la.NetworkSurface(models[0], "cross_entropy", held_out),
    )


@pytest.fixture(scope="session")
def cnns():
    """Two small digits CNNs with batch norm, with a train and a test surface of few examples."""
    images, labels = digits("train", images=True)
    models = [digits_cnn(seed=seed) for seed in (0, 1)]
    for seed, model in enumerate(models):
        fit(model, (images, labels), epochs=2, batch_size=128, lr=3e-3, seed=seed)
    held_out = tuple(part[:120] for part in digits("test", images=True))
    return (
        models,
        la.NetworkSurface(models[0], "cross_entropy", (images[:300], labels[:300])),
        la.NetworkSurface(models[0], "cross_entropy", held_out),
    )


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
