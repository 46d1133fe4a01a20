"""A4: nothing generates a surface; a picture samples a grid, and its cost can be told beforehand."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from typing import Any

from lossatlas.chart import Plane, chart
from lossatlas.demo import digits, digits_mlp
from lossatlas.lessons._lesson import Check, Ending, Lesson, Row, spent
from lossatlas.probe import Forecast, Meter
from lossatlas.surface import NetworkSurface

CLAIM = "A surface is not generated: a picture of it samples a grid, which is expensive, and the expense is known beforehand."
SIZES, REPEATS = (31, 41, 61), 5
QUICK_SIZES, QUICK_REPEATS = (11, 15, 21), 3
CLOSE, YEAR = 0.25, 3.156e7


def experiment(runs: int, seed: int, quick: bool = False) -> Iterator[Row]:
    """Chart a digits MLP at three resolutions; hold each forecast against the cost."""
    sizes, repeats = (QUICK_SIZES, QUICK_REPEATS) if quick else (SIZES, REPEATS)
    surface = NetworkSurface(digits_mlp(seed=seed), "cross_entropy", digits("all"))
    yield (
        f"A digits MLP of {surface.dimension:,} parameters is charted on full grids of {', '.join(f'{s}×{s}' for s in sizes)} cells, "
        f"each cell a loss over {surface.examples:,} examples, {repeats} times each. What it will cost is forecast before."
    )
    plane = Plane.random(surface, seed=seed)
    meters = list[Meter]()
    told: list[float] = []
    taken: list[list[float]] = []
    for size in sizes:
        ratios: list[float] = []
        seconds: list[float] = []
        for _ in range(repeats):
            said: list[Forecast] = []
            made = chart(surface, plane, points=size, exact=True, progress=False, on_forecast=said.append)
            seconds.append(made.meter.surface_seconds)
            ratios.append(said[0].seconds / seconds[-1])
            meters.append(made.meter)
        taken.append(seconds)
        told.append(said[0].seconds)
        exact = said[0].evaluations == made.meter.values and said[0].examples == made.meter.examples
        middle = statistics.median(ratios)
        yield Check(
            f"a picture of {size}×{size} cells evaluates exactly as many points and examples as was forecast",
            f"{made.meter.values:,} points of {surface.examples:,} examples each",
            exact,
        )
        yield Check(
            f"and takes as long as was forecast (within {CLOSE:.0%}, in the median of {repeats})",
            f"{statistics.median(seconds):.2f} s; the forecast was {middle:.2f} times that ({min(ratios):.2f} to {max(ratios):.2f})",
            abs(middle - 1) <= CLOSE,
        )
    each = statistics.median(taken[-1]) / sizes[-1] ** 2
    n = surface.dimension
    cells = n * math.log10(sizes[-1])
    years = cells + math.log10(each / YEAR)
    yield Check(
        "only slices can be drawn: a grid over all parameters could not be evaluated in the age of the universe (10^10 years)",
        f"{sizes[-1]}² = {sizes[-1] ** 2:,} cells of a slice take {each * sizes[-1] ** 2:.1f} s; {sizes[-1]}^{n:,} = 10^{cells:,.0f} cells "
        f"of the surface would take 10^{years:,.0f} years",
        years > 10,
    )
    yield Ending(
        spent(*meters),
        caveats=(
            "Seconds are measured on a machine that does other things too: a busy moment changes them, never the counts.",
        ),
        data={"milliseconds_per_cell": [1e3 * statistics.median(s) / k**2 for s, k in zip(taken, sizes, strict=True)]},
        pictures={"forecast": _picture(sizes, told, taken)},
    )


def _picture(sizes: tuple[int, ...], told: list[float], taken: list[list[float]]) -> Any:
    from lossatlas.draw import CurvesDisplay

    cells = [size**2 for size in sizes]
    middle = [statistics.median(each) for each in taken]
    return CurvesDisplay(
        {"forecast": (cells, told), "measured": (cells, middle, [min(s) for s in taken], [max(s) for s in taken])},
        xlabel="cells of the picture",
        ylabel="seconds",
        xscale="linear",
        yscale="linear",
        points=True,
        title="What a picture costs is known before it is drawn",
        note="Measured: median and range of the repeated charts; the forecast is that of the last of them",
    )


LESSON = Lesson("A4", CLAIM, experiment, depends="how busy the machine is: counts are exact, seconds are not.")
