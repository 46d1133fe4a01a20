"""Classic polynomial test functions: Rosenbrock, Himmelblau, Beale, and the monkey saddle."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lossatlas import _checks
from lossatlas.surface.landscapes._landscape import Formula, Landscape, Minimum, total


@dataclass(frozen=True)
class Rosenbrock(Formula):
    """F = Σ 100 (uᵢ₊₁ − uᵢ²)² + (1 − uᵢ)²."""

    steepness: float = 100.0

    def value(self, u: Tensor) -> Tensor:
        """The formula above."""
        off, gap = u[1:] - u[:-1] * u[:-1], 1 - u[:-1]
        return total(self.steepness * off * off + gap * gap)

    def gradient(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Values, and what each term gives to its own coordinate and to the next."""
        a = u[:-1]
        off, gap = u[1:] - a * a, 1 - a
        pull = self.steepness * off
        nothing = torch.zeros_like(u[:1])
        own = torch.cat([-4 * a * pull - 2 * gap, nothing])
        return total(pull * off + gap * gap), own + torch.cat([nothing, 2 * pull])


@dataclass(frozen=True)
class Himmelblau(Formula):
    """F = (x² + y − 11)² + (x + y² − 7)²."""

    first: float = 11.0
    second: float = 7.0

    def value(self, u: Tensor) -> Tensor:
        """The formula above."""
        return self.gradient(u)[0]

    def gradient(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Values and (4x·p + 2q, 2p + 4y·q), with p and q the two brackets."""
        x, y = u.unbind(0)
        p, q = x * x + y - self.first, x + y * y - self.second
        return p * p + q * q, torch.stack([4 * x * p + 2 * q, 2 * p + 4 * y * q])


@dataclass(frozen=True)
class Beale(Formula):
    """F = (1.5 − x + xy)² + (2.25 − x + xy²)² + (2.625 − x + xy³)²."""

    targets: tuple[float, float, float] = (1.5, 2.25, 2.625)

    def value(self, u: Tensor) -> Tensor:
        """The formula above."""
        return self.gradient(u)[0]

    def gradient(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Values and 2 Σ bracket · (yᵏ − 1, k x yᵏ⁻¹)."""
        x, y = u.unbind(0)
        y2 = y * y
        y3 = y2 * y
        a, b, c = (t + x * (power - 1) for t, power in zip(self.targets, (y, y2, y3), strict=True))
        dx = a * (y - 1) + b * (y2 - 1) + c * (y3 - 1)
        dy = x * (a + 2 * b * y + 3 * c * y2)
        return a * a + b * b + c * c, 2 * torch.stack([dx, dy])


@dataclass(frozen=True)
class MonkeySaddle(Formula):
    """F = x³ − 3xy²: three valleys and three ridges meet where gradient and Hessian are zero."""

    def value(self, u: Tensor) -> Tensor:
        """The formula above."""
        return self.gradient(u)[0]

    def gradient(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Values and (3x² − 3y², −6xy)."""
        x, y = u.unbind(0)
        x2, y2 = x * x, y * y
        return x * (x2 - 3 * y2), torch.stack([3 * (x2 - y2), -6 * x * y])


def rosenbrock(dimension: int = 2) -> Landscape:
    """Rosenbrock's curved valley, minimum 0 at (1, …, 1), from the published start (−1.2, 1, −1.2, 1, …).

    The box is [−2.048, 2.048]ᴺ. From four dimensions on there is a second minimum near (−1, 1, …, 1), which is not
    listed: `wells_complete` is then false.

    Args:
        dimension: N, at least 2.

    Returns:
        The landscape (Rosenbrock, Computer Journal 3, 1960).

    Raises:
        InputError: for a dimension below 2.
    """
    dimension = _checks.whole("dimension", dimension, 2, _checks.MOST_DIMENSIONS)
    return Landscape(
        "rosenbrock",
        Rosenbrock(),
        bounds=[(-2.048, 2.048)] * dimension,
        start=[-1.2 if i % 2 == 0 else 1.0 for i in range(dimension)],
        minima=[Minimum("global", (1.0,) * dimension)],
        wells_complete=dimension < 4,
    )


def himmelblau() -> Landscape:
    """Himmelblau's four equally deep minima, all 0, on the box [−5, 5]² from (0, 0).

    Exactly one well of a landscape is called global. All four are here; by convention it is (3, 2), and the others
    are the second, third and fourth in the order of the quadrants, counterclockwise.

    Returns:
        The landscape (Himmelblau, Applied Nonlinear Programming, 1972), in two dimensions.
    """
    minima = [
        Minimum("global", (3.0, 2.0)),
        Minimum("second", (-2.805118, 3.131312)),
        Minimum("third", (-3.779310, -3.283186)),
        Minimum("fourth", (3.584428, -1.848126)),
    ]
    return Landscape(
        "himmelblau",
        Himmelblau(),
        bounds=((-5.0, 5.0), (-5.0, 5.0)),
        start=(0.0, 0.0),
        minima=minima,
    )


def beale() -> Landscape:
    """Beale's function: flat valleys between steep corners, minimum 0 at (3, 0.5).

    The box is [−4.5, 4.5]², the start (1, 1) the one of Moré, Garbow and Hillstrom, ACM TOMS 7, 1981.

    Returns:
        The landscape (Beale, 1958), in two dimensions.
    """
    return Landscape(
        "beale",
        Beale(),
        bounds=((-4.5, 4.5), (-4.5, 4.5)),
        start=(1.0, 1.0),
        minima=[Minimum("global", (3.0, 0.5))],
    )


def monkey_saddle() -> Landscape:
    """The monkey saddle x³ − 3xy²: no minimum, and a critical point that the Hessian says nothing about.

    The box is [−2, 2]²; from the start (1.5, 0.05) descent first runs toward the saddle and then away from it.

    Returns:
        The landscape, in two dimensions, without wells.
    """
    return Landscape(
        "monkey-saddle",
        MonkeySaddle(),
        bounds=((-2.0, 2.0), (-2.0, 2.0)),
        start=(1.5, 0.05),
    )
