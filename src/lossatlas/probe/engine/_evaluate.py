"""Rows of a query evaluated so that each has bits of its own: what every engine but the default one does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

from lossatlas._layout import Sample
from lossatlas.probe.engine._base import Kind, Rows, rows_of
from lossatlas.surface import Slice, Surface, joined, same_algorithms, steadily

Result = TypeVar("Result")


def steadied(surface: Surface) -> Surface:
    """The same surface, read so that a reading depends on its coordinates alone."""
    if isinstance(surface, Slice) and not surface.steady:
        return surface.base.on(surface.frame, steady=True)
    return surface


def evaluate(
    on: Surface, source: Any, kind: Kind, rows: Mapping[str, Tensor], shared: Mapping[str, Tensor], size: int | None
) -> Rows:
    """Answers to rows, each with bits of its own, whoever evaluates them and whatever else is evaluated.

    Args:
        on: from `steadied`.
        source: of outputs.
        kind: of the query.
        rows: as `Work` has them.
        shared: as `Work` has them.
        size: examples of a mini-batch.
    """
    match kind:
        case "values":
            points = rows["points"].to(on.device)
            if getattr(on, "base", on).rows_alone:
                return rows_of(_alone(lambda: on.read(points)))
            if on.steady:
                return rows_of(on.read(points))
            return rows_of(joined(_one_by_one(lambda k: on.read(points[k : k + 1]), len(points))))
        case "outputs":
            found = source.read(rows["points"].numpy())
            return {str(k): part for k, part in enumerate(found)}
        case "gradients":
            points, seeds = rows["points"].to(on.device), rows.get("seeds")

            def gradient(k: int) -> tuple[Tensor, Tensor]:
                sample = None if seeds is None or size is None else Sample(size, seeds[k : k + 1])
                return on.gradients(points[k : k + 1], sample)

            if getattr(on, "base", on).rows_alone:
                values, gradients = _alone(lambda: on.gradients(points))
                return {"values": values, "gradients": gradients}
            pairs = _one_by_one(gradient, len(points))
            return {"values": torch.cat([v for v, _ in pairs]), "gradients": torch.cat([g for _, g in pairs])}
        case "products":
            point, vectors, seed = shared["point"].to(on.device), rows["vectors"].to(on.device), shared.get("seed")

            def product(k: int) -> Tensor:
                vector = vectors[k : k + 1]
                if seed is None or size is None:
                    return on.exact_products(point, vector)
                return on.sampled_products(point, vector, Sample(size, seed))

            return {"products": torch.cat(_one_by_one(product, len(vectors)))}


def _alone(one: Callable[[], Result]) -> Result:
    """On a thread with kernels of one thread."""
    return _one_by_one(lambda _: one(), 1)[0]


def _one_by_one(one: Callable[[int], Result], count: int) -> list[Result]:
    """Row by row on a thread with kernels of one thread."""

    def alone(_: int, row: int) -> Result:
        with torch.enable_grad():
            return one(row)

    with same_algorithms():
        return steadily(alone, range(count), 1)
