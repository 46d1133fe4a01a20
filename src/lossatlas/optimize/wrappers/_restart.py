"""Random restart: the same descent again from random places, the best of them kept."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, final

from torch import Tensor

from lossatlas._errors import InputError, NotApplicableError
from lossatlas._layout import Layout
from lossatlas.optimize._optimizer import Walk, begun, planned
from lossatlas.optimize._ranges import whole
from lossatlas.optimize._streams import Streams
from lossatlas.optimize.wrappers._wrapper import Wrapper


@final
@dataclass(frozen=True)
class Restart(Wrapper):
    """Run another optimizer from the start, then again from points uniform in the box; the best point met counts.

    A descent that stops by itself gives its place to the next once it has stopped in every run of the batch.

    Args:
        inner: what is restarted.
        restarts: descents in all, the first of them from the given start.
        length: steps per descent; None for as many steps as the race has, so that k descents cost k times one.
    """

    restarts: int = 5
    length: int | None = None

    name: ClassVar[str] = "restart"
    title: ClassVar[str] = "random restart"
    remembers: ClassVar[str] = "what the wrapped method remembers, and the best point"
    source: ClassVar[str] = "Russell & Norvig 2020, section 4.1.1"
    reference: ClassVar[str] = "russell2020"
    wanders: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        whole(self, 1, "restarts")
        if self.length is not None:
            whole(self, 1, "length")

    def plan(self, steps: int) -> tuple[Restart, int]:
        """Each descent gets the race's steps unless a length is set."""
        inner, length = planned(self.inner, self.length or steps)
        return replace(self, inner=inner, length=length), self.restarts * length

    def breaks(self, answered: int) -> list[int]:
        """Every descent but the first begins elsewhere, and may begin again itself."""
        length = max(1, self.length or answered)
        begins = range(0, answered, length)
        own = [begin + k for begin in begins for k in self.inner.breaks(min(length, answered - begin))]
        return sorted({*begins[1:], *own})

    def walk(self, start: Tensor, layout: Layout, rng: Streams) -> Walk:
        """Descend, begin elsewhere, descend again."""
        if layout.box is None and self.restarts > 1:
            raise NotApplicableError(
                "it needs a box to draw starting points from, and this surface has none. Give the surface a box."
            )
        if self.length is None:
            raise InputError("restart was started without a length; give length=… or let a race plan it.")
        for k in range(self.restarts):
            theta = start
            if k > 0 and layout.box is not None:
                low, high = layout.box.to(start).unbind(1)
                theta = low + (high - low) * rng.uniform(start.shape[1]).to(start)
            descent = begun(self.inner, theta, layout, rng.part(k))
            try:
                query = next(descent)
                for _ in range(self.length):
                    query = descent.send((yield query))
            except StopIteration:
                continue
