"""What a chart will take, said before it is made: evaluations, examples, seconds and bytes, its card included."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any, Literal, final

import numpy as np
import torch
from numpy.typing import NDArray

from lossatlas import _checks
from lossatlas._errors import InputError, NotApplicableError, OutputError
from lossatlas.chart import _sizes as sizes
from lossatlas.chart._interpolate import FEW, LEAST, MOST, WHOLE, Metric
from lossatlas.chart._make_volume import volume_forecast
from lossatlas.chart._settings import Settings, no_outputs, settled
from lossatlas.chart.card._maker import SEEDS, VECTORS
from lossatlas.chart.card._price import Price
from lossatlas.chart.card._prices import prices
from lossatlas.chart.planes._identity import centers, need_plane
from lossatlas.chart.planes._line import Line
from lossatlas.chart.planes._plane import Plane
from lossatlas.chart.planes._space import Space
from lossatlas.chart.sampling._adaptive import OutputSampler
from lossatlas.chart.sampling._cost import Beside, Counts, Rates, bisected, exactly
from lossatlas.chart.sampling._floor import readings
from lossatlas.chart.sampling._grid import Grid, Span, grid
from lossatlas.chart.sampling._margins import stored
from lossatlas.chart.sampling._outputs import LIMIT, Losses, node_bytes, nodes_within
from lossatlas.chart.sampling._pace import CHOOSING, CHUNK_SECONDS, SLOW
from lossatlas.chart.sampling._pace import FEW as SOME
from lossatlas.chart.sampling._range import DOUBLINGS, GROWTH, HALVINGS
from lossatlas.chart.sampling._rates import Clock, algebra_rate, fill_rates, foreseen
from lossatlas.chart.streamed import StreamedSurface
from lossatlas.probe import Forecast, Inline, Probe, Products, Values, chosen
from lossatlas.surface import Frame, NetworkSurface, Surface, need_surface

Array = NDArray[np.float64]

# Below so many seconds an evaluation is timed among many, as it will be done; there is time for it.
QUICK, MANY, REPEATED = 0.004, 64, 3
# Doublings of a span that is looked for, in the mean.
USUAL_DOUBLINGS = 4
# Seconds beside all that is timed: digests of the data and the record; of bisected cells; of a card's lines; and of a
# ledger that is opened, and of each round of outputs that is kept in it until it is on the disk.
BESIDE, BISECTION, CARD, OPENED, KEPT = 0.005, 0.01, 0.08, 0.05, 0.015
# Examples of the chart that says how many evaluations to expect: at least and at most, an eighth of all in between; fewer
# than so many examples are not tried on a part. A mean of fewer examples is rougher: charts of k of n took (n/k)^0.1 times
# as many nodes (residual and plain networks, perceptrons, transformers; k from 64 to 256, n from 400 to 2,400).
TRIED, SMALL, ROUGHER = (64, 128), 400, 0.1


def forecast(
    surface: Surface,
    plane: Plane | Line | Space | Frame,
    *,
    span: Span | Literal["auto"] = 1.0,
    points: int | Sequence[int] = 51,
    exact: bool = False,
    tolerance: float | None = None,
    probes: int | None = None,
    subset: int | Literal["auto"] | None = "auto",
    metrics: Mapping[str, Metric] | None = None,
    memory: int = LIMIT,
    growth: float = GROWTH,
    ledger: str | Path | None = None,
    seed: int = 0,
    progress: bool | Callable[[int, int], None] = True,
    on_forecast: Callable[[Forecast], None] | None = None,
    card: bool = False,
    pictures: bool = False,
) -> Forecast:
    """What `chart` with the same settings will take, before anything of it is evaluated.

    A few points of the plane are evaluated and timed, and forgotten (`measured_on` says how many), and so are a round of
    the sampler on a made-up field and a small part of the fill. Nothing is written. Where the number of evaluations is
    decided on the way, the same chart of 64 to 128 of the examples says how many to expect; where there are fewer than
    400 of them it is what charts took in the mean. `evaluations_within` holds the fewest and most.

    Args:
        surface: what will be charted.
        plane: on what; on a `Space` it is the forecast of `volume`, of which span, points and ledger count.
        span: as in `chart`; a span that is yet to be found is not looked for.
        points: as in `chart`.
        exact: as in `chart`.
        tolerance: as in `chart`.
        probes: as in `chart`.
        subset: as in `chart`.
        metrics: as in `chart`; their own time is not counted.
        memory: as in `chart`.
        growth: as in `chart`.
        ledger: as in `chart`; what it knows already will not be evaluated. It is not written to.
        seed: as in `chart`.
        progress: taken, so that the settings of a chart can be handed on as they are; nothing is shown.
        on_forecast: called with the forecast, as `chart` does.
        card: whether the honesty card is made afterwards; its seconds and bytes are included then.
        pictures: whether the pictures are written afterwards, as the command line does; their bytes are included then.

    Returns:
        The `Forecast`. Its `bytes` are those of outputs at nodes (kept in memory, or in the ledger if there is one; counted
        once), the ledger, what `Chart.save` writes, and pictures and card where these are made.

    Raises:
        InputError: for settings that `chart` would refuse.

    Example:
        >>> import lossatlas as la
        >>> surface = la.landscapes.himmelblau()
        >>> la.forecast(surface, la.Plane.random(surface, seed=0), points=21, exact=True).evaluations
        441
    """
    need_surface(surface, "forecast")
    if isinstance(plane, Space) or (isinstance(plane, Frame) and plane.dimension > 2):
        made = volume_forecast(surface, plane, span=span, points=points, ledger=ledger)  # type: ignore[arg-type]
        if on_forecast is not None:
            on_forecast(made)
        return made
    need_plane(plane, "forecast")
    _checks.optional(_checks.function, "on_forecast", on_forecast, "a function of the forecast", where="forecast")
    settings = settled(
        surface,
        plane.frame.dimension,
        span=span,
        points=points,  # type: ignore[arg-type]
        exact=exact,
        tolerance=tolerance,
        probes=probes,
        subset=subset,
        metrics=metrics,
        memory=memory,
        growth=growth,
        seed=seed,
    )
    root = _checks.optional(_checks.path, "ledger", ledger, where="forecast", error=OutputError)
    card, pictures = _checks.flag("card", card), _checks.flag("pictures", pictures)
    made = _Forecaster(surface, plane, settings, root).make(card, pictures)
    if on_forecast is not None:
        on_forecast(made)
    return made


def without_card(made: Forecast) -> Forecast:
    """The same forecast of a chart whose card is left out."""
    spent = made.parts.get("card", 0.0)
    taken = made.card_bytes
    within = made.seconds_within or (made.seconds, made.seconds)
    bytes_ = made.bytes_within or (made.bytes, made.bytes)
    return replace(
        made,
        seconds=made.seconds - spent,
        parts={name: part for name, part in made.parts.items() if name != "card"},
        sizes={name: part for name, part in made.sizes.items() if name != "card"},
        seconds_within=(within[0] - spent, within[1] - spent),
        bytes_within=(bytes_[0] - taken, bytes_[1] - taken),
    )


@final
class _Forecaster:
    """Times a few points of a chart, and says what all of it takes.

    Args:
        surface: what will be charted.
        plane: on what.
        settings: of the chart.
        ledger: its folder, or None.
        clock: in seconds.
    """

    def __init__(
        self,
        surface: Surface,
        plane: Plane | Line | Frame,
        settings: Settings,
        ledger: Path | None,
        clock: Clock = time.perf_counter,
    ) -> None:
        self.surface, self.plane, self.settings, self.ledger, self.clock = surface, plane, settings, ledger, clock
        self.frame = plane.frame
        sliced = surface.on(plane, steady=True) if ledger is not None else surface.on(plane)
        at_work = chosen()
        # A few points say what all take: timed here, where nobody has to be started for them.
        self.probe = Probe(sliced, engine=None if at_work is None else Inline(steady=True))
        # The span is not known yet where it is to be found; how many cells there are is.
        self.cells: Grid = settings.cells or grid(1.0, settings.points, self.frame.dimension)
        self.width = max(1, torch.get_num_threads())
        self.share = 1.0 if at_work is None else self.width / at_work.speed
        self.notes: list[str] = []
        if at_work is not None and at_work.workers:
            self.notes.append(
                f"evaluations are shared by {at_work.workers} workers, whose start is not in the forecast"
            )
        self.channels: tuple[str, ...] = ()

    def make(self, card: bool, pictures: bool) -> Forecast:
        """The forecast."""
        counts, rate, beside, held = self._chart()
        if self.settings.cells is None:
            found = self._search()
            counts = Counts(*(a + b for a, b in zip(vars(counts).values(), vars(found).values(), strict=True)))
            self.notes.append("the span is looked for first, which takes some of the evaluations")
        more = readings(self.surface.rounding, self.settings.tolerance)
        counts = Counts(*(count + more for count in vars(counts).values()))
        if more:
            self.notes.append(f"{more} of the evaluations measure how far rounding of the model's type moves a loss")
        left = counts
        if self.ledger is not None and (known := sizes.known(self.ledger)):
            left = counts.without(known)
            self.notes.append(f"the ledger knows {known:,} points already, which are not evaluated again")
        cheap = 0 if self.settings.cheap is None else bisected(self.cells, self.settings.probes).expected
        price = cheap * self._price() * rate

        def parts(evaluations: int, whole: int) -> dict[str, float]:
            found = {"evaluations": evaluations * rate + price} | beside(whole)
            if self.ledger is not None:
                found["ledger"] = OPENED + KEPT * (-(-evaluations // 12) if held else 0)
            return found | {"record": BESIDE + BISECTION * self.settings.bisected * (not self.settings.exact)}

        seconds = parts(left.expected, counts.expected)
        within = [parts(left.least, counts.least), parts(left.most, counts.most)]
        taken = [self._sizes(n, held) for n in (counts.expected, counts.least, counts.most)]
        dimension, every = self.frame.dimension, counts.least == counts.most
        further: dict[str, float] = {}
        if card:
            further["card"] = self._card()
            for taking in taken:
                taking["card"] = sizes.CARD + sizes.CARD_RECORD
        if pictures:
            drawn = sizes.drawing(dimension, self.channels, exact=every, card=card)
            further["pictures"] = drawn * self._picture()
            for taking in taken:
                taking["pictures"] = sizes.pictures(dimension, self.channels, exact=every)
        for each in (seconds, *within):
            each.update(further)
        examples = left.expected * self.surface.examples
        examples += 0 if self.settings.cheap is None else cheap * self.settings.cheap.examples
        return Forecast(
            left.expected + cheap,
            examples,
            sum(seconds.values()),
            self.probe.meter.values,
            parts=seconds,
            sizes=taken[0],
            evaluations_within=(left.least + cheap, left.most + cheap),
            seconds_within=(sum(within[0].values()), sum(within[1].values())),
            bytes_within=(sum(taken[1].values()), sum(taken[2].values())),
            memory=self._memory(counts.most, rate),
            notes=tuple(self.notes),
        )

    def _chart(self) -> tuple[Counts, float, Beside, int]:
        """Evaluations, seconds of one, seconds beside them, and bytes of the outputs of one node."""
        settings, nothing = self.settings, _nothing
        if settings.bisected and not settings.exact and not settings.metrics:
            counts = bisected(self.cells, settings.probes)
            if settings.cheap is not None:
                counts = exactly(min(self.cells.cells, sizes.ANCHORS**self.frame.dimension + settings.probes))
            return counts, self._time_losses(), nothing, 0
        source, why = None, ""
        if not settings.exact or settings.metrics:
            own = self.probe.surface.own_outputs()  # type: ignore[attr-defined]
            source, why = stored(own, settings.memory, 0 if settings.exact else LEAST, whole=bool(settings.metrics))
        if settings.metrics and source is None:
            raise InputError(no_outputs(settings.metrics, self.surface.name, why))
        if settings.exact or self.cells.cells <= FEW[self.cells.dimension]:
            counts = exactly(self.cells.cells)
            rate = self._time_outputs(source)[0] if settings.metrics and source is not None else self._time_losses()
            return counts, rate, nothing, 0
        if source is None:
            return self._interpolated(Losses(0.0, 1.0, self.channels), self._time_losses(), None, 0)
        try:
            rate, outputs = self._time_outputs(source)
        except NotApplicableError:
            return self._interpolated(Losses(0.0, 1.0, self.channels), self._time_losses(), None, 0)
        size = node_bytes(source.shapes, outputs[0].element_size())
        return self._interpolated(source, rate, outputs, size)

    def _interpolated(
        self, scorer: Any, rate: float, outputs: list[torch.Tensor] | None, size: int
    ) -> tuple[Counts, float, Beside, int]:
        settings = self.settings
        sampler = OutputSampler(
            self.cells,
            scorer,
            tolerance=settings.tolerance,
            centers=centers(self.plane),
            held=settings.held,
            limit=settings.memory,
        )
        sampler.room = min(sampler.room, MOST)
        algebra = algebra_rate(self.cells, held=settings.held, clock=self.clock)
        fill = (0.0, 0.0, 0.0) if outputs is None else fill_rates(scorer, outputs[0], clock=self.clock)
        counts, beside = foreseen(self.cells, sampler, Rates(rate, algebra, *fill), settings.tolerance, whole=WHOLE)
        return self._tried(counts), rate, beside, size

    def _tried(self, counts: Counts) -> Counts:
        """The number of evaluations that the same chart of a few of the examples takes, where they can be had."""
        settings, whole = self.settings, self.surface.examples
        few = min(max(whole // 8, TRIED[0]), TRIED[1])
        twin = self.surface.cheaper(few) if whole >= SMALL else None
        if twin is None:
            return counts
        sliced = twin.on(self.plane)
        probe = Probe(sliced)
        source, _ = stored(sliced.own_outputs(), settings.memory, LEAST)
        sampler = replace(settings, metrics={}).interpolation(
            self.cells,
            source,
            lambda coords: probe.outputs(source, coords),
            self.surface,
            self.plane,
            chunk=lambda _: MANY,
            planned=lambda exact, cheap: None,
            foreseen=lambda counts, beside: None,
        )
        try:
            walk = sampler.walk()
            wanted = next(walk)
            while True:
                wanted = walk.send(probe.evaluate(wanted.query))
        except StopIteration:
            pass
        except NotApplicableError:
            return counts
        nodes = (probe.meter.values - counts.least) * (few / whole) ** ROUGHER
        self.notes.append(
            f"how many evaluations to expect is told by the same chart of {few:,} of the {whole:,} examples"
        )
        return replace(counts, expected=min(counts.least + round(nodes), counts.most))

    def _memory(self, count: int, rate: float) -> dict[str, int]:
        """Bytes by device, where the surface is a network's, with as many points in one query as a chart asks for."""
        if isinstance(self.surface, StreamedSurface):
            return self.surface.memory
        if not isinstance(self.surface, NetworkSurface):
            return {}
        together = max(CHOOSING if rate <= SLOW else SOME, int(CHUNK_SECONDS / max(rate, 1e-9)))
        found, frame = self.surface.memory(min(max(1, count), together)), self.frame
        for one in (frame.directions, *(() if frame.statistics is None else (frame.statistics,))):
            place = str(one.device)
            found[place] = found.get(place, 0) + one.numel() * one.element_size()
        return found

    def _search(self) -> Counts:
        k = self.frame.dimension
        each = (1 + 2 * k * (n + HALVINGS) for n in (USUAL_DOUBLINGS, 1, DOUBLINGS))
        return Counts(*each)

    def _price(self) -> float:
        cheap = self.settings.cheap
        return cheap.examples / self.surface.examples if cheap is not None and self.surface.examples else 1.0

    def _places(self, count: int) -> Array:
        """Points of the plane, the center first."""
        rng = np.random.default_rng(0)
        units = rng.uniform(0.0, 1.0, (count, self.frame.dimension))
        units[0] = 0.5
        return self.cells.place(units)

    def _time_losses(self) -> float:
        """Seconds of one loss, evaluated with as many others as it will be."""
        told = self.surface.foretold(self.cells.cells) if isinstance(self.surface, StreamedSurface) else None
        if told is not None:
            self.notes.append(told[1])
            return told[0]

        def once(count: int) -> float:
            begin = self.clock()
            answer = self.probe.evaluate(Values(torch.from_numpy(self._places(count))))
            self.channels = tuple(answer.extras)
            return (self.clock() - begin) / count

        once(self.width)  # warms up: copies for the threads, kernels that are chosen at first sight
        rate = once(2 * self.width)
        if rate > QUICK:
            return rate * self.share
        once(min(MANY, self.cells.cells))
        return median(once(min(MANY, self.cells.cells)) for _ in range(REPEATED)) * self.share

    def _time_outputs(self, source: Any) -> tuple[float, list[torch.Tensor]]:
        """Seconds of one evaluation of outputs, and outputs at a few points."""

        def once(count: int) -> tuple[float, list[torch.Tensor]]:
            begin = self.clock()
            found = self.probe.outputs(source, self._places(count))
            return (self.clock() - begin) / count, found

        once(self.width)
        rate, outputs = once(2 * self.width)
        if rate <= QUICK:
            rate = median(once(4 * self.width)[0] for _ in range(REPEATED))
        self.channels = tuple(self._channels(source, outputs))
        return rate * self.share, outputs

    def _channels(self, source: Any, outputs: list[torch.Tensor]) -> list[str]:
        if source.fused == "cross_entropy":
            named = ["accuracy"] if source.accurate else []
        else:
            named = list(source.score(0, outputs[0][:1])[2]) if source.fused is None else []
        return [*named, *self.settings.metrics]

    def _card(self) -> float:
        """Seconds of the card, by a few losses and products."""
        probe = Probe(self.surface)
        cost = prices(self.surface, self.plane, self.cells.shape[::-1], path=0, vectors=VECTORS, seeds=SEEDS).expected
        rate = self._time_losses()
        seconds = CARD + cost.values * rate
        point = self.frame.origin.to(self.surface.device, self.surface.dtype)
        vectors = torch.from_numpy(np.random.default_rng(0).standard_normal((4, self.surface.dimension)))
        vectors = vectors.to(point.device, point.dtype)

        def once(count: int) -> float:
            begin = self.clock()
            probe.evaluate(Products(point[None], vectors[None, :count]))
            return (self.clock() - begin) / count

        with suppress(NotApplicableError):
            if cost.products:
                once(1)
                single, joined = once(1), once(4)
                together = min(cost.products, 2 * VECTORS)
                each = (together * joined + (cost.products - together) * single) / cost.products
                seconds += cost.products * each + cost.gradients * Price(gradients=1).cost * rate
                self.notes.append(f"{probe.meter.products} Hessian products were timed for the card")
        return seconds

    def _picture(self) -> float:
        """Seconds of one picture of a line."""
        from lossatlas.draw import ProfileDisplay

        def once() -> float:
            x = np.linspace(-1.0, 1.0, 61)
            begin = self.clock()
            ProfileDisplay(x, x**2, xlabel="α", ylabel="loss").plot().render()
            return self.clock() - begin

        once()  # imports, fonts
        return once()

    def _sizes(self, evaluations: int, node: int) -> dict[str, int]:
        """Bytes by what takes them, with so many evaluations."""
        few = evaluations if evaluations < self.cells.cells else self.cells.cells
        found: dict[str, int] = {}
        if node:
            found["outputs"] = min(evaluations, nodes_within([(node,)], self.settings.memory, 1)) * node
        if self.ledger is not None:
            rows = 0 if node else evaluations
            found["ledger"] = sizes.ledger(self.plane, rows, len(self.channels), few if node else 0)
        found["saved"] = sizes.saved(
            self.cells, len(self.channels), few, data=self.surface.examples > 0, interpolated=few < self.cells.cells
        )
        return found


def _nothing(evaluations: int) -> dict[str, float]:
    return {}
