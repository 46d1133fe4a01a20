"""L-BFGS: a model of the curvature from the last few steps, with a line search of its own in every run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from lossatlas._errors import InputError
from lossatlas._layout import Layout
from lossatlas.optimize._optimizer import Optimizer, Walk
from lossatlas.optimize._ranges import not_negative, positive, whole
from lossatlas.optimize._rows import dot, norm
from lossatlas.optimize._streams import Streams
from lossatlas.probe import At, Gradients


@final
@dataclass(frozen=True)
class LBFGS(Optimizer):
    """θ ← θ + t p with p = −H g from the last m pairs (two-loop recursion) and t by weak Wolfe bisection.

    The bracket [low, high] of t is halved, or doubled while it has no upper end, until
    L(θ + tp) ≤ L + c₁ t g·p and ∇L(θ + tp)·p ≥ c₂ g·p (Lewis & Overton 2013). Every gradient counts. A run whose
    search fails forgets its pairs; failing from steepest descent too, it has settled and stops.

    Args:
        window: pairs m that are kept.
        first: length of the first trial step.
        decrease: c₁.
        curvature: c₂.
        trials: gradients per line search before it fails.
        tolerance: a gradient no longer than this is the end.
    """

    window: int = 10
    first: float = 0.1
    decrease: float = 1e-4
    curvature: float = 0.9
    trials: int = 40
    tolerance: float = 1e-12

    name: ClassVar[str] = "lbfgs"
    title: ClassVar[str] = "L-BFGS"
    queries: ClassVar[frozenset[type]] = frozenset({Gradients})
    evaluates: ClassVar[str] = "one gradient per trial of its line search"
    remembers: ClassVar[str] = "the last m steps and gradient changes (2mN)"
    source: ClassVar[str] = "Nocedal 1980; Lewis & Overton 2013"
    reference: ClassVar[str] = "nocedal1980"

    def __post_init__(self) -> None:
        positive(self, "first", "decrease", "curvature")
        not_negative(self, "tolerance")
        whole(self, 1, "window", "trials")
        if not 0 < self.decrease < self.curvature < 1:
            raise InputError(
                f"lbfgs got decrease={self.decrease!r}, curvature={self.curvature!r}; expected "
                "0 < decrease < curvature < 1."
            )

    def walk(self, start: Tensor, layout: Layout, rng: Streams) -> Walk:
        """One trial of every run's line search per query."""
        answer = yield Gradients(start)
        theta, value, gradient = start, answer.values, answer.gradients
        memory = _Memory(self.window)
        direction, length, low, high, count = self._begin(memory, gradient)
        live = norm(gradient) > self.tolerance
        while bool(live.any()):
            trial = theta + length[:, None].to(theta) * direction
            answer = yield Gradients(trial, at=At(theta, value), active=live)
            descent = dot(gradient.double(), direction.double())
            bad = ~(answer.values <= value + self.decrease * length * descent)
            flat = ~bad & (dot(answer.gradients.double(), direction.double()) < self.curvature * descent)
            taken = live & ~bad & ~flat
            high = torch.where(live & bad, length, high)
            low = torch.where(live & flat, length, low)
            length = torch.where(high.isinf(), 2 * low, (low + high) / 2)
            count = count + 1
            # A bracket that closes on a point that decreases is as far as rounding lets it see: take that point.
            out = live & ~taken & (count >= self.trials)
            taken = taken | (out & flat)
            lost = out & ~flat
            memory.keep(answer.gradients - gradient, trial - theta, taken)
            theta = torch.where(taken[:, None], trial, theta)
            value = torch.where(taken, answer.values, value)
            gradient = torch.where(taken[:, None], answer.gradients, gradient)
            settled = lost & memory.empty(lost)
            memory.forget(lost)
            fresh = taken | lost
            if bool(fresh.any()):
                begun = self._begin(memory, gradient)
                direction = torch.where(fresh[:, None], begun[0], direction)
                length, low, high, count = (
                    torch.where(fresh, new, old) for new, old in zip(begun[1:], (length, low, high, count), strict=True)
                )
            live = live & ~settled & (norm(gradient) > self.tolerance)

    def _begin(self, memory: _Memory, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        direction = -memory.times(gradient)
        uphill = ~(dot(gradient.double(), direction.double()) < 0)
        direction = torch.where(uphill[:, None], -gradient, direction)
        length = torch.ones(len(gradient), dtype=torch.float64, device=gradient.device)
        plain = uphill | memory.empty(torch.ones_like(uphill))
        steep = self.first / norm(gradient).double().clamp_min(1e-300)
        length = torch.where(plain, steep.clamp_max(1.0), length)
        zero = torch.zeros_like(length)
        return direction, length, zero, torch.full_like(length, float("inf")), zero


class _Memory:
    """The last pairs of every run; a run without a pair at some place has zeros there."""

    def __init__(self, window: int) -> None:
        self.window = window
        self.pairs: list[tuple[Tensor, Tensor, Tensor]] = []

    def keep(self, change: Tensor, step: Tensor, rows: Tensor) -> None:
        """Append y and s of some runs, where s·y is safely positive; the others keep what they have."""
        curvature = dot(step.double(), change.double())
        sound = rows & (curvature > 1e-10 * norm(step).double() * norm(change).double())
        if not bool(sound.any()):
            return
        weight = torch.where(sound, 1 / curvature, 0.0)
        zero = torch.zeros_like(step)
        fresh = (torch.where(sound[:, None], change, zero), torch.where(sound[:, None], step, zero), weight)
        # Runs keep their own order: a run that takes no step now moves its pairs one place up, so that none is lost.
        if self.pairs:
            shifted = []
            for older, newer in zip(self.pairs, [*self.pairs[1:], fresh], strict=True):
                shifted.append(_choose(sound, newer, older))
            grown = len(self.pairs) < self.window
            first = _choose(sound, self.pairs[0], tuple(torch.zeros_like(part) for part in self.pairs[0]))
            self.pairs = [first, *shifted] if grown else shifted
        else:
            self.pairs = [fresh]

    def times(self, gradient: Tensor) -> Tensor:
        """H g by the two-loop recursion, from the scaled identity of the newest pair."""
        q, factors = gradient, []
        for change, step, weight in reversed(self.pairs):
            factor = (weight * dot(step.double(), q.double())).to(gradient)
            q = q - factor[:, None] * change
            factors.append(factor)
        if self.pairs:
            change, _, weight = self.pairs[-1]
            size = dot(change.double(), change.double())
            scale = torch.where(weight > 0, 1 / (weight * size).clamp_min(1e-300), 1.0)
            q = torch.where((weight > 0)[:, None], scale.to(q)[:, None] * q, q)
        for (change, step, weight), factor in zip(self.pairs, reversed(factors), strict=True):
            other = (weight * dot(change.double(), q.double())).to(gradient)
            q = q + (factor - other)[:, None] * step
        return q

    def empty(self, rows: Tensor) -> Tensor:
        """Which of the runs have no pair."""
        held = torch.zeros_like(rows)
        for _, _, weight in self.pairs:
            held = held | (weight > 0)
        return rows & ~held

    def forget(self, rows: Tensor) -> None:
        """Drop the pairs of some runs."""
        if bool(rows.any()):
            self.pairs = [_choose(rows, tuple(torch.zeros_like(p) for p in pair), pair) for pair in self.pairs]


def _choose(rows: Tensor, yes: tuple[Tensor, ...], no: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
    change, step, weight = (
        torch.where(rows[:, None] if one.ndim == 2 else rows, one, other) for one, other in zip(yes, no, strict=True)
    )
    return change, step, weight
