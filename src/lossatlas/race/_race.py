"""The result of a race: arrays, meters and verdicts, with the tables and pictures made from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from lossatlas import _checks, archive
from lossatlas._errors import InputError
from lossatlas.draw import Table
from lossatlas.probe import Meter
from lossatlas.race import _pictures, _tables
from lossatlas.race._inputs import one_of
from lossatlas.race._statistics import ert, wilson
from lossatlas.race._track import Track
from lossatlas.race._verdict import Verdict
from lossatlas.surface import Surface

if TYPE_CHECKING:
    from lossatlas.draw import BarsDisplay, CurvesDisplay, Levels, Motion, PathsDisplay, ReliefDisplay, SurrogateDisplay


@dataclass(frozen=True, eq=False)
class Race(archive.Result):
    """Many optimizers on one surface.

    Attributes:
        surface: what was raced on.
        tracks: the record of each racer by its label.
        verdicts: how each racer's runs ended; ``verdicts["gd"].sentence`` says it in words.
        steps: per descent.
        seed: random seed.
        referee: what the referee evaluated for the verdicts, counted for no racer.
        budget: queries that each run was allowed, or None.
    """

    KIND: ClassVar[str] = "race"
    SAYS: ClassVar[tuple[str, ...]] = ("provenance", "racers", "wells")

    surface: Surface
    tracks: dict[str, Track]
    verdicts: dict[str, Verdict]
    steps: int
    seed: int
    referee: Meter
    budget: int | None = None

    @property
    def runs(self) -> int:
        """Runs per racer."""
        return len(next(iter(self.tracks.values())).final)

    @property
    def meter(self) -> dict[str, Meter]:
        """What each racer cost, over all its runs."""
        return {label: track.meter for label, track in self.tracks.items()}

    @property
    def start(self) -> Tensor:
        """What the racers were given to begin with: (N,), or (runs, N) where each run had its own."""
        given = next(iter(self.tracks.values())).start
        return given[0] if bool((given == given[:1]).all()) else given

    @property
    def trajectories(self) -> dict[str, Tensor]:
        """Where each racer stood, (runs, T + 1, N)."""
        return {label: track.positions for label, track in self.tracks.items()}

    @property
    def losses(self) -> dict[str, Tensor]:
        """L where each racer stood, (runs, T + 1)."""
        return {label: track.losses for label, track in self.tracks.items()}

    @property
    def status(self) -> dict[str, tuple[str, ...]]:
        """Why each run of each racer stopped."""
        return {label: track.stopped for label, track in self.tracks.items()}

    @property
    def provenance(self) -> dict[str, Any]:
        """The surface, the settings of every racer, where they started, steps, runs, budget and seed."""
        return {
            "surface": self.surface.fingerprint(),
            "racers": {label: track.optimizer.record() for label, track in self.tracks.items()},
            "start": self.start.tolist() if self.start.numel() <= 64 else None,
            "steps": self.steps,
            "runs": self.runs,
            "budget": self.budget,
            "seed": self.seed,
        }

    @property
    def racers(self) -> dict[str, dict[str, Any]]:
        """What the record says of each racer beside its track and verdict: settings, rates with intervals, final points."""
        wells = [well.name for well in self.surface.wells]
        return {
            label: {
                "title": track.optimizer.title,
                "settings": track.optimizer.settings(),
                "becomes": track.optimizer.becomes(self.surface.layout),
                "sentence": self.verdicts[label].sentence,
                "rates": {well: [self.rate(label, well), *self.interval(label, well)] for well in wells},
                "final": track.final.tolist() if self.surface.dimension <= 64 else None,
                "meter": track.meter,
            }
            for label, track in self.tracks.items()
        }

    @property
    def wells(self) -> list[dict[str, Any]]:
        """The wells of the surface by name, minimum and value."""
        return [{"name": w.name, "minimum": w.minimum.tolist(), "value": w.value} for w in self.surface.wells]

    @property
    def sentence(self) -> str:
        """Who raced where."""
        runs = f"{self.runs:,} run{'s' * (self.runs > 1)} of {self.steps:,} steps"
        return f"{', '.join(self.tracks)} on {self.surface.name}: {runs}, seed {self.seed}"

    def reading(self) -> list[str]:
        """Who raced where, and how each ended."""
        return [self.sentence, *(verdict.sentence for verdict in self.verdicts.values())]

    def final(self, racer: str) -> Tensor:
        """Where a racer ended, (runs, N): its last point, or for methods that may move uphill (annealing, restarts) the best.

        Args:
            racer: its label.
        """
        return self._track(racer).final

    def last(self, racer: str) -> Tensor:
        """Where a racer stood when it stopped, (runs, N), whether or not that was its best point."""
        return self._track(racer).last

    def rate(self, racer: str, well: str) -> float:
        """Share of a racer's runs that ended in the basin of a well.

        Args:
            racer: its label.
            well: the well's name, for example ``"global"``.
        """
        return self._count(racer, well) / self.runs

    def interval(self, racer: str, well: str, confidence: float = 0.95) -> tuple[float, float]:
        """Wilson's interval for that share; the share itself where all runs are the same, the method being deterministic."""
        ends = wilson(self._count(racer, well), self.runs, confidence)
        return (self.rate(racer, well),) * 2 if self.verdicts[racer].alike else ends

    def typical(self, racer: str) -> int:
        """Index of a run that ended as most do: in the well that most runs end in, the run of median loss there.

        Of two in the middle it is the one of the lower loss. A loss that is not a number is the highest.

        Args:
            racer: its label.
        """
        loss, wells = self._track(racer).loss, self.verdicts[racer].wells
        (common, _), *_ = Counter(wells).most_common(1)
        there = [b for b, well in enumerate(wells) if well == common]
        there.sort(key=lambda b: (bool(loss[b].isnan()), float(loss[b])))
        return there[(len(there) - 1) // 2]

    def table(self) -> Table:
        """One row per racer: where it ended and what it cost. Renders in terminals and notebooks."""
        return _tables.ends(self)

    def accounting(self) -> Table:
        """What each racer evaluated at each step and in all, what it remembered, and what it took: all measured.

        A step is one answer. Bytes are those that the algorithm held between its last two queries, per run; the last
        column is their growth per query over the second half.
        """
        return _tables.accounting(self)

    def costs(self, racer: str, target: float) -> Tensor:
        """Queries of each run until it had met a loss of at most `target`, (runs,); infinity where it never did.

        Raises:
            InputError: if the race keeps only its ends.
        """
        self._whole("costs")
        return self._track(racer).first_below(_checks.number("target", target, where="costs"))

    def ert(self, racer: str, target: float) -> float:
        """Expected running time to a target as COCO defines it: queries spent before it by all runs / runs that reached it.

        Infinity if none did. Source: Hansen et al. 2021, section 5.

        Raises:
            InputError: if the race keeps only its ends.
        """
        costs = self.costs(racer, target)
        return ert(costs.tolist(), self._track(racer).meter.per_run.tolist())

    def only_ends(self) -> Race:
        """The same race without the paths: of thousands of runs their ends, verdicts and meters, small enough to be kept.

        Tables, shares and intervals stay what they are; what needs the way of a run (`costs`, `ert`, pictures of paths, losses
        and run times) is refused.
        """
        cut = {
            label: replace(
                track,
                positions=track.positions[:, -1:],
                losses=track.losses[:, -1:],
                queries=track.queries[-1:],
                seen=track.seen[:, :0],
            )
            for label, track in self.tracks.items()
        }
        return replace(self, tracks=cut)

    def to_dataframe(self) -> Any:
        """One row per racer and run, as a pandas data frame.

        Raises:
            InputError: if pandas is not installed.
        """
        rows = []
        for label, verdict in self.verdicts.items():
            for b in range(self.runs):
                rows.append(
                    {
                        "racer": label,
                        "run": b,
                        "well": verdict.wells[b],
                        "distance": float(verdict.distance[b]),
                        "loss": float(verdict.loss[b]),
                        "gradient_norm": float(verdict.gradient_norm[b]),
                        "stopped": verdict.stopped[b],
                        "ended": verdict.ends[b],
                        "queries": int(verdict.queries[b]),
                    }
                )
        return archive.data_frame(rows)

    def plot(
        self, ax: Any = None, *, run: int | None = None, points: int = 161, others: int = 5
    ) -> PathsDisplay | CurvesDisplay:
        """Paths over the surface where it has two parameters, else loss against queries.

        The field under the paths is drawn from values evaluated for the picture alone, counted for no racer.

        Args:
            ax: matplotlib axes, or None for a new figure.
            run: which run's paths; each racer's `typical` one by default, and the picture says so.
            points: grid points per axis under the paths.
            others: further runs of each racer that are drawn faint.

        Raises:
            InputError: if there is no such run, or the race keeps only its ends.
        """
        self._whole("plot")
        return _pictures.paths(self, ax, run, points, others) if self.surface.dimension == 2 else self.plot_losses(ax)

    def motion(self, *, run: int | None = None, points: int = 161) -> Motion:
        """The paths of `plot` as they grow step by step, for `animate`; a step is one answer.

        Args:
            run: as in `plot`.
            points: grid points per axis under the paths.

        Raises:
            InputError: where the surface has not two parameters, no racer moved, or the race keeps only its ends.
        """
        self._whole("motion")
        return _pictures.motion(self, run, points)

    def plot_relief(
        self, ax: Any = None, *, run: int | None = None, points: int = 121, scale: Levels = "linear"
    ) -> ReliefDisplay:
        """The same paths over the surface in three dimensions, dashed where they run behind a slope.

        The heights are the losses themselves, unless another scale is given: a logarithm would show another shape.

        Args:
            ax: matplotlib axes with ``projection="3d"``, or None for a new figure.
            run: as in `plot`.
            points: grid points per axis of the surface.
            scale: of the heights, ``"linear"``, ``"log"`` or ``"auto"``, or levels, as in `Surface.plot`.

        Raises:
            InputError: if the surface has not two parameters, there is no such run, or the race keeps only its ends.
        """
        self._whole("plot_relief")
        return _pictures.relief(self, ax, run, points, scale)

    def plot_losses(self, ax: Any = None) -> CurvesDisplay:
        """Loss against queries: the median over runs with the band from 5 to 95 %, or the one run there is.

        For methods that may move uphill, the best so far. Where the surface has one minimum, and it is known, the loss above it.

        Raises:
            InputError: if the race keeps only its ends.
        """
        self._whole("plot_losses")
        return _pictures.losses(self, ax)

    def plot_ecdf(self, targets: Sequence[float] | None = None, ax: Any = None) -> CurvesDisplay:
        """Share of (run, target) pairs that were reached within so many queries: COCO's run-time distribution.

        Args:
            targets: losses; by default 51 heights above the lowest known minimum, log-spaced: from the median height
                of the first answers down to 1e-8 of it, and on BBOB COCO's own, from 1e2 to 1e-8.
            ax: matplotlib axes, or None for a new figure.

        Raises:
            InputError: without targets on a surface whose minimum is not known, or if the race keeps only its ends.
        """
        self._whole("plot_ecdf")
        return _pictures.run_times(self, targets, ax)

    def plot_memory(self, ax: Any = None) -> CurvesDisplay:
        """Bytes that each algorithm held between two queries, against the number of its queries."""
        return _pictures.memory(self, ax)

    def plot_surrogate(
        self, racer: str = "bayes", after: Sequence[int] = (5, 10, 20), run: int | None = None, points: int = 61
    ) -> SurrogateDisplay:
        """What Bayesian optimization believed after so many observations, beside the surface.

        Args:
            racer: its label; its track must hold every point it evaluated.
            after: numbers of observations, one row of maps each.
            run: which run; the `typical` one by default.
            points: cells per axis.

        Raises:
            InputError: if the surface has no two parameters in a box, the racer evaluated fewer points, or the race keeps only its ends.
        """
        self._whole("plot_surrogate")
        return _pictures.surrogate(self, racer, after, run, points)

    def plot_rates(self, well: str, ax: Any = None) -> BarsDisplay:
        """Share of runs that ended in a well, racer by racer, with 95 % intervals.

        Args:
            well: its name.
            ax: matplotlib axes, or None for a new figure.
        """
        return _pictures.rates(self, well, ax)

    def _whole(self, where: str) -> None:
        if any(track.cut for track in self.tracks.values()):
            raise InputError(
                f"{where} got a race that keeps only the ends of its runs; expected their paths. Take the race that only_ends was "
                "called on, or race again."
            )

    def _track(self, racer: str) -> Track:
        return self.tracks[one_of("racer in this race", racer, self.tracks)]

    def _count(self, racer: str, well: str) -> int:
        self._track(racer)
        names = [w.name for w in self.surface.wells]
        return self.verdicts[racer].wells.count(one_of(f"well of {self.surface.name}", well, names))
