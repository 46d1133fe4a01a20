"""The result of a race on a network: curves, ends, costs, and the tables and pictures made of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lossatlas import archive
from lossatlas._errors import InputError
from lossatlas.draw import Table
from lossatlas.optimize import Optimizer, strokes_of
from lossatlas.probe import Meter
from lossatlas.race._inputs import one_of
from lossatlas.race._tune import Tuning

if TYPE_CHECKING:
    from lossatlas.draw import CurvesDisplay, EndsDisplay, Stroke

Array = NDArray[np.float64]
Axis = Literal["queries", "examples", "seconds", "steps"]
Curve = Literal["loss", "test_loss", "test_error"]
_WHAT = {"loss": "training loss", "test_loss": "test loss", "test_error": "test error"}
_PER = {
    "queries": "queries per run",
    "examples": "examples per run",
    "seconds": "seconds, all runs together",
    "steps": "updates",
}


@dataclass(frozen=True, eq=False)
class Runner(archive.Result):
    """All runs of one optimizer.

    Attributes:
        optimizer: as it ran, tuned if it was.
        steps: (K,) updates made when loss and test error were measured.
        queries: (K,) per run by then.
        examples: (K,) read per run by then.
        seconds: (K,) spent by then, by all runs together, the referee's not counted.
        loss: (runs, K) over all training data.
        test_loss: (runs, K), or (runs, 0) without test data.
        test_error: (runs, K) share of test examples that are classified wrong; (runs, 0) without test data.
        noisy: (runs, T) loss of each update's mini-batch.
        final: (runs, N) where each run ended.
        meter: what was counted.
        tuning: what blind tuning found and what was counted for it, or None.
    """

    SAYS: ClassVar[tuple[str, ...]] = ("diverged",)

    optimizer: Optimizer
    steps: Array
    queries: Array
    examples: Array
    seconds: Array
    loss: Array
    test_loss: Array
    test_error: Array
    noisy: Array
    final: Tensor
    meter: Meter
    tuning: Tuning | None = None

    @property
    def diverged(self) -> NDArray[np.bool_]:
        """(runs,) which of them ended where the loss is not finite."""
        return ~np.isfinite(self.loss[:, -1])

    @property
    def sentence(self) -> str:
        """Where it ended."""
        low, middle, high = _spread(self.loss[:, -1])
        said = f"training loss {middle:.4g} ({low:.4g} to {high:.4g})"
        if self.test_error.shape[1]:
            low, middle, high = _spread(self.test_error[:, -1])
            said += f", test error {middle:.2%} ({low:.2%} to {high:.2%})"
        gone = int(self.diverged.sum())
        return (
            said + f" after {int(self.steps[-1])} updates" + (f"; {gone} of {len(self.loss)} diverged" if gone else "")
        )


@dataclass(frozen=True, eq=False)
class Ends(archive.Result):
    """Ends of runs compared.

    Attributes:
        names: the optimizer of each end.
        runs: which of its runs.
        loss: (n,) over the training data.
        sharpness: (n,) largest eigenvalue of the Hessian there, a lower bound up to its residual.
        residuals: (n,) of these.
        distances: (n, n) Euclidean.
        barriers: (n, n) max over t of L(between) − ((1 − t) L(a) + t L(b)); 0 where nothing is above the chord.
    """

    names: tuple[str, ...]
    runs: tuple[int, ...]
    loss: Array
    sharpness: Array
    residuals: Array
    distances: Array
    barriers: Array

    @property
    def places(self) -> tuple[Array, float]:
        """(n, 2) a map on which distances are as true as they can be (classical scaling), and the share of them it holds."""
        n = len(self.names)
        if n < 3:
            return np.stack([np.concatenate([[0.0], self.distances[0, 1:]]), np.zeros(n)], 1), 1.0
        center = np.eye(n) - 1 / n
        gram = -center @ (self.distances**2) @ center / 2
        values, vectors = np.linalg.eigh(gram)
        values, vectors = np.clip(values[::-1], 0, None), vectors[:, ::-1]
        return vectors[:, :2] * np.sqrt(values[:2]), float(values[:2].sum() / values.sum())


@dataclass(frozen=True, eq=False)
class NetworkRace(archive.Result):
    """Optimizers that trained one network at the same cost.

    Attributes:
        title: of the surface.
        runners: by name.
        ends: sharpness and barriers at the ends, or None.
        referee: what was evaluated to measure all this, counted for no optimizer.
        test_referee: the same on the test data.
        provenance: surfaces and settings, plain JSON values.
    """

    KIND: ClassVar[str] = "network-race"

    title: str
    runners: dict[str, Runner]
    ends: Ends | None
    referee: Meter
    test_referee: Meter
    provenance: dict[str, Any]

    @property
    def runs(self) -> int:
        """Runs per optimizer."""
        return len(next(iter(self.runners.values())).loss)

    @property
    def meter(self) -> dict[str, Meter]:
        """What each optimizer cost in the race itself."""
        return {name: runner.meter for name, runner in self.runners.items()}

    def reading(self) -> list[str]:
        """Where each optimizer ended."""
        return [f"{name}: {runner.sentence}" for name, runner in self.runners.items()]

    def final(self, racer: str) -> Tensor:
        """Where an optimizer's runs ended, (runs, N).

        Args:
            racer: its name.
        """
        return self._runner(racer).final

    def table(self) -> Table:
        """One row per optimizer: where it ended and what it cost, medians over runs with the range."""
        columns = ["optimizer", "training loss"]
        tested = any(runner.test_error.shape[1] for runner in self.runners.values())
        columns += ["test error"] if tested else []
        columns += ["λmax"] if self.ends is not None else []
        columns += ["updates", "gradients", "products", "examples", "seconds"]
        rows = [self._row(name, columns) for name in self.runners]
        size, trials = self.provenance["batch_size"], self.provenance["trials"]
        data = "all data" if size is None else f"mini-batches of {size}"
        tuned = f", tuned blindly over {trials} settings each at the same cost" if trials else ""
        title = f"{self.title}: {self.runs} runs each on {data}{tuned}; median (lowest to highest)"
        title += "".join(f"; {label} failed: {why}" for label, why in self.provenance["failed"].items())
        return Table(title, columns, rows)

    def plot(self, ax: Any = None, *, what: Curve = "loss", against: Axis = "examples") -> CurvesDisplay:
        """Curves on the way: the median over runs, with the band from the lowest to the highest.

        Args:
            ax: matplotlib axes, or None for a new figure.
            what: ``loss`` over the training data, ``test_loss`` or ``test_error``.
            against: ``queries``, ``examples``, ``seconds`` or ``steps``.

        Raises:
            UnknownNameError: for another curve or axis.
            InputError: for a test curve of a race without test data.
        """
        from lossatlas.draw import CurvesDisplay

        one_of("curve", what, _WHAT)
        one_of("axis", against, _PER)
        curves: dict[str, tuple[Any, ...]] = {}
        for name, runner in self.runners.items():
            found = getattr(runner, what)
            if not found.shape[1]:
                raise InputError(f"this race has no {_WHAT[what]}: no test data were given. Give test=….")
            low, middle, high = (np.array(part) for part in zip(*map(_spread, found.T), strict=True))
            curves[name] = (getattr(runner, against), middle, low, high)
        label = f"{_WHAT[what]}, median and range of {self.runs} runs"
        return CurvesDisplay(curves, xlabel=_PER[against], ylabel=label, title=self.title, looks=self._looks()).plot(ax)

    def plot_ends(self, ax: Any = None) -> EndsDisplay:
        """A map of where runs ended, and the barriers between the ends.

        Args:
            ax: matplotlib axes for the map alone, or None for a figure with both.

        Raises:
            InputError: if the ends were not compared.
        """
        from lossatlas.draw import EndsDisplay

        if self.ends is None or not self.ends.names:
            raise InputError("this race has no ends to draw: it was run with ends=0, or all runs diverged.")
        places, share = self.ends.places
        return EndsDisplay(
            self.ends.names,
            places,
            barriers=self.ends.barriers,
            sizes=self.ends.sharpness,
            size_label="λmax",
            share=share,
            title=f"{self.title}: where training ended",
            looks=self._looks(),
        ).plot(ax)

    def _looks(self) -> dict[str, Stroke]:
        return strokes_of({name: runner.optimizer for name, runner in self.runners.items()})

    def _runner(self, racer: str) -> Runner:
        return self.runners[one_of("optimizer in this race", racer, self.runners)]

    def _row(self, name: str, columns: list[str]) -> list[str]:
        runner = self.runners[name]
        low, middle, high = _spread(runner.loss[:, -1])
        cells = {"optimizer": name, "training loss": f"{middle:.4g} ({low:.4g} to {high:.4g})"}
        if "test error" in columns:
            low, middle, high = _spread(runner.test_error[:, -1])
            cells["test error"] = f"{middle:.2%} ({low:.2%} to {high:.2%})"
        if self.ends is not None:
            found = [value for one, value in zip(self.ends.names, self.ends.sharpness, strict=True) if one == name]
            cells["λmax"] = ", ".join(f"{value:.4g}" for value in found) or "–"
        meter = runner.meter
        cells |= {
            "updates": f"{int(runner.steps[-1]):,}",
            "gradients": f"{meter.gradients:,}",
            "products": f"{meter.products:,}",
            "examples": f"{meter.examples:,}",
            "seconds": f"{meter.seconds:.2f}",
        }
        return [cells[column] for column in columns]


def _spread(numbers: Array) -> tuple[float, float, float]:
    """Lowest, median and highest; what is not finite counts as infinite."""
    whole = np.where(np.isfinite(numbers), numbers, np.inf)
    return float(whole.min()), float(np.median(whole)), float(whole.max())
