"""The life of one chart: a surface, a plane, a sampler that asks, the door that answers."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from lossatlas._errors import InputError
from lossatlas.chart._chart import Certificate, Chart
from lossatlas.chart._pace import Pace
from lossatlas.chart._plane import Line, Plane
from lossatlas.chart._progress import Progress
from lossatlas.chart._sampler import full_grid
from lossatlas.probe import Forecast, Probe
from lossatlas.surface import Frame, Surface


def chart(
    surface: Surface,
    plane: Plane | Line | Frame,
    *,
    span: float | tuple[float, float] | Sequence[tuple[float, float]] = 1.0,
    points: int | tuple[int, int] = 51,
    exact: bool = True,
    progress: bool | Callable[[int, int], None] = True,
    on_forecast: Callable[[Forecast], None] | None = None,
) -> Chart:
    """Evaluate a surface on a grid over a plane or line.

    loss[j, i] = L(origin + alpha[i]·d₁ + beta[j]·d₂). Odd counts over a symmetric span include the origin, where the
    loss is the model's own.

    Args:
        surface: any surface.
        plane: a `Plane`, a `Line`, or a bare `Frame`.
        span: how far to go to both sides in units of the directions; (low, high) for both axes, or one such pair per
            axis.
        points: cells per axis, at least 2; or (nx, ny).
        exact: every cell is evaluated. It is the only way so far: False is refused.
        progress: True for a bar on the error stream of a terminal, False for silence, or a function of (done, total).
        on_forecast: called once with the forecast, after the first few cells; by default it is printed above the bar.

    Returns:
        The `Chart`. Non-finite losses are kept as they are, counted and drawn as holes. If it is interrupted with
        Ctrl-C, KeyboardInterrupt passes through and nothing is kept.

    Raises:
        InputError: for fewer than two points, a span that is not finite or has no width.

    Example:
        >>> import lossatlas as la
        >>> surface = la.landscapes.himmelblau()
        >>> plane = la.Plane.random(surface, seed=0)
        >>> la.chart(surface, plane, points=(7, 5), progress=False).loss.shape
        (5, 7)
    """
    if not exact:
        raise InputError("got exact=False; this version evaluates every cell. Leave exact at True.")
    frame = plane.frame
    alpha, beta = _axes(span, points, frame.dimension)
    sliced = surface.on(plane)
    probe = Probe(sliced)
    total = len(alpha) * (1 if beta is None else len(beta))
    bar = Progress(total, progress)
    pace = Pace(total, surface.examples, on_forecast or (lambda expected: bar.say(expected.sentence)))
    asker = full_grid(alpha, beta, pace.size)
    with bar:
        query = next(asker)
        while True:
            answer = probe.ask(query)
            pace.note(len(query.points), probe.meter.surface_seconds)
            bar.advance(len(query.points))
            try:
                query = asker.send(answer)
            except StopIteration as finished:
                channels: dict[str, np.ndarray] = finished.value
                break
    meter = probe.meter.record() | {"forecast_seconds": pace.forecast.seconds if pace.forecast else None}
    labels = plane.labels if isinstance(plane, Plane | Line) else ("α", "β")[: frame.dimension]
    loss = channels.pop("loss")
    return Chart(
        alpha,
        np.zeros(1) if beta is None else beta,
        loss,
        channels,
        tuple(labels),
        surface.name,
        Certificate(),
        meter,
        _provenance(surface, plane),
    )


def _axes(span: Any, points: Any, dimension: int) -> tuple[np.ndarray, np.ndarray | None]:
    counts = (points, points) if isinstance(points, int | float) else tuple(points)
    if len(counts) != 2 or any(isinstance(n, bool) or int(n) != n or n < 2 for n in counts[:dimension]):
        raise InputError(f"got points={points}; expected at least 2 per axis, as one number or (nx, ny).")
    pairs = _pairs(span)
    for low, high in pairs[:dimension]:
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise InputError(f"got span={span}; expected a finite width above 0, as a number or (low, high).")
    axes = [_axis(low, high, int(n)) for (low, high), n in zip(pairs, counts, strict=True)]
    return axes[0], axes[1] if dimension == 2 else None


def _pairs(span: Any) -> list[tuple[float, float]]:
    if isinstance(span, int | float):
        return [(-float(span), float(span))] * 2
    first, second = span
    if isinstance(first, int | float):
        return [(float(first), float(second))] * 2
    return [(float(first[0]), float(first[1])), (float(second[0]), float(second[1]))]


def _axis(low: float, high: float, n: int) -> np.ndarray:
    axis = np.linspace(low, high, n)
    if low == -high and n % 2:
        axis[n // 2] = 0.0
    return axis


def _provenance(surface: Surface, plane: Plane | Line | Frame) -> dict[str, Any]:
    made = {"kind": plane.kind, **plane.how} if isinstance(plane, Plane | Line) else {"kind": "frame"}
    return {
        "surface": surface.fingerprint(),
        "plane": made,
        "sampler": "full grid",
        "versions": {
            "lossatlas": version("lossatlas"),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "threads": torch.get_num_threads(),
    }
