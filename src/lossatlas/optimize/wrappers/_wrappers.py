"""Wrappers: the same rule with one thing changed."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field, replace
from typing import ClassVar, final

import torch
from torch import Tensor

from lossatlas._errors import InputError
from lossatlas.optimize._optimizer import Optimizer, Walk
from lossatlas.optimize._ranges import not_negative, positive
from lossatlas.optimize._streams import Streams
from lossatlas.optimize.gradient._gd import GD
from lossatlas.probe import Answer, At, Gradients, Layout, Values


@final
@dataclass(frozen=True)
class BestSoFar(Optimizer):
    """Another optimizer, reported by the best point it has asked about and not by where it stands.

    Args:
        inner: what is watched.
    """

    inner: Optimizer = field(default_factory=GD)

    name: ClassVar[str] = "best-so-far"
    title: ClassVar[str] = "best so far"
    asks: ClassVar[str] = "what the wrapped method asks"
    remembers: ClassVar[str] = "what the wrapped method remembers, and the best point"
    source: ClassVar[str] = "folklore"
    reference: ClassVar[str] = "russell2020"
    wanders: ClassVar[bool] = True

    def __post_init__(self) -> None:
        wrapped(self.name, self.inner)

    def plan(self, steps: int) -> tuple[Optimizer, int]:
        """As the inner one plans."""
        inner, length = self.inner.plan(steps)
        return replace(self, inner=inner), length

    def breaks(self, answered: int) -> list[int]:
        """Those of the inner one."""
        return self.inner.breaks(answered)

    def becomes(self, layout: Layout) -> str | None:
        """What the inner one becomes."""
        return self.inner.becomes(layout)

    def walk(self, start: Tensor, layout: Layout, rng: Streams) -> Walk:
        """Exactly the inner walk."""
        yield from self.inner.walk(start, layout, rng)


@final
@dataclass(frozen=True)
class GradientNoise(Optimizer):
    """Another optimizer whose gradients carry noise: g + N(0, ν² / (1 + t)^γ) per coordinate.

    Args:
        inner: what is shaken.
        scale: standard deviation ν at the first step.
        fading: exponent γ.
    """

    inner: Optimizer = field(default_factory=GD)
    scale: float = 1.0
    fading: float = 0.55

    name: ClassVar[str] = "gradient-noise"
    title: ClassVar[str] = "gradient noise"
    asks: ClassVar[str] = "what the wrapped method asks"
    remembers: ClassVar[str] = "what the wrapped method remembers"
    source: ClassVar[str] = "Neelakantan et al. 2015"
    reference: ClassVar[str] = "neelakantan2015"

    def __post_init__(self) -> None:
        wrapped(self.name, self.inner)
        not_negative(self.name, scale=self.scale, fading=self.fading)

    def plan(self, steps: int) -> tuple[Optimizer, int]:
        """As the inner one plans."""
        inner, length = self.inner.plan(steps)
        return replace(self, inner=inner), length

    def walk(self, start: Tensor, layout: Layout, rng: Streams) -> Walk:
        """The inner walk, told noisy gradients."""
        walk = self.inner.walk(start, layout, rng.part("inner"))
        try:
            query = next(walk)
            for t in itertools.count():
                answer = yield query
                if isinstance(query, Gradients):
                    size = self.scale / math.sqrt((1 + t) ** self.fading)
                    noise = size * rng.normal(start.shape[1]).to(answer.slopes)
                    answer = Answer(answer.values, answer.slopes + noise, answered=answer.answered)
                query = walk.send(answer)
        except StopIteration:
            return


def wrapped(name: str, inner: object) -> None:
    """Refuse what is no optimizer."""
    if not isinstance(inner, Optimizer):
        raise InputError(f"{name} got inner={inner!r}; expected an optimizer, for example optimizer('gd').")


@final
@dataclass(frozen=True)
class FiniteDifferences(Optimizer):
    """Another optimizer on a surface without gradients: each is N + 1 billed values, (L(θ + h eᵢ) − L(θ)) / h.

    Args:
        inner: what asks for gradients.
        step: h, in units of θ.
    """

    inner: Optimizer = field(default_factory=GD)
    step: float = 1e-6

    name: ClassVar[str] = "finite-differences"
    title: ClassVar[str] = "by finite differences"
    asks: ClassVar[str] = "N + 1 values for every gradient"
    remembers: ClassVar[str] = "what the wrapped method remembers"
    source: ClassVar[str] = "folklore"
    reference: ClassVar[str] = "nocedal1980"
    wanders: ClassVar[bool] = True

    def __post_init__(self) -> None:
        wrapped(self.name, self.inner)
        positive(self.name, step=self.step)

    def plan(self, steps: int) -> tuple[Optimizer, int]:
        """As the inner one plans."""
        inner, length = self.inner.plan(steps)
        return replace(self, inner=inner), length

    def breaks(self, answered: int) -> list[int]:
        """Those of the inner one."""
        return self.inner.breaks(answered)

    def walk(self, start: Tensor, layout: Layout, rng: Streams) -> Walk:
        """Ask for values around every point whose gradient is wanted."""
        n = start.shape[1]
        offsets = torch.cat([torch.zeros(1, n), self.step * torch.eye(n)]).to(start)
        walk = self.inner.walk(start, layout, rng)
        try:
            query = next(walk)
            while True:
                if not isinstance(query, Gradients):
                    query = walk.send((yield query))
                    continue
                at = query.at or At(query.points, torch.full((len(start),), float("nan"), dtype=torch.float64))
                answer = yield Values(query.points[:, None] + offsets, at=at, active=query.active)
                here = answer.values[:, 0]
                slopes = ((answer.values[:, 1:] - here[:, None]) / self.step).to(start)
                query = walk.send(Answer(here, slopes, answered=answer.answered, sound=answer.sound))
        except StopIteration:
            return
