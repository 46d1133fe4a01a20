"""Simulated annealing: a random neighbor, taken uphill with a probability that cools."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from lossatlas._errors import InputError
from lossatlas._layout import Layout
from lossatlas.optimize._optimizer import Optimizer, Walk, known, units, within
from lossatlas.optimize._ranges import positive
from lossatlas.optimize._streams import Streams
from lossatlas.probe import At, Values


@final
@dataclass(frozen=True)
class Annealing(Optimizer):
    """A Gaussian neighbor is taken if lower, else with probability exp(−ΔL / T); then T ← cT.

    Neighbors outside the box are moved to its edge. Its result is the best point it has evaluated; where it stands
    is kept beside it (`Race.last`).

    Args:
        temperature: T at the start, in units of the loss.
        cooling: factor c that the temperature keeps per step, in (0, 1].
        step: standard deviation of a neighbor, in `units` of θ: of at least a twentieth and at most half of a side of the box.
    """

    temperature: float = 4.0
    cooling: float = 0.992
    step: float = 0.5

    name: ClassVar[str] = "annealing"
    title: ClassVar[str] = "simulated annealing"
    queries: ClassVar[frozenset[type]] = frozenset({Values})
    evaluates: ClassVar[str] = "one value at one random neighbor"
    remembers: ClassVar[str] = "its current point and value"
    source: ClassVar[str] = "Kirkpatrick, Gelatt & Vecchi 1983"
    reference: ClassVar[str] = "kirkpatrick1983"
    wanders: ClassVar[bool] = True

    def __post_init__(self) -> None:
        positive(self, "temperature", "cooling", "step")
        if self.cooling > 1:
            raise InputError(f"{self.name} got cooling={self.cooling!r}; expected a factor in (0, 1].")

    def walk(self, start: Tensor, layout: Layout, rng: Streams) -> Walk:
        """Wander while it is hot, settle as it cools."""
        theta, temperature, unit = start, self.temperature, units(layout, start)
        value = known((yield Values(theta)).values)
        while True:
            neighbor = within(theta + self.step * unit * rng.normal(start.shape[1]).to(start), layout)
            found = known((yield Values(neighbor, at=At(theta, value))).values)
            probability = torch.exp((value - found) / max(temperature, 1e-300))
            taken = (found < value) | (rng.uniform().to(found) < probability)
            theta = torch.where(taken[:, None], neighbor, theta)
            value = torch.where(taken, found, value)
            temperature *= self.cooling
