"""Curves that stay low: control points trained on the mean loss along the curve, one t per mini-batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol, final

import numpy as np
import torch
from torch import Tensor

from lossatlas._errors import InputError, UnknownNameError
from lossatlas._layout import Sample
from lossatlas.connect._curve import Curve
from lossatlas.probe import Answer, Gradients, Query

Rule = Literal["adam", "sgd"]


@dataclass(frozen=True)
class Recipe:
    """How control points are trained.

    Attributes:
        steps: mini-batches.
        batch: examples in each; 0 for all of them (and for a surface without examples).
        rate: of learning at the start: constant for half of the steps, then falling linearly to 1 % at nine tenths.
        decay: λ of an L2 term λ/2 |φ(t)|² on the point of the curve, not on the control points.
        rule: ``adam`` (β 0.9 and 0.999) or ``sgd`` (momentum 0.9).
        seed: of the t and the mini-batches; step k has its own stream, so that a resumed training goes on as before.

    Source:
        Schedule and decay as Garipov et al. 2018, their code.
    """

    steps: int
    batch: int
    rate: float
    decay: float
    rule: Rule
    seed: int

    def check(self) -> None:
        """Refuse settings that cannot be.

        Raises:
            InputError: saying which.
        """
        if self.rule not in ("adam", "sgd"):
            raise UnknownNameError("rule", self.rule, ("adam", "sgd"))
        if self.steps < 1 or self.batch < 0 or not self.rate > 0 or self.decay < 0:
            raise InputError(
                f"got steps={self.steps}, batch={self.batch}, rate={self.rate}, decay={self.decay}; expected at least one "
                "step, a batch of at least one example, a rate above 0 and a decay of at least 0."
            )

    def rate_at(self, step: int) -> float:
        """The learning rate of a step."""
        share = step / self.steps
        if share < 0.5:
            return self.rate
        if share < 0.9:
            return self.rate * (1 - (share - 0.5) / 0.4 * 0.99)
        return self.rate * 0.01

    def draw(self, step: int) -> tuple[float, Sample | None]:
        """T and the mini-batch of a step."""
        rng = np.random.default_rng([self.seed, step])
        t, seed = float(rng.uniform()), int(rng.integers(2**62))
        return t, Sample(self.batch, torch.tensor([seed])) if self.batch else None

    def record(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "steps": self.steps,
            "batch": self.batch,
            "rate": self.rate,
            "decay": self.decay,
            "rule": self.rule,
            "seed": self.seed,
        }


class Trainer(Protocol):
    """What improves a curve: it asks, is told, and can be put down and taken up again."""

    step: int
    losses: list[float]

    @property
    def curve(self) -> Curve:
        """As it is now."""
        ...

    def ask(self) -> Query | None:
        """What it wants to know next; None when it is done."""
        ...

    def tell(self, answer: Answer) -> None:
        """Take the answer and move."""
        ...

    def state(self) -> dict[str, Tensor]:
        """All that it would need to go on from here."""
        ...

    def resume(self, state: dict[str, Tensor]) -> None:
        """Go on from there."""
        ...


@final
class Moments:
    """The memory of a first-order rule over a block of numbers, and its steps.

    Source:
        Kingma and Ba: Adam, ICLR 2015; Polyak 1964 for momentum.
    """

    def __init__(self, rule: Rule, like: Tensor) -> None:
        self.rule = rule
        self.first = torch.zeros_like(like)
        self.second = torch.zeros_like(like) if rule == "adam" else torch.zeros(0, dtype=like.dtype)

    def step(self, gradient: Tensor, rate: float, count: int) -> Tensor:
        """What to add, given the gradient of the step with this number, from 0."""
        if self.rule == "sgd":
            self.first = 0.9 * self.first + gradient
            return -rate * self.first
        self.first = self.first.lerp(gradient, 0.1)
        self.second = self.second.lerp(gradient * gradient, 0.001)
        mean, square = self.first / (1 - 0.9 ** (count + 1)), self.second / (1 - 0.999 ** (count + 1))
        return -rate * mean / (square.sqrt() + 1e-8)


@final
class Bend:
    """Trains the inner control points of a Bézier curve or a chain: minimizes E over t of L(φ(t)), t uniform.

    ∂L(φ(t))/∂θⱼ = wⱼ(t) ∇L(φ(t)): one gradient of the surface per step, whatever the number of control points.

    Args:
        curve: where to begin; its ends stay.
        recipe: how.

    Source:
        Garipov et al. 2018, section 3.
    """

    def __init__(self, curve: Curve, recipe: Recipe) -> None:
        self.recipe, self._kind = recipe, curve.kind
        self._controls = curve.controls.clone()
        self._moments = Moments(recipe.rule, self._controls[1:-1])
        self.step, self.losses = 0, list[float]()
        self._t = 0.0

    @property
    def curve(self) -> Curve:
        """As it is now."""
        return Curve(self._kind, self._controls)

    def ask(self) -> Query | None:
        """The gradient of one mini-batch at one point of the curve."""
        if self.step >= self.recipe.steps:
            return None
        self._t, sample = self.recipe.draw(self.step)
        return Gradients(self.curve.points(np.array([self._t])), sample)

    def tell(self, answer: Answer) -> None:
        """Move every control point by its share."""
        gradient = answer.gradients[0].to(self._controls.dtype)
        if self.recipe.decay:
            gradient = gradient + self.recipe.decay * self.curve.points(np.array([self._t]))[0]
        shares = torch.from_numpy(self.curve.weights(np.array([self._t]))[0, 1:-1]).to(gradient)
        moved = self._moments.step(shares[:, None] * gradient, self.recipe.rate_at(self.step), self.step)
        self._controls = torch.cat([self._controls[:1], self._controls[1:-1] + moved, self._controls[-1:]])
        self.losses.append(float(answer.values[0]))
        self.step += 1

    def state(self) -> dict[str, Tensor]:
        """Control points, moments and losses so far."""
        return {
            "controls": self._controls,
            "first": self._moments.first,
            "second": self._moments.second,
            "losses": torch.tensor(self.losses, dtype=torch.float64),
        }

    def resume(self, state: dict[str, Tensor]) -> None:
        """Go on from there."""
        self._controls = state["controls"]
        self._moments.first, self._moments.second = state["first"], state["second"]
        self.losses = state["losses"].tolist()
        self.step = len(self.losses)
