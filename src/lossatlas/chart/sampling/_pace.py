"""How many cells to evaluate at a time, and the forecast from the first of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from lossatlas.chart.sampling._cost import Beside, Counts, exactly
from lossatlas.probe import Forecast

# Long enough that starting a query costs nothing, short enough that the bar moves and Ctrl-C is heard.
CHUNK_SECONDS = 0.5
# The first query warms up, the second is large enough for the choice of how to evaluate, the third is timed.
FIRST, CHOOSING, TIMED, FEW = 2, 80, 64, 4
# As long as a ledger knows everything, queries double, so often at most.
DOUBLINGS = 7
SLOW = 0.05


@dataclass
class Field:
    """What was evaluated of one field, and what is planned to be.

    Attributes:
        examples: behind one value.
        planned: values, as far as is known.
        done: values answered.
        spent: seconds for them.
        queries: how many answers they came in.
        rate: seconds per value, of the last answer.
        recalled: values that a ledger knew; they say nothing of the rate.
        streak: answers in a row that were recalled as a whole.
    """

    examples: int
    planned: int = 0
    done: int = 0
    spent: float = 0.0
    queries: int = 0
    rate: float = 0.0
    recalled: int = 0
    streak: int = 0


@final
class Pace:
    """Sizes of queries by what the ones before took.

    Args:
        exact: examples behind a value of the surface.
        cheap: examples behind a value of the cheap field.
        announce: takes the forecast, once.
        width: points that are evaluated side by side.
    """

    def __init__(self, exact: int, cheap: int, announce: Callable[[Forecast], None], width: int = 1) -> None:
        self.width = max(1, width)
        self.fields = {"exact": Field(exact), "cheap": Field(cheap)}
        self.announce = announce
        self.forecast: Forecast | None = None
        self._counts: Counts | None = None
        self._beside: Beside | None = None
        self._waits = False

    def plan(self, exact: int, cheap: int) -> None:
        """So many values are planned so far."""
        self.fields["exact"].planned, self.fields["cheap"].planned = exact, cheap

    def wait(self) -> None:
        """Hold the forecast back until `foresee` is called: evaluations alone would not tell."""
        self._waits = True

    def foresee(self, counts: Counts, beside: Beside | None) -> None:
        """So many values of the surface are expected, and this is what their number takes beside their evaluation."""
        self._counts, self._beside, self._waits = counts, beside, False
        known = self.fields["exact"]
        if beside is not None and self.forecast is None and known.queries:
            self.forecast = self._forecast(known)
            self.announce(self.forecast)

    def size(self, to: str) -> int:
        """Values to evaluate of a field next: as many as keep all workers busy, for about half a second."""
        field = self.fields[to]
        if field.streak:
            return self.wide(FIRST << min(field.streak, DOUBLINGS))
        if field.queries == 0:
            return self.wide(FIRST)
        if self.forecast is not None:
            return self.wide(int(CHUNK_SECONDS / max(field.rate, 1e-9)))
        if field.rate > SLOW:
            return self.wide(FEW)
        return CHOOSING if field.queries == 1 else TIMED

    def wide(self, points: int) -> int:
        """So many points, rounded up to whole rounds of all workers."""
        return -(-max(1, points) // self.width) * self.width

    def note(self, to: str, values: int, seconds: float, recalled: int = 0) -> None:
        """So many values of a field were answered in so many seconds, beside those that a ledger knew."""
        field = self.fields[to]
        field.recalled += recalled
        field.streak = 0 if values else field.streak + 1
        if not values:
            return
        field.done, field.spent, field.queries = field.done + values, field.spent + seconds, field.queries + 1
        field.rate = seconds / values
        whole = sum(one.planned for one in self.fields.values())
        ready = field.queries >= 3 or (field.queries == 2 and values == self.wide(FEW))
        done = sum(one.done + one.recalled for one in self.fields.values())
        if self.forecast is None and not self._waits and (ready or done >= whole):
            self.forecast = self._forecast(field)
            self.announce(self.forecast)

    def _forecast(self, known: Field) -> Forecast:
        exact, cheap = self.fields["exact"], self.fields["cheap"]
        counts = self._counts or exactly(exact.planned)
        counts = Counts(*(max(count, exact.planned) for count in (counts.expected, counts.least, counts.most)))

        def rate(field: Field) -> float:
            # A field that was not evaluated yet is taken to cost by its examples.
            scale = field.examples / known.examples if known.examples and field.queries == 0 else 1.0
            return field.rate if field.queries else known.rate * scale

        def parts(planned: int) -> dict[str, float]:
            seconds = sum(
                field.spent + max(0, count - field.recalled - field.done) * rate(field)
                for field, count in ((exact, planned), (cheap, cheap.planned))
            )
            return {"evaluations": seconds} | (self._beside(planned) if self._beside is not None else {})

        expected, least, most = (parts(n) for n in (counts.expected, counts.least, counts.most))
        left = counts.without(exact.recalled)
        more = cheap.planned - cheap.recalled
        return Forecast(
            left.expected + more,
            left.expected * exact.examples + more * cheap.examples,
            sum(expected.values()),
            exact.done + cheap.done,
            parts=expected,
            evaluations_within=(left.least + more, left.most + more),
            seconds_within=(sum(least.values()), sum(most.values())),
        )
