"""What all wrappers share: an inner optimizer, of which everything is handed on that they do not change."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

from torch import Tensor

from lossatlas._errors import InputError
from lossatlas._layout import Layout
from lossatlas.optimize._optimizer import Optimizer, Walk, begun, planned
from lossatlas.optimize._streams import Streams
from lossatlas.optimize.gradient._gd import GD
from lossatlas.probe import Answer, Query

Relay = Callable[[Query], Generator[Query, Answer, Answer]]


@dataclass(frozen=True)
class Wrapper(Optimizer):
    """Another optimizer with one thing changed; a subclass says only what that is.

    Args:
        inner: what is wrapped.
    """

    inner: Optimizer = field(default_factory=GD)

    evaluates: ClassVar[str] = "what the wrapped method evaluates"
    remembers: ClassVar[str] = "what the wrapped method remembers"

    def __post_init__(self) -> None:
        if not isinstance(self.inner, Optimizer):
            raise InputError(
                f"{self.name} got inner={self.inner!r}; expected an optimizer, for example optimizer('gd')."
            )

    @property
    def queries(self) -> frozenset[type]:  # type: ignore[override]
        """Those of the inner one."""
        return self.inner.queries

    @property
    def wanders(self) -> bool:  # type: ignore[override]
        """Whether the inner one does."""
        return self.inner.wanders

    @property
    def batched(self) -> bool:  # type: ignore[override]
        """Whether the inner one is."""
        return self.inner.batched

    def plan(self, steps: int) -> tuple[Self, int]:
        """As the inner one plans."""
        inner, length = planned(self.inner, steps)
        return replace(self, inner=inner), length

    def breaks(self, answered: int) -> list[int]:
        """Those of the inner one."""
        return self.inner.breaks(answered)

    def becomes(self, layout: Layout) -> str | None:
        """What the inner one becomes."""
        return self.inner.becomes(layout)

    def walk(self, start: Tensor, layout: Layout, rng: Streams) -> Walk:
        """Exactly the inner walk."""
        return (yield from begun(self.inner, start, layout, rng))


def through(walk: Walk, relay: Relay) -> Walk:
    """A walk whose every query goes through `relay`, which yields queries of its own and returns the answer."""
    try:
        query = next(walk)
        while True:
            query = walk.send((yield from relay(query)))
    except StopIteration as end:
        return end.value
