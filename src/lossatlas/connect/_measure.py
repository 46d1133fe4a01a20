"""From a path to its profile: what is evaluated along it, and the heights and intervals that follow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lossatlas.connect._barrier import DEFINITIONS, Barrier, above, barrier, bootstrap, monotone_rise, percentiles
from lossatlas.connect._curve import Curve
from lossatlas.connect._path import Side
from lossatlas.connect._profile import Profile, adaptive, uniform
from lossatlas.connect._readout import Readout, Rows
from lossatlas.probe import Gradients, Probe

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Sampling:
    """How a path is read.

    Attributes:
        points: the most values of t.
        tolerance: of the filled-in profile, as a share of its range; None for equal distances.
        resamples: of the bootstrap over examples; 0 for no intervals.
        seed: of the resamples.
    """

    points: int
    tolerance: float | None
    resamples: int
    seed: int


@dataclass(frozen=True, eq=False)
class Measured:
    """A path, read.

    Attributes:
        profile: t, training loss and slopes.
        train: with heights and intervals.
        test: the same on the test data, or None.
    """

    profile: Profile
    train: Side
    test: Side | None


def measure(
    curve: Curve, readout: Readout, sampling: Sampling, slopes: Probe | None, note: Callable[[int], None]
) -> Measured:
    """Read a path where it is worth it.

    Args:
        curve: the path.
        readout: evaluates.
        sampling: how.
        slopes: a probe of the slice along a straight line where slopes are wanted, else None.
        note: called with the number of points read so far.
    """
    breaks = curve.nodes if curve.kind in ("chain", "band") else np.array([0.0, 1.0])
    walk = (
        uniform(sampling.points, breaks)
        if sampling.tolerance is None
        else adaptive(sampling.points, sampling.tolerance, breaks)
    )
    places: list[Array] = []
    trains: list[Rows] = []
    tests: list[Rows] = []
    wanted = next(walk)
    while True:
        train, test = readout.read(wanted, curve.points(wanted))
        places.append(wanted)
        trains.append(train)
        tests += [] if test is None else [test]
        note(sum(map(len, places)))
        slope = None
        if slopes is not None:
            answer = slopes.evaluate(Gradients(torch.from_numpy(wanted)[:, None]))
            slope = answer.gradients[:, 0].double().cpu().numpy()
        try:
            wanted = walk.send((train.loss, slope))
        except StopIteration as finished:
            profile: Profile = finished.value
            break
    order = np.argsort(np.concatenate(places))
    return Measured(
        profile,
        side(profile.t, Rows.joined(trains, order), sampling),
        side(profile.t, Rows.joined(tests, order), sampling) if tests else None,
    )


def side(t: Array, rows: Rows, sampling: Sampling) -> Side:
    """Heights, bands and intervals of what was read at t (n,)."""
    loss, low, high, intervals, rise_interval = rows.loss, None, None, {}, None
    if rows.losses is not None and sampling.resamples and np.isfinite(rows.losses).all():
        draws = bootstrap(rows.losses, resamples=sampling.resamples, seed=sampling.seed)
        for name in ("entezari", "ainsworth"):
            intervals[name] = _interval(above(name, t, draws).max(1))
        rise_interval = _interval(monotone_rise(draws))
        chord = loss - above("entezari", t, loss)
        low, high = chord + percentiles(above("entezari", t, draws))
        low, high = np.minimum(low, loss), np.maximum(high, loss)
        if rows.wrong is not None:
            wrong = bootstrap(rows.wrong, resamples=sampling.resamples, seed=sampling.seed)
            intervals["frankle"] = _interval(above("frankle", t, wrong).max(1))
    barriers = {}
    for name in DEFINITIONS:
        y = rows.error if name == "frankle" else loss
        if y is not None:
            found = barrier(name, t, y)
            interval = intervals.get(name) if np.isfinite(found.value) else None
            barriers[name] = Barrier(name, found.value, found.t, interval)
    rise = float(monotone_rise(loss)) if np.isfinite(loss).all() else float("inf")
    return Side(loss, rows.error, low, high, barriers, rise, rise_interval)


def _interval(draws: Array) -> tuple[float, float]:
    low, high = percentiles(draws)
    return float(low), float(high)
