"""D4: minima are connected by low-loss paths: a barrier on the straight line, none on a curve that was trained."""

from __future__ import annotations

from typing import Any

import numpy as np

from lossatlas._statistics import mean_interval
from lossatlas.connect import Path, barriers, connect
from lossatlas.lessons._lesson import Check, Lesson, Part, spent
from lossatlas.lessons._trained_networks import Trained, trained_cnns, trained_mlps

CLAIM = (
    "Minima of networks are connected: between two trained networks the straight line goes over a barrier, and a curve that "
    "was trained to stay low does not (Garipov et al. 2018)."
)
WIDTHS, STEPS, CNN_STEPS = (64,), 1000, 400
# What "low" means, fixed before the first run: the highest loss on the curve against the height of the straight line.
LOW = 0.1


def experiment(runs: int, seed: int, widths: tuple[int, ...] | None = None) -> Part:
    """Lines and Bézier curves between networks from different seeds, on digits; batch norm read both ways."""
    widths = widths or WIDTHS
    checks, data = list[Check](), dict[str, Any]()
    read = list[Path]()
    for width in widths:
        nets = trained_mlps(width, 2 * runs, seed)
        lines = [_path(nets, pair, "line") for pair in nets.pairs]
        curves = [_path(nets, pair, "bezier", steps=STEPS) for pair in nets.pairs]
        straight, held_out = barriers(lines), barriers(lines, data="test")
        tops = np.array([curve.loss.max() for curve in curves])
        ends = np.array([max(curve.loss[0], curve.loss[-1]) for curve in curves])
        low, high = mean_interval(tops / straight.values)
        errors = [
            100 * float(curve.test.error.max()) for curve in curves if curve.test and curve.test.error is not None
        ]
        checks += [
            Check(
                f"width {width}: the straight line has a barrier (interval above 0, train and test)",
                f"train {straight.mean:.3g} ({straight.interval[0]:.3g} to {straight.interval[1]:.3g}), test "
                f"{held_out.mean:.3g} ({held_out.interval[0]:.3g} to {held_out.interval[1]:.3g})",
                min(straight.interval[0], held_out.interval[0]) > 0,
            ),
            Check(
                f"width {width}: the highest train loss on the curve is at most a tenth of that (interval of the ratio)",
                f"{np.max(tops / straight.values):.3f} at worst, mean {np.mean(tops / straight.values):.3f} "
                f"({low:.3f} to {high:.3f}); the ends' own loss is {np.mean(ends / straight.values):.3f}",
                high <= LOW,
            ),
            Check(
                f"width {width}: the curve has next to no barrier of its own (at most a tenth of the straight one)",
                f"{barriers(curves).mean:.2g} at most {barriers(curves).values.max():.2g}; test error on it at most "
                f"{max(errors):.1f} %; {np.mean([c.length / ln.length for c, ln in zip(curves, lines, strict=True)]):.2f} times "
                "as long",
                bool((barriers(curves).values <= LOW * straight.values).all()),
            ),
        ]
        data[f"width {width}"] = {
            "straight": straight.record(),
            "straight_test": held_out.record(),
            "curve": barriers(curves).record(),
            "highest_on_curve": tops.tolist(),
        }
        read += lines + curves
    normed = trained_cnns(2 * runs, seed)
    line = [_path(normed, pair, "line", points=9) for pair in normed.pairs]
    curve = [_path(normed, pair, "bezier", steps=CNN_STEPS, points=9) for pair in normed.pairs]
    stale = [_read_stale(normed, path) for path in curve]
    tops = np.array([path.loss.max() for path in curve])
    ratio, worse = mean_interval(tops / barriers(line).values), mean_interval(np.array(stale) / tops)
    checks += [
        Check(
            "with batch norm the same, statistics re-estimated at every t (interval of highest loss over straight barrier)",
            f"mean {np.mean(tops / barriers(line).values):.3f} ({ratio[0]:.3f} to {ratio[1]:.3f})",
            ratio[1] <= LOW,
        ),
        Check(
            "with interpolated statistics the curve would look higher than it is (interval of the factor above 1)",
            f"highest loss {np.mean(stale):.3g} instead of {tops.mean():.3g}: {np.mean(np.array(stale) / tops):.1f} times "
            f"({worse[0]:.1f} to {worse[1]:.1f})",
            worse[0] > 1,
        ),
    ]
    data["batch norm"] = {"straight": barriers(line).record(), "highest_on_curve": tops.tolist(), "stale": stale}
    return Part(
        f"Digits MLPs of width {', '.join(map(str, widths))} and CNNs with batch norm, trained from different seeds, in {runs} "
        f"disjoint pairs; straight lines read adaptively, quadratic Bézier curves trained for {STEPS:,} ({CNN_STEPS}) mini-batches.",
        tuple(checks),
        spent(*(path.meter for path in [*read, *line, *curve])),
        caveats=(
            "connected means: by a curve that was searched for; nothing here says that every path is low",
            "intervals are Student's over pairs; training the networks is not in the cost",
        ),
        data=data,
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


LESSON = Lesson("D4", CLAIM, experiment, runs=5)
