"""What an engine is: it evaluates rows of a query, and hands on each part as it is finished."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from torch import Tensor

from lossatlas._layout import Sample
from lossatlas.surface import Reading, Surface

Kind: TypeAlias = Literal["values", "gradients", "products", "outputs"]
Rows: TypeAlias = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Part:
    """Some rows of an answer.

    Attributes:
        rows: their numbers in the query, shape (P,), int64.
        answer: by name, tensors with P rows.
        seconds: spent on them by whoever evaluated them.
        worker: who did.
    """

    rows: Tensor
    answer: Rows
    seconds: float
    worker: str = "here"

    @property
    def reading(self) -> Reading:
        """The answer as losses and channels."""
        return reading_of(self.answer)


@dataclass(frozen=True, eq=False)
class Work:
    """One query as rows that can be evaluated one by one.

    Attributes:
        on: the surface.
        kind: of the query.
        rows: by name, tensors with one row each: ``points``, ``vectors``, ``seeds`` of mini-batches.
        shared: by name, tensors that belong to every row: the ``point`` of products, and the ``seed`` of their mini-batch.
        size: examples of a mini-batch, or None for all data.
        source: of outputs; None for other kinds.
    """

    on: Surface
    kind: Kind
    rows: Mapping[str, Tensor]
    shared: Mapping[str, Tensor] = field(default_factory=dict)
    size: int | None = None
    source: Any = None

    def __len__(self) -> int:
        return len(next(iter(self.rows.values())))


class Engine(Protocol):
    """Evaluates queries.

    Attributes:
        width: points that keep it busy.
        steady: whether every row has bits of its own: they depend neither on the rows that are evaluated along with it
            nor on who evaluates it.
        lost: rows that were being evaluated by workers that ended, and were given to others.
        worker_seconds: spent on answers by all workers together.
        proof_examples: read by workers to prove their shortcuts.
        clock_seconds: that its answers take by the clock once all workers are at work, which they are not at first.
        workers: how many there are; 0 for this process.
    """

    steady: bool
    lost: int
    proof_examples: int
    worker_seconds: float
    clock_seconds: float
    workers: int

    @property
    def width(self) -> int:
        """Points that keep it busy."""
        ...

    @property
    def speed(self) -> int:
        """Points that are evaluated side by side, each as fast as alone."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What must be known of its answers, in sentences."""
        ...

    def read(self, surface: Surface, points: Tensor) -> Reading:
        """Losses and channels at points (B, N)."""
        ...

    def stream(self, surface: Surface, points: Tensor) -> Iterator[Part]:
        """The same in parts, each as soon as it is known, so that it can be kept before the next one."""
        ...

    def gradients(self, surface: Surface, points: Tensor, sample: Sample | None) -> tuple[Tensor, Tensor]:
        """Losses (B,) and gradients (B, N)."""
        ...

    def products(self, surface: Surface, point: Tensor, vectors: Tensor, sample: Sample | None = None) -> Tensor:
        """Hessian at a point (N,) times vectors (K, N), of all data or of one mini-batch."""
        ...

    def outputs(self, surface: Surface, source: Any, coords: Any) -> Iterator[Part]:
        """By batch, named ``0``, ``1``, …, a network's outputs at coordinates (P, k), in parts."""
        ...

    def close(self) -> None:
        """Let go of all workers."""
        ...


EXTRA = "extra "


def rows_of(reading: Reading) -> Rows:
    """A reading as named rows."""
    return {"values": reading.values} | {EXTRA + name: channel for name, channel in reading.extras.items()}


def reading_of(rows: Rows) -> Reading:
    """Named rows as a reading."""
    extras = {name.removeprefix(EXTRA): part for name, part in rows.items() if name.startswith(EXTRA)}
    return Reading(rows["values"], extras)


def assembled(parts: Iterator[Part], count: int) -> Rows:
    """All rows in their order."""
    found: Rows = {}
    for part in parts:
        for name, rows in part.answer.items():
            if name not in found:
                if len(rows) == count:
                    return part.answer if bool((part.rows[1:] > part.rows[:-1]).all()) else _sorted(part)
                found[name] = rows.new_empty(count, *rows.shape[1:])
            found[name][part.rows.to(rows.device)] = rows
    return found


def _sorted(part: Part) -> Rows:
    order = part.rows.argsort()
    return {name: rows[order.to(rows.device)] for name, rows in part.answer.items()}
