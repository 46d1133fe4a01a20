"""The life of one chart: a surface, a plane, a sampler that queries, the probe that answers."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar, final

import numpy as np
import torch
from numpy.typing import NDArray

from lossatlas import _checks
from lossatlas._errors import InputError, NotApplicableError, OutputError
from lossatlas._progress import Progress
from lossatlas._versions import versions
from lossatlas.chart._chart import Chart
from lossatlas.chart._interpolate import LEAST, Interpolation, Metric
from lossatlas.chart._kept_outputs import HALF, KeptOutputs
from lossatlas.chart._rounding import Resolved
from lossatlas.chart._settings import Settings, no_outputs, settled
from lossatlas.chart.planes._cut import Cut
from lossatlas.chart.planes._identity import identity, need_plane, unrepeatable
from lossatlas.chart.planes._line import Line
from lossatlas.chart.planes._plane import Plane
from lossatlas.chart.sampling._cost import Beside, Counts, bisected
from lossatlas.chart.sampling._field_query import FieldQuery, Survey
from lossatlas.chart.sampling._floor import floor, readings
from lossatlas.chart.sampling._full import full_grid
from lossatlas.chart.sampling._grid import Grid, Span, grid
from lossatlas.chart.sampling._half import Halves
from lossatlas.chart.sampling._margins import stored
from lossatlas.chart.sampling._outputs import LIMIT
from lossatlas.chart.sampling._own import Sampler, hosted
from lossatlas.chart.sampling._pace import Pace
from lossatlas.chart.sampling._range import GROWTH, auto_range
from lossatlas.chart.sampling._survey import Surveyor
from lossatlas.probe import Answer, Forecast, Ledger, Meter, Probe, Values, chosen
from lossatlas.probe.engine import EngineLike
from lossatlas.probe.engine import engine as chosen_engine
from lossatlas.surface import Frame, Surface, need_surface

Result = TypeVar("Result")
Array = NDArray[np.float64]


def chart(
    surface: Surface,
    plane: Plane | Line | Frame,
    *,
    span: Span | Literal["auto"] = 1.0,
    points: int | tuple[int, int] = 51,
    exact: bool = False,
    tolerance: float | None = None,
    probes: int | None = None,
    subset: int | Literal["auto"] | None = "auto",
    metrics: Mapping[str, Metric] | None = None,
    sampler: Sampler | None = None,
    memory: int = LIMIT,
    growth: float = GROWTH,
    ledger: str | Path | None = None,
    seed: int = 0,
    engine: EngineLike | None = None,
    progress: bool | Callable[[int, int], None] = True,
    on_forecast: Callable[[Forecast], None] | None = None,
) -> Chart:
    """Chart a surface over a plane or line: loss[j, i] = L(origin + alpha[i]·d₁ + beta[j]·d₂).

    By default the network is evaluated at a few nodes, which are placed where the error is largest; its outputs are
    interpolated example by example, and the loss is computed from the interpolated outputs. Cells that are held out near
    the minimum and elsewhere measure the error in the metric of the picture; nodes are added until the tolerance is reached.
    Nodes of a model in float32 are evaluated under torch's autocast to bfloat16 where that is measured to be faster and
    held-out cells, which are always evaluated in full, find its error to be within 0.3 of the tolerance.
    Where the loss is no function of outputs and targets, or outputs take too much memory, the loss itself is interpolated
    on the scale of the picture. A surface without data is bisected where its field is off. Where that would take more
    than half of the full grid, every cell is evaluated. The `certificate` states the error. The origin is always
    evaluated.

    Args:
        surface: any surface.
        plane: a `Plane`, a `Line`, or a bare `Frame`.
        span: how far to go to both sides in units of the directions; (low, high) for both axes, or one such pair per
            axis; ``"auto"`` to find where the loss has grown by ``growth``.
        points: cells per axis, at least 2; or (nx, ny).
        exact: evaluate every cell.
        tolerance: 95th percentile of the relative error near the minimum (the cells below the 10th percentile of the loss
            and a neighborhood of the center), 2 % by default; 2.5 times that over the whole chart. Where losses cross zero
            it is a share of the contour spacing. Of a surface without data, or with ``subset``: the median relative
            error, 1 % by default, with an rms error of half of it as a share of the range.
        probes: cells held out to measure the error, half of them near the minimum, at least 8; by default 28, on a
            line 4, and 32 of a surface without data.
        subset: resolve the shape of the field with so many of the examples and fix its height by few exact values,
            instead of interpolating outputs; ``"auto"`` and None for outputs.
        metrics: further channels by name, each a function of (outputs, targets) of all data that returns one number;
            they are computed from the same outputs, and have an error of their own in ``certificate.extras``.
        sampler: a sampler of your own instead: a generator function of the `Grid` that yields ``Values`` of coordinates, is
            sent their ``Answer``, and returns the loss of every cell, (ny, nx). Cells that were evaluated show their own
            value; of the others ``probes`` are held out to measure the error.
        memory: bytes that outputs at nodes may take.
        growth: factor for ``span="auto"``.
        ledger: a folder that remembers every answer: the same call resumes there after a crash, evaluates only what is
            missing, and ends bit for bit as if nothing had happened.
        seed: of the held-out cells.
        engine: where it is evaluated, as `lossatlas.engine` takes it: ``"pool:8"`` for eight worker processes.
        progress: True for a bar on the error stream of a terminal, False for silence, or a function of (done, total).
        on_forecast: called once with the forecast, after the first few cells; by default it is printed above the bar.

    Returns:
        The `Chart`. Non-finite losses are kept as they are, counted and drawn as holes. If it is interrupted with
        Ctrl-C, KeyboardInterrupt passes through, and what was answered is in the ledger if there is one.

    Raises:
        InputError: for fewer than two points, a span without width, a tolerance that is not above 0, or a subset larger
            than the data.
        LossError: if no loss that was evaluated is finite.
        OutputError: if the ledger belongs to another surface or plane, by its record or by a few of its cells that are
            evaluated again first, or cannot be read or written.

    Example:
        >>> import lossatlas as la
        >>> surface = la.landscapes.himmelblau()
        >>> plane = la.Plane.random(surface, seed=0)
        >>> made = la.chart(surface, plane, points=(7, 5), exact=True, progress=False)
        >>> made.loss.shape
        (5, 7)
    """
    need_surface(surface, "chart")
    need_plane(plane, "chart")
    _checks.optional(_checks.function, "on_forecast", on_forecast, "a function of the forecast", where="chart")
    _checks.optional(_checks.path, "ledger", ledger, where="chart", error=OutputError)
    frame = plane.frame
    how = settled(
        surface,
        frame.dimension,
        span=span,
        points=points,
        exact=exact,
        tolerance=tolerance,
        probes=probes,
        subset=subset,
        metrics=metrics,
        memory=memory,
        growth=growth,
        seed=seed,
    )
    cells, cheap = how.cells, how.cheap
    if sampler is not None and (how.exact or how.metrics or cheap is not None):
        raise InputError(
            "got a sampler together with exact=True, metrics or a subset; expected one of them. A sampler says itself what is "
            "evaluated; leave the others out."
        )
    bar = Progress(cells.cells if cells else 0, progress)
    pace = Pace(
        surface.examples,
        cheap.examples if cheap else 0,
        on_forecast or (lambda expected: bar.say(expected.sentence)),
    )
    said: list[str] = []
    aside: list[str] = []
    with ExitStack() as stack:
        at_work = stack.enter_context(chosen_engine(engine))
        pace.width = torch.get_num_threads() if at_work is None else at_work.width
        evaluator = Evaluator(surface, cheap, plane, ledger, stack, pace, bar)
        stack.enter_context(bar)
        if cells is None:
            cells = grid(evaluator.drive(auto_range(frame.dimension, how.growth)), points, frame.dimension)
        resolved = Resolved.of(surface, frame, cells.axes)
        rounded = None
        if readings(surface.rounding, how.tolerance):
            rounded = floor(evaluator.losses, cells, resolved.apart)
        if sampler is not None:
            survey = evaluator.drive(hosted(sampler, cells, probes=how.probes, tolerance=how.tolerance, seed=how.seed))
        elif how.bisected and not how.exact and not how.metrics:
            evaluator.foresee(bisected(cells, how.probes), None)
            price = cheap.examples / surface.examples if cheap and surface.examples else None
            surveyor = Surveyor(
                cells,
                tolerance=how.tolerance,
                probes=how.probes,
                price=price,
                chunk=pace.size,
                planned=evaluator.plan,
                seed=how.seed,
                noise=min(rounded) if rounded else 0.0,
            )
            survey = evaluator.drive(surveyor.walk())
        elif how.exact and not how.metrics:
            evaluator.plan(cells.cells, 0)
            survey = evaluator.drive(full_grid(cells, pace.size))
        else:
            outputs, why = evaluator.outputs(how)
            if how.metrics and outputs is None:
                raise InputError(no_outputs(how.metrics, surface.name, why))

            def of(outputs: Any) -> Interpolation:
                calls: dict[str, Any] = {"chunk": pace.size, "planned": evaluator.plan, "foreseen": evaluator.foresee}
                calls["floor"] = rounded or (0.0, 0.0)
                calls["halves"] = None if outputs is None or how.exact else evaluator.halves()
                return how.interpolation(cells, outputs, evaluator.read_outputs, surface, plane, **calls)

            pace.wait()
            try:
                survey = evaluator.drive(of(outputs).everything() if how.exact else of(outputs).walk())
            except NotApplicableError as reason:
                outputs, why = None, f"losses are interpolated instead of outputs: {reason}"
                if how.metrics:
                    raise InputError(no_outputs(how.metrics, surface.name, why)) from None
                survey = evaluator.drive(of(None).walk())
            if why and not survey.certificate.exact:
                # That margins are interpolated stands in the caption anyhow.
                (aside if outputs is not None else said).append(why)
        survey = replace(survey, certificate=replace(survey.certificate, rounding=rounded))
        spent = evaluator.spent()
    settings: dict[str, Any] = {
        "span": span if isinstance(span, str) else _plain(cells),
        "points": list(reversed(cells.shape)),
    }
    if not how.exact:
        settings |= {"tolerance": how.tolerance, "probes": how.probes, "seed": how.seed}
    said += [word for word in (_flat(survey.loss), resolved.sentence if resolved.caption else "") if word]
    return _finish(surface, cheap, plane, cells, survey, spent, settings, resolved, (*evaluator.notes, *aside), said)


@final
class Evaluator:
    """Leads a sampler's queries to the surface or to the cheap field, and counts.

    Args:
        surface: the exact field.
        cheap: the cheap field, or None.
        plane: what both are sliced on.
        ledger: folder, or None.
        stack: closes the ledger.
        pace: told what each answer took.
        bar: told how many there were.
    """

    def __init__(
        self,
        surface: Surface,
        cheap: Surface | None,
        plane: Cut | Frame,
        ledger: str | Path | None,
        stack: ExitStack,
        pace: Pace,
        bar: Progress,
    ) -> None:
        fields = {"exact": surface} | ({"cheap": cheap} if cheap is not None else {})
        # Sliced first: a plane that does not fit leaves no ledger behind.
        engine = chosen()
        steady = ledger is not None or (engine is not None and engine.steady)
        slices = {name: field.on(plane, steady=True) if steady else field.on(plane) for name, field in fields.items()}
        self.ledger: Ledger | None = None
        if ledger is not None:
            what = {"surface": surface.fingerprint(), "plane": identity(plane)}
            self.ledger = stack.enter_context(Ledger.open(ledger, what, notes=surface.notes))
            if lost := unrepeatable(plane):
                self.ledger.keep(lost)
        self.probes: dict[str, Probe] = {}
        for name, field in fields.items():
            if self.ledger is None:
                self.probes[name] = Probe(slices[name])
            else:
                channel = name if name == "exact" else f"{name} {field.fingerprint()['data']}"
                self.probes[name] = Probe(slices[name], ledger=self.ledger.channel(channel))
                self.probes[name].confirm()
        self.pace, self.bar, self.slices = pace, bar, slices
        self.source: Any = None
        self.kept = None if self.ledger is None else KeptOutputs(self.ledger)

    @property
    def notes(self) -> tuple[str, ...]:
        """What must be known of what was evaluated, the shortcuts that were dropped on the way among it."""
        probe = self.probes["exact"]
        return (*probe.surface.notes, *probe.engine.notes)

    def plan(self, exact: int, cheap: int) -> None:
        """So many values will be evaluated, as far as is known."""
        self.pace.plan(exact, cheap)
        self.bar.grow(exact + cheap)

    def foresee(self, counts: Counts, more: Beside | None) -> None:
        """How many values to expect, and what so many take beside their evaluation."""
        self.pace.foresee(counts, more)

    def outputs(self, how: Settings) -> tuple[Any, str]:
        """What lies between the coordinates and the loss and can be stored at nodes, or None; and why it is not all of it."""
        exact, meter = self.slices["exact"], self.probes["exact"].meter
        before = exact.proof_examples
        self.source, why = stored(exact.own_outputs(), how.memory, 0 if how.exact else LEAST, whole=bool(how.metrics))
        meter.proof_examples += exact.proof_examples - before
        return self.source, why

    def halves(self) -> Halves | None:
        """What reads nodes in half precision, where the surface can and may gain by it."""
        kept = None if self.ledger is None else KeptOutputs(self.ledger, HALF)
        decided = None if kept is None else kept.decided()
        source = None if decided is False else self.source.halved(known=bool(decided))
        if source is None:
            return None
        read = partial(self._read, source, kept)
        if kept is None:
            return Halves(self.read_outputs, read)
        return Halves(self.read_outputs, read, decided=decided, decide=kept.decide)

    def read_outputs(self, coords: Array) -> list[torch.Tensor]:
        """Outputs by batch at coordinates (P, k), those that the ledger kept among them."""
        return self._read(self.source, self.kept, coords)

    def losses(self, coords: Array) -> Array:
        """Losses at coordinates (P, k) beside those that the sampler queries."""
        return self.probes["exact"].evaluate(Values(torch.from_numpy(coords))).values.cpu().numpy()

    def _read(self, source: Any, kept: KeptOutputs | None, coords: Array) -> list[torch.Tensor]:
        probe = self.probes["exact"]
        begin, known = self._clock(probe), probe.meter.recalled
        found = probe.outputs(source, coords) if kept is None else kept.read(probe, source, coords)
        recalled = probe.meter.recalled - known
        self.pace.note("exact", len(coords) - recalled, self._clock(probe) - begin, recalled)
        self.bar.advance(len(coords))
        return found

    def drive(self, walk: Generator[FieldQuery, Answer, Result]) -> Result:
        """Run a sampler to its end."""
        try:
            wanted = next(walk)
            while True:
                probe = self.probes[wanted.to]
                before, known = self._clock(probe), probe.meter.recalled
                answer = probe.evaluate(wanted.query)
                known = probe.meter.recalled - known
                self.pace.note(wanted.to, len(wanted.query.points) - known, self._clock(probe) - before, known)
                self.bar.advance(len(wanted.query.points))
                wanted = walk.send(answer)
        except StopIteration as finished:
            result: Result = finished.value
            return result

    def _clock(self, probe: Probe) -> float:
        """Seconds so far; those that workers need to start say nothing of those to come."""
        return probe.engine.clock_seconds if probe.engine.workers else probe.meter.surface_seconds

    def spent(self) -> dict[str, Any]:
        """What was evaluated of both fields together and of each, what was expected of it, and what the ledger knew."""
        meters = {name: probe.meter for name, probe in self.probes.items()}
        return {
            "meter": sum(meters.values(), Meter()),
            "meters": meters,
            "forecast_seconds": self.pace.forecast.seconds if self.pace.forecast else None,
            "ledger": self.ledger.record() if self.ledger is not None else None,
        }


def _plain(cells: Grid) -> list[list[float]]:
    return [[float(axis[0]), float(axis[-1])] for axis in cells.axes]


def _finish(
    surface: Surface,
    cheap: Surface | None,
    plane: Plane | Line | Frame,
    cells: Grid,
    survey: Survey,
    spent: dict[str, Any],
    settings: dict[str, Any],
    resolved: Resolved,
    told: tuple[str, ...],
    said: Sequence[str],
) -> Chart:
    labels = plane.labels if isinstance(plane, Plane | Line) else ("α", "β")[: cells.dimension]
    made = {"kind": plane.kind, **plane.how} if isinstance(plane, Plane | Line) else {"kind": "frame"}
    provenance = {
        "surface": surface.fingerprint(),
        "cheap": cheap.fingerprint() if cheap is not None and len(survey.cheaply) else None,
        "plane": made,
        "sampler": survey.sampler,
        "settings": settings,
        "resolved": resolved.record(),
        "notes": [*told, *said, *getattr(plane, "notes", ()), *(spent["ledger"] or {}).get("notes", ())],
        "captions": [*(note for note in told if note in surface.captions), *said],
        "asides": [note for note in told if note not in surface.captions],
        "versions": versions(),
        "threads": torch.get_num_threads(),
    }
    return Chart(
        cells.axes[0],
        cells.axes[1] if cells.dimension == 2 else np.zeros(1),
        survey.loss,
        survey.extras,
        tuple(labels),
        surface.name,
        survey.certificate,
        provenance=provenance,
        exactly=survey.exactly,
        error=survey.error,
        samples=survey.samples,
        held_out=survey.held_out,
        cheaply=survey.cheaply,
        source=(surface, plane),
        **spent,
    )


def _flat(loss: Array) -> str:
    """A sentence where every cell has the same loss."""
    finite = loss[np.isfinite(loss)]
    if loss.size < 2 or len(finite) < loss.size or float(np.ptp(finite)) > 0:
        return ""
    return (
        f"every cell has the same loss, {finite[0]:.6g}: the directions do not move the loss, as where they change only "
        "parameters that the loss does not use, the network is dead, or the span is too small for the type of its numbers"
    )
