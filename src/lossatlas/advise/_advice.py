"""The result: what was found out, which way the tree went, what was raced, who won, and what all of it cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from torch import Tensor

from lossatlas import archive
from lossatlas._errors import InputError
from lossatlas._said import several
from lossatlas.advise._contest import Leg
from lossatlas.advise._fact import Fact, shown
from lossatlas.advise._portfolio import Candidate
from lossatlas.advise._tree import Step
from lossatlas.draw import Table
from lossatlas.probe import Meter

if TYPE_CHECKING:
    from lossatlas.draw import CurvesDisplay, DecisionsDisplay


@dataclass(frozen=True, eq=False)
class Advice(archive.Result):
    """Which optimizer suits a surface, with everything it rests on.

    Attributes:
        title: of the surface.
        budget: what could be spent in all, in values.
        facts: what the probe found.
        steps: the questions of the tree that were met.
        leaves: where it ended, the likelier first: each with what to do there.
        shortlist: what the budget had room to race, the advised one first; the hedge always among them.
        hedge: label of the single best algorithm for such a budget.
        legs: the race, stretch by stretch.
        lowest: the lowest loss of each racer, a finish counted for the one whose point it began at; on a network, the loss of each
            rate that was left in the end, after `horizon` steps.
        outcome: ``checked``, ``overturned``, ``no difference within noise``, ``not checked`` (no other optimizer was
            raced) or ``not raced``.
        noise: differences of losses up to here are none.
        point: (N,) the lowest point that was met; empty before any.
        loss: there.
        seen: (Q,) losses in the order they were evaluated.
        costs: (Q,) what had been spent by then.
        design: (n, N) the points of the probe.
        forecast: values and seconds that were expected for all of it, once the probe had timed a few.
        meter: what was evaluated.
        provenance: surface, settings, and the digest of the file of thresholds: plain JSON values.
        status: ``complete``, or why not.
        rates: of a network, the best learning rate of the race for each optimizer.
        horizon: of a network, the steps that the rates were raced over: for another number of steps another rate may be best.
    """

    KIND: ClassVar[str] = "advice"
    SAYS: ClassVar[tuple[str, ...]] = ("advised", "winner", "regret")

    title: str
    budget: float
    facts: tuple[Fact, ...]
    steps: tuple[Step, ...]
    leaves: dict[str, str]
    shortlist: tuple[Candidate, ...]
    hedge: str
    legs: tuple[Leg, ...]
    lowest: dict[str, float]
    outcome: str
    noise: float
    point: Tensor
    loss: float
    seen: np.ndarray
    costs: np.ndarray
    design: np.ndarray
    forecast: dict[str, float]
    meter: Meter
    provenance: dict[str, Any]
    status: str = "complete"
    rates: dict[str, float] = field(default_factory=dict)
    horizon: int = 0

    @property
    def advised(self) -> str:
        """Label of what the tree advised."""
        return self.shortlist[0].label

    @property
    def winner(self) -> str:
        """Label of what came lowest in the race; of equals the advised one."""
        if not self.lowest:
            return self.advised
        best = min(self.lowest.values())
        near = [label for label, loss in self.lowest.items() if loss <= best + self.noise]
        return self.advised if self.advised in near else min(near, key=lambda label: self.lowest[label])

    @property
    def optimizer(self) -> Any:
        """The optimizer to take: the winner's, with its settings."""
        return next(one.optimizer for one in self.shortlist if one.label == self.winner)

    @property
    def regret(self) -> float:
        """How much lower the best of the short-list came than the advised one; 0 where none did."""
        # One that lowered nothing is as low as the point that it began at.
        own = min((leg.loss for leg in self.legs if leg.racer == self.advised), default=inf)
        return max(0.0, self.lowest.get(self.advised, own) - min(self.lowest.values())) if self.lowest else 0.0

    @property
    def spent(self) -> float:
        """What was spent, in values."""
        return float(self.costs[-1]) if len(self.costs) else 0.0

    @property
    def sentence(self) -> str:
        """What to take, and how that came out."""
        if self.outcome == "not raced":
            return f"{self.title}: {self.advised}, not raced; {self.status}"
        tested = {
            "checked": f"{self.advised}, checked by the race",
            "overturned": f"{self.winner}; {self.advised} was advised, and the race overturned it",
            "not checked": f"{self.advised}, not checked, since no other optimizer was raced",
        }.get(self.outcome, f"{self.advised}; the race saw no difference within noise")
        return f"{self.title}: {tested}. Lowest loss {shown(self.loss)} after {shown(self.spent)} of {shown(self.budget)} values"

    def reading(self) -> list[str]:
        """The advice, its reasons, the race, and the cost."""
        says = [self.sentence, *(step.sentence for step in self.steps)]
        says += [f"{name}: {text}" for name, text in self.leaves.items()]
        if self.legs and self.outcome != "not checked":
            says.append(
                f"regret against the short-list: {shown(self.regret)}; the hedge was {self.hedge}, the single best for such a budget"
            )
        if self.horizon:
            best = "; ".join(f"{name} at {shown(rate)}" for name, rate in self.rates.items())
            says.append(
                f"best rates of the race over {self.horizon} steps: {best}; a training of another length may want other rates"
            )
        if self.forecast:
            says.append(
                f"cost: {self.meter.sentence}; forecast {shown(self.forecast['values'])} values in {self.forecast['seconds']:.3g} s"
            )
        if self.status != "complete" and self.outcome != "not raced":
            says.append(self.status)
        return says

    def table(self) -> Table:
        """The race, one row per stretch."""
        rows = [
            [leg.racer, leg.part, shown(leg.end - leg.begin), shown(leg.end), f"{leg.loss:.6g}", leg.ended]
            for leg in self.legs
        ]
        return Table(
            f"{self.title}: {several(len(self.shortlist), 'optimizer')} on {shown(self.budget)} values, seed "
            f"{self.provenance.get('seed')}",
            ["racer", "part", "values", "spent by then", "its lowest loss", "ended"],
            rows,
        )

    def to_dataframe(self) -> Any:
        """One row per stretch of the race, as a pandas data frame.

        Raises:
            InputError: if pandas is not installed.
        """
        return archive.data_frame([vars(leg) for leg in self.legs])

    def plot(self, ax: Any = None) -> DecisionsDisplay:
        """The tree with the way that was taken, and at each question the fact, its interval and the threshold.

        Args:
            ax: matplotlib axes, or None for a new figure.
        """
        from lossatlas.advise._picture import decisions

        return decisions(self, ax)

    def plot_race(self, ax: Any = None) -> CurvesDisplay:
        """Lowest loss of each racer against what had been spent.

        Args:
            ax: matplotlib axes, or None for a new figure.

        Raises:
            InputError: if nothing was raced.
        """
        from lossatlas.advise._picture import curves

        if not self.legs:
            raise InputError(f"plot_race got an advice that was not raced; {self.status}.")
        return curves(self, ax)


def compared(advised: str, lowest: dict[str, float], raced: set[str], noise: float) -> str:
    """How the race came out for the advised one.

    Args:
        advised: its label.
        lowest: the loss that each racer is given credit for; one that lowered nothing has none.
        raced: labels of all that evaluated anything.
        noise: differences up to here are none.
    """
    if len(raced) < 2:
        return "not checked" if raced else "not raced"
    mine = lowest.get(advised, inf)
    best = min((loss for label, loss in lowest.items() if label != advised), default=inf)
    if mine > best + noise:
        return "overturned"
    return "checked" if mine < best - noise else "no difference within noise"
