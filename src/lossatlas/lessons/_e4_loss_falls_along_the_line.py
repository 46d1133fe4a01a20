"""E4: the line between two solutions, and the line from the initial to the final weights (Goodfellow et al. 2015)."""

from __future__ import annotations

import numpy as np

from lossatlas.connect import CRITIQUE, Path, barriers, connect
from lossatlas.lessons._lesson import Check, Lesson, Part, spent
from lossatlas.lessons._trained_networks import Trained, trained_mlps
from lossatlas.race import wilson

CLAIM = (
    "Along the straight line from the initial to the final weights the loss falls monotonically, although nothing forced it "
    "to (Goodfellow et al. 2015); on the line between two solutions it rises in between."
)
WIDTHS = (64,)


def experiment(runs: int, seed: int, widths: tuple[int, ...] | None = None) -> Part:
    """Both kinds of line on digits networks, read adaptively, with intervals over examples and over networks."""
    widths = widths or WIDTHS
    checks, data = [], {}
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
        checks += [
            Check(
                f"width {width}: from initial to final the train loss never rises (more than half of the runs, interval)",
                f"{monotone} of {len(downs)} ({low:.0%} to {high:.0%}); largest rise {max(rises):.2%} of the range",
                low > 0.5,
            ),
            Check(
                f"width {width}: between two solutions it rises (interval of the mean barrier above 0, train and test)",
                f"train {over.mean:.3g} ({over.interval[0]:.3g} to {over.interval[1]:.3g}), test {held_out.mean:.3g} "
                f"({held_out.interval[0]:.3g} to {held_out.interval[1]:.3g}); over examples alone, first pair: "
                f"{example[0]:.3g} to {example[1]:.3g}",
                min(over.interval[0], held_out.interval[0]) > 0,
            ),
        ]
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
    return Part(
        f"Digits MLPs of width {', '.join(map(str, widths))}, {2 * runs} seeds, {runs} disjoint pairs; {points} values of t per line "
        f"on average, the filled-in profile within {worst:.2%} of its range.",
        tuple(checks),
        spent(*(path.meter for path in read)),
        caveats=(CRITIQUE, "never means: from no value of t that was read to a later one"),
        data=data,
    )


def _line(nets: Trained, one: object, two: object) -> Path:
    return connect(nets.train, one, two, test=nets.test, resamples=200, progress=False)  # type: ignore[arg-type]


LESSON = Lesson("E4", CLAIM, experiment, runs=5)
