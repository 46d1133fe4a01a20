"""The verb: connect two points of a surface, and say how high the way between them is."""

from __future__ import annotations

import hashlib
import platform
from importlib.metadata import version
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from lossatlas._errors import InputError, NotApplicableError, UnknownNameError
from lossatlas.chart import Line
from lossatlas.connect._barrier import DEFINITIONS, check
from lossatlas.connect._curve import Curve, Kind, straight
from lossatlas.connect._ends import End, Names, PointLike, two_ends
from lossatlas.connect._measure import Asking, Measured, measure
from lossatlas.connect._path import Path
from lossatlas.connect._profile import BREAK_EVEN
from lossatlas.connect._progress import Show, counted
from lossatlas.connect._readout import STATISTICS, Readout, Statistics, bill
from lossatlas.probe import Exchange, Meter, Probe
from lossatlas.surface import Surface

KINDS = ("line", "bezier", "chain", "band")
# A third of the 61 points that papers draw; a cubic through them is nearer to the truth than 61 joined by straight lines.
POINTS = {"line": 20, "bezier": 61, "chain": 61, "band": 61}


def connect(
    surface: Surface,
    a: PointLike,
    b: PointLike,
    *,
    kind: Kind = "line",
    test: Surface | None = None,
    definition: str = "entezari",
    points: int | None = None,
    tolerance: float | None = 1e-3,
    slopes: bool | Literal["auto"] = "auto",
    exchange: Exchange | None = None,
    statistics: Statistics = "reset",
    names: Names = None,
    resamples: int = 1000,
    seed: int = 0,
    progress: Show = True,
) -> Path:
    """Connect two points of a surface by a straight line or by a curve that is trained to stay low.

    Args:
        surface: any surface; on a `NetworkSurface` its data are the training data.
        a: where the path starts: a vector, state dict, module or checkpoint file.
        b: where it ends.
        kind: ``line``.
        test: a surface of the same model on test data, to read the path there too.
        definition: of the barrier that is reported first: ``entezari``, ``ainsworth`` or ``frankle`` (`DEFINITIONS`).
        points: the most values of t to read; 20 on a line, 61 on a curve.
        tolerance: of the filled-in profile, as a share of its range: intervals are halved until the error, measured by
            leaving points out, is below it. None reads at equal distances.
        slopes: ask for dL/dt too and fill in by Hermite's cubics. At equal error that pays if a gradient costs less
            than 1.73 values; ``auto`` holds the price list against this. On straight lines without batch norm only.
        exchange: the price list; 1 : 3 : 6 by default, at which slopes do not pay.
        statistics: of batch norm: ``reset`` re-estimates them on the training data at every t, ``stale`` interpolates
            those of the ends.
        names: if b names its tensors differently: the model's names to those of b, or ``guess``.
        resamples: of the bootstrap over examples; 0 for no intervals.
        seed: of the resamples.
        progress: True for a bar on the error stream of a terminal, False for silence, or a function of (done, total).

    Returns:
        The `Path`. A loss on the way that is not finite is kept, makes the barrier infinite, and is said in `status`.

    Raises:
        InputError: for end points that do not fit or coincide, or a setting that cannot be.
        UnknownNameError: for a kind, a definition or a treatment of statistics that is not there.
        NotApplicableError: if slopes are asked for where there are none.

    Source:
        Goodfellow, Vinyals and Saxe: Qualitatively characterizing neural network optimization problems, ICLR 2015;
        Entezari et al.: The role of permutation invariance in linear mode connectivity, ICLR 2022.

    Example:
        >>> import torch, lossatlas as la
        >>> surface = la.landscapes.himmelblau()
        >>> one, two = (well.minimum for well in surface.wells[:2])
        >>> round(la.connect(surface, one, two, progress=False).barrier, 1)
        71.1
    """
    if kind not in KINDS:
        raise UnknownNameError("kind of path", kind, KINDS)
    points = POINTS[kind] if points is None else points
    if isinstance(points, bool) or int(points) != points or points < 3:
        raise InputError(f"got points={points}; expected a whole number of at least 3 values of t.")
    if tolerance is not None and not 0 < tolerance < 1:
        raise InputError(f"got tolerance={tolerance}; expected a share of the profile's range, or None.")
    check(definition)
    ends = two_ends(surface, a, b, names)
    readout = Readout(surface, test, ends, statistics)
    curve = straight(kind, ends[0].theta, ends[1].theta)
    sliced = _slopes(surface, curve, readout, slopes, exchange or Exchange())
    asking = Asking(int(points), tolerance, resamples, seed)
    with counted(f"{kind}: values of t", asking.points, progress) as note:
        read = measure(curve, readout, asking, sliced, note)
    if definition not in read.train.barriers:
        raise InputError(
            f"definition={definition!r} needs an error, and the loss of {surface.name!r} is no known classification "
            "loss on class numbers. Use 'entezari' or 'ainsworth'."
        )
    meters = [*readout.meters, *([] if sliced is None else [sliced.meter])]
    return _result(surface, test, curve, read, readout, asking, definition, meters, ends)


