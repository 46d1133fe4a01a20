"""The settings of a chart, checked and settled once: by `chart`, which makes it, and by `forecast`, which says what it takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, final

from lossatlas import _checks
from lossatlas._errors import InputError
from lossatlas.chart._interpolate import Interpolation, Metric
from lossatlas.chart.planes._identity import centers
from lossatlas.chart.planes._line import Line
from lossatlas.chart.planes._plane import Plane
from lossatlas.chart.sampling._grid import Grid, Span, grid
from lossatlas.surface import Frame, Surface

# Of interpolated outputs; of fields of formulas, which are bisected.
TOLERANCE, PROBES, LINE_PROBES, FEWEST = 0.02, 28, 4, 8
BISECTED, BISECTED_PROBES = 0.01, 32

TOLERANCES = "It is a share, such as 0.01 for one percent; for a chart without any error say exact=True."


@final
@dataclass(frozen=True, eq=False)
class Settings:
    """How a chart is to be made, as `lossatlas.chart` describes it.

    Attributes:
        cells: the grid; None where the span is yet to be found.
        points: cells per axis.
        bisected: whether the field is bisected where it is off, as one of a formula is.
        exact: whether every cell is evaluated.
        tolerance: of the error.
        probes: held-out cells.
        memory: bytes for outputs at nodes.
        growth: for a span that is yet to be found.
        seed: of the held-out cells.
        cheap: the field of a subset of the examples, or None.
        metrics: further channels.
    """

    cells: Grid | None
    points: int | tuple[int, int]
    bisected: bool
    exact: bool
    tolerance: float
    probes: int
    memory: int
    growth: float
    seed: int
    cheap: Surface | None
    metrics: dict[str, Metric]

    @property
    def held(self) -> int:
        """Held-out cells of each stratum."""
        return max(2, self.probes // 2)

    def interpolation(
        self,
        cells: Grid,
        outputs: Any,
        read: Callable[[Any], Any],
        surface: Surface,
        plane: Plane | Line | Frame,
        **calls: Any,
    ) -> Interpolation:
        """The sampler of a chart that is not bisected.

        Args:
            cells: the grid.
            outputs: what is interpolated, or None where the loss itself is.
            read: outputs at coordinates.
            surface: that is charted.
            plane: on what.
            **calls: ``chunk``, ``planned`` and ``foreseen`` of `Interpolation`.
        """
        return Interpolation(
            cells,
            outputs,
            read,
            loss=str(surface.fingerprint().get("loss", "")),
            tolerance=self.tolerance,
            held=self.held,
            centers=centers(plane),
            memory=self.memory,
            metrics=self.metrics,
            seed=self.seed,
            **calls,
        )


def settled(
    surface: Surface,
    dimension: int,
    *,
    span: Span | Literal["auto"],
    points: int | tuple[int, int],
    exact: bool,
    tolerance: float | None,
    probes: int | None,
    subset: int | Literal["auto"] | None,
    metrics: Mapping[str, Metric] | None,
    memory: int,
    growth: float,
    seed: int,
) -> Settings:
    """Check the settings of a chart, and put the defaults in place of what is left open.

    Raises:
        InputError: for a setting that means nothing.
    """
    # A formula is cheap and may have kinks: its cells are bisected. What reads data is interpolated.
    bisected = not (subset is None or _checks.is_word(subset, "auto")) or surface.examples == 0
    if tolerance is None:
        tolerance = BISECTED if bisected else TOLERANCE
    if probes is None:
        # A line needs few evaluations: more would go into the measure of its error than into itself.
        probes = BISECTED_PROBES if bisected else (PROBES if dimension == 2 else LINE_PROBES)
    else:
        probes = _checks.whole("probes", probes, FEWEST, do="These are held-out cells.")
    tolerance, seed = _checks.number("tolerance", tolerance, above=0, do=TOLERANCES), _checks.seed(seed)
    exact, growth = _checks.flag("exact", exact), _checks.number("growth", growth, above=1)
    if subset is not None and not _checks.is_word(subset, "auto"):
        subset = _checks.whole(
            "subset", subset, 1, max(1, surface.examples), do="These are examples; or 'auto', or None."
        )
    memory = _checks.whole("memory", memory, 2**16, do="These are bytes for outputs at nodes.")
    cells = None if isinstance(span, str) else grid(span, points, dimension)
    if cells is None and span != "auto":
        raise InputError(f"got span={span!r}; expected a number, (low, high), a pair per axis, or 'auto'.")
    cheap = None if exact or subset is None or subset == "auto" else surface.cheaper(subset)
    if metrics is not None and not (isinstance(metrics, Mapping) and all(callable(f) for f in metrics.values())):
        raise InputError(
            f"got metrics={metrics!r}; expected a dictionary of functions of (outputs, targets) by name, for example "
            '{"f1": f}.'
        )
    given: dict[str, Any] = dict(metrics or {})
    return Settings(cells, points, bisected, exact, tolerance, probes, memory, growth, seed, cheap, given)


def no_outputs(metrics: Mapping[str, Metric], name: str, why: str = "") -> str:
    """Why a surface without outputs, or with outputs that are too large, cannot have metrics."""
    if why:
        said = why.partition(": ")[2]
        return (
            f"got metrics {', '.join(metrics)} on {name}, which need whole outputs at every node; {said}, and so would "
            "exact=True. Or leave metrics out."
        )
    return (
        f"got metrics {', '.join(metrics)} on {name}; expected none, since its loss is no function of a model's "
        "outputs and targets that could be given to them. Leave metrics out."
    )
