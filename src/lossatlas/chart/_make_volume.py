"""The life of one volume: a surface, a space, a grid whose every cell is evaluated through the probe."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lossatlas import _checks
from lossatlas._errors import InputError, OutputError
from lossatlas._progress import Progress
from lossatlas._versions import versions
from lossatlas.chart import _sizes as sizes
from lossatlas.chart._make_chart import Evaluator
from lossatlas.chart._volume import Volume
from lossatlas.chart.directions._direction import letters
from lossatlas.chart.planes._cut import Cut
from lossatlas.chart.planes._space import Space, need_space
from lossatlas.chart.sampling._field_query import FieldQuery
from lossatlas.chart.sampling._grid import MOST_CELLS, Grid, even
from lossatlas.chart.sampling._pace import Pace
from lossatlas.probe import Answer, Forecast, Inline, Probe, Values, chosen
from lossatlas.probe.engine import EngineLike
from lossatlas.probe.engine import engine as chosen_engine
from lossatlas.surface import Frame, Surface, need_surface

Array = NDArray[np.float64]
Span = float | tuple[float, float] | Sequence[tuple[float, float]]
# A forecast evaluates so many cells to warm up, and times so many.
FIRST, TIMED = 2, 8
# Bytes of the record of a volume, and of the header of its arrays.
RECORD, HEADER = 4_000, 900
# Of a row of a ledger: the name of each coordinate beyond the second.
LAYER = 20


def volume(
    surface: Surface,
    space: Space | Frame,
    *,
    span: Span = 1.0,
    points: int | Sequence[int] = 21,
    ledger: str | Path | None = None,
    engine: EngineLike | None = None,
    progress: bool | Callable[[int, int], None] = True,
    on_forecast: Callable[[Forecast], None] | None = None,
) -> Volume:
    """Evaluate a surface on a grid along three and more directions: loss[k, j, i] = L(origin + αᵢd₁ + βⱼd₂ + γₖd₃).

    Every cell is evaluated: points³ evaluations in three dimensions, 9,261 of 21 per axis. `lossatlas.forecast` says
    beforehand how long that takes.

    Args:
        surface: any surface.
        space: a `Space`, or a bare `Frame` of three to eight directions.
        span: how far to go to both sides in units of the directions; (low, high) for all axes, or one such pair per axis.
        points: per axis, at least 2; or one number per axis, the first direction's first.
        ledger: a folder that remembers every answer: the same call resumes there after a crash, evaluates only what is
            missing, and ends bit for bit as if nothing had happened.
        engine: where it is evaluated, as `lossatlas.engine` takes it: ``"pool:8"`` for eight worker processes.
        progress: True for a bar on the error stream of a terminal, False for silence, or a function of (done, total).
        on_forecast: called once with the forecast, after the first few cells; by default it is printed above the bar.

    Returns:
        The `Volume`. Non-finite losses are kept as they are, and counted. If it is interrupted with Ctrl-C,
        KeyboardInterrupt passes through, and what was answered is in the ledger if there is one.

    Raises:
        InputError: for a line or plane, fewer than two points, a span without width, or 20 million cells and more.
        OutputError: if the ledger belongs to another surface or space, or cannot be read or written.

    Example:
        >>> import lossatlas as la
        >>> surface = la.landscapes.quadratic(condition=9.0, dimension=5)
        >>> made = la.volume(surface, la.Space.random(surface), points=(5, 4, 3), progress=False)
        >>> made.loss.shape, made.meter.values
        ((3, 4, 5), 60)
    """
    need_surface(surface, "volume")
    need_space(space, "volume")
    _checks.optional(_checks.function, "on_forecast", on_forecast, "a function of the forecast", where="volume")
    _checks.optional(_checks.path, "ledger", ledger, where="volume", error=OutputError)
    axes = axes_of(span, points, space.frame.dimension)
    cells = Grid(axes)
    count = int(np.prod([len(axis) for axis in axes]))
    bar = Progress(count, progress)
    pace = Pace(surface.examples, 0, on_forecast or (lambda expected: bar.say(expected.sentence)))
    with ExitStack() as stack:
        at_work = stack.enter_context(chosen_engine(engine))
        pace.width = torch.get_num_threads() if at_work is None else at_work.width
        evaluator = Evaluator(surface, None, space, ledger, stack, pace, bar)
        stack.enter_context(bar)
        evaluator.plan(count, 0)
        channels = evaluator.drive(_walk(cells, count, pace.size))
        spent, notes = evaluator.spent(), evaluator.notes
    shape = tuple(len(axis) for axis in reversed(axes))
    found = {name: channel.reshape(shape) for name, channel in channels.items()}
    labels = space.labels if isinstance(space, Cut) else tuple(letters(len(axes)))
    made = {"kind": space.kind, **space.how} if isinstance(space, Cut) else {"kind": "frame"}
    told = [*notes, *getattr(space, "notes", ()), *(spent["ledger"] or {}).get("notes", ())]
    provenance = {
        "surface": surface.fingerprint(),
        "space": made,
        "settings": {
            "span": [[float(axis[0]), float(axis[-1])] for axis in axes],
            "points": [len(axis) for axis in axes],
        },
        "notes": told,
        "captions": [note for note in notes if note in surface.captions],
        "versions": versions(),
        "threads": torch.get_num_threads(),
    }
    return Volume(
        axes,
        found.pop("loss"),
        found,
        tuple(labels),
        surface.name,
        spent["meter"],
        provenance,
        source=(surface, space),
        forecast_seconds=spent["forecast_seconds"],
        ledger=spent["ledger"],
    )


def _walk(cells: Grid, count: int, chunk: Callable[[str], int]) -> Generator[FieldQuery, Answer, dict[str, Array]]:
    """Evaluate every cell, the first axis running fastest; each channel of all cells, flat."""
    parts: dict[str, list[Array]] = {}
    done = 0
    while done < count:
        numbers = np.arange(done, min(count, done + chunk("exact")))
        answer = yield FieldQuery("exact", Values(torch.from_numpy(cells.coords(numbers))))
        done += len(numbers)
        for name, channel in {"loss": answer.values, **answer.extras}.items():
            parts.setdefault(name, []).append(channel.cpu().numpy())
    return {name: np.concatenate(found) for name, found in parts.items()}


def axes_of(span: Span, points: int | Sequence[int], dimension: int) -> tuple[Array, ...]:
    """The coordinates along each axis, the first direction's first.

    Raises:
        InputError: for fewer than two points, a span that is not finite or has no width, or too many cells.
    """
    several = isinstance(points, list | tuple) or (isinstance(points, np.ndarray) and points.ndim == 1)
    given: list[Any] = list(points) if several else [points] * dimension  # type: ignore[arg-type]
    do = f"Give one number, or one for each of the {dimension} axes."
    if len(given) != dimension:
        raise InputError(f"got points={_checks.shown(points)} for {dimension} axes; expected as many. {do}")
    counts = [_checks.whole("points", one, 2, do=do) for one in given]
    named = {f"points along {letter}": count for letter, count in zip(letters(dimension), counts, strict=True)}
    _checks.work("volume", named, most=MOST_CELLS, do="Take fewer points per axis, or fewer directions.")
    return tuple(even(low, high, n) for (low, high), n in zip(_pairs(span, dimension), counts, strict=True))


def _pairs(span: Span, dimension: int) -> list[tuple[float, float]]:
    if isinstance(span, int | float | np.number) and not isinstance(span, bool):
        width = _checks.number("span", span, above=0, do="It is the half width of the volume, in units of the axes.")
        return [(-width, width)] * dimension
    try:
        ends: list[Any] = list(span)  # type: ignore[arg-type]
        if len(ends) == 2 and all(isinstance(end, int | float | np.number) for end in ends):
            ends = [ends] * dimension
        pairs = [(float(low), float(high)) for low, high in ends]
    except (TypeError, ValueError, RuntimeError, OverflowError):
        pairs = []
    if len(pairs) != dimension or not all(np.isfinite(pair).all() and pair[0] < pair[1] for pair in pairs):
        raise InputError(
            f"got span={_checks.shown(span)}; expected a number above 0, (low, high) with low < high, or such a pair for each of "
            f"the {dimension} axes."
        )
    return pairs


def volume_forecast(
    surface: Surface, space: Space | Frame, *, span: Span, points: int | Sequence[int], ledger: str | Path | None
) -> Forecast:
    """What `volume` with the same settings will take: a few cells are evaluated, timed, and forgotten."""
    need_space(space, "forecast")
    root = _checks.optional(_checks.path, "ledger", ledger, where="forecast", error=OutputError)
    axes = axes_of(span, points, space.frame.dimension)
    count = int(np.prod([len(axis) for axis in axes]))
    at_work = chosen()
    sliced = surface.on(space, steady=True) if root is not None else surface.on(space)
    probe = Probe(sliced, engine=None if at_work is None else Inline(steady=True))
    coords = torch.from_numpy(Grid(axes).coords(np.linspace(0, count - 1, FIRST + TIMED).astype(np.int64)))
    probe.evaluate(Values(coords[:FIRST]))
    begin = time.perf_counter()
    answer = probe.evaluate(Values(coords[FIRST:]))
    width = max(1, torch.get_num_threads())
    share = 1.0 if at_work is None else width / at_work.speed
    rate = share * (time.perf_counter() - begin) / TIMED
    known = 0 if root is None else min(count, sizes.known(root))
    channels = len(answer.extras)
    held = {"record": RECORD, "arrays": HEADER + 8 * count * (1 + channels)}
    if root is not None:
        held["ledger"] = sizes.ledger(space, count, channels, 0) + LAYER * count * (len(axes) - 2)
    notes = [f"the ledger knows {known:,} points already, which are not evaluated again"] if known else []
    if at_work is not None and at_work.workers:
        notes.append(f"evaluations are shared by {at_work.workers} workers, whose start is not in the forecast")
    left = count - known
    return Forecast(
        left,
        left * surface.examples,
        left * rate,
        probe.meter.values,
        parts={"evaluations": left * rate},
        sizes=held,
        notes=tuple(notes),
    )
