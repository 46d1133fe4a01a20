"""The direction in which the loss rises most within a radius."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from lossatlas import _checks
from lossatlas.chart.directions._direction import Direction, Drawn, along, length_of
from lossatlas.chart.directions._random import gaussian
from lossatlas.chart.planes._policy import Ignore
from lossatlas.probe import Gradients, Probe
from lossatlas.surface import Surface


@final
@dataclass(frozen=True)
class Worst(Direction):
    """The direction in which the loss is highest at a radius, as far as a few ascent steps find it.

    The unit ball is that of the normalization: every filter at most as long as the weights' (``filter``), or the whole
    direction (``none``). On it the linear part of L at θ + d is greatest along the normalized gradient there, so each
    step takes d ← r · u(∇L(θ + d)), u being that normalization; the d with the highest loss is kept. The first step is
    the sharpness of Foret et al. 2021, equation 2, for the Euclidean ball. What is found is a lower bound of the worst.

    Args:
        radius: on the axis; there lies the point that was found.
        steps: of ascent, each one counted gradient.
        normalization: of the ball and of the axis, as in `normalize`; ``none`` for the Euclidean ball.
        ignore: what is not moved, as in `normalize`.
        seed: of the random start that is needed where the gradient vanishes.
    """

    radius: float = 0.1
    steps: int = 5
    normalization: str = "filter"
    ignore: Ignore | None = None
    seed: int = 0

    kind: ClassVar[str] = "worst"

    def draw(self, surface: Surface, origin: Tensor) -> Drawn:
        """The direction, normalized."""
        seed, radius = _checks.seed(self.seed), _checks.number("radius", self.radius, above=0)
        steps = _checks.whole("steps", self.steps, 1, _checks.MOST_WORK - 1)
        probe = Probe(surface)
        settings: dict[str, Any] = {"normalization": self.normalization, "ignore": self.ignore}
        answer = probe.evaluate(Gradients(origin[None]))
        own, gradient = float(answer.values[0]), answer.gradients[0]
        unit = along(gradient, origin, surface, **settings)
        if not bool(torch.isfinite(unit).all()) or not bool(unit.any()):
            # A critical point has no uphill; a random direction is left to start from.
            (noise,) = gaussian(origin, surface.layout, 1, seed=seed + 1, **settings)
            unit = along(noise, origin, surface, **settings)
        found, losses = unit, []
        for _ in range(steps):
            answer = probe.evaluate(Gradients((origin + radius * unit)[None]))
            loss = float(answer.values[0])
            losses.append(loss)
            if math.isnan(loss):
                break
            if loss >= max(losses):
                found = unit
            gradient = answer.gradients[0]
            if not bool(torch.isfinite(gradient).all()) or not bool(gradient.any()):
                break
            unit = along(gradient, origin, surface, **settings)
        record = {
            "radius": radius,
            "steps": steps,
            "normalization": self.normalization,
            "loss": own,
            "losses": losses,
            "gradients": probe.meter.gradients,
        }
        length = length_of(surface, self.normalization)
        return Drawn(found, record, f"worst found within {radius:g}", unit=length)
