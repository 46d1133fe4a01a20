"""Classic test functions with very many minima in a regular pattern: Rastrigin and Ackley."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lossatlas import _checks
from lossatlas.surface.landscapes._landscape import Formula, Landscape, Minimum, total

TURN = 2 * math.pi
START = (-3.6, 3.3)


@dataclass(frozen=True)
class Rastrigin(Formula):
    """F = Σ uᵢ² + 10 (1 − cos 2πuᵢ)."""

    amplitude: float = 10.0

    def value(self, u: Tensor) -> Tensor:
        """The formula above."""
        return total(u * u + self.amplitude * (1 - torch.cos(TURN * u)))

    def gradient(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Values and 2uᵢ + 20π sin 2πuᵢ."""
        phase = TURN * u
        value = total(u * u + self.amplitude * (1 - torch.cos(phase)))
        return value, 2 * u + (self.amplitude * TURN) * torch.sin(phase)


@dataclass(frozen=True)
class Ackley(Formula):
    """F = 20 (1 − exp(−0.2 r)) + e − exp(mean cos 2πuᵢ), with r² = mean uᵢ²."""

    depth: float = 20.0
    decay: float = 0.2

    def value(self, u: Tensor) -> Tensor:
        """The formula above."""
        n = len(u)
        funnel = torch.exp(-self.decay * torch.sqrt(total(u * u) / n))
        ripple = torch.exp(total(torch.cos(TURN * u)) / n)
        return self.depth * (1 - funnel) + (math.e - ripple)

    def gradient(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Values and gradient; at the cusp u = 0, where there is none, zero by definition."""
        n = len(u)
        phase = TURN * u
        radius = torch.sqrt(total(u * u) / n)
        funnel = torch.exp(-self.decay * radius)
        ripple = torch.exp(total(torch.cos(phase)) / n)
        value = self.depth * (1 - funnel) + (math.e - ripple)
        # The ratio funnel / radius is infinite at the cusp, and meets u = 0 there.
        inward = torch.where(radius > 0, (self.depth * self.decay / n) * funnel / radius, 0.0)
        return value, inward * u + (TURN / n) * ripple * torch.sin(phase)


def rastrigin(dimension: int = 2) -> Landscape:
    """Rastrigin's egg carton: a minimum near every point of whole coordinates, the global one 0 at the origin.

    The box is [−5.12, 5.12]ᴺ, the start (−3.6, 3.3, −3.6, …). The list of wells is partial (`wells_complete` is
    false): the global one and its neighbors, named by their offset, as in ``"+1 -1"``; all eight in two dimensions,
    from three on only those along the axes.

    Args:
        dimension: N.

    Returns:
        The landscape (Rastrigin, Systems of Extremal Control, 1974).

    Raises:
        InputError: for a dimension below 1.
    """
    dimension = _checks.whole("dimension", dimension, 1, 2000, do="There are twice as many minima as dimensions.")
    if dimension <= 2:
        steps = [s for s in itertools.product((-1, 0, 1), repeat=dimension) if any(s)]
    else:
        steps = [tuple(d if i == j else 0 for j in range(dimension)) for i in range(dimension) for d in (-1, 1)]
    neighbors = [
        Minimum(" ".join(f"{d:+d}" if d else "0" for d in step), tuple(0.995 * d for d in step)) for step in steps
    ]
    return Landscape(
        "rastrigin",
        Rastrigin(),
        bounds=[(-5.12, 5.12)] * dimension,
        start=[START[i % 2] for i in range(dimension)],
        minima=[Minimum("global", (0.0,) * dimension), *neighbors],
        wells_complete=False,
    )


def ackley(dimension: int = 2) -> Landscape:
    """Ackley's ripples in a funnel, global minimum 0 at the origin, which is a cusp.

    At the cusp the gradient does not exist; `gradients` defines it as zero there, and `products` answers NaN. A
    shift or rotation can move the cusp off the floating-point grid by rounding; the gradient at the listed minimum
    then has the length it has everywhere around the cusp, 4/√N. The box is [−5, 5]ᴺ, the start (−3.6, 3.3,
    −3.6, …). Only the global well is listed (`wells_complete` is false).

    Args:
        dimension: N.

    Returns:
        The landscape (Ackley, A Connectionist Machine for Genetic Hillclimbing, 1987).

    Raises:
        InputError: for a dimension below 1.
    """
    dimension = _checks.whole("dimension", dimension, 1, _checks.MOST_DIMENSIONS)
    return Landscape(
        "ackley",
        Ackley(),
        bounds=[(-5.0, 5.0)] * dimension,
        start=[START[i % 2] for i in range(dimension)],
        minima=[Minimum("global", (0.0,) * dimension)],
        wells_complete=False,
    )
