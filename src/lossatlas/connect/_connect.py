"""The verb: connect two points of a surface, and measure the barrier between them."""

from __future__ import annotations

from pathlib import Path as FolderPath
from typing import Literal

import numpy as np
import torch

from lossatlas import _checks
from lossatlas._errors import InputError, NotApplicableError, OutputError
from lossatlas._progress import Show, counted
from lossatlas._versions import versions
from lossatlas.archive import Status
from lossatlas.chart import Line
from lossatlas.connect._barrier import DEFINITIONS
from lossatlas.connect._curve import Curve, Kind, straight
from lossatlas.connect._curve_trainer import Recipe, Rule
from lossatlas.connect._endpoints import End, Names, two_ends
from lossatlas.connect._measure import Measured, Sampling, measure
from lossatlas.connect._path import Path
from lossatlas.connect._profile import BREAK_EVEN
from lossatlas.connect._readout import STATISTICS, Readout, Statistics
from lossatlas.connect._training import Trained, identity, trained
from lossatlas.probe import Exchange, Meter, Probe
from lossatlas.surface import PointLike, Surface, need_surface

KINDS = ("line", "bezier", "chain", "band")
# A third of the 61 points that papers draw; a cubic through them is nearer to the truth than 61 joined by straight lines.
POINTS = {"line": 20, "bezier": 61, "chain": 61, "band": 61}
CONTROLS = {"line": 0, "bezier": 1, "chain": 1, "band": 7}
# More points than a profile can show, binomials beyond a float's range, and tables of resamples beyond the memory.
MOST_POINTS, MOST_CONTROLS, MOST_RESAMPLES = 100_000, 1_000, 1_000_000


