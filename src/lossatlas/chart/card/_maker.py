"""Making the honesty card of a chart: lines in the order of what they show for their price, within a budget."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, final

from torch import Tensor

from lossatlas import _checks
from lossatlas._errors import InputError, LossError, ModelError, NotApplicableError
from lossatlas._progress import Progress, Show
from lossatlas._versions import versions
from lossatlas.chart.card import _cells as cells
from lossatlas.chart.card._card import Card
from lossatlas.chart.card._gradient_entries import Alignment, Center
from lossatlas.chart.card._hessian_entries import Curvature, Saddle, Trace, ratio
from lossatlas.chart.card._local import Local, local
from lossatlas.chart.card._picture_entries import Variance
from lossatlas.chart.card._price import Price, Quote
from lossatlas.chart.card._prices import CHECKS, ENDS, NODES, RUNS, prices
from lossatlas.chart.card._rescaling import drawn_with, invariance, scaling_of
from lossatlas.chart.card._spread import spread
from lossatlas.chart.planes._line import Line
from lossatlas.chart.planes._plane import Plane
from lossatlas.curvature import FEWEST, Estimate, Extremes, Hessian, SaddleProbability, Spectrum, p_saddle
from lossatlas.probe import Meter, Probe
from lossatlas.surface import Frame, Surface, as_points, need_surface

if TYPE_CHECKING:
    from lossatlas.chart._chart import Chart

Result = TypeVar("Result")
# Traces of H and of H with its diagonal weighted, and |Hg|.
Sums: TypeAlias = tuple[tuple[Estimate, ...], float]
# The spectrum, and the probabilities for directions drawn evenly and as this plane's.
Saddles: TypeAlias = tuple[Spectrum, SaddleProbability, SaddleProbability | None]

VECTORS, SEEDS = 40, 4
# Products for both ends of the spectrum where a budget has no more.
FEW_ENDS = 24


def card(
    surface: Surface,
    plane: Plane | Line | Frame,
    chart: Chart,
    *,
    path: Tensor | Sequence[Any] | None = None,
    probes: int = VECTORS,
    seeds: int = SEEDS,
    budget: float | None = None,
    seed: int = 0,
    progress: Show = True,
    on_forecast: Callable[[Quote], None] | None = None,
) -> Card:
    """The honesty card of a chart.

    Everything is evaluated by probes and counted. Lines are measured in the order of what they show for their price; what a
    budget does not pay for is listed as not measured. Of small surfaces (up to about 200 parameters) the whole Hessian is
    evaluated instead of random vectors: their numbers are then exact, and their intervals have no width. Some 25 vectors of
    N float64 numbers are held at a time.

    Args:
        surface: what was charted.
        plane: on what: a `Plane`, a `Line` or a bare `Frame`.
        chart: of it.
        path: points (T, N), or a list of vectors, state dicts or checkpoint files, such as the iterates of a training run:
            how far off the plane they lie, and how wrong their height in the picture is.
        probes: random vectors behind the trace, at least 32.
        seeds: how many other planes of the same kind to compare with; 0 for none.
        budget: what it may cost at most, in losses (a gradient counts 3, a Hessian product 6); None for all lines.
        seed: of the random vectors.
        progress: True for a bar on the error stream of a terminal, False for silence, or a function of (done, total).
        on_forecast: called once with the price, after the first queries; by default it is printed above the bar.

    Returns:
        The `Card`.

    Raises:
        InputError: for a budget that is not above 0, fewer than 32 probes, or a path that does not fit.

    Source:
        Principal curvatures and their mean: Böttcher and Wheeler, J. Stat. Mech. 2024, arXiv:2208.13219. tr H / ‖H‖_F: Fort
        and Scherlis, AAAI 2019, arXiv:1807.02581. Gradient-flat centers: Frye et al., Neural Computation 33 (2021).

    Example:
        >>> import lossatlas as la
        >>> surface = la.landscapes.quadratic(condition=100.0, dimension=30)
        >>> plane = la.Plane.random(surface, seed=0)
        >>> made = la.chart(surface, plane, points=9, exact=True, progress=False)
        >>> round(card(surface, plane, made, progress=False).curvature.largest.value, 6)
        100.0
    """
    from lossatlas.chart._chart import Chart

    need_surface(surface, "card")
    for what, given, kinds in (("plane", plane, (Plane, Line, Frame)), ("chart", chart, (Chart,))):
        if not isinstance(given, kinds):
            wanted = " or ".join(kind.__name__ for kind in kinds)
            raise InputError(
                f"card got a {type(given).__name__} as its {what}; expected a {wanted}. The order is card(surface, plane, chart)."
            )
    if budget is not None:
        budget = _checks.number("budget", budget, above=0, do="It is a number of losses; None pays for all lines.")
    probes = _checks.whole("probes", probes, FEWEST, _checks.MOST_WORK - 1, do="These are random vectors.")
    seeds, seed = _checks.whole("seeds", seeds, 0, 10_000, do="These are other planes."), _checks.seed(seed)
    settings = {"probes": probes, "seeds": seeds, "budget": budget, "seed": seed}
    maker = _Maker(surface, plane, chart, _points(surface, path), settings)
    bar = Progress(round(maker.price.cost), progress, "making the card")
    with bar:
        return maker.make(bar, on_forecast or (lambda quote: bar.say(quote.sentence)))


@final
class _Maker:
    """Measures the lines in order, as far as the budget goes.

    Args:
        surface: what was charted.
        plane: on what.
        chart: of it.
        path: points (T, N), or None.
        settings: probes, seeds, budget, seed.
    """

    def __init__(
        self, surface: Surface, plane: Plane | Line | Frame, chart: Chart, path: Tensor | None, settings: dict[str, Any]
    ) -> None:
        self.surface, self.plane, self.chart, self.path, self.settings = surface, plane, chart, path, settings
        self.frame, self.begin = plane.frame, time.perf_counter()
        self.how: dict[str, Any] = plane.how if isinstance(plane, Plane | Line) else {}
        self.kind = plane.kind if isinstance(plane, Plane | Line) else "frame"
        self.origin = self.frame.origin.to(surface.device, surface.dtype)
        self.normalization = drawn_with(self.kind, self.how)
        self.scaling = scaling_of(surface.layout, self.frame.origin, self.kind, self.how)
        self.opened: list[Probe] = []
        self.probe, self.slice_probe = self.open(surface), self.open(surface.on(plane))
        self.found: dict[str, Any] = {}
        self.missing: dict[str, str] = {}
        found = prices(
            surface,
            plane,
            [len(axis) for axis in cells.axes_of(chart)],
            path=0 if path is None else len(path),
            vectors=settings["probes"],
            seeds=settings["seeds"],
        )
        self.prices, self.dense = found.most, found.dense

    @property
    def price(self) -> Price:
        """Of everything, at most."""
        return sum(self.prices.values(), Price())

    @property
    def spent(self) -> float:
        """So far, in losses."""
        return sum(probe.meter.cost() for probe in self.opened)

    def open(self, surface: Surface) -> Probe:
        """A probe whose evaluations count for this card."""
        probe = Probe(surface)
        self.opened.append(probe)
        return probe

    def make(self, bar: Progress, announce: Callable[[Quote], None]) -> Card:
        """Measure, and put what came out on a card."""
        here = self._attempt("Curvature", self._local)
        if here is not None:
            # What is done for the first time warms up and proves shortcuts: the rate is that of the next losses.
            before, spent = self._seconds(), self.spent
            self._range(here)
            rate = (self._seconds() - before) / max(1.0, self.spent - spent)
        else:
            rate = self._seconds() / max(1.0, self.spent)
        left = max(0.0, self.price.cost - self.spent)
        quote = Quote(self.price, self.surface.examples, self._seconds() + rate * left)
        announce(quote)
        bar.advance(round(self.spent))
        if here is not None:
            for measure in (self._path, self._noise, self._all, self._others):
                before_it = self.spent
                measure(here)
                bar.advance(round(self.spent - before_it))
        return self._card(quote)

    def _seconds(self) -> float:
        return sum(probe.meter.surface_seconds for probe in self.opened)

    def _attempt(self, heading: str, measure: Callable[[], Result]) -> Result | None:
        """Measure if the budget pays for it; what keeps it from being measured goes on the card."""
        price, budget = self.prices.get(heading, Price()), self.settings["budget"]
        left = 0.0 if budget is None else budget - self.spent
        if budget is not None and price.cost > left:
            self.missing[heading] = (
                f"it would take up to {price.words} (worth {price.cost:,.0f} losses), and {left:,.0f} of the budget of "
                f"{budget:,.0f} are left"
            )
            return None
        try:
            return measure()
        except (NotApplicableError, ModelError, LossError) as error:
            self.missing[heading] = str(error).partition("; expected")[0].rstrip(".")
            return None

    def _local(self) -> Local:
        return local(self.surface, self.frame, self.chart, probe=self.probe, slice_probe=self.slice_probe)

    def _range(self, here: Local) -> None:
        self.found["range"] = self._attempt(
            "Quadratic range", lambda: cells.quadratic_range(self.chart, here, self.slice_probe)
        )

    def _path(self, here: Local) -> None:
        path = self.path
        if path is not None:
            self.found["markers"] = self._attempt(
                "Path", lambda: cells.markers(self.frame, path, here, probe=self.probe, slice_probe=self.slice_probe)
            )

    def _noise(self, here: Local) -> None:
        found = self._attempt("Noise", lambda: cells.noise(self.surface, self.frame, self.chart))
        if found is not None:
            self.found["noise"], probe = found
            self.opened += [] if probe is None else [probe]

    def _all(self, here: Local) -> None:
        """What is known of all directions, and the lines that follow from it."""
        extremes, sums, saddles = self._hessian(here.gradient)
        n, how, normalization = self.surface.dimension, self.how, self.normalization
        curvature = Curvature.of(here, extremes, n)
        self.found |= {
            "curvature": curvature,
            "alignment": Alignment.of(here, self.frame, extremes, n),
            "variance": Variance.of(how, self.frame.dimension),
        }
        traces, pushed = sums or ((), None)
        trace, own, still = (*traces, None, None, None)[:3]
        frozen = None if trace is None or still is None else ratio(still, trace)
        if trace is not None:
            self.found["trace"] = Trace.of(here, trace, own, saddles[0] if saddles else None, n)
        if saddles is not None:
            self.found["saddle"] = Saddle.of(curvature, *saddles[1:], normalization)
        self.found |= {
            "center": Center.of(here, extremes, pushed, cells.gap_at(self.chart, here.loss)),
            "resolution": cells.resolution(self.chart, here, curvature, None if trace is None else trace.value / n),
            "invariance": invariance(
                self.surface, self.frame.origin, how, self.kind, self.scaling, here.gradient, frozen
            ),
        }

    @cached_property
    def hessian(self) -> Hessian:
        """The whole Hessian at the center."""
        return Hessian(self.surface, self.origin, probe=self.probe)

    def _hessian(self, gradient: Tensor | None) -> tuple[Extremes | None, Sums | None, Saddles | None]:
        """From the whole matrix where that costs no more, else from products."""
        if gradient is None:
            self.missing["Whole Hessian"] = f"{self.surface.name} knows values only"
            return None, None, None
        if not self.dense:
            self._limit()
        extremes = self._attempt("Whole Hessian", self._extremes)
        if self.dense and extremes is None:
            return None, None, None
        sums = self._attempt("Typical direction", lambda: self._sums(gradient))
        trace = None if sums is None else sums[0][0]
        return extremes, sums, self._attempt("Probability of a saddle", lambda: self._saddles(trace))

    def _extremes(self) -> Extremes:
        if self.dense:
            self.hessian.dense()
        limit = self.prices["Whole Hessian"].products - CHECKS
        return self.hessian.extremes(1, tolerance=0.01, limit=limit, seed=self.settings["seed"], progress=False)

    def _sums(self, gradient: Tensor) -> Sums:
        d = self.scaling
        weights = () if d is None else (d.square(), (d == 0).double())
        return self.hessian.traces(*weights, **self._vectors()), float((self.hessian @ gradient).norm())

    def _saddles(self, trace: Estimate | None) -> Saddles:
        """The spectrum, and what follows from that of H and of D H D.

        A few random vectors give the shape of a spectrum, not its scale, which is corrected by traces from more of them.
        """
        how: dict[str, Any] = {"directions": self.frame.dimension, "seed": self.settings["seed"]}
        runs: dict[str, Any] = {"probes": RUNS, "steps": NODES, "seed": how["seed"], "progress": False}
        runs["dense"] = self.dense
        shape, own = self.hessian.spectrum(**runs), None
        if self.scaling is not None:
            scaled = self.hessian.scaled(self.scaling)
            own = p_saddle(scaled.spectrum(**runs), trace=scaled.trace(**self._vectors()), **how)
        return shape, p_saddle(shape, trace=trace, **how), own

    def _vectors(self) -> dict[str, Any]:
        """How traces are taken: from all random vectors, whatever their interval; half of them decide nothing."""
        return {"relative": 1e-9, "limit": self.settings["probes"], "seed": self.settings["seed"], "progress": False}

    def _limit(self) -> None:
        """Products for both ends: fewer than `ENDS` where the budget has no more, but not below `FEW_ENDS`."""
        budget = self.settings["budget"]
        left = ENDS if budget is None else int((budget - self.spent) / Price(products=1).cost) - CHECKS
        limit = min(ENDS, max(FEW_ENDS, left))
        self.prices["Whole Hessian"] = Price(products=limit + CHECKS)

    def _others(self, here: Local) -> None:
        if self.normalization is None:
            self.missing["Other planes"] = "the directions are not random, so there are no comparable planes"
        elif self.settings["seeds"]:
            self.found["spread"] = self._attempt(
                "Other planes",
                lambda: spread(
                    self.surface,
                    self.plane,
                    self.chart,
                    here,
                    self.settings["seeds"],
                    probe=self.probe,
                    open_probe=self.open,
                ),
            )

    def _card(self, quote: Quote) -> Card:
        meter = sum((probe.meter for probe in self.opened), Meter())
        meter.algorithm_seconds = max(0.0, time.perf_counter() - self.begin - meter.surface_seconds)
        provenance = {
            "surface": self.surface.fingerprint(),
            "plane": {"kind": self.kind, **self.how},
            "settings": self.settings,
            "versions": versions(),
        }
        k, n = self.frame.dimension, self.surface.dimension
        title = f"{self.chart.title}: {self.kind} {('line', 'plane')[k - 1]}, {k} of {n:,} directions"
        return Card(
            title,
            **self.found,
            missing=self.missing,
            meter=meter,
            forecast=quote.record(),
            provenance=provenance,
            chart=self.chart,
        )


def _points(surface: Surface, path: Tensor | Sequence[Any] | None) -> Tensor | None:
    if path is None:
        return None
    return as_points(surface, path, "a path")
