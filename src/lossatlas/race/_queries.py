"""What a walk must yield to go on: anything else is refused in a sentence, before the surface is evaluated."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import torch
from torch import Tensor

from lossatlas import _checks
from lossatlas._errors import InputError
from lossatlas._layout import Sample
from lossatlas.probe import Answer, At, Gradients, Products, Query, Values


def valid(query: Any, label: str, start: Tensor) -> Query:
    """A query of all runs that a surface can answer.

    Args:
        query: what a walk yielded.
        label: whose walk.
        start: (runs, N), for shape, type and device.

    Raises:
        InputError: for anything else.
    """
    if not isinstance(query, Values | Gradients | Products):
        raise InputError(f"{label} yielded a {type(query).__name__}; expected a query: Values, Gradients or Products.")
    runs, n = start.shape
    whose = f"{label} yielded {type(query).__name__} with"
    _numbers(
        f"{whose} points", query.points, start, (runs, n), *([(runs, None, n)] if isinstance(query, Values) else [])
    )
    if isinstance(query, Products):
        _numbers(f"{whose} vectors", query.vectors, start, (runs, None, n))
    if query.at is not None:
        if not isinstance(query.at, At):
            raise InputError(f"{whose} at={_checks.shown(query.at)}; expected At(theta, values), or None.")
        _numbers(f"{whose} at.theta", query.at.theta, start, (runs, n))
        _numbers(f"{whose} at.values", query.at.values, start, (runs,), exact=False)
    if query.active is not None:
        _each_run(f"{whose} active", query.active, runs, torch.bool)
    sample = None if isinstance(query, Values) else query.sample
    if sample is not None:
        if not isinstance(sample, Sample):
            raise InputError(f"{whose} sample={_checks.shown(sample)}; expected Sample(size, seeds), or None.")
        _checks.whole("size", sample.size, where=f"{whose} a sample that")
        _each_run(f"{whose} seeds", sample.seeds, runs, torch.int64)
    again = None if isinstance(query, Values) else query.again
    if again is not None:
        _each_run(f"{whose} again", again, runs, torch.bool)
    return query


def lowest(query: Values | Gradients, answer: Answer) -> tuple[Tensor, Tensor]:
    """The lowest loss that the answer brought each run, (runs,), and where, (runs, N); what is no number is infinitely high."""
    runs, n = len(query.points), query.points.shape[-1]
    values = answer.values if answer.sound else torch.where(answer.values.isnan(), inf, answer.values)
    if query.points.ndim == 2:
        return values, query.points
    values = values.reshape(runs, -1)
    found, index = values.min(1)
    return found, query.points.reshape(runs, -1, n)[torch.arange(runs, device=index.device), index]


def nothing(query: Query) -> Answer:
    """The answer that answers no run."""
    values = torch.full(query.points.shape[:-1], nan, dtype=torch.float64, device=query.points.device)
    answered = torch.zeros(len(query.points), dtype=torch.bool, device=query.points.device)
    match query:
        case Values():
            return Answer(values, answered=answered)
        case Gradients():
            return Answer(values, torch.full_like(query.points, nan), answered=answered)
        case Products():
            return Answer(values[:0], products=torch.full_like(query.vectors, nan), answered=answered)


def _numbers(what: str, given: Any, start: Tensor, *shapes: tuple[int | None, ...], exact: bool = True) -> None:
    """Refuse what is no tensor of one of these shapes, None standing for one or more, of the start's type and device."""
    _tensor(what, given)
    if not any(
        len(given.shape) == len(shape)
        and all(a == b or (b is None and a) for a, b in zip(given.shape, shape, strict=True))
        for shape in shapes
    ):
        texts = [str(shape).replace("None", "k") for shape in shapes]
        raise InputError(
            f"{what} of shape {tuple(given.shape)}; expected {' or '.join(texts)}{', k ≥ 1' * ('k' in texts[-1])}."
        )
    if given.device != start.device or (given.dtype != start.dtype if exact else not given.is_floating_point()):
        raise InputError(
            f"{what} of {given.dtype} on {given.device}; expected {start.dtype if exact else 'numbers'} on {start.device}, as the "
            "start has. Convert them with .to(start)."
        )
    if given.requires_grad:
        raise InputError(f"{what} that require grad; expected plain numbers. Detach them with .detach().")


def _each_run(what: str, given: Any, runs: int, kind: torch.dtype) -> None:
    _tensor(what, given)
    if given.dtype != kind or tuple(given.shape) != (runs,):
        raise InputError(f"{what} of shape {tuple(given.shape)}, {given.dtype}; expected ({runs},), {kind}.")


def _tensor(what: str, given: Any) -> None:
    if not isinstance(given, Tensor):
        raise InputError(f"{what} {_checks.shown(given)}; expected a tensor.")
