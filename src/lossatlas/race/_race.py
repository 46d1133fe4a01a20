"""The result of a race: arrays, meters and verdicts, with the tables and pictures made from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from lossatlas import archive
from lossatlas._errors import InputError, UnknownNameError
from lossatlas.optimize import Optimizer, Posterior
from lossatlas.probe import Meter
from lossatlas.race._field import field_under
from lossatlas.race._statistics import ert, wilson
from lossatlas.race._table import Table
from lossatlas.race._verdict import Verdict
from lossatlas.surface import Surface

if TYPE_CHECKING:
    from lossatlas.draw import BarsDisplay, CurvesDisplay, PathsDisplay, SurrogateDisplay

KIND = "race"


@dataclass(frozen=True, eq=False)
class Track:
    """What one racer left behind.

    Attributes:
        optimizer: as it ran.
        positions: (runs, T + 1, N) where it stood before each answer and at the end.
        losses: (runs, T + 1) there; NaN where it never learned the loss.
        last: (runs, N) where it stood at the end.
        final: (runs, N) its result: where it stood, or the best point asked about for methods that wander.
        loss: (runs,) L at the final points.
        meter: what it was billed.
        stopped: why each run stopped.
        asked: (T + 1,) queries per run by the time the loss at each position was known.
        seen: (runs, Q) the loss that each billed query brought, in the order asked; infinity where there was none,
            NaN where the run asked nothing.
        memory: (queries, bytes per run) held between two queries, sampled along the way.
    """

    optimizer: Optimizer
    positions: Tensor
    losses: Tensor
    last: Tensor
    final: Tensor
    loss: Tensor
    meter: Meter
    stopped: tuple[str, ...]
    asked: np.ndarray
    seen: Tensor
    memory: tuple[tuple[int, float], ...]

    def first_below(self, target: float) -> Tensor:
        """Queries that each run was billed until one brought a loss of at most `target`, (runs,); infinity if none did."""
        billed = (~self.seen.isnan()).cumsum(1).double()
        return (
            torch.where(self.seen <= target, billed, float("inf")).amin(1)
            if self.seen.shape[1]
            else billed.new_full((len(self.seen),), float("inf"))
        )

    @property
    def growth(self) -> float:
        """Bytes of memory per query and run over the second half of the race, by least squares."""
        half = self.memory[len(self.memory) // 2 :]
        if len(half) < 2:
            return 0.0
        x, y = np.array(half, dtype=np.float64).T
        return float(np.polyfit(x, y, 1)[0]) if np.ptp(x) and np.ptp(y) else 0.0


@dataclass(frozen=True, eq=False)
class Race:
    """Many optimizers on one surface.

    Attributes:
        surface: what was raced on.
        tracks: the record of each racer by its label.
        verdicts: how each racer's runs ended; ``verdicts["gd"].sentence`` says it in words.
        steps: answers per descent.
        seed: of all randomness.
        referee: what the referee asked for the verdicts, billed to no racer.
    """

    surface: Surface
    tracks: dict[str, Track]
    verdicts: dict[str, Verdict]
    steps: int
    seed: int
    referee: Meter

    @property
    def runs(self) -> int:
        """Runs per racer."""
        return len(next(iter(self.tracks.values())).final)

    @property
    def meter(self) -> dict[str, Meter]:
        """What each racer was billed, over all its runs."""
        return {label: track.meter for label, track in self.tracks.items()}

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
        """The surface, the settings of every racer, steps and seed."""
        return {
            "surface": self.surface.fingerprint(),
            "racers": {
                label: {"name": track.optimizer.name, **track.optimizer.settings()}
                for label, track in self.tracks.items()
            },
            "steps": self.steps,
            "runs": self.runs,
            "seed": self.seed,
        }

    def final(self, racer: str) -> Tensor:
        """Where a racer ended, (runs, N): its last point, or for methods that wander (annealing, restarts) the best.

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
        """Wilson's interval for that share."""
        return wilson(self._count(racer, well), self.runs, confidence)

    def table(self) -> Table:
        """One row per racer: where it ended, what it asked, what it took. Renders in terminals and notebooks."""
        wells = [well.name for well in self.surface.wells]
        columns = [
            "racer",
            *(("ended in",) if wells else ()),
            *(("global, 95 %",) if "global" in wells and self.runs > 1 else ()),
        ]
        columns += ["loss", "|gradient|", "values", "gradients", "surface s", "algorithm s", "stopped"]
        rows = [self._row(label, columns) for label in self.tracks]
        title = f"{self.surface.name}: {self.runs:,} run{'s' if self.runs > 1 else ''} each, seed {self.seed}"
        return Table(title, columns, rows)

    def accounting(self) -> Table:
        """What each racer asked at each step and in all, what it remembered, and what it took: all measured.

        A step is one answer. Bytes are those that the algorithm held between its last two queries, per run; the slope
        is their growth per query over the second half.
        """
        columns = ["racer", "per step", "values", "gradients", "products", "examples", "holds", "bytes per query"]
        columns += ["surface s", "algorithm s", "becomes"]
        rows = []
        for label, track in self._ran().items():
            meter, answers = track.meter, max(1, track.meter.calls * self.runs)
            kinds = {"value": meter.values, "gradient": meter.gradients, "product": meter.products}
            each = ", ".join(f"{n / answers:.3g} {kind}{'s' if n > answers else ''}" for kind, n in kinds.items() if n)
            held = f"{track.memory[-1][1]:,.0f} B" if track.memory else "–"
            rows.append(
                [
                    label,
                    each,
                    f"{meter.values:,}",
                    f"{meter.gradients:,}",
                    f"{meter.products:,}",
                    f"{meter.examples:,}",
                    held,
                    f"{track.growth:.3g}",
                    f"{meter.surface_seconds:.3f}",
                    f"{meter.algorithm_seconds:.3f}",
                    track.optimizer.becomes(self.surface.layout) or "",
                ]
            )
        title = f"What each asked and remembered on {self.surface.name}, {self.runs:,} run{'s' * (self.runs > 1)} each"
        return Table(title, columns, rows)

    def costs(self, racer: str, target: float) -> Tensor:
        """Queries of each run until it had met a loss of at most `target`, (runs,); infinity where it never did."""
        return self._track(racer).first_below(target)

    def ert(self, racer: str, target: float) -> float:
        """Expected running time to a target as COCO defines it: queries spent before it by all runs / runs that reached it.

        Infinity if none did. Source: Hansen et al. 2021, section 5.
        """
        costs = self.costs(racer, target)
        return ert(costs.tolist(), self._track(racer).meter.per_run.tolist())

    def to_dataframe(self) -> Any:
        """One row per racer and run, as a pandas data frame.

        Raises:
            InputError: if pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise InputError("to_dataframe needs pandas, which is not installed: pip install pandas.") from error
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
        return pandas.DataFrame(rows)

    def plot(self, ax: Any = None, *, run: int = 0, points: int = 161) -> PathsDisplay | CurvesDisplay:
        """Paths over the surface where it has two parameters, else loss against queries.

        The field under the paths is drawn from values asked for the picture alone, billed to no racer.

        Args:
            ax: matplotlib axes, or None for a new figure.
            run: which run's paths.
            points: grid points per axis under the paths.
        """
        if self.surface.dimension != 2:
            return self.plot_losses(ax)
        from lossatlas.draw import PathsDisplay

        whole = {label: track.positions[run].cpu().numpy() for label, track in self._ran().items()}
        finals = {label: tuple(track.final[run].tolist()) for label, track in self._ran().items()}
        paths = {
            label: np.split(path, self.tracks[label].optimizer.breaks(len(path) - 1)) for label, path in whole.items()
        }
        return PathsDisplay(field_under(self.surface, whole, points), paths, finals=finals).plot(ax)

    def plot_losses(self, ax: Any = None) -> CurvesDisplay:
        """Loss against queries: the median over runs with the band from 5 to 95 %, or the one run there is."""
        from lossatlas.draw import CurvesDisplay

        curves: dict[str, tuple[np.ndarray, ...]] = {}
        for label, track in self._ran().items():
            losses, queries = track.losses.cpu().numpy(), track.asked
            if track.optimizer.wanders:
                losses = np.fmin.accumulate(track.seen.cpu().numpy(), axis=1)
                queries = np.arange(1, losses.shape[1] + 1)
            if self.runs == 1:
                curves[label] = (queries, losses[0])
            else:
                low, middle, high = np.nanquantile(losses, [0.05, 0.5, 0.95], axis=0)
                curves[label] = (queries, middle, low, high)
        what = "loss" if self.runs == 1 else f"loss, median and 5–95 % of {self.runs:,} runs"
        return CurvesDisplay(curves, xlabel="queries", ylabel=what, title=self.surface.name).plot(ax)

    def plot_surrogate(
        self, racer: str = "bayes", after: Sequence[int] = (5, 10, 20), run: int = 0, points: int = 61
    ) -> SurrogateDisplay:
        """What Bayesian optimization believed after so many observations, beside the surface.

        Args:
            racer: its label; its track must hold every point it asked about.
            after: numbers of observations, one row of maps each.
            run: which run.
            points: cells per axis.

        Raises:
            InputError: if the surface has no two parameters in a box, or the racer asked for fewer points.
        """
        from lossatlas.draw import SurrogateDisplay

        track = self._track(racer)
        count = track.positions.shape[1] - 1
        fits = [n for n in after if 2 <= n <= count]
        if self.surface.dimension != 2 or self.surface.box is None or track.optimizer.name != "bayes" or not fits:
            raise InputError(
                f"got racer {racer!r} ({track.optimizer.name}) on {self.surface.name} with {count} observations; expected "
                f"Bayesian optimization on two parameters in a box, with at least {min(after)} observations."
            )
        field = field_under(self.surface, {}, points)
        mesh = np.stack(np.meshgrid(field.x, field.y), -1).reshape(-1, 2)
        asked, values = track.positions[run].cpu().numpy(), track.losses[run].cpu().numpy()
        stages = []
        for n in fits:
            posterior = Posterior(asked[:n], values[:n], self.surface.box.cpu().numpy())
            mean, deviation = posterior.predict(mesh)
            stages.append((n, mean.reshape(points, points), deviation.reshape(points, points), asked[:n]))
        title = f"What {track.optimizer.title} believes of {self.surface.name}"
        return SurrogateDisplay(field.x, field.y, field.z, stages, title=title).plot()

    def plot_rates(self, well: str, ax: Any = None) -> BarsDisplay:
        """Share of runs that ended in a well, racer by racer, with 95 % intervals.

        Args:
            well: its name.
            ax: matplotlib axes, or None for a new figure.
        """
        from lossatlas.draw import BarsDisplay

        labels = list(self._ran())
        rates = [self.rate(label, well) for label in labels]
        low, high = zip(*(self.interval(label, well) for label in labels), strict=True)
        xlabel = f"share of {self.runs:,} runs that ended in {well}, 95 % interval"
        return BarsDisplay(labels, np.array(rates), np.array(low), np.array(high), xlabel=xlabel).plot(ax)

    def record(self) -> dict[str, Any]:
        """Everything but the trajectories, as plain JSON values."""
        wells = [well.name for well in self.surface.wells]
        racers = {}
        for label, verdict in self.verdicts.items():
            track = self.tracks[label]
            racers[label] = {
                "title": track.optimizer.title,
                "settings": track.optimizer.settings(),
                "becomes": track.optimizer.becomes(self.surface.layout),
                "sentence": verdict.sentence,
                "wells": list(verdict.wells),
                "rates": {w: [self.rate(label, w), *self.interval(label, w)] for w in wells},
                "final": track.final.tolist() if self.surface.dimension <= 64 else None,
                "loss": verdict.loss.tolist(),
                "gradient_norm": verdict.gradient_norm.tolist(),
                "distance": verdict.distance.tolist(),
                "stopped": list(verdict.stopped),
                "ends": list(verdict.ends),
                "queries": verdict.queries.tolist(),
                "meter": track.meter.record(),
            }
        known = [{"name": w.name, "minimum": w.minimum.tolist(), "value": w.value} for w in self.surface.wells]
        return {"provenance": self.provenance, "wells": known, "racers": racers, "referee": self.referee.record()}

    def save(self, folder: str | Path) -> Path:
        """Write the race into a folder: `race.json` and `race.safetensors`, atomically.

        Raises:
            OutputError: if the folder cannot be written; nothing is then half-written.
        """
        arrays = {}
        for label, track in self.tracks.items():
            arrays[f"{label}/positions"] = track.positions.cpu().numpy()
            arrays[f"{label}/losses"] = track.losses.cpu().numpy()
        return archive.save(folder, KIND, arrays, self.record())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def _track(self, racer: str) -> Track:
        if racer not in self.tracks:
            raise UnknownNameError("racer in this race", racer, self.tracks)
        return self.tracks[racer]

    def _ran(self) -> dict[str, Track]:
        return {label: track for label, track in self.tracks.items() if track.stopped[0] != "not applicable"}

    def _count(self, racer: str, well: str) -> int:
        self._track(racer)
        names = [w.name for w in self.surface.wells]
        if well not in names:
            raise UnknownNameError(f"well of {self.surface.name}", well, names)
        return self.verdicts[racer].wells.count(well)

    def _row(self, label: str, columns: list[str]) -> list[str]:
        verdict, meter = self.verdicts[label], self.tracks[label].meter
        cells = {
            "racer": label,
            "ended in": self._where(verdict),
            "loss": _number(float(verdict.loss.nanmedian())) + (" (median)" if self.runs > 1 else ""),
            "|gradient|": _number(float(verdict.gradient_norm.nanmedian())),
            "values": f"{meter.values:,}",
            "gradients": f"{meter.gradients:,}",
            "surface s": f"{meter.surface_seconds:.3f}",
            "algorithm s": f"{meter.algorithm_seconds:.3f}",
            "stopped": ", ".join(sorted(set(verdict.stopped))),
        }
        if "global, 95 %" in columns:
            low, high = self.interval(label, "global")
            cells["global, 95 %"] = f"{self.rate(label, 'global'):.1%} ({low:.1%}–{high:.1%})"
        return [cells[column] for column in columns]

    def _where(self, verdict: Verdict) -> str:
        counts: dict[str, int] = {}
        for well in verdict.wells:
            counts[well or "none"] = counts.get(well or "none", 0) + 1
        if self.runs == 1:
            return next(iter(counts))
        shares = sorted(counts.items(), key=lambda item: -item[1])
        return ", ".join(f"{name} {count / self.runs:.0%}" for name, count in shares[:3])


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4g}"
