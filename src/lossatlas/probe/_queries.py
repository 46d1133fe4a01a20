"""What can be queried of a surface. An algorithm yields these and gets answers; it holds no surface."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor

from lossatlas._layout import Sample

NOTHING = torch.empty(0)


@dataclass(frozen=True, eq=False)
class At:
    """Where an algorithm stands while it queries somewhere else.

    Attributes:
        theta: shape (B, N).
        values: shape (B,), L there as far as the algorithm knows it.
    """

    theta: Tensor
    values: Tensor


@dataclass(frozen=True, eq=False)
class Values:
    """Query L at points.

    Attributes:
        points: shape (B, N), or (B, k, N) for k points per run.
        at: where the algorithm stands, if not at the points.
        active: shape (B,), the runs that query at all; the others are neither answered nor counted. None for all.
    """

    points: Tensor
    at: At | None = None
    active: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Gradients:
    """Query ∇L at points; L comes with it.

    Attributes:
        points: shape (B, N).
        sample: a mini-batch, or None for all data.
        at: where the algorithm stands, if not at the points.
        active: shape (B,), the runs that query at all. None for all.
        again: shape (B,), the runs that stay on the mini-batch of their last query where mini-batches are drawn for them, as
            the second gradient of one step does. None for none.
    """

    points: Tensor
    sample: Sample | None = None
    at: At | None = None
    active: Tensor | None = None
    again: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Products:
    """Query Hessian-vector products, K at each run's point.

    Attributes:
        points: shape (B, N).
        vectors: shape (B, K, N).
        at: where the algorithm stands, if not at the points.
        active: shape (B,), the runs that query at all. None for all.
        sample: a mini-batch, or None for all data.
        again: as of `Gradients`.
    """

    points: Tensor
    vectors: Tensor
    at: At | None = None
    active: Tensor | None = None
    sample: Sample | None = None
    again: Tensor | None = None


Query: TypeAlias = Values | Gradients | Products


@dataclass(frozen=True, eq=False)
class Answer:
    """The answer to a query. Entries of runs that were not answered are NaN; a non-finite loss is data, kept as it is.

    Attributes:
        values: (B,) or (B, k), float64; empty for `Products`.
        gradients: (B, N) for `Gradients`; empty for the others.
        products: (B, K, N) for `Products`; empty for the others.
        extras: further channels shaped as the values, for `Values`.
        answered: (B,), which runs were answered; None for all of them.
        sound: whether every number of the call that this answer came from is finite.
    """

    values: Tensor
    gradients: Tensor = NOTHING
    products: Tensor = NOTHING
    extras: dict[str, Tensor] = field(default_factory=dict)
    answered: Tensor | None = None
    sound: bool = False


def standing(query: Query) -> Tensor:
    """Where each run stands while it makes a query, (B, N)."""
    if query.at is not None:
        return query.at.theta
    return query.points if query.points.ndim == 2 else query.points[:, 0]


def count(query: Query) -> int:
    """Points queried per run."""
    if isinstance(query, Products):
        return query.vectors.shape[1]
    return query.points.shape[1] if query.points.ndim == 3 else 1