def connect(
    surface: Surface,
    a: PointLike,
    b: PointLike,
    *,
    kind: Kind | Curve = "line",
    test: Surface | None = None,
    definition: str = "entezari",
    points: int | None = None,
    tolerance: float | None = 1e-3,
    slopes: bool | Literal["auto"] = "auto",
    exchange: Exchange | None = None,
    statistics: Statistics = "reset",
    names: Names = None,
    controls: int | None = None,
    steps: int = 1000,
    batch_size: int = 128,
    lr: float = 3e-3,
    weight_decay: float = 0.0,
    rule: Rule = "adam",
    folder: str | FolderPath | None = None,
    resamples: int = 1000,
    seed: int = 0,
    progress: Show = True,
) -> Path:
    """Connect two points of a surface by a straight line or by a curve that is trained to stay low.

    Args:
        surface: any surface; on a `NetworkSurface` its data are the training data.
        a: where the path starts: a vector, state dict, module or checkpoint file.
        b: where it ends.
        kind: ``line``; ``bezier``, a curve of degree controls + 1 trained on its mean loss (Garipov et al. 2018);
            ``chain``, straight pieces trained alike; ``band``, a nudged elastic band (Draxler et al. 2018). Or the
            ``curve`` of an earlier path, to read it once more: on other data, or with other statistics.
        test: a surface of the same model on test data, to read the path there too.
        definition: of the barrier that is reported first: ``entezari``, ``ainsworth`` or ``frankle`` (`DEFINITIONS`).
        points: the most values of t to read, besides the corners of a chain, which always are; 20 on a line, 61 on a curve.
        tolerance: of the filled-in profile, as a share of its range: intervals are halved until the error, measured by
            leaving points out, is below it. None reads at equal distances.
        slopes: evaluate dL/dt too and fill in by Hermite's cubics. At equal error that pays if a gradient costs less
            than 1.73 values; ``auto`` compares the exchange rates with this. On straight lines without batch norm only.
        exchange: the exchange rates; 1 : 3 : 6 by default, at which slopes do not pay.
        statistics: of batch norm: ``reset`` re-estimates them on the training data at every t, ``stale`` interpolates
            those of the ends. ``repair``, on a line only, puts the means and deviations of all hidden units back to those
            of the ends, with or without batch norm.
        names: if b names its tensors differently: the model's names to those of b, or ``guess``.
        controls: control points between the ends: 1 for a quadratic Bézier curve or a chain of two pieces, 7 at most for a
            band, which begins with 3 and puts in more where it is high.
        steps: mini-batches that the curve is trained on, one t each; a band evaluates all of its pivots in each.
        batch_size: examples in each, all if there are fewer.
        lr: learning rate at the start; halfway it begins to fall to 1 %.
        weight_decay: λ of an L2 term λ/2 |φ(t)|² in the training of the curve; the losses that are reported are without it.
        rule: ``adam`` or ``sgd`` with momentum 0.9.
        folder: for checkpoints of the training; called again with the same arguments it resumes.
        resamples: of the bootstrap over examples; 0 for no intervals.
        seed: of the training and the resamples.
        progress: True for a bar on the error stream of a terminal, False for silence, or a function of (done, total).

    Returns:
        The `Path`. A loss on the way that is not finite is kept, makes the barrier infinite, and is said in `status`.

    Raises:
        InputError: for end points that do not fit or coincide, or a setting that cannot be.
        UnknownNameError: for a kind, a definition or a treatment of statistics that is not there.
        NotApplicableError: if slopes are wanted where there are none, or a curve on a surface without gradients.
        OutputError: if the folder holds another training, or cannot be written.

    Source:
        Goodfellow, Vinyals and Saxe: Qualitatively characterizing neural network optimization problems, ICLR 2015;
        Garipov et al.: Loss surfaces, mode connectivity, and fast ensembling of DNNs, NeurIPS 2018; Draxler et al.:
        Essentially no barriers in neural network energy landscape, ICML 2018; Entezari et al.: The role of permutation
        invariance in linear mode connectivity, ICLR 2022.

    Example:
        >>> import torch, lossatlas as la
        >>> surface = la.landscapes.himmelblau()
        >>> one, two = (well.minimum for well in surface.wells[:2])
        >>> round(la.connect(surface, one, two, progress=False).barrier, 1)
        71.1
    """
    need_surface(surface, "connect")
    if test is not None:
        need_surface(test, "connect with test=…")
    given = kind if isinstance(kind, Curve) else None
    name: Kind = kind.kind if isinstance(kind, Curve) else kind
    _checks.one_of("kind of path", name, KINDS)
    points = POINTS[name] if points is None else points
    controls = given.degree - 1 if given is not None else CONTROLS[name] if controls is None else controls
    points = _checks.whole("points", points, 3, MOST_POINTS, do="These are values of t.")
    controls = _checks.whole(
        "controls", controls, int(name != "line"), MOST_CONTROLS, do=f"These are control points of a {name}."
    )
    if name == "line" and controls:
        raise InputError(f"connect got controls={controls} for a line, which has none. Leave them out.")
    steps, batch_size, seed = (
        _checks.whole("steps", steps, 0, _checks.MOST_WORK - 1),
        _checks.whole("batch_size", batch_size),
        _checks.seed(seed),
    )
    resamples = _checks.whole("resamples", resamples, 0, MOST_RESAMPLES)
    if tolerance is not None:
        do = "This is a share of the profile's range; None reads at equal distances."
        tolerance = _checks.number("tolerance", tolerance, above=0, below=1, do=do)
    _checks.one_of("definition of a barrier", definition, DEFINITIONS)
    if not _checks.is_word(slopes, "auto"):
        slopes = _checks.flag("slopes", slopes)
    _checks.optional(_checks.path, "folder", folder, where="connect", error=OutputError)
    _checks.text("statistics", statistics, where="connect")
    _checks.optional(_checks.instance, "exchange", exchange, Exchange, "an Exchange, such as Exchange(gradient=1.5)")
    ends = two_ends(surface, a, b, names)
    if statistics == "repair" and name != "line":
        raise InputError(f"got statistics='repair' for a {name}; expected a line: only there hidden units have goals.")
    readout = Readout(surface, test, ends, statistics)
    if definition == "frankle" and not readout.tells_error:
        raise InputError(
            f"definition='frankle' needs an error, and the loss of {surface.name!r} is not a known classification loss on "
            "class numbers. Use 'entezari' or 'ainsworth'."
        )
    shape = Trained(straight("line", ends[0].theta, ends[1].theta) if given is None else _fitting(given, ends))
    slope_probe = _slopes(surface, shape.curve, name, readout, slopes, exchange or Exchange())
    recipe = None
    if name != "line" and given is None:
        recipe = Recipe(steps, min(batch_size, surface.examples), lr, weight_decay, rule, seed)
        shape = trained(surface, ends, name, controls, recipe, folder=folder, progress=progress)
    sampling = Sampling(points, tolerance, resamples, seed)
    with counted(f"reading the {name}", sampling.points, progress) as note:
        read = measure(shape.curve, readout, sampling, slope_probe, note)
    troubles = [status for status in (shape.status, _lost(read)) if status != "complete"]
    return Path(
        shape.curve,
        read.profile.t,
        read.train,
        read.test,
        definition,
        read.profile.slopes,
        float(read.profile.errors().max()),
        surface.name,
        (*(one.sentence for one in ends if one.sentence), *_notes(readout, sampling), *troubles),
        shape.history,
        Status.NOT_FINITE if troubles else Status.COMPLETE,
        sum([*shape.meters, *readout.meters, *([] if slope_probe is None else [slope_probe.meter])], Meter()),
        {
            **identity(surface, ends, name, controls, recipe),
            "test": None if test is None else test.fingerprint(),
            "statistics": readout.statistics if readout.changes else None,
            "sampling": {"points": sampling.points, "tolerance": sampling.tolerance, "resamples": sampling.resamples},
            "seed": seed,
            "versions": versions(),
        },
        read.profile.breaks,
    )


