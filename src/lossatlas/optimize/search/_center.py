"""Evaluate the center of the box, once. It exposes benchmarks that put their optimum in the middle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from lossatlas._errors import NotApplicableError
from lossatlas._layout import Layout
from lossatlas.optimize._optimizer import Optimizer, Walk
from lossatlas.optimize._streams import Streams
from lossatlas.probe import Values


@final
@dataclass(frozen=True)
class Center(Optimizer):
    """Evaluate the center of the box and stop."""

    name: ClassVar[str] = "center"
    title: ClassVar[str] = "evaluate the center"
    queries: ClassVar[frozenset[type]] = frozenset({Values})
    evaluates: ClassVar[str] = "one value, once"
    remembers: ClassVar[str] = "nothing"
    source: ClassVar[str] = "a check on benchmarks, not a method"
    reference: ClassVar[str] = "hansen2021"

    def walk(self, start: Tensor, layout: Layout, rng: Streams) -> Walk:
        """One look."""
        if layout.box is None:
            raise NotApplicableError(
                "it needs a box to take the center of, and this surface has none. Give the surface a box."
            )
        yield Values(layout.box.mean(1).to(start).expand(len(start), -1).clone())
