"""A setting over a range: where an optimizer ends at each value, and at how many of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from lossatlas import archive
from lossatlas._errors import InputError
from lossatlas._progress import Show
from lossatlas.draw import Table
from lossatlas.optimize import Optimizer, resolve
from lossatlas.probe import Meter
from lossatlas.race._driver import race
from lossatlas.race._inputs import check, numbers, one_of
from lossatlas.race._settings import changed, numbers_of
from lossatlas.race._statistics import wilson
from lossatlas.surface import PointLike, Surface

if TYPE_CHECKING:
    from lossatlas.draw import CurvesDisplay


@dataclass(frozen=True, eq=False)
class Sweep(archive.Result):
    """Where an optimizer ends over a range of one of its settings.

    Attributes:
        surface: what was walked on.
        optimizer: with its other settings.
        setting: the one that was swept.
        values: (V,) of it.
        ends: (V, runs) index into `names` of the well whose basin holds each result; −1 for none of them.
        names: of the wells.
        loss: (V, runs) of each result.
        queries: (V, runs) counted.
        alike: (V,) whether all runs were one and the same, the method being deterministic.
        steps: per descent.
        seed: random seed.
        meter: what all of it cost.
    """

    KIND: ClassVar[str] = "sweep"
    SAYS: ClassVar[tuple[str, ...]] = ("provenance", "rates")

    surface: Surface
    optimizer: Optimizer
    setting: str
    values: np.ndarray
    ends: np.ndarray
    names: tuple[str, ...]
    loss: np.ndarray
    queries: np.ndarray
    alike: np.ndarray
    steps: int
    seed: int
    meter: Meter

    @property
    def runs(self) -> int:
        """Per value."""
        return int(self.ends.shape[1])

    @property
    def sentence(self) -> str:
        """What was swept, and over how many values."""
        return f"{self.setting} of {self.optimizer.title} on {self.surface.name}: {_values(len(self.values))}"

    @property
    def provenance(self) -> dict[str, Any]:
        """The surface, the optimizer, the setting, steps, runs and seed."""
        return {
            "surface": self.surface.fingerprint(),
            "optimizer": self.optimizer.record(),
            "setting": self.setting,
            "steps": self.steps,
            "runs": self.runs,
            "seed": self.seed,
        }

    @property
    def rates(self) -> dict[str, list[list[float]]]:
        """By well, at each value: the share of runs that ended there, and its interval."""
        return {name: np.column_stack([self.shares(name), self.intervals(name)]).tolist() for name in self.names}

    def shares(self, well: str) -> np.ndarray:
        """Share of runs that ended in a well, at each value, (V,)."""
        return np.asarray(self._in(well).mean(1))

    def intervals(self, well: str, confidence: float = 0.95) -> np.ndarray:
        """Wilson's interval of each share, (V, 2); the share itself where the method is deterministic."""
        counts = self._in(well).sum(1)
        found = [
            (share, share) if same else wilson(int(count), self.runs, confidence)
            for count, share, same in zip(counts, self.shares(well), self.alike, strict=True)
        ]
        return np.array(found)

    def count(self, well: str) -> int:
        """At how many of the values more than half of the runs ended in a well."""
        return int((self.shares(well) > 0.5).sum())

    def table(self) -> Table:
        """One row per value: the share of every well, the median loss."""
        rows = []
        for k, value in enumerate(self.values):
            shares = [f"{self.shares(name)[k]:.0%}" for name in self.names]
            rows.append(
                [f"{value:.4g}", *shares, f"{(self.ends[k] < 0).mean():.0%}", f"{np.nanmedian(self.loss[k]):.4g}"]
            )
        of = f"{self.runs:,} runs" if self.runs > 1 else "one run"
        title = f"{self.optimizer.title} on {self.surface.name}: {of} at each of {_values(len(self.values))} of {self.setting}"
        return Table(title, [self.setting, *self.names, "none of them", "loss"], rows)

    def plot(self, ax: Any = None) -> CurvesDisplay:
        """Share of runs that ended in each well against the setting, with 95 % bands where the method is random."""
        from lossatlas.draw import CurvesDisplay, well_colors

        curves: dict[str, tuple[np.ndarray, ...]] = {}
        for name in self.names:
            band = self.intervals(name).T
            shares = self.shares(name)
            if shares.any():
                curves[name] = (
                    (self.values, shares) if self.alike.all() or self.runs == 1 else (self.values, shares, *band)
                )
        lost = (self.ends < 0).mean(1)
        if lost.any():
            curves["no well"] = (self.values, lost)
        even = bool((self.values > 0).all()) and self.values.max() > 5 * self.values.min()
        return CurvesDisplay(
            curves,
            xlabel=self.setting,
            ylabel="share of runs that end there",
            xscale="log" if even else "linear",
            yscale="linear",
            points=True,
            title=f"{self.optimizer.title} on {self.surface.name}",
            note=f"{self.runs:,} run{'s' * (self.runs > 1)} of {self.steps:,} steps at each of {_values(len(self.values))}",
        ).plot(ax, palette={**well_colors(self.names), "no well": "#9a9a9a"})

    def _in(self, well: str) -> np.ndarray:
        return np.asarray(self.ends == self.names.index(one_of(f"well of {self.surface.name}", well, self.names)))


