"""Gaussian noise on every gradient, fading."""

from __future__ import annotations

import itertools
import math
from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import ClassVar, final

from torch import Tensor

from lossatlas._layout import Layout
from lossatlas.optimize._optimizer import Optimizer, Walk, begun
from lossatlas.optimize._ranges import not_negative
from lossatlas.optimize._streams import Streams
from lossatlas.optimize.wrappers._wrapper import Wrapper, through
from lossatlas.probe import Answer, Gradients, Query


@final
@dataclass(frozen=True)
class GradientNoise(Wrapper):
    """Another optimizer whose gradients carry noise: g + N(0, ν² / (1 + t)^γ) per coordinate.

    Args:
        inner: what is shaken.
        scale: standard deviation ν at the first step.
        fading: exponent γ.
    """

    scale: float = 1.0
    fading: float = 0.55

    name: ClassVar[str] = "gradient-noise"
    title: ClassVar[str] = "gradient noise"
    source: ClassVar[str] = "Neelakantan et al. 2015"
    reference: ClassVar[str] = "neelakantan2015"

    def __post_init__(self) -> None:
        super().__post_init__()
        not_negative(self, "scale", "fading")

    def walk(self, start: Tensor, layout: Layout, rng: Streams) -> Walk:
        """The inner walk, answered with noisy gradients."""
        # Noise within noise has a stream of its own; any other inner walk keeps the streams that it has without noise.
        steps, shakes = itertools.count(), rng.part("noise" + " within" * _within(self.inner))

        def noisy(query: Query) -> Generator[Query, Answer, Answer]:
            answer, t = (yield query), next(steps)
            if not isinstance(query, Gradients):
                return answer
            size = self.scale / math.sqrt((1 + t) ** self.fading)
            noise = size * shakes.normal(start.shape[1]).to(answer.gradients)
            return replace(answer, gradients=answer.gradients + noise)

        return through(begun(self.inner, start, layout, rng), noisy)


def _within(one: Optimizer) -> int:
    """How many wrappers inside an optimizer, or it itself, add noise."""
    found = 0
    while isinstance(one, Wrapper):
        found += isinstance(one, GradientNoise)
        one = one.inner
    return found
