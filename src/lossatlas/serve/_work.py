"""Jobs on a surface: true losses at points, along a drawn path, or a race, one answer at a time, each with its cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from lossatlas._errors import InputError
from lossatlas.optimize import Streams, optimizer
from lossatlas.probe import Gradients, Meter, Probe, Products, Request, Values, standing
from lossatlas.surface import Surface

Frame = dict[str, Any]
KINDS = ("evaluate", "check", "race")
# What one request may cost at most: queries, and seconds by the forecast.
MOST_POINTS, MOST_STEPS, MOST_RACERS, MOST_QUERIES = 200, 2000, 12, 20_000
CHECKED = 24
LARGEST_SETTING = 5000
CHUNK = 0.05  # seconds of steps that are sent together


def plan(job: Any, surface: Surface) -> tuple[str, Callable[[Probe], Iterator[Frame]], int, int]:
    """What a client wants, checked: its kind, the work, and how many losses and gradients it will take at most.

    Raises:
        InputError: for what is no job.
    """
    if not isinstance(job, dict) or job.get("kind") not in KINDS:
        raise InputError(f"expected a job of one of the kinds {', '.join(KINDS)}.")
    if job["kind"] == "race":
        return _race(job, surface)
    given = _points(
        job.get("at"), surface, 2 if job["kind"] == "check" else 1, 100_000 if job["kind"] == "check" else MOST_POINTS
    )
    points = along(given, CHECKED) if job["kind"] == "check" else given
    return job["kind"], lambda probe: _values(probe, points), len(points), 0


def forecast(surface: Surface, losses: int, gradients: int) -> Frame:
    """What a job will take, from one evaluation that is timed now."""
    probe = Probe(surface)
    start = surface.start if surface.start is not None else torch.zeros(surface.dimension, dtype=surface.dtype)
    begin = time.perf_counter()
    probe.evaluate(Values(start[None]))
    one = time.perf_counter() - begin
    seconds = one * (losses + 3 * gradients)
    what = [f"{count:,} {word}" for count, word in ((losses, "losses"), (gradients, "gradients")) if count]
    said = f"{' and '.join(what)}, about {seconds:.1f} s" + (
        f", {surface.examples:,} examples each" if surface.examples else ""
    )
    return {"kind": "forecast", "losses": losses, "gradients": gradients, "seconds": seconds, "sentence": said}


def spent(meter: Meter) -> Frame:
    """What a job has taken."""
    counts = {"losses": int(meter.values), "gradients": int(meter.gradients), "products": int(meter.products)}
    said = ", ".join(f"{count:,} {word}" for word, count in counts.items() if count) or "nothing"
    return {"kind": "done", **counts, "examples": int(meter.examples), "seconds": meter.seconds,
            "sentence": f"evaluated: {said}, in {meter.seconds:.1f} s"}  # fmt: skip


def along(path: np.ndarray, count: int) -> np.ndarray:
    """Points evenly spaced along a path, its ends among them."""
    lengths = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    at = np.linspace(0, lengths[-1], count)
    return np.stack([np.interp(at, lengths, path[:, k]) for k in range(path.shape[1])], 1)


def _values(probe: Probe, points: np.ndarray) -> Iterator[Frame]:
    for k, point in enumerate(points):
        answer = probe.evaluate(Values(torch.tensor(point, dtype=probe.surface.dtype)[None]))
        yield {"kind": "point", "index": k, "of": len(points), "at": point.tolist(), "loss": float(answer.values[0])}


def _race(job: Frame, surface: Surface) -> tuple[str, Callable[[Probe], Iterator[Frame]], int, int]:
    given, steps, seed = job.get("optimizers"), job.get("steps"), job.get("seed", 0)
    if (
        not isinstance(given, list)
        or not 1 <= len(given) <= MOST_RACERS
        or not all(isinstance(one, dict) for one in given)
    ):
        raise InputError(f"expected between 1 and {MOST_RACERS} optimizers.")
    if type(steps) is not int or not 1 <= steps <= MOST_STEPS or type(seed) is not int or not 0 <= seed < 2**31:
        raise InputError(f"expected a whole number of steps up to {MOST_STEPS:,}, and a seed.")
    (start,) = _points([job.get("start")], surface, 1, 1)
    racers = []
    for one in given:
        settings = one.get("settings", {})
        if not isinstance(settings, dict) or "name" in settings or not all(map(_modest, settings.values())):
            raise InputError(f"expected settings by name: words, and numbers of at most {LARGEST_SETTING:,}.")
        racers.append(optimizer(str(one.get("name")), **settings).plan(steps))
    length = sum(planned for _, planned in racers)
    if length > MOST_QUERIES:
        raise InputError(
            f"this race takes {length:,} steps; at most {MOST_QUERIES:,} are made for one request. Take fewer."
        )
    begin = torch.tensor(start, dtype=surface.dtype, device=surface.device)[None]

    def work(probe: Probe) -> Iterator[Frame]:
        for k, (racer, planned) in enumerate(racers):
            yield from _walk(probe, racer, planned, begin, seed, {"racer": k, "name": racer.name})

    values = sum(planned for racer, planned in racers if racer.queries == frozenset({Values}))
    return "race", work, values, length - values


def _modest(value: Any) -> bool:
    """Whether a setting can be taken from a client: no optimizer inside, and no number that fills the memory."""
    if isinstance(value, list):
        return len(value) <= 4 and all(isinstance(one, int | float) and abs(one) <= LARGEST_SETTING for one in value)
    return value is None or isinstance(value, str) or (isinstance(value, int | float) and abs(value) <= LARGEST_SETTING)


def _walk(probe: Probe, racer: Any, planned: int, begin: torch.Tensor, seed: int, said: Frame) -> Iterator[Frame]:
    walk = racer.walk(begin, probe.surface.layout, Streams(seed, 1))
    meter, sent = probe.meter, time.perf_counter()
    rows: list[list[float | None]] = []
    try:
        query = next(walk)
        for step in range(planned):
            (answer,) = probe.answer([Request(query, meter)])
            if answer is None:
                break
            losses = None if isinstance(query, Products) else answer.values.reshape(-1)
            where = standing(query)[0].tolist()
            at = query.at.values if getattr(query, "at", None) is not None else losses
            rows.append([*where, None if at is None else float(at.reshape(-1)[0])])
            if isinstance(query, Gradients) and not bool(torch.isfinite(answer.values).all()):
                break
            if time.perf_counter() - sent > CHUNK:
                yield {"kind": "steps", **said, "step": step + 1, "of": planned, "rows": rows}
                rows, sent = [], time.perf_counter()
            query = walk.send(answer)
    except StopIteration:
        pass
    yield {"kind": "steps", **said, "step": planned, "of": planned, "rows": rows, "last": True}


def _points(given: Any, surface: Surface, least: int, most: int) -> np.ndarray:
    try:
        points = np.array(given, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        points = np.empty(0)
    if points.ndim != 2 or points.shape[1] != surface.dimension or not least <= len(points) <= most:
        raise InputError(f"expected between {least} and {most:,} points of {surface.dimension} numbers.")
    if not np.isfinite(points).all() or np.abs(points).max() > 1e9:
        raise InputError("expected finite numbers.")
    return points
