"""Making the honesty card of a chart: lines in the order of what they tell for their price, within a budget."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypeVar, final

import numpy as np
import torch
from torch import Tensor

from lossatlas import _checks
from lossatlas._errors import InputError, LossError, ModelError, NotApplicableError
from lossatlas._progress import Progress
from lossatlas.chart.card import _cells as cells
from lossatlas.chart.card import _hessian as whole
from lossatlas.chart.card import _lines as lines
from lossatlas.chart.card._card import Card
from lossatlas.chart.card._hessian import CHECKS
from lossatlas.chart.card._local import Local, local
from lossatlas.chart.card._price import Price, Quote
from lossatlas.chart.card._prices import ENDS, NODES, RUNS, prices
from lossatlas.chart.card._rescaling import drawn_with, invariance, scaling_of
from lossatlas.chart.card._spread import spread
from lossatlas.chart.planes._line import Line
from lossatlas.chart.planes._plane import Plane
from lossatlas.probe import Meter, Probe
from lossatlas.surface import Frame, Surface, as_points

if TYPE_CHECKING:
    from lossatlas.chart._chart import Chart

Result = TypeVar("Result")

VECTORS, SEEDS = 40, 4
# Below so many an interval would not hold what it promises.
FEWEST = 32
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
    progress: bool | Callable[[int, int], None] = False,
    on_forecast: Callable[[Quote], None] | None = None,
) -> Card:
    """The honesty card of a chart.

    Everything is asked at the door and billed. Lines are measured in the order of what they tell for their price; what a
    budget does not pay for is listed as not measured. Small surfaces (about 300 parameters) are asked for their whole
    Hessian instead of random vectors: their numbers are then exact, and their intervals have no width. Some 25 vectors of N
    float64 numbers are held at a time.

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
        >>> round(card(surface, plane, made).curvature.largest.value, 6)
        100.0
    """
    if budget is not None and not budget > 0:
        raise InputError(f"got budget={budget}; expected a number of losses above 0, or None for all lines.")
    probes = _checks.whole("probes", probes, FEWEST, do="These are random vectors.")
    seeds, seed = _checks.whole("seeds", seeds, 0, do="These are other planes."), _checks.seed(seed)
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
        self.doors: list[Probe] = []
        self.door, self.slice = self.open(surface), self.open(surface.on(plane))
        self.found: dict[str, Any] = dict.fromkeys(Card.KINDS)
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
        return sum(door.meter.cost() for door in self.doors)

    def open(self, surface: Surface) -> Probe:
        """A door whose bill is this card's."""
        door = Probe(surface)
        self.doors.append(door)
        return door

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
        return sum(door.meter.surface_seconds for door in self.doors)

    def _attempt(self, heading: str, measure: Callable[[], Result]) -> Result | None:
        """Measure if the budget pays for it; what keeps it from being measured goes on the card."""
        price, budget = self.prices[heading], self.settings["budget"]
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
        return local(self.surface, self.frame, self.chart, door=self.door, plane=self.slice)

    def _range(self, here: Local) -> None:
        self.found["range"] = self._attempt(
            "Quadratic range", lambda: cells.quadratic_range(self.chart, here, self.slice)
        )

    def _path(self, here: Local) -> None:
        path = self.path
        if path is not None:
            self.found["markers"] = self._attempt(
                "Path", lambda: cells.markers(self.frame, path, here, door=self.door, plane=self.slice)
            )

    def _noise(self, here: Local) -> None:
        found = self._attempt("Noise", lambda: cells.noise(self.surface, self.frame, self.chart))
        if found is not None:
            self.found["noise"], door = found
            self.doors += [] if door is None else [door]

    def _all(self, here: Local) -> None:
        """What is known of all directions, and the lines that follow from it."""
        ends, sums, spectra = self._hessian(here)
        k = self.frame.dimension
        bends = lines.curvature(here, ends, self.surface.dimension)
        typical = None if sums is None else sums.trace.value / self.surface.dimension
        self.found |= {
            "curvature": bends,
            "trace": None if sums is None else lines.trace(here, sums, spectra, self.surface.dimension),
            "chance": None if spectra is None else lines.chance(bends, spectra, self.normalization),
            "alignment": lines.alignment(here, self.frame, ends, self.surface.dimension),
            "center": lines.center(here, ends, sums, cells.gap_at(self.chart, here.loss)),
            "resolution": cells.resolution(self.chart, here, bends, typical),
            "variance": lines.variance(self.how, k),
            "invariance": invariance(
                self.surface,
                self.frame.origin,
                self.how,
                self.kind,
                self.scaling,
                here.gradient,
                None if sums is None else sums.frozen,
            ),
        }

    def _hessian(self, here: Local) -> tuple[whole.Ends | None, whole.Sums | None, whole.Spectra | None]:
        """From the whole Hessian where that is no dearer, else from products."""
        surface, point, door, gradient, seed = (
            self.surface,
            self.origin,
            self.door,
            here.gradient,
            self.settings["seed"],
        )
        if gradient is None:
            self.missing["Whole Hessian"] = f"{surface.name} answers values only"
            return None, None, None
        if self.dense:
            matrix = self._attempt("Whole Hessian", lambda: whole.matrix_of(surface, point, probe=door))
            return (None, None, None) if matrix is None else whole.from_matrix(
                matrix, self.scaling, gradient, self.frame.dimension
            )  # fmt: skip
        limit = self._limit()
        ends = self._attempt("Whole Hessian", lambda: whole.ends_of(surface, point, probe=door, limit=limit, seed=seed))
        vectors: dict[str, Any] = {"probe": door, "vectors": self.settings["probes"], "seed": seed}
        sums = self._attempt(
            "Typical direction", lambda: whole.sums_of(surface, point, self.scaling, gradient, **vectors)
        )
        k = self.frame.dimension
        spectra = self._attempt(
            "Chance of a saddle",
            lambda: whole.spectra_of(surface, point, self.scaling, k, sums, runs=RUNS, nodes=NODES, **vectors),
        )
        return ends, sums, spectra

    def _limit(self) -> int:
        """Products for both ends: fewer than `ENDS` where the budget has no more, but not below `FEW_ENDS`."""
        budget = self.settings["budget"]
        left = ENDS if budget is None else int((budget - self.spent) / Price(products=1).cost) - CHECKS
        limit = min(ENDS, max(FEW_ENDS, left))
        self.prices["Whole Hessian"] = Price(products=limit + CHECKS)
        return limit

    def _others(self, here: Local) -> None:
        if self.normalization is None:
            self.missing["Other planes"] = "the directions were not drawn at random, so that there are no others alike"
        elif self.settings["seeds"]:
            self.found["spread"] = self._attempt(
                "Other planes",
                lambda: spread(
                    self.surface,
                    self.plane,
                    self.chart,
                    here,
                    self.settings["seeds"],
                    door=self.door,
                    open_door=self.open,
                ),
            )

    def _card(self, quote: Quote) -> Card:
        each = [door.meter.record() for door in self.doors]
        meter = {key: sum(record[key] for record in each) for key in Meter().record()}
        meter["algorithm_seconds"] = max(0.0, time.perf_counter() - self.begin - meter["surface_seconds"])
        provenance = {
            "surface": self.surface.fingerprint(),
            "plane": {"kind": self.kind, **self.how},
            "settings": self.settings,
            "versions": {
                "lossatlas": version("lossatlas"),
                "torch": torch.__version__,
                "numpy": np.__version__,
                "python": platform.python_version(),
            },
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
