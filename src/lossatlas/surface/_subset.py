"""A fixed subset of the examples, as batches of their own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lossatlas.surface.network._data import Batch


def subset(batches: tuple[Batch, ...], size: int, seed: int) -> tuple[Batch, ...]:
    """Some of the examples, drawn without replacement from a seed, in their own order.

    Batches that can be joined become one; those of different shapes (texts of different lengths) stay apart.

    Args:
        batches: all examples.
        size: how many to keep.
        seed: of the draw.
    """
    total = sum(batch.size for batch in batches)
    chosen = torch.randperm(total, generator=torch.Generator().manual_seed(seed))[:size].sort().values
    parts, begin = [], 0
    for batch in batches:
        inside = chosen[(chosen >= begin) & (chosen < begin + batch.size)] - begin
        if len(inside):
            device = batch.target.device if isinstance(batch.target, Tensor) else None
            parts.append(batch.rows(inside.to(device)))
        begin += batch.size
    width = max(batch.size for batch in batches)
    joined: list[Batch] = []
    for part in parts:
        both = _join(joined[-1], part) if joined and joined[-1].size + part.size <= width else None
        if both is None:
            joined.append(part)
        else:
            joined[-1] = both
    return tuple(joined)


def _join(a: Batch, b: Batch) -> Batch | None:
    values = [*zip(a.inputs, b.inputs, strict=True), *((v, b.keywords[k]) for k, v in a.keywords.items())]
    pairs = [_cat(one, two, a.size, b.size) for one, two in [*values, (a.target, b.target)]]
    if any(pair is _APART for pair in pairs):
        return None
    n = len(a.inputs)
    keywords = dict(zip(a.keywords, pairs[n:-1], strict=True))
    return Batch(tuple(pairs[:n]), keywords, pairs[-1], a.size + b.size)


_APART = object()


def _cat(one: Any, two: Any, first: int, second: int) -> Any:
    rows = isinstance(one, Tensor) and isinstance(two, Tensor) and one.ndim > 0 and two.ndim > 0
    if rows and len(one) == first and len(two) == second and one.shape[1:] == two.shape[1:]:
        return torch.cat([one, two])
    if isinstance(one, Tensor) or isinstance(two, Tensor):
        same = isinstance(one, Tensor) and isinstance(two, Tensor) and torch.equal(one, two)
    else:
        same = one is two or one == two
    return one if same else _APART
