"""Curves that stay low: control points trained on the mean loss along the curve, one t per mini-batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol, final

import numpy as np
import torch
from torch import Tensor

from lossatlas import _checks
from lossatlas._layout import Sample
from lossatlas.connect._curve import Curve
from lossatlas.probe import Answer, Gradients, Query

Rule = Literal["adam", "sgd"]
OPTIMIZERS: dict[str, Callable[[list[Tensor], float], torch.optim.Optimizer]] = {
    "adam": lambda points, lr: torch.optim.Adam(points, lr=lr),
    "sgd": lambda points, lr: torch.optim.SGD(points, lr=lr, momentum=0.9),
}


@dataclass(frozen=True)
class Recipe:
    """How control points are trained.

    Attributes:
        steps: mini-batches.
        batch_size: examples in each; 0 for all of them (and for a surface without examples).
        lr: learning rate at the start: constant for half of the steps, then falling linearly to 1 % at nine tenths.
        weight_decay: λ of an L2 term λ/2 |φ(t)|² on the point of the curve, not on the control points.
        rule: ``adam`` (β 0.9 and 0.999) or ``sgd`` (momentum 0.9).
        seed: of the t and the mini-batches; step k has its own stream, so that a resumed training goes on as before.

    Raises:
        UnknownNameError: for another rule.
        InputError: for a setting that cannot be.

    Source:
        Schedule and decay as Garipov et al. 2018, their code.
    """

    steps: int
    batch_size: int
    lr: float
    weight_decay: float
    rule: Rule
    seed: int

    def __post_init__(self) -> None:
        _checks.one_of("rule", self.rule, OPTIMIZERS)
        for name, value in {
            "steps": _checks.whole("steps", self.steps),
            "batch_size": _checks.whole("batch_size", self.batch_size, 0),
            "lr": _checks.number("lr", self.lr, above=0, most=1e30),
            "weight_decay": _checks.number("weight_decay", self.weight_decay, least=0),
            "seed": _checks.seed(self.seed),
        }.items():
            object.__setattr__(self, name, value)

    def rate_at(self, step: int) -> float:
        """The learning rate of a step."""
        share = step / self.steps
        if share < 0.5:
            return self.lr
        if share < 0.9:
            return self.lr * (1 - (share - 0.5) / 0.4 * 0.99)
        return self.lr * 0.01

    def draw(self, step: int) -> tuple[float, Sample | None]:
        """T and the mini-batch of a step."""
        rng = np.random.default_rng([self.seed, step])
        t, seed = float(rng.uniform()), int(rng.integers(2**62))
        return t, Sample(self.batch_size, torch.tensor([seed])) if self.batch_size else None

    def record(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


class Trainer(Protocol):
    """What improves a curve: it yields queries, takes answers, and can be saved and resumed."""

    step: int
    losses: list[float]

    @property
    def curve(self) -> Curve:
        """As it is now."""
        ...

    def next_query(self) -> Query | None:
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
class ControlPoints:
    """The control points of a curve, with the torch optimizer that moves the inner ones; the ends stay.

    Args:
        controls: (n + 1, N), the ends first and last.
        recipe: says which optimizer, and its learning rate at every step.
    """

    def __init__(self, controls: Tensor, recipe: Recipe) -> None:
        self._recipe, self._first, self._last = recipe, controls[:1], controls[-1:]
        self._inner = controls[1:-1].clone()
        self._optimizer = OPTIMIZERS[recipe.rule]([self._inner], recipe.lr)

    def move(self, gradient: Tensor, step: int) -> Tensor:
        """All control points, (n + 1, N), after one step against a gradient of the inner ones."""
        self._inner.grad = gradient
        self._optimizer.param_groups[0]["lr"] = self._recipe.rate_at(step)
        self._optimizer.step()
        return torch.cat([self._first, self._inner, self._last])

    def place(self, controls: Tensor) -> None:
        """Put the inner points elsewhere; what the optimizer remembers of them stays."""
        self._inner.copy_(controls[1:-1])

    def state(self) -> dict[str, Tensor]:
        """What the optimizer remembers, by its names for it."""
        memory: dict[str, Tensor] = self._optimizer.state_dict()["state"].get(0, {})
        return {f"optimizer/{name}": value for name, value in memory.items()}

    @classmethod
    def resumed(cls, controls: Tensor, recipe: Recipe, state: Mapping[str, Tensor]) -> ControlPoints:
        """Control points whose optimizer remembers what `state` says."""
        found = cls(controls, recipe)
        memory = {key.removeprefix("optimizer/"): value for key, value in state.items() if key.startswith("optimizer/")}
        found._optimizer.load_state_dict({**found._optimizer.state_dict(), "state": {0: memory} if memory else {}})
        return found


@final
class CurveTrainer:
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
        self._points = ControlPoints(self._controls, recipe)
        self.step, self.losses = 0, list[float]()
        self._t = 0.0

    @property
    def curve(self) -> Curve:
        """As it is now."""
        return Curve(self._kind, self._controls)

    def next_query(self) -> Query | None:
        """The gradient of one mini-batch at one point of the curve."""
        if self.step >= self.recipe.steps:
            return None
        self._t, sample = self.recipe.draw(self.step)
        return Gradients(self.curve.points(np.array([self._t])), sample)

    def tell(self, answer: Answer) -> None:
        """Move every control point by its share."""
        gradient = answer.gradients[0].to(self._controls.dtype)
        if self.recipe.weight_decay:
            gradient = gradient + self.recipe.weight_decay * self.curve.points(np.array([self._t]))[0]
        shares = torch.from_numpy(self.curve.weights(np.array([self._t]))[0, 1:-1]).to(gradient)
        self._controls = self._points.move(shares[:, None] * gradient, self.step)
        self.losses.append(float(answer.values[0]))
        self.step += 1

    def state(self) -> dict[str, Tensor]:
        """Control points, what the optimizer remembers, and losses so far."""
        return {
            **self._points.state(),
            "controls": self._controls,
            "losses": torch.tensor(self.losses, dtype=torch.float64),
        }

    def resume(self, state: dict[str, Tensor]) -> None:
        """Go on from there."""
        self._controls = state["controls"]
        self._points = ControlPoints.resumed(self._controls, self.recipe, state)
        self.losses = state["losses"].tolist()
        self.step = len(self.losses)
