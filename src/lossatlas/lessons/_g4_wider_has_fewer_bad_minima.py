"""G4, a misconception: "more parameters, more local minima, harder to optimize". Wider networks have fewer bad ones."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lossatlas.connect import copies
from lossatlas.lessons._lesson import Check, Ending, Lesson, Row, spent
from lossatlas.lessons._network_basins import EXAMPLES, SETTLING, ground, heights, initial, settled
from lossatlas.lessons._statistics import interval, mean, spearman
from lossatlas.probe import Meter
from lossatlas.race import wilson

CLAIM = (
    "More parameters do not make more bad minima: wider networks end lower, fewer of their descents are trapped, and what lies "
    "between their minima is flatter."
)
# Fixed before the first run; a loss above a tenth of that of guessing is a bad minimum.
WIDTHS = (2, 3, 5, 8, 16, 32)
BAD = 0.1 * math.log(10)

Array = NDArray[np.float64]


def experiment(runs: int, seed: int, quick: bool = False) -> Iterator[Row]:
    """Full-batch descents to the bottom at every width, and the straight lines between where they end."""
    widths = (2, 5, 16) if quick else WIDTHS
    steps = SETTLING // 2 if quick else SETTLING
    yield (
        f"{runs} digits MLPs 64-h-10 of every width h = {', '.join(map(str, widths))} descend on {EXAMPLES} digits for {steps:,} "
        f"full-batch steps at one rate. A minimum is called bad where the loss is above {BAD:.2f}, a tenth of that of guessing."
    )
    meters: list[Meter] = []
    losses: dict[int, Array] = {}
    walls: dict[int, Array] = {}
    counts: dict[int, float] = {}
    for width in widths:
        surface = ground(width, seed)
        counts[width] = copies(surface).log10
        ends = settled(surface, initial(surface, width, range(seed, seed + runs)), steps)
        losses[width] = ends.loss[:, -1]
        walls[width], cost = heights(surface, ends.final, torch.roll(ends.final, 1, 0))
        meters += [ends.meter, cost]
    low, high = widths[0], widths[-1]
    bad = {width: int((found > BAD).sum()) for width, found in losses.items()}
    yield Check(
        "more parameters do make more minima: every one has h! copies with the units in another order",
        ", ".join(f"10^{count:.1f} at width {width}" for width, count in counts.items()),
        all(counts[a] < counts[b] for a, b in itertools.pairwise(widths)),
    )
    yield Check(
        f"but not more bad ones: fewer descents end in a bad minimum at width {high} than at {low} (95 % intervals apart)",
        ", ".join(f"{count} of {runs} at width {width}" for width, count in bad.items()),
        wilson(bad[high], runs)[1] < wilson(bad[low], runs)[0],
    )
    everything = [(width, loss) for width, found in losses.items() for loss in found]
    rho, under, over = spearman([float(width) for width, _ in everything], [loss for _, loss in everything])
    yield Check(
        "the wider, the lower the end (rank correlation of loss and width, interval below 0)",
        f"{rho:.2f} ({under:.2f} to {over:.2f}) over {len(everything)} descents; mean losses "
        + ", ".join(f"{found.mean():.2g} at width {width}" for width, found in losses.items()),
        over < 0,
    )
    fallen = walls[low] - walls[high]
    yield Check(
        f"between two ends the straight line climbs less at width {high} than at {low} (mean difference of the barriers, interval "
        "above 0)",
        f"{interval(fallen.tolist())}; mean barriers "
        + ", ".join(f"{wall.mean():.2g} at width {width}" for width, wall in walls.items()),
        mean(fallen.tolist())[1] > 0,
    )
    yield Ending(
        spent(*meters),
        caveats=(
            "One rate and one number of steps for all widths: a narrow network might go lower with others.",
            "Copies of a minimum are all equally deep; how many minima of different depths there are is not counted here.",
            "A barrier on the straight line is not one on every path (D4), and part of it comes from the order of the units (D5).",
        ),
        data={
            "losses": {str(w): f.tolist() for w, f in losses.items()},
            "barriers": {str(w): f.tolist() for w, f in walls.items()},
        },
        pictures={"ladder": _picture(losses, runs)},
    )


def _picture(losses: dict[int, Array], runs: int) -> Any:
    from lossatlas.draw import LadderDisplay

    found = np.stack(list(losses.values()))
    ends = np.array([mean(row.tolist())[1:] for row in found])
    name = "loss where descent ends"
    return LadderDisplay(
        np.array(list(losses), dtype=float),
        {name: found},
        {name: ends[:, 0]},
        {name: ends[:, 1]},
        xlabel="width h of the hidden layer",
        ylabel="training loss",
        title=f"Digits MLP 64-h-10 on {EXAMPLES} digits: the wider, the fewer bad ends",
        note=f"{runs} descents at every width (circles), their mean with its 95 % interval; guessing has a loss of {math.log(10):.2f}",
    )


LESSON = Lesson(
    "G4",
    CLAIM,
    experiment,
    runs=16,
    quick=8,
    depends="the data: what is wide enough for 100 digits is narrow for more of them; and on one rate for all widths.",
)
