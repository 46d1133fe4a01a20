"""Ask and tell: an optimizer in the caller's own loop, step for step what it does in a race."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from lossatlas import _checks
from lossatlas._errors import InputError, NotApplicableError
from lossatlas.optimize import Optimizer, resolve
from lossatlas.probe import Answer, Gradients, Products, Query, Values, standing
from lossatlas.race._inputs import check, starts
from lossatlas.race._queries import lowest
from lossatlas.race._racer import Racer
from lossatlas.surface import PointLike, Surface

_WANTS = {Values: "tell(values)", Gradients: "tell(values, gradients)", Products: "tell(products=…)"}


@final
class Steps:
    """One optimizer that says what it queries and is told what was found there: `steps` makes it.

    Nothing is evaluated here. `ask` returns a query: `Values`, `Gradients` or `Products`, whose ``points`` are (runs, N),
    or (runs, k, N) for k points per run. `tell` takes what the caller found, and lets the optimizer move on.

    Attributes:
        optimizer: as it runs.
        best: (runs, N) the best point that each run was told of.
        loss: (runs,) there; infinity before the first.
    """

    def __init__(self, racer: Racer) -> None:
        self._racer = racer
        self._query: Query | None = None
        self.optimizer = racer.optimizer
        self.best = racer.start
        self.loss = torch.full((racer.runs,), float("inf"), dtype=torch.float64, device=racer.start.device)
        self._refuse()

    @property
    def done(self) -> bool:
        """Whether it makes no more queries: its steps are used up, it stopped by itself, or all runs diverged."""
        return self._racer.done

    @property
    def point(self) -> Tensor:
        """Where each run stands, (runs, N)."""
        return self._racer.positions[-1] if self.done else standing(self._racer.query)

    @property
    def final(self) -> Tensor:
        """The result so far, (runs, N), as `Race.final` has it: the best point for methods that may move uphill."""
        return self.best if self.optimizer.wanders else self._racer.stopped_at(self.point)

    def ask(self) -> Query:
        """The next query; the same one until it is answered.

        Raises:
            InputError: if there is none.
        """
        if self.done:
            raise InputError(
                f"{self._racer.label} has ended after {self._racer.answered} answers ({self._racer.reasons[0]}); expected a "
                "walk that is not done. Give steps=… for a longer one."
            )
        if self._query is None:
            self._query = self._racer.next_query()
        return self._query

    def tell(self, values: Any = None, gradients: Any = None, products: Any = None) -> None:
        """What was found at the points of the query.

        Args:
            values: L at its points, (runs,), or (runs, k), also flat, as of ``points.reshape(-1, N)``: numbers, an array or a
                tensor. For `Gradients` also the pair (values, gradients), as ``surface.gradients(query.points)`` returns
                it. NaN and infinity are data.
            gradients: (runs, N), for `Gradients`.
            products: (runs, K, N), for `Products`; there are no values then.

        Axes of length one may be left out, as for one run.

        Raises:
            InputError: for anything that the query did not want, or another shape.
        """
        query = self.ask()
        if isinstance(values, tuple) and len(values) == 2 and isinstance(query, Gradients) and gradients is None:
            values, gradients = values
        given = {"values": values, "gradients": gradients, "products": products}
        wanted = {Values: ["values"], Gradients: ["values", "gradients"], Products: ["products"]}[type(query)]
        surplus = [name for name, part in given.items() if part is not None and name not in wanted]
        if surplus:
            raise InputError(
                f"tell got {' and '.join(surplus)} for a query of {type(query).__name__}; expected {_WANTS[type(query)]}."
            )
        shape = tuple(query.points.shape)
        if isinstance(query, Products):
            found = Answer(query.points.new_empty(0), products=_shaped(products, tuple(query.vectors.shape), query))
        elif isinstance(query, Gradients):
            found = Answer(_shaped(values, shape[:1], query, losses=True), _shaped(gradients, shape, query))
        else:
            found = Answer(_shaped(values, shape[:-1], query, losses=True))
        self._note(query, found)
        self._racer.meter.count(query, query.active, 0)
        self._query = None
        self._racer.hear(_only(found, query.active))
        self._refuse()

    def __iter__(self) -> Iterator[Query]:
        """Queries for as long as there are any; each must be told before the next."""
        while not self.done:
            yield self.ask()

    def _note(self, query: Query, found: Answer) -> None:
        if isinstance(query, Products):
            return
        values, points = lowest(query, found)
        better = values < self.loss
        better = better if query.active is None else better & query.active
        self.best = torch.where(better[:, None], points, self.best)
        self.loss = torch.where(better, values, self.loss)

    def _refuse(self) -> None:
        if self._racer.failure is not None:
            raise self._racer.failure
        if not self._racer.ran:
            raise NotApplicableError(f"{self._racer.label} cannot run: {self._racer.why}")

    def __repr__(self) -> str:
        return f"Steps({self.optimizer!r}: {self._racer.answered:,} of {self._racer.length:,} answers)"


def steps(
    optimizer: str | Optimizer,
    surface: Surface,
    *,
    start: PointLike | Sequence[PointLike] | None = None,
    steps: int = 300,
    runs: int = 1,
    seed: int = 0,
    label: str | None = None,
) -> Steps:
    """An optimizer for one's own loop: ask it where to look, evaluate, tell it.

    Told what the surface answers, it does bit for bit what it does in `race` with the same settings. The surface gives
    the start, the layout and the box and is never evaluated here.

    Args:
        optimizer: a name or an optimizer.
        surface: what it walks on.
        start: as in `race`.
        steps: per descent and run, as in `race`.
        runs: how many runs side by side; every query then has a row for each.
        seed: random seed.
        label: in the race it is to equal; the optimizer's name by default. It is a part of the random streams.

    Raises:
        StartError: if the start has another dimension, is not finite, or lies outside the box.
        NotApplicableError: if it cannot run on this surface, or lacks a library.
        InputError: for anything else that does not fit.

    Example:
        >>> import lossatlas as la
        >>> surface = la.landscapes.regression()
        >>> walk = la.steps("hill-climbing", surface, steps=40)
        >>> for query in walk:
        ...     walk.tell(surface.values(query.points.reshape(-1, 2)))
        >>> bool(walk.loss[0] == la.race(surface, ["hill-climbing"], steps=40).tracks["hill-climbing"].loss[0])
        True
    """
    steps, runs, seed = check("steps", surface, seed, steps=steps, runs=runs)
    one = resolve(optimizer)
    if not isinstance(label, str | None):
        raise InputError(f"steps got label={_checks.shown(label)}; expected text, or None for {one.name!r}.")
    begin = starts(surface, start, runs)
    return Steps(Racer(one.name if label is None else label, one, surface, begin, steps, seed))


def _shaped(given: Any, shape: tuple[int, ...], query: Query, *, losses: bool = False) -> Tensor:
    """What was told in the shape of the query: losses, also flat, in float64; vectors in the type of its points."""
    wants = _WANTS[type(query)]
    if given is None:
        raise InputError(
            f"the query is one of {type(query).__name__} at {tuple(query.points.shape)} points; expected {wants}."
        )
    try:
        found = _tensor(given)
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"{wants} got a {type(given).__name__}; expected numbers of shape {shape}.") from None
    flat = losses and tuple(found.shape) == (prod(shape),)
    if not flat and [d for d in found.shape if d != 1] != [d for d in shape if d != 1]:
        raise InputError(
            f"{wants} got numbers of shape {tuple(found.shape)}; expected {shape}, as the query of {type(query).__name__} has."
        )
    return found.reshape(shape).to(query.points.device, torch.float64 if losses else query.points.dtype)


def _tensor(given: Any) -> Tensor:
    """Real numbers as a tensor: of a tensor, an array, a number, or a list of these."""
    if isinstance(given, list | tuple) and any(isinstance(part, Tensor) for part in given):
        return torch.stack([_tensor(part) for part in given])
    if getattr(given, "is_nested", False):
        raise TypeError
    found = given.detach() if isinstance(given, Tensor) else np.asarray(given)
    real = (
        not (found.is_complex() or found.dtype == torch.bool)
        if isinstance(found, Tensor)
        else found.dtype.kind in "iuf"
    )
    if not real:
        raise TypeError
    return found if isinstance(found, Tensor) else torch.from_numpy(found.astype(np.float64))


def _only(found: Answer, rows: Tensor | None) -> Answer:
    """The answer as a probe gives it: NaN in runs that made no query."""
    if rows is None:
        return found

    def kept(part: Tensor) -> Tensor:
        return torch.where(rows.reshape(-1, *[1] * (part.ndim - 1)), part, float("nan")) if part.numel() else part

    return Answer(kept(found.values), kept(found.gradients), kept(found.products), answered=rows)