def _slopes(surface: Surface, curve: Curve, readout: Readout, slopes: bool | str, exchange: Exchange) -> Probe | None:
    possible = curve.kind == "line" and not readout.norm and surface.gradients_known
    if slopes == "auto":
        slopes = possible and exchange.gradient < BREAK_EVEN * exchange.value
    if not slopes:
        return None
    if not possible:
        reason = (
            "its batch-norm statistics change along the path" if readout.norm
            else "only straight lines have them" if curve.kind != "line" else "the surface has no gradients"
        )  # fmt: skip
        raise NotApplicableError(f"slopes=True: {reason}; the profile can be filled in from values. Leave slopes out.")
    return Probe(surface.on(Line.between(surface, curve.controls[0], curve.controls[1])))


def _result(
    surface: Surface,
    test: Surface | None,
    curve: Curve,
    read: Measured,
    readout: Readout,
    asking: Asking,
    definition: str,
    meters: list[Meter],
    ends: tuple[End, End],
) -> Path:
    t, loss = read.profile.t, read.train.loss
    lost = np.flatnonzero(~np.isfinite(loss))
    status = (
        f"the loss is not finite at {len(lost)} of {len(t)} points, first at t = {t[lost[0]]:.3g}"
        if len(lost)
        else "complete"
    )
    notes = [f"barrier: {DEFINITIONS[definition]}"]
    if readout.norm:
        notes.append(STATISTICS[readout.statistics])
    if readout.why_not is not None:
        notes.append(f"no interval over examples: {readout.why_not}")
    elif asking.resamples:
        notes.append(
            f"95 % intervals: paired bootstrap over {surface.examples:,} examples, {asking.resamples:,} resamples; they "
            "say nothing of other seeds"
        )
    if len(lost):
        notes.append(status)
    return Path(
        curve,
        t,
        read.train,
        read.test,
        definition,
        read.profile.slopes,
        float(read.profile.errors().max()),
        surface.name,
        tuple(notes),
        {},
        status,
        bill(meters),
        {
            "surface": surface.fingerprint(),
            "test": None if test is None else test.fingerprint(),
            "kind": curve.kind,
            "ends": [_digest(point.state) for point in ends],
            "statistics": readout.statistics if readout.norm else None,
            "asking": {"points": asking.points, "tolerance": asking.tolerance, "resamples": asking.resamples},
            "seed": asking.seed,
            "versions": {
                "lossatlas": version("lossatlas"),
                "torch": torch.__version__,
                "numpy": np.__version__,
                "python": platform.python_version(),
            },
        },
        read.profile.breaks,
    )


def _digest(point: Tensor) -> str:
    return hashlib.sha256(point.cpu().contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()[:16]
