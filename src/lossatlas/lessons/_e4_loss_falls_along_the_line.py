"""E4: the line between two solutions, and the line from the initial to the final weights (Goodfellow et al. 2015)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from lossatlas.connect import CRITIQUE, Path, barriers, connect
from lossatlas.lessons._lesson import Check, Ending, Lesson, Row, spent
from lossatlas.lessons._trained_networks import Trained, trained_mlps
from lossatlas.race import wilson

CLAIM = (
    "Along the straight line from the initial to the final weights the loss falls monotonically, although nothing forced it "
    "to (Goodfellow et al. 2015); on the line between two solutions it rises in between."
)
WIDTHS = (64,)


def experiment(runs: int, seed: int, widths: tuple[int, ...] | None = None) -> Iterator[Row]:
    """Both kinds of line on digits networks, read adaptively, with intervals over examples and over networks."""
    widths = widths or WIDTHS
    yield (
        f"Digits MLPs of width {', '.join(map(str, widths))} are trained from {2 * runs} seeds. The loss is evaluated along the straight "
        f"line from the initial to the final weights of each, and between the final weights of {runs} pairs."
    )
    data = {}
    read = list[Path]()
    for width in widths:
        nets = trained_mlps(width, 2 * runs, seed)
        downs = [_line(nets, start, state) for start, state in zip(nets.starts, nets.states, strict=True)]
        betweens = [_line(nets, nets.states[a], nets.states[b]) for a, b in nets.pairs]
        monotone = sum(path.monotone for path in downs)
        low, high = wilson(monotone, len(downs))
        rises = [path.train.rise / float(np.ptp(path.loss)) for path in downs]
        over, held_out = barriers(betweens), barriers(betweens, data="test")
        halfway = [float(path.profile(np.array([0.5]))[0] / path.loss[0]) for path in downs]
        example = betweens[0].interval or (float("nan"), float("nan"))
        worst = max(path.profile_error / float(np.ptp(path.loss)) for path in downs + betweens)
        yield Check(
            "from the initial to the final weights the training loss never rises (in more than half of the trainings, interval)",
            f"in {monotone} of {len(downs)} ({low:.0%} to {high:.0%}); the largest rise is {max(rises):.1%} of the range",
            low > 0.5,
        )
        yield Check(
            "between two solutions it rises (interval of the mean barrier above 0, on training and test data)",
            f"to a barrier of {over.mean:.2g} on the training data ({over.interval[0]:.2g} to {over.interval[1]:.2g}) and of "
            f"{held_out.mean:.2g} on the test data ({held_out.interval[0]:.2g} to {held_out.interval[1]:.2g}); for the first pair, over "
            f"examples alone, {example[0]:.2g} to {example[1]:.2g}",
            min(over.interval[0], held_out.interval[0]) > 0,
        )
        data[f"width {width}"] = {
            "monotone": monotone,
            "rises": rises,
            "halfway": halfway,
            "barriers": over.record(),
            "profile_error": worst,
            "caption": downs[0].caption(),
        }
        read += downs + betweens
    points = int(np.mean([len(path.t) for path in read]))
    yield Ending(
        spent(*(path.meter for path in read)),
        caveats=(
            f"{CRITIQUE[:1].upper()}{CRITIQUE[1:].rstrip('.')}.",
            "Never means: from no value of t that was evaluated to a later one.",
            f"Lines were evaluated at {points} values of t on average; the profile filled in between them is within "
            f"{worst:.1%} of its range.",
        ),
        data=data,
        pictures={"lines": _picture(downs[0], betweens[0])},
    )


def _picture(down: Path, between: Path) -> Any:
    from lossatlas.draw import CurvesDisplay

    t = np.linspace(0, 1, 201)
    return CurvesDisplay(
        {
            "from the initial to the final weights": (t, down.profile(t)),
            "between two solutions": (t, between.profile(t)),
        },
        xlabel="t along the straight line",
        ylabel="training loss",
        xscale="linear",
        yscale="linear",
        title="Downhill all the way from the start, over a barrier between two ends",
        note="Digits MLPs, the first training and the first pair",
    )


def _line(nets: Trained, one: object, two: object) -> Path:
    return connect(nets.train, one, two, test=nets.test, resamples=200, progress=False)  # type: ignore[arg-type]


LESSON = Lesson(
    "E4",
    CLAIM,
    experiment,
    runs=5,
    quick=2,
    depends="the network and its training: with large rates or batch norm the loss need not fall all the way.",
)
