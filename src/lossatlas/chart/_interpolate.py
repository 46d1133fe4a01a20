"""The default chart: outputs at nodes that are placed by error, the loss computed from what lies between them.

Where the loss is no function of outputs and targets, or outputs take too much memory, the loss itself is interpolated on
the scale of the picture. Either way cells are held out near the minimum and elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lossatlas._errors import InputError, LossError
from lossatlas.chart.sampling._adaptive import ROUNDED, OutputSampler
from lossatlas.chart.sampling._certificate import Certificate, breadth, of_strata
from lossatlas.chart.sampling._cost import Beside, Counts, exactly
from lossatlas.chart.sampling._field_query import FieldQuery, Survey, SurveyWalk
from lossatlas.chart.sampling._grid import Grid
from lossatlas.chart.sampling._half import Halves, TooCoarseError
from lossatlas.chart.sampling._look import Reconstruction
from lossatlas.chart.sampling._margins import Margins
from lossatlas.chart.sampling._metric import LEVELS
from lossatlas.chart.sampling._outputs import Losses, node_bytes, nodes_within, width
from lossatlas.chart.sampling._rates import foreseen, live
from lossatlas.probe import Answer, Values

Array = NDArray[np.float64]
Metric = Callable[[Any, Any], Any]

# Seconds of a look at the nodes below which a chart is done before its forecast is read.
SHORT = 0.1
# No more cells than this, on a line and on a plane, are all evaluated: nodes and held-out cells would come to as many.
FEW = (0, 40, 144)
# Nodes that a chart needs at least, and at most: beyond that their splines take longer than most networks.
LEAST, MOST = 64, 600
# A chart that misses its tolerance is evaluated whole if that takes no more than so many times what was evaluated.
WHOLE = 6
# Losses whose values have 0 as their lower bound.
NEVER_NEGATIVE = (
    "cross_entropy",
    "mse",
    "l1",
    "huber",
    "smooth_l1_loss",
    "CrossEntropyLoss",
    "MSELoss",
    "L1Loss",
    "HuberLoss",
)


@final
class Interpolation:
    """The sampler of a chart that is not exact.

    Args:
        grid: the cells.
        outputs: what is interpolated (outputs, or what the loss needs of them), or None where the loss itself is.
        read: outputs by batch at coordinates (P, k), counted and remembered.
        loss: name of the loss.
        tolerance: 95th percentile of the error near the minimum.
        held: held-out cells of each stratum, or None.
        centers: coordinates to look at closely.
        memory: bytes for outputs at nodes.
        metrics: further channels by name, each a function of (outputs, targets) over all data.
        chunk: how many losses to evaluate at a time.
        planned: told how many evaluations are planned so far.
        foreseen: told, after the first round, how many to expect, and seconds by part beside evaluations for so many.
        seed: of the held-out cells.
        halves: reads nodes in half precision where that is worth it; None to read all in full.
        floor: errors that rounding alone makes, near the center and away from it: nodes are not added to get below them.
    """

    def __init__(
        self,
        grid: Grid,
        outputs: Any,
        read: Callable[[Array], list[Tensor]],
        *,
        loss: str,
        tolerance: float,
        held: int | None,
        centers: Array | None,
        memory: int,
        metrics: Mapping[str, Metric],
        chunk: Callable[[str], int],
        planned: Callable[[int, int], None],
        foreseen: Callable[[Counts, Beside | None], None],
        seed: int,
        halves: Halves | None = None,
        floor: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        self.grid, self.read, self.loss, self.tolerance, self.held = grid, read, loss, tolerance, held
        self.centers, self.memory, self.metrics = centers, memory, metrics
        self.chunk, self.planned, self.foreseen, self.seed = chunk, planned, foreseen, seed
        self.outputs, self.halves, self.floor = outputs, halves, floor
        self._seen: dict[bytes, tuple[float, dict[str, float]]] = {}
        self._foreseen = False

    def walk(self) -> SurveyWalk:
        """The sampler."""
        if self.grid.cells <= FEW[self.grid.dimension]:
            few: Survey = yield from self.everything("full grid, since it has few cells")
            return few
        if self.outputs is not None:
            sampler = self._sampler(self.outputs)
            try:
                found = self._of_outputs(sampler)
            except TooCoarseError:
                sampler = self._sampler(self.outputs)
                found = self._of_outputs(sampler)
            how = "margins of labels interpolated" if isinstance(self.outputs, Margins) else "outputs interpolated"
        else:
            found = yield from self._of_losses()
            how = "losses interpolated"
        if found is None or (found.reason and not found.certificate.reached and self._could_be_whole(found)):
            whole: Survey = yield from self.everything("full grid, since the field is too rough for fewer cells")
            return whole
        for key, (value, further) in self._seen.items():
            # What was evaluated is shown as it is, not as it comes back from the scale of the picture.
            cell = int(self.grid.cell(np.frombuffer(key, dtype=np.float64)[None])[0])
            if cell >= 0:
                found.loss.flat[cell] = value
                for name, number in further.items():
                    found.extras[name].flat[cell] = number
        extras = found.extras
        channels = dict(found.certificate.channels)
        if self.metrics:
            extras, more = self._measured(sampler, found)
            channels |= more
        certificate = of_strata(found, breadth(found.loss), channels)
        rounded = f", {found.rounded:,} of them in half precision" if found.rounded else ""
        return Survey(
            found.loss,
            extras,
            found.exactly,
            found.error,
            certificate,
            found.samples,
            np.zeros((0, self.grid.dimension)),
            f"{how} between {len(found.samples):,} evaluated points{rounded}"
            + (f" ({found.reason})" if found.reason else ""),
            found.doubtful,
            found.held_out,
        )

    def _could_be_whole(self, found: Reconstruction) -> bool:
        # More evaluations are rounded as these are.
        return found.reason != ROUNDED and self.grid.cells <= WHOLE * len(found.samples)

    def _sampler(self, scorer: Any) -> OutputSampler:
        sampler = OutputSampler(
            self.grid,
            scorer,
            tolerance=self.tolerance,
            centers=self.centers,
            held=self.held,
            limit=self.memory,
            seed=self.seed,
        )
        sampler.room, sampler.floor = min(sampler.room, MOST), self.floor
        return sampler

    def _of_outputs(self, sampler: OutputSampler) -> Reconstruction:
        walk = sampler.walk()
        coords, done, look = next(walk), 0, 0.0
        while True:
            done += len(coords)
            self.planned(done, 0)
            outputs = self.read(coords) if self.halves is None else self.halves.read(sampler, coords)
            if look:
                self._foresee(sampler, look, outputs[0])
            begin = time.perf_counter()
            try:
                coords = walk.send(outputs)
            except StopIteration as finished:
                result: Reconstruction = finished.value
                return result
            look = time.perf_counter() - begin

    def _foresee(self, sampler: OutputSampler, look: float, outputs: Tensor | None) -> None:
        """Once: how many evaluations to expect, and what they take beside themselves, after a look of so many seconds."""
        if self._foreseen:
            return
        self._foreseen = True
        # Of short work a forecast need not know what the fill takes: timing it would take as long.
        rates = live(0.0, look, sampler, outputs if look > SHORT else None)
        counts, beside = foreseen(self.grid, sampler, rates, self.tolerance, whole=WHOLE)
        self.foreseen(counts, beside)

    def _of_losses(self) -> Any:
        """Interpolate losses; begin anew on another scale where one of them lies below what was taken for their bound."""
        bound: float | None = 0.0
        while True:
            probe = self._sampler(Losses(0.0, 1.0))
            rows = yield from self._query(probe.first())
            finite = rows[0][np.isfinite(rows[0])]
            away = (probe.first() != 0).any(1)
            if not np.isfinite(rows[0][away]).any():
                raise LossError(
                    f"none of the first {away.sum()} losses, the center aside, is finite; expected some that are. The network "
                    "overflows there: take a smaller span, or chart it exactly to see where."
                )
            span = float(np.ptp(finite)) or abs(float(finite[0])) or 1.0
            known = self.loss in NEVER_NEGATIVE
            if bound is not None and finite.min() <= 0 and not (known and finite.min() == 0):
                bound = None
            unit = 1e-6 * span if bound is not None else span / LEVELS
            scorer = Losses(bound, unit, tuple(sorted(rows[1])))
            scorer_walk = (sampler := self._sampler(scorer)).walk()
            coords, look = next(scorer_walk), 0.0
            while True:
                losses, extras = yield from self._query(coords)
                if look:
                    self._foresee(sampler, look, None)
                low = losses[np.isfinite(losses)]
                if bound is not None and not known and len(low) and low.min() <= 0:
                    bound = None
                    break
                channels = {name: torch.from_numpy(values) for name, values in extras.items()}
                begin = time.perf_counter()
                try:
                    coords = scorer_walk.send(scorer.outputs(torch.from_numpy(losses), channels))
                except StopIteration as finished:
                    return finished.value
                look = time.perf_counter() - begin
            del sampler

    def _query(self, coords: Array) -> Any:
        """Losses and channels at coordinates, each evaluated once."""
        keys = [row.tobytes() for row in np.ascontiguousarray(coords)]
        fresh = np.array([k for k, key in enumerate(keys) if key not in self._seen], dtype=np.int64)
        done = 0
        self.planned(len(self._seen) + len(fresh), 0)
        while done < len(fresh):
            part = fresh[done : done + max(1, self.chunk("exact"))]
            answer: Answer = yield FieldQuery("exact", Values(torch.from_numpy(np.ascontiguousarray(coords[part]))))
            names = {name: channel.cpu().numpy() for name, channel in answer.extras.items()}
            for row, k in enumerate(part):
                self._seen[keys[k]] = (
                    float(answer.values[row]),
                    {name: float(channel[row]) for name, channel in names.items()},
                )
            done += len(part)
        rows = [self._seen[key] for key in keys]
        extras = {name: np.array([row[1][name] for row in rows]) for name in (rows[0][1] if rows else {})}
        return np.array([row[0] for row in rows]), extras

    def everything(self, why: str = "full grid") -> SurveyWalk:
        """Every cell, with the metrics."""
        if not self._foreseen:
            self._foreseen = True
            self.foreseen(exactly(self.grid.cells), None)
        coords = self.grid.coords()
        if self.metrics:
            loss, extras = self._exact_with_metrics(coords)
        else:
            loss, extras = yield from self._query(coords)
        channels = {name: values.reshape(self.grid.shape) for name, values in extras.items()}
        loss = loss.reshape(self.grid.shape)
        none = np.zeros((0, self.grid.dimension))
        everywhere = np.ones(self.grid.shape, dtype=bool)
        certificate = Certificate(range=breadth(loss))
        return Survey(
            loss, channels, everywhere, np.zeros(self.grid.shape), certificate, coords, none, why, held_out=none
        )

    def _exact_with_metrics(self, coords: Array) -> tuple[Array, dict[str, Array]]:
        from lossatlas.chart.sampling._fill import Filler

        filler, losses = Filler(self.outputs, self.memory), np.empty(len(coords))
        extras: dict[str, Array] = {name: np.empty(len(coords)) for name in self.metrics}
        step = max(1, min(64, nodes_within(self.outputs.shapes, self.memory, width(self.outputs))))
        self.planned(len(coords), 0)
        for begin in range(0, len(coords), step):
            rows = slice(begin, begin + step)
            outputs = self.read(coords[rows])
            losses[rows], channels = filler.losses(None, filler.prepare(outputs))
            for name, values in channels.items():
                extras.setdefault(name, np.empty(len(coords)))[rows] = values
            for name, values in self._metrics_of(outputs).items():
                extras[name][rows] = values
        return losses, extras

    def _measured(
        self, sampler: OutputSampler, found: Reconstruction
    ) -> tuple[dict[str, Array], dict[str, tuple[float, float]]]:
        """The user's metrics on all cells, and how far held-out cells say that they are off."""
        nodes, spline, outputs = sampler.interpolant()
        points = sampler.units(self.grid.coords())
        extras = dict(found.extras) | {name: np.empty(self.grid.cells) for name in self.metrics}
        step = max(1, self.memory // (4 * max(1, node_bytes(self.outputs.shapes, width(self.outputs)))))
        for begin in range(0, self.grid.cells, step):
            rows = slice(begin, begin + step)
            weights = spline.weights(points[rows])
            for name, values in self._metrics_of(_between(weights, outputs)).items():
                extras[name][rows] = values
        own = self._metrics_of(outputs)
        held = np.flatnonzero(np.isin(nodes, sampler.drawn))
        left = self._metrics_of(_between(spline.omitted[held], outputs)) if len(held) else {}
        cell = self.grid.cell(sampler.coords[nodes])
        channels = {}
        for name in self.metrics:
            extras[name][cell[cell >= 0]] = own[name][cell >= 0]
            extras[name] = extras[name].reshape(self.grid.shape)
            off = np.abs(left[name] - own[name][held]) if len(held) else np.array([np.nan])
            channels[name] = (float(np.quantile(off, 0.95)), float(off.max()))
        return extras, channels

    def _metrics_of(self, outputs: list[Tensor]) -> dict[str, Array]:
        """Each metric at each point, from outputs by batch (P, n_b, …)."""
        targets = self.outputs.compared
        whole = len(outputs) == 1 or all(part.shape[2:] == outputs[0].shape[2:] for part in outputs)
        if not whole or not all(isinstance(target, Tensor) for target in targets):
            raise InputError(
                "metrics are computed on the outputs and targets of all data, and the batches have outputs of different shapes; "
                "expected one shape per example. Pad the data, or leave metrics out."
            )
        joined, target = torch.cat(outputs, 1), torch.cat(targets)
        return {name: np.array([_number(name, f, row, target) for row in joined]) for name, f in self.metrics.items()}


def _number(name: str, metric: Metric, outputs: Tensor, target: Tensor) -> float:
    try:
        found = metric(outputs, target)
    except Exception as error:
        raise InputError(
            f"the metric {name!r} raised {type(error).__name__}: {error} on outputs of shape {tuple(outputs.shape)} and targets of "
            f"shape {tuple(target.shape)}; expected a function of (outputs, targets) over all data that returns one number."
        ) from error
    if isinstance(found, Tensor):
        found = found.detach().cpu().numpy()
    number = found.item() if isinstance(found, np.ndarray | np.generic) and found.size == 1 else found
    if isinstance(number, bool) or not isinstance(number, int | float):
        what = f"a {type(found).__name__}" + (f" of shape {tuple(found.shape)}" if hasattr(found, "shape") else "")
        raise InputError(
            f"the metric {name!r} returned {what}; expected one number over all data, for example its mean."
        )
    return float(number)


def _between(weights: Array, outputs: list[Tensor]) -> list[Tensor]:
    found = []
    for part in outputs:
        matrix = torch.from_numpy(weights).to(part.device, part.dtype)
        found.append((matrix @ part.flatten(1)).reshape(len(matrix), *part.shape[1:]))
    return found
