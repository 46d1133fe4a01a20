"""What the loss of a batch is a mean over, rows or labels that are not ignored: found out by splitting a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from lossatlas.chart.streamed._batches import rows_of
from lossatlas.chart.streamed._tokens import IGNORED

Weight = Callable[[Any], int]
ROWS, NEXT = "rows", "labels that follow another"
# Batches and cuts of one that are looked at.
LOOKED = 16
# Shares by which two ways of weighting must differ for a split to tell them apart.
APART = 0.01


def _kept(first: int) -> Weight:
    def weight(batch: Any) -> int:
        labels = _labels(batch)
        if labels is None:
            return rows_of(batch)
        return int((labels[:, first:] != IGNORED).sum()) if first else int((labels != IGNORED).sum())

    return weight


def _labels(batch: Any) -> Tensor | None:
    found = batch.get("labels") if isinstance(batch, dict) else batch[1]
    whole = isinstance(found, Tensor) and not found.is_floating_point() and found.ndim > 0
    return found if whole else None


# By what a batch may be weighted. A language model's first label is predicted by nothing.
WEIGHTS: dict[str, Weight] = {ROWS: rows_of, "labels": _kept(0), NEXT: _kept(1)}


def possible(batches: Sequence[Any]) -> dict[str, Weight]:
    """The ways of weighting these batches; rows alone where all give the same shares."""
    found = [_labels(batch) for batch in batches]
    if any(one is None for one in found):
        return {ROWS: rows_of}
    deep = all(one is not None and one.ndim == 2 for one in found)
    ways = {name: way for name, way in WEIGHTS.items() if deep or name != NEXT}
    rows = _shares(rows_of, batches)
    return ways if any(_shares(way, batches) != rows for way in ways.values()) else {ROWS: rows_of}


def _shares(way: Weight, batches: Sequence[Any]) -> list[float]:
    counts = [way(batch) for batch in batches]
    return [count / max(1, sum(counts)) for count in counts]


def split(batches: Sequence[Any], ways: dict[str, Weight]) -> tuple[Any, Any, Any] | None:
    """A batch and two parts of it to which each of these ways gives another share than rows do; None if there is none.

    Where no batch has two rows, it is two of them, joined.
    """
    best: tuple[float, Any] = (APART, None)
    for whole in [*batches[:LOOKED], *_joined(batches[:LOOKED])]:
        count = rows_of(whole)
        for k in range(1, count, max(1, count // LOOKED)):
            parts = _rows(whole, 0, k), _rows(whole, k, count)
            if all(way(part) for way in ways.values() for part in parts):
                share = {name: _shares(way, parts)[0] for name, way in ways.items()}
                least = min(abs(one - share[ROWS]) for name, one in share.items() if name != ROWS)
                best = max(best, (least, (whole, *parts)), key=lambda one: one[0])
    return best[1]  # type: ignore[no-any-return]


def _rows(batch: Any, begin: int, end: int) -> Any:
    count = rows_of(batch)

    def cut(value: Any) -> Any:
        return value[begin:end] if isinstance(value, Tensor) and value.ndim and len(value) == count else value

    if isinstance(batch, dict):
        return {key: cut(value) for key, value in batch.items()}
    return tuple(cut(value) for value in batch)


def _joined(batches: Sequence[Any]) -> list[Any]:
    first, found = batches[0], []
    for other in batches[1:] if rows_of(first) == 1 else []:
        pairs = list(zip(_values(first), _values(other), strict=False))
        if len(_values(first)) == len(_values(other)) and all(
            isinstance(a, Tensor) and isinstance(b, Tensor) and a.ndim and a.shape[1:] == b.shape[1:] for a, b in pairs
        ):
            joined = [torch.cat(pair) for pair in pairs]
            found.append(dict(zip(first, joined, strict=True)) if isinstance(first, dict) else tuple(joined))
    return found


def _values(batch: Any) -> list[Any]:
    return list(batch.values()) if isinstance(batch, dict) else list(batch)
