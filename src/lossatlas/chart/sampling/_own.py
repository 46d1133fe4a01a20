"""A sampler of the user's own: it says where to evaluate and what lies between; the error of that is measured here."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from lossatlas._errors import InputError
from lossatlas.chart.sampling._certificate import Certificate, breadth, certify
from lossatlas.chart.sampling._field_query import FieldQuery, Survey, SurveyWalk
from lossatlas.chart.sampling._grid import Grid
from lossatlas.probe import Answer, Values

Array = NDArray[np.float64]
Sampler: TypeAlias = Callable[[Grid], Generator[Values, Answer, Array | Mapping[str, Array]]]


def hosted(sampler: Sampler, grid: Grid, *, probes: int, tolerance: float, seed: int) -> SurveyWalk:
    """Run a sampler of the user's own, keep what was evaluated, and hold what it made of it against cells it never saw.

    Cells at which the surface was evaluated show its own values, whatever the sampler returned there. Of the others
    ``probes`` are drawn with equal probability and evaluated: their errors are the certificate.

    Args:
        sampler: a generator function of the grid: it yields `Values` of coordinates (n, k), is sent their `Answer`, and
            returns the field (ny, nx), or several by name with ``loss`` among them.
        grid: the cells.
        probes: held-out cells.
        tolerance: for the certificate.
        seed: of the held-out cells.

    Raises:
        InputError: for what is no such function, or for coordinates or a field of another shape.
    """
    name = getattr(sampler, "__name__", type(sampler).__name__)
    try:
        run: Any = sampler(grid) if callable(sampler) else None
    except Exception as raised:
        raise InputError(f"{_refusal(name)} It raised {type(raised).__name__}: {raised}.") from raised
    if not hasattr(run, "send"):
        raise InputError(_refusal(name))
    # The center is on every chart.
    middle = int(np.argmin((grid.coords() ** 2).sum(1)))
    coords, answers = [grid.coords(np.array([middle]))], [(yield _exact(grid.coords(np.array([middle]))))]
    try:
        query = next(run)
        while True:
            points = _points(query, grid, name)
            answer = yield _exact(points)
            coords.append(points)
            answers.append(answer)
            query = run.send(answer)
    except StopIteration as end:
        fields = _fields(end.value, grid, name)
    fields = {key: field for key, field in fields.items() if key == "loss" or key in answers[0].extras}
    exactly = _settle(fields, coords, answers, grid)
    rest = np.flatnonzero(~exactly)
    samples = np.concatenate(coords)
    words = f"{name}, a sampler of the user's own"
    error, certificate = np.zeros(grid.shape), Certificate(range=breadth(fields["loss"]))
    held_out = np.zeros((0, grid.dimension))
    if len(rest):
        held = np.sort(np.random.default_rng(seed).choice(rest, min(probes, len(rest)), replace=False))
        made = {key: field.flat[held] for key, field in fields.items()}
        held_out = grid.coords(held)
        answer = yield _exact(held_out)
        off = {key: _errors(found, _channel(answer, key)) for key, found in made.items()}
        probabilities = np.full(len(held), 1 / len(rest))
        extras = {key: float(np.sqrt(np.mean(errors**2))) for key, errors in off.items() if key != "loss"}
        truth = _channel(answer, "loss")
        exactly |= _settle(fields, [held_out], [answer], grid)
        span = breadth(fields["loss"])
        certificate = replace(certify(off["loss"], truth, probabilities, grid.cells, span, tolerance), extras=extras)
        samples = np.concatenate([samples, held_out])
        error[~exactly] = float(np.sqrt(np.mean(off["loss"] ** 2)))
    loss = fields.pop("loss")
    return Survey(
        loss, fields, exactly, error, certificate, samples, np.zeros((0, grid.dimension)), words, held_out=held_out
    )


def _refusal(name: str) -> str:
    return (
        f"got the sampler {name}, which is no generator function; expected one that yields Values(coordinates), is sent their "
        "Answer, and returns the field of the grid. Write it with yield."
    )


def _exact(points: Array) -> FieldQuery:
    return FieldQuery("exact", Values(torch.from_numpy(points)))


def _points(query: Any, grid: Grid, name: str) -> Array:
    points = np.asarray(query.points, dtype=np.float64) if isinstance(query, Values) else None
    if points is None or points.ndim != 2 or points.shape[1] != grid.dimension or not np.isfinite(points).all():
        shown = "something else" if points is None else f"coordinates of shape {points.shape}"
        raise InputError(
            f"the sampler {name} yielded {shown}; expected Values of finite coordinates (n, {grid.dimension}), for example "
            "Values(torch.from_numpy(grid.coords()))."
        )
    return points


def _fields(returned: Any, grid: Grid, name: str) -> dict[str, Array]:
    given = dict(returned) if isinstance(returned, Mapping) else {"loss": returned}
    try:
        fields = {str(key): np.array(field, dtype=np.float64) for key, field in given.items()}
    except (TypeError, ValueError):
        fields = {}
    if "loss" not in fields or any(field.shape != grid.shape for field in fields.values()):
        shapes = ", ".join(f"{key} {field.shape}" for key, field in fields.items()) or type(returned).__name__
        raise InputError(
            f"the sampler {name} returned {shapes}; expected the loss of every cell as an array of shape {grid.shape}, row j at "
            "the j-th value of the second coordinate."
        )
    return fields


def _settle(fields: dict[str, Array], coords: list[Array], answers: list[Answer], grid: Grid) -> NDArray[np.bool_]:
    """Put the surface's own values into the cells at which it was evaluated; which cells these are, (ny, nx)."""
    cells = grid.cell(np.concatenate(coords))
    hit = cells >= 0
    for key, field in fields.items():
        field.flat[cells[hit]] = np.concatenate([_channel(answer, key) for answer in answers])[hit]
    exactly = np.zeros(grid.shape, dtype=bool)
    exactly.flat[cells[hit]] = True
    return exactly


def _channel(answer: Answer, key: str) -> Array:
    values: Array = (answer.values if key == "loss" else answer.extras[key]).cpu().double().numpy()
    return values


def _errors(made: Array, truth: Array) -> Array:
    """Made less true; infinite where only one of them is finite, zero where neither is."""
    both, neither = np.isfinite(made) & np.isfinite(truth), ~np.isfinite(made) & ~np.isfinite(truth)
    return np.where(both, np.where(both, made, 0) - np.where(both, truth, 0), np.where(neither, 0.0, np.inf))