def _slopes(
    surface: Surface, curve: Curve, kind: str, readout: Readout, slopes: bool | str, exchange: Exchange
) -> Probe | None:
    possible = kind == "line" and not readout.changes and surface.gradients_known
    if slopes == "auto":
        slopes = possible and exchange.gradient < BREAK_EVEN * exchange.value
    if not slopes:
        return None
    if not possible:
        reason = (
            "only straight lines have them" if kind != "line"
            else "statistics of the network change along the path" if readout.changes else "the surface has no gradients"
        )  # fmt: skip
        raise NotApplicableError(f"slopes=True: {reason}; the profile can be filled in from values. Leave slopes out.")
    return Probe(surface.on(Line.between(surface, curve.controls[0], curve.controls[1])))


def _fitting(curve: Curve, ends: tuple[End, End]) -> Curve:
    """A curve that was given, on the device of its ends, which must be its own.

    Raises:
        InputError: if it does not lead from a to b.
    """
    controls = curve.controls.to(ends[0].theta)
    if controls.shape[1] != len(ends[0].theta) or not all(
        torch.equal(control, end.theta) for control, end in zip((controls[0], controls[-1]), ends, strict=True)
    ):
        raise InputError(
            "the curve that was given does not lead from a to b; expected its ends to be these two points."
        )
    return Curve(curve.kind, controls)


def _lost(read: Measured) -> str:
    """What is to be said of losses that are not finite."""
    lost = np.flatnonzero(~np.isfinite(read.train.loss))
    if not len(lost):
        return "complete"
    first = float(read.profile.t[lost[0]])
    return f"the loss is not finite at {len(lost)} of {len(read.profile.t)} points, first at t = {first:.3g}"


def _notes(readout: Readout, sampling: Sampling) -> list[str]:
    notes = []
    if readout.changes:
        notes.append(STATISTICS[readout.statistics])
    if readout.why_not is not None:
        notes.append(f"no interval over examples: {readout.why_not}")
    elif sampling.resamples:
        notes.append(
            f"95 % intervals: paired bootstrap over {readout.examples:,} examples, {sampling.resamples:,} resamples; they "
            "say nothing about other seeds"
        )
    return notes
