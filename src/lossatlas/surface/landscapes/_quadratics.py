"""Convex bowls: a quadratic of any condition number, and linear regression on seeded data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lossatlas import _checks
from lossatlas.surface.landscapes._landscape import Formula, Landscape, Minimum, total


@dataclass(frozen=True)
class Quadratic(Formula):
    """F = ½ Σ λᵢ uᵢ²."""

    eigenvalues: tuple[float, ...]

    @cached_property
    def _column(self) -> Tensor:
        return torch.tensor(self.eigenvalues, dtype=torch.float64)[:, None]

    def value(self, u: Tensor) -> Tensor:
        """The formula above."""
        return 0.5 * total(self._column * u * u)

    def gradient(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Values and λᵢ uᵢ."""
        slope = self._column * u
        return 0.5 * total(slope * u), slope


@dataclass(frozen=True)
class Regression(Formula):
    """Mean squared error of y = w₁x + w₂ on seeded data, as the parabola it is around the least-squares point.

    Attributes:
        seed: of the data.
        examples: number of data points.
        spread: standard deviation of the noise in y.
    """

    seed: int
    examples: int
    spread: float

    @cached_property
    def data(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Inputs x, uniform in [−3, 3], and targets y = 2x + 1 + noise."""
        rng = np.random.default_rng(self.seed)
        x = rng.uniform(-3.0, 3.0, self.examples)
        return x, 2.0 * x + 1.0 + self.spread * rng.standard_normal(self.examples)

    @cached_property
    def optimum(self) -> tuple[float, float]:
        """The least-squares weights w₁ and w₂, from the normal equations."""
        x, y = self.data
        slope = float(np.mean((x - x.mean()) * (y - y.mean())) / np.mean((x - x.mean()) ** 2))
        return slope, float(y.mean() - slope * x.mean())

    @cached_property
    def _moments(self) -> tuple[float, float, float]:
        """Mean of x², mean of x, and the error that is left at the optimum."""
        x, y = self.data
        slope, intercept = self.optimum
        return float(np.mean(x * x)), float(np.mean(x)), float(np.mean((slope * x + intercept - y) ** 2))

    def drawn(self) -> dict[str, object]:
        """What comes of its data, all that the formula needs."""
        square, mean, rest = self._moments
        return {"square": square, "mean": mean, "rest": rest, "optimum": list(self.optimum)}

    def value(self, u: Tensor) -> Tensor:
        """(1/n) Σ (w₁xᵢ + w₂ − yᵢ)²."""
        return self.gradient(u)[0]

    def gradient(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Values and 2 · [[mean x², mean x], [mean x, 1]] · (w − optimum)."""
        square, mean, rest = self._moments
        a, b = u[0] - self.optimum[0], u[1] - self.optimum[1]
        down, across = square * a + mean * b, mean * a + b
        return (a * down + b * across) + rest, 2 * torch.stack([down, across])


def quadratic(
    condition: float = 100.0,
    dimension: int = 2,
    *,
    rotation: float = 0.0,
) -> Landscape:
    """A bowl ½ Σ λᵢ θᵢ² whose eigenvalues are spaced logarithmically from 1 to `condition`.

    The box is [−4, 4]ᴺ, the start (−3, 3, −3, …).

    Args:
        condition: ratio of the largest to the smallest eigenvalue.
        dimension: N, at least 2.
        rotation: an angle in radians, as in `Landscape.moved`: it takes the eigenvectors off the axes.

    Returns:
        The landscape.

    Raises:
        InputError: for a condition number below 1 or a dimension below 2.
    """
    condition = _checks.number(
        "condition", condition, least=1, do="It is the ratio of the largest eigenvalue to the smallest."
    )
    dimension = _checks.whole("dimension", dimension, 2, _checks.MOST_DIMENSIONS)
    eigenvalues = tuple(condition ** (i / (dimension - 1)) for i in range(dimension))
    return Landscape(
        "quadratic",
        Quadratic(eigenvalues),
        bounds=[(-4.0, 4.0)] * dimension,
        start=[-3.0 if i % 2 == 0 else 3.0 for i in range(dimension)],
        minima=[Minimum("global", (0.0,) * dimension)],
    ).moved(rotation=rotation)


def regression(
    seed: int = 0,
    examples: int = 50,
    *,
    spread: float = 0.3,
) -> Landscape:
    """The mean squared error of a line y = w₁x + w₂ on data from the line (2, 1): a convex bowl.

    Inputs are uniform in [−3, 3], targets 2x + 1 + spread · N(0, 1), both from NumPy's default generator. The box is
    [−2, 6] × [−3, 5], the start (−1, −2). The data are at ``surface.formula.data``.

    Args:
        seed: of the data.
        examples: number of data points, at least 2.
        spread: standard deviation of the noise in the targets.

    Returns:
        The landscape, in two dimensions; its well is the least-squares solution.

    Raises:
        InputError: for fewer than two examples, or a spread or seed that is negative.
    """
    formula = Regression(
        _checks.seed(seed),
        _checks.whole("examples", examples, 2, _checks.MOST_HELD, do="One point fixes no line."),
        _checks.number("spread", spread, least=0),
    )
    return Landscape(
        "regression",
        formula,
        bounds=((-2.0, 6.0), (-3.0, 5.0)),
        start=(-1.0, -2.0),
        minima=[Minimum("global", formula.optimum)],
        examples=formula.examples,
    )
