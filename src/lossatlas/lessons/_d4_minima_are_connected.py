"""D4: minima are connected by low-loss paths: a barrier on the straight line, none on a curve that was trained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from lossatlas._statistics import mean_interval
from lossatlas.connect import Path, barriers, connect
from lossatlas.lessons._lesson import Check, Ending, Lesson, Row, spent
from lossatlas.lessons._trained_networks import CNN_EPOCHS, Trained, trained_cnns, trained_mlps

CLAIM = (
    "Minima of networks are connected: between two trained networks the straight line goes over a barrier, and a curve that "
    "was trained to stay low does not (Garipov et al. 2018)."
)
WIDTHS, STEPS, CNN_STEPS = (64,), 1000, 400
QUICK_STEPS, QUICK_CNN_STEPS, QUICK_EPOCHS = 150, 50, 2
# What "low" means, fixed before the first run: the highest loss on the curve against the height of the straight line.
LOW = 0.1


def experiment(runs: int, seed: int, widths: tuple[int, ...] | None = None, quick: bool = False) -> Iterator[Row]:
    """Lines and Bézier curves between networks from different seeds, on digits; batch norm read both ways."""
    widths = widths or WIDTHS
    steps, cnn_steps, epochs = (QUICK_STEPS, QUICK_CNN_STEPS, QUICK_EPOCHS) if quick else (STEPS, CNN_STEPS, CNN_EPOCHS)
    yield (
        f"Digits MLPs of width {', '.join(map(str, widths))} and CNNs with batch norm are trained from different seeds, in {runs} pairs. "
        f"Between the two of each pair the loss is evaluated along the straight line, and along a quadratic Bézier curve that was "
        f"trained to stay low, with {steps:,} mini-batches (CNNs {cnn_steps})."
    )
    data = dict[str, Any]()
    read = list[Path]()
    for width in widths:
        nets = trained_mlps(width, 2 * runs, seed)
        lines = [_path(nets, pair, "line") for pair in nets.pairs]
        curves = [_path(nets, pair, "bezier", steps=steps) for pair in nets.pairs]
        straight, held_out = barriers(lines), barriers(lines, data="test")
        tops = np.array([curve.loss.max() for curve in curves])
        ends = np.array([max(curve.loss[0], curve.loss[-1]) for curve in curves])
        low, high = mean_interval(tops / straight.values)
        errors = [
            100 * float(curve.test.error.max()) for curve in curves if curve.test and curve.test.error is not None
        ]
        yield Check(
            f"between two networks of width {width} the straight line goes over a barrier (interval above 0, on training and test data)",
            f"{straight.mean:.2g} high on the training data ({straight.interval[0]:.2g} to {straight.interval[1]:.2g}), "
            f"{held_out.mean:.2g} on the test data ({held_out.interval[0]:.2g} to {held_out.interval[1]:.2g})",
            min(straight.interval[0], held_out.interval[0]) > 0,
        )
        yield Check(
            "the trained curve stays low: its highest training loss is at most a tenth of that barrier (interval of the ratio)",
            f"{np.mean(tops / straight.values):.3f} of it on average ({low:.3f} to {high:.3f}); the ends themselves have "
            f"{np.mean(ends / straight.values):.3f}",
            high <= LOW,
        )
        longer = [curve.length / line.length for curve, line in zip(curves, lines, strict=True)]
        yield Check(
            "the curve has next to no barrier of its own (at most a tenth of the straight one, on every pair)",
            f"{barriers(curves).values.max():.2g} at most, on curves {np.mean(longer):.2f} "
            f"times as long as the line; the test error along them is {max(errors):.1f} % at most",
            bool((barriers(curves).values <= LOW * straight.values).all()),
        )
        data[f"width {width}"] = {
            "straight": straight.record(),
            "straight_test": held_out.record(),
            "curve": barriers(curves).record(),
            "highest_on_curve": tops.tolist(),
        }
        read += lines + curves
    normed = trained_cnns(2 * runs, seed, epochs)
    line = [_path(normed, pair, "line", points=9) for pair in normed.pairs]
    curve = [_path(normed, pair, "bezier", steps=cnn_steps, points=9) for pair in normed.pairs]
    stale = [_read_stale(normed, path) for path in curve]
    tops = np.array([path.loss.max() for path in curve])
    ratio, worse = mean_interval(tops / barriers(line).values), mean_interval(np.array(stale) / tops)
    yield Check(
        "with batch norm the curve stays as low, if the statistics are re-estimated at every t (interval of the ratio)",
        f"{np.mean(tops / barriers(line).values):.3f} of the straight barrier ({ratio[0]:.3f} to {ratio[1]:.3f})",
        ratio[1] <= LOW,
    )
    yield Check(
        "with interpolated statistics the curve would look higher than it is (interval of the factor above 1)",
        f"{np.mean(np.array(stale) / tops):.1f} times as high ({worse[0]:.1f} to {worse[1]:.1f})",
        worse[0] > 1,
    )
    data["batch norm"] = {"straight": barriers(line).record(), "highest_on_curve": tops.tolist(), "stale": stale}
    yield Ending(
        spent(*(path.meter for path in [*read, *line, *curve])),
        caveats=(
            "Connected means: by a curve that was searched for; nothing here says that every path is low.",
            "Intervals are Student's over pairs; training the networks is not in the cost.",
        ),
        data=data,
        pictures={"paths": _picture(read[0], read[runs])},
    )


def _picture(line: Path, curve: Path) -> Any:
    from lossatlas.draw import CurvesDisplay

    t = np.linspace(0, 1, 201)
    return CurvesDisplay(
        {"straight line": (t, line.profile(t)), "trained curve": (t, curve.profile(t))},
        xlabel="t, from one network to the other",
        ylabel="training loss",
        xscale="linear",
        yscale="linear",
        title="Between two trained networks: the straight line, and a curve that was trained",
        note="The first pair of digits MLPs; both ends are minima of their own trainings",
    )


def _path(nets: Trained, pair: tuple[int, int], kind: Any, **settings: Any) -> Path:
    one, two = (nets.states[k] for k in pair)
    return connect(
        nets.train,
        one,
        two,
        kind=kind,
        test=nets.test,
        resamples=0,
        seed=nets.seeds[pair[0]],
        progress=False,
        **settings,
    )


def _read_stale(nets: Trained, path: Path) -> float:
    """The highest loss on a curve if the statistics of its ends are interpolated along it."""
    first = nets.seeds.index(path.provenance["seed"])
    again = _path(nets, (first, first + 1), path.curve, statistics="stale", points=9)
    return float(again.loss.max())


LESSON = Lesson(
    "D4",
    CLAIM,
    experiment,
    runs=5,
    quick=2,
    depends="how long the curve is trained, and on the width: narrow networks keep more of a barrier.",
)