def sweep(
    surface: Surface,
    optimizer: str | Optimizer,
    values: Iterable[float],
    *,
    setting: str = "lr",
    start: PointLike | Sequence[PointLike] | None = None,
    steps: int = 300,
    runs: int = 1,
    seed: int = 0,
    progress: Show = True,
) -> Sweep:
    """Race an optimizer at every value of one of its settings, all at once.

    A claim about a deterministic method is a claim about a range of its learning rate, not about one: this says at how many
    of the values it holds.

    Args:
        surface: with known wells.
        optimizer: a name or an optimizer, whose other settings are kept.
        values: of the setting.
        setting: its name; of a pair with its place, as ``betas[0]``.
        start: as in `race`.
        steps: per descent and run.
        runs: per value.
        seed: random seed.
        progress: as in `race`.

    Raises:
        InputError: if the surface has no known wells, the optimizer no such setting, or a value is out of its range.

    Example:
        >>> import lossatlas as la
        >>> swept = la.sweep(la.landscapes.four_wells(), "gd", [0.01, 0.03, 0.1])
        >>> swept.count("A"), swept.count("global")
        (3, 0)
    """
    steps, runs, seed = check("sweep", surface, seed, steps=steps, runs=runs)
    one = resolve(optimizer)
    given = np.array(numbers("sweep", "values", values), dtype=np.float64)
    one_of(f"setting of {one.name} that is a number", setting, numbers_of(one))
    if not surface.wells:
        raise InputError(
            f"got {surface.name}, whose wells are not known; expected a surface with known wells, to say where runs end."
        )
    racers = {f"{one.name} {k}": changed(one, {setting: _number(value)}) for k, value in enumerate(given.tolist())}
    result = race(surface, racers, start=start, steps=steps, runs=runs, seed=seed, progress=progress)
    names = tuple(well.name for well in surface.wells)
    place = {name: k for k, name in enumerate(names)}
    verdicts = result.verdicts.values()
    return Sweep(
        surface=surface,
        optimizer=one,
        setting=setting,
        values=given,
        ends=np.array([[place.get(well or "", -1) for well in verdict.wells] for verdict in verdicts]),
        names=names,
        loss=np.stack([verdict.loss.cpu().numpy() for verdict in verdicts]),
        queries=np.stack([verdict.queries.cpu().numpy() for verdict in verdicts]),
        alike=np.array([track.alike for track in result.tracks.values()]),
        steps=steps,
        seed=seed,
        meter=sum(result.meter.values(), Meter()),
    )


def _values(count: int) -> str:
    return f"{count} value{'s' * (count > 1)}"


def _number(value: float) -> float | int:
    """Whole numbers as such: some settings are counts."""
    return int(value) if value == int(value) and abs(value) > 1 else value
