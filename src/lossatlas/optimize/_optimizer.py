"""The contract of everything that walks: a frozen record of hyper-parameters, and a generator that only asks."""

from __future__ import annotations

import abc
from collections.abc import Generator
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor

from lossatlas.optimize._streams import Streams
from lossatlas.probe import Answer, Layout, Query

Walk: TypeAlias = Generator[Query, Answer, None]


@dataclass(frozen=True)
class Optimizer(abc.ABC):
    """An algorithm with its hyper-parameters.

    A walk yields queries and is sent answers; it never holds the surface. Tensors that it has yielded are never
    written again. Row b of a batch of runs is exactly what run b would be alone.

    Attributes:
        name: in the catalog.
        title: for pictures and tables.
        asks: what it queries at each step, in words.
        remembers: what it keeps between steps, in words.
        source: where the rule is published.
        reference: key of its BibTeX entry.
        wanders: whether it may move uphill or start again; then its result is the best point it has asked about.
        batched: whether all runs step in one tensor operation; surrogates, libraries and torch classes think run by run.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    asks: ClassVar[str]
    remembers: ClassVar[str]
    source: ClassVar[str]
    reference: ClassVar[str]
    wanders: ClassVar[bool] = False
    batched: ClassVar[bool] = True

    @abc.abstractmethod
    def walk(self, start: Tensor, layout: Layout, rng: Streams) -> Walk:
        """Begin at start (runs, N) and hand out queries for as long as they are answered."""

    def plan(self, steps: int) -> tuple[Optimizer, int]:
        """The optimizer as it runs in a race of so many steps, and how many queries that takes."""
        return self, steps

    def breaks(self, answered: int) -> list[int]:
        """Which of its positions begin a new descent elsewhere: no line leads there."""
        return []

    def becomes(self, layout: Layout) -> str | None:
        """What the rule degenerates to on a layout, or None where it is itself."""
        return None

    def settings(self) -> dict[str, Any]:
        """Hyper-parameters by name, plain values."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self)}


def known(values: Tensor) -> Tensor:
    """Losses in which one that is not a number counts as infinitely high."""
    return torch.where(values.isnan(), float("inf"), values)


def within(points: Tensor, layout: Layout) -> Tensor:
    """Points moved to the edge of the box where they lie outside."""
    if layout.box is None:
        return points
    box = layout.box.to(points)
    return points.clamp(box[:, 0], box[:, 1])


def scatter(start: Tensor, count: int, layout: Layout, rng: Streams, spread: float) -> Tensor:
    """The start and count − 1 points uniform in the box (Gaussian around the start where there is none).

    Returns:
        Shape (runs, count, N).
    """
    n = start.shape[1]
    if layout.box is None:
        others = start[:, None] + spread * rng.normal(count - 1, n).to(start)
    else:
        box = layout.box.to(start)
        others = box[:, 0] + (box[:, 1] - box[:, 0]) * rng.uniform(count - 1, n).to(start)
    return torch.cat([start[:, None], others], 1)


def _plain(value: Any) -> Any:
    return {"name": value.name, **value.settings()} if isinstance(value, Optimizer) else value
