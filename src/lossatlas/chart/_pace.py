"""How many cells to ask for at a time, and the forecast from the first of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from lossatlas.probe import Forecast, forecast

# Long enough that starting a query costs nothing, short enough that the bar moves and Ctrl-C is heard.
CHUNK_SECONDS = 0.5
# The first query warms up, the second is large enough for the choice of how to evaluate, the third is timed.
FIRST, CHOOSING, TIMED, FEW = 2, 80, 64, 4
SLOW = 0.05


@final
class Pace:
    """Sizes of queries by what the ones before took.

    Args:
        total: cells in all.
        examples: examples behind one of them.
        announce: takes the forecast, once.
    """

    def __init__(self, total: int, examples: int, announce: Callable[[Forecast], None]) -> None:
        self.total, self.examples, self.announce = total, examples, announce
        self.done, self.spent, self.queries = 0, 0.0, 0
        self.rate = 0.0
        self.forecast: Forecast | None = None

    def size(self) -> int:
        """Cells to ask for next."""
        if self.queries == 0:
            return FIRST
        if self.forecast is not None:
            return max(1, int(CHUNK_SECONDS / max(self.rate, 1e-9)))
        if self.rate > SLOW:
            return FEW
        return CHOOSING if self.queries == 1 else TIMED

    def note(self, cells: int, spent: float) -> None:
        """So many cells were answered, and so many seconds were spent since the start."""
        seconds = spent - self.spent
        self.done, self.spent, self.queries = self.done + cells, spent, self.queries + 1
        self.rate = seconds / cells
        ready = self.queries >= 3 or (self.queries == 2 and cells == FEW) or self.done >= self.total
        if self.forecast is None and ready:
            self.forecast = forecast(self.total, self.examples, spent, self.done, seconds, cells)
            self.announce(self.forecast)
