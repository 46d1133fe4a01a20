"""A4: nothing generates a surface; a picture samples a grid, and its cost can be told beforehand."""

from __future__ import annotations

import statistics

from lossatlas.chart import Plane, chart
from lossatlas.demo import digits, digits_mlp
from lossatlas.lessons._lesson import Check, Lesson, Part, spent
from lossatlas.probe import Forecast, Meter
from lossatlas.surface import NetworkSurface

CLAIM = "A surface is not generated: a picture of it samples a grid, which is expensive, and the expense is known beforehand."
SIZES = (31, 41, 61)
REPEATS = 5


def experiment(runs: int, seed: int) -> Part:
    """Chart a digits MLP at three resolutions; hold each forecast against the cost."""
    surface = NetworkSurface(digits_mlp(seed=seed), "cross_entropy", digits("all"))
    plane = Plane.random(surface, seed=seed)
    checks, meters = [], list[Meter]()
    grown: list[float] = []
    for size in SIZES:
        ratios: list[float] = []
        seconds: list[float] = []
        for _ in range(REPEATS):
            said: list[Forecast] = []
            made = chart(surface, plane, points=size, exact=True, progress=False, on_forecast=said.append)
            seconds.append(made.meter.surface_seconds)
            ratios.append(said[0].seconds / seconds[-1])
            meters.append(made.meter)
        grown.append(statistics.median(seconds))
        exact = said[0].evaluations == made.meter.values and said[0].examples == made.meter.examples
        middle = statistics.median(ratios)
        checks += [
            Check(
                f"{size}×{size}: points and examples exactly as forecast",
                f"{made.meter.values:,} × {surface.examples:,}",
                exact,
            ),
            Check(
                f"{size}×{size}: seconds within 25 % of the forecast (median of {REPEATS})",
                f"forecast / cost {middle:.2f} (from {min(ratios):.2f} to {max(ratios):.2f})",
                abs(middle - 1) <= 0.25,
            ),
        ]
    per_cell = [s / size**2 * 1e3 for s, size in zip(grown, SIZES, strict=True)]
    return Part(
        f"Full grids of {', '.join(f'{s}×{s}' for s in SIZES)} on a digits MLP with {surface.examples:,} examples, {REPEATS} times each.",
        tuple(checks),
        spent(*meters),
        caveats=(
            "seconds are measured on a machine that does other things too: a busy moment moves them, never the counts",
        ),
        data={"milliseconds_per_cell": per_cell},
    )


LESSON = Lesson("A4", CLAIM, experiment)
