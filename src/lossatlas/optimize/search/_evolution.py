"""Evolution strategies: the gradient of a smoothed loss, from values alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from lossatlas._errors import InputError
from lossatlas._layout import Layout
from lossatlas.optimize._optimizer import Optimizer, Walk, known, units, within
from lossatlas.optimize._ranges import positive, whole
from lossatlas.optimize._streams import Streams
from lossatlas.probe import At, Values


@final
@dataclass(frozen=True)
class Evolution(Optimizer):
    """θ ← θ − η (1/nσ) Σ uᵢ εᵢ with εᵢ ~ N(0, I) in mirrored pairs and uᵢ the centered ranks of L(θ + σεᵢ).

    The policy-gradient walker of evolution strategies: it follows the gradient of E[L(θ + σε)], which sees over bumps
    narrower than σ. Ranks in [−½, ½] make it blind to the loss's units.

    Args:
        lr: learning rate η.
        sigma: σ, in `units` of θ: of at least a twentieth and at most half of a side of the box, as the steps are.
        population: points n per step, an even number.
    """

    lr: float = 0.1
    sigma: float = 0.3
    population: int = 10

    name: ClassVar[str] = "evolution"
    title: ClassVar[str] = "evolution strategies"
    queries: ClassVar[frozenset[type]] = frozenset({Values})
    evaluates: ClassVar[str] = "values at n random points around it"
    remembers: ClassVar[str] = "its current point"
    source: ClassVar[str] = "Wierstra et al. 2014; Salimans et al. 2017"
    reference: ClassVar[str] = "salimans2017"
    wanders: ClassVar[bool] = True

    def __post_init__(self) -> None:
        positive(self, "lr", "sigma")
        whole(self, 2, "population")
        if self.population % 2:
            raise InputError(f"evolution got population={self.population!r}; expected an even number of at least 2.")

    def walk(self, start: Tensor, layout: Layout, rng: Streams) -> Walk:
        """Step toward the better half of what it sees."""
        theta, half, unit = start, self.population // 2, units(layout, start)
        value = known((yield Values(theta)).values)
        while True:
            noise = rng.normal(half, start.shape[1]).to(start)
            noise = torch.cat([noise, -noise], 1)
            cloud = within(theta[:, None] + self.sigma * unit * noise, layout)
            found = known((yield Values(cloud, at=At(theta, value))).values)
            ranks = found.argsort(dim=1, stable=True).argsort(dim=1).to(start)
            shaped = ranks / (2 * half - 1) - 0.5
            pull = torch.zeros_like(theta)
            for i in range(2 * half):
                pull = pull + shaped[:, i : i + 1] * noise[:, i]
            theta = within(theta - self.lr / (2 * half * self.sigma) * unit * pull, layout)
            # The cloud's mean is what it knows of where it now stands.
            value = found.min(1).values
