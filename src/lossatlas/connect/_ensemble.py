"""An ensemble from one training run: snapshots at the ends of cycles, their averaged predictions, and their averaged weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from torch import Tensor

from lossatlas import _checks, archive
from lossatlas._errors import InputError
from lossatlas.connect.symmetry._merge import Merged
from lossatlas.draw import Table
from lossatlas.probe import Meter

if TYPE_CHECKING:
    from lossatlas.draw import BarsDisplay, CurvesDisplay

WEIGHTS, PREDICTIONS = "averaged weights", "averaged predictions"


@dataclass(frozen=True, eq=False)
class FastEnsemble(archive.Result):
    """Snapshots of one run, and what they are together.

    Attributes:
        rows: the loss, and the error of a classification loss, of every snapshot, of the averaged weights, and of the averaged
            predictions, which no single network makes.
        states: the state dict of every snapshot and of the averaged weights; batch norm re-estimated on the training data.
        schedule: ``triangular``, ``sawtooth`` or ``constant``.
        rates: (T,) the learning rate of every step.
        losses: (T,) the mini-batch loss at every step.
        taken: (K,) the steps, from 1, after which the snapshots were taken.
        prediction: what is averaged of the outputs: ``probabilities`` or ``outputs``.
        title: the surface's name.
        meter: what was evaluated for it.
        provenance: surface and settings, plain JSON values.
        status: ``complete``, ``interrupted``, or why it stopped.
    """

    KIND: ClassVar[str] = "fast-ensemble"
    SAYS: ClassVar[tuple[str, ...]] = ("gain",)

    rows: tuple[Merged, ...]
    states: dict[str, dict[str, Tensor]]
    schedule: str
    rates: np.ndarray
    losses: np.ndarray
    taken: np.ndarray
    prediction: str
    title: str
    meter: Meter
    provenance: dict[str, Any]
    status: str

    def __getitem__(self, name: str) -> Merged:
        """The row of a name."""
        found = {row.name: row for row in self.rows}
        if name not in found:
            raise InputError(f"there is no row {name!r}; expected one of {', '.join(found)}.")
        return found[name]

    @property
    def snapshots(self) -> dict[str, dict[str, Tensor]]:
        """The state dicts of the snapshots by name, as ``la.barriers(surface, …)`` and ``la.merge`` take them."""
        return {name: state for name, state in self.states.items() if name != WEIGHTS}

    @property
    def gain(self) -> float:
        """The mean loss of the snapshots less that of their averaged predictions, on test data where there are some."""
        data = list(self.rows[0].loss)[-1]
        single = [row.loss[data] for row in self.rows if row.name in self.snapshots]
        together = [row.loss[data] for row in self.rows if row.name == PREDICTIONS]
        return float(np.mean(single)) - together[0] if together else float("nan")

    @property
    def sentence(self) -> str:
        """The ensemble in words."""
        data = list(self.rows[0].loss)[-1]
        single = np.mean([row.loss[data] for row in self.rows if row.name in self.snapshots])
        said = [
            f"{len(self.taken)} snapshots of {len(self.rates):,} steps ({self.schedule}): mean {data} loss {single:.4g}"
        ]
        said += [f"{row.name} {row.loss[data]:.4g}" for row in self.rows if row.name not in self.snapshots]
        return ", ".join(said) + ("" if self.status == "complete" else f"; {self.status}")

    def table(self) -> Table:
        """One row per snapshot, and one for each average."""
        columns = [("loss", data) for data in self.rows[0].loss] + [("error", data) for data in self.rows[0].error]
        rows = [
            [
                row.name,
                *(f"{row.error[data]:.1%}" if what == "error" else f"{row.loss[data]:.4g}" for what, data in columns),
            ]
            for row in self.rows
        ]
        return Table(f"{self.title}: snapshots of one run", ["", *(f"{data} {what}" for what, data in columns)], rows)

    def plot(self, ax: Any = None, *, quantity: str = "error", data: str | None = None) -> BarsDisplay:
        """One dot per snapshot and average, with its interval over examples where there is one.

        Args:
            ax: matplotlib axes, or None for a new figure.
            quantity: ``error`` or ``loss``; the loss where there is no error.
            data: ``train`` or ``test``; test where there is one.

        Raises:
            UnknownNameError: for another quantity, or data that there are not.
        """
        from lossatlas.draw import BarsDisplay

        _checks.one_of("quantity", quantity, ("error", "loss"))
        data = list(self.rows[0].loss)[-1] if data is None else _checks.one_of("data", data, self.rows[0].loss)
        quantity = quantity if self.rows[0].error else "loss"
        scale, unit = (100, " in percent") if quantity == "error" else (1, "")
        values = np.array([scale * getattr(row, quantity)[data] for row in self.rows])
        found = [row.intervals.get(quantity, {}).get(data) for row in self.rows]
        ends = np.array([(scale * e[0], scale * e[1]) if e else (v, v) for e, v in zip(found, values, strict=True)])
        return BarsDisplay(
            [row.name for row in self.rows], values, np.minimum(ends[:, 0], values), np.maximum(ends[:, 1], values),
            xlabel=f"{data} {quantity}{unit}, with the interval over examples (level 0.95)",
            title=f"{self.title}: {len(self.taken)} snapshots of one run and their averages", rates=False,
        ).plot(ax)  # fmt: skip

    def plot_schedule(self, ax: Any = None) -> CurvesDisplay:
        """The learning rate over the steps, up to the last snapshot.

        Args:
            ax: matplotlib axes, or None for a new figure.
        """
        from lossatlas.draw import CurvesDisplay

        steps = np.arange(1.0, len(self.rates) + 1)
        note = f"Snapshots after steps {', '.join(f'{step:,}' for step in self.taken.tolist())}"
        return CurvesDisplay(
            {"learning rate": (steps, self.rates)}, xlabel="step", ylabel="learning rate", yscale="linear", note=note
        ).plot(ax)
