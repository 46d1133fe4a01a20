"""The merge tree of a field on a grid: where its sublevel sets begin, and where two of them become one."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import minimum_spanning_tree

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class MergeTree:
    """Minima of a field and the saddles at which their basins merge, deepest minimum first.

    Attributes:
        minima: (M,) flat index of each minimum, from the lowest to the highest.
        saddles: (M,) flat index of the cell where its basin meets that of a lower minimum; −1 where it never does.
        parents: (M,) number of that lower minimum in these arrays; −1 where there is none.
    """

    minima: Indices
    saddles: Indices
    parents: Indices


def merge_tree(field: Array) -> MergeTree:
    """The merge tree of the sublevel sets of a field, by Kruskal's algorithm and the elder rule.

    Cells are neighbors along the axes *and* both diagonals. A minimum thus stands only if no diagonal of a square of four
    cells leads out of it, whichever way the square is cut; the same rule holds for maxima (the merge tree of −field),
    and nothing changes when the field is turned, mirrored or negated. With the axes alone a thin oblique valley falls into
    a string of pits; with one diagonal per square (Freudenthal's triangulation) it does so in one of its two directions.
    These are the sublevel sets of a complex of closed squares, one per cell. The merge height of two cells is a min-max
    over paths of cells, so it moves by at most e where no value moves by more than e.

    Equal values are told apart by the index of their cell, so the result is deterministic; a plateau with several
    lowest cells gives pairs of persistence 0. Cells that are not finite are walls.

    Args:
        field: (ny, nx), or of any number of axes: a cell then has 3^d − 1 neighbors.

    Returns:
        The `MergeTree`, pairs of persistence 0 included.
    """
    found = basins(field)
    order, minima = found.order, found.minima
    saddles, parents = _merge(found.heights, found.ends, len(minima))
    met = saddles >= 0
    saddles[met] = order[saddles[met]]
    return MergeTree(order[minima], saddles, parents)


@dataclass(frozen=True, eq=False)
class Basins:
    """Where the steepest descent leads from each cell, and the lowest pass between each two basins that touch.

    Cells are named by their rank among the n finite ones, from the lowest.

    Attributes:
        order: (n,) flat index of the cell of each rank.
        down: (n,) rank of the lowest neighbor, or its own at a minimum.
        minima: (M,) ranks of the minima, increasing.
        number: (n,) which of these each cell descends to.
        heights: (P,) rank of the higher of the two cells of each pass, increasing.
        lows: (P,) rank of the lower one.
        ends: (P, 2) numbers of the basins that it joins, increasing.
    """

    order: Indices
    down: Indices
    minima: Indices
    number: Indices
    heights: Indices
    lows: Indices
    ends: Indices


def basins(field: Array) -> Basins:
    """The basins of a field, cells being neighbors as in `merge_tree`."""
    flat = field.ravel()
    finite = np.isfinite(flat)
    n = int(finite.sum())
    order = np.argsort(np.where(finite, flat, np.inf), kind="stable")[:n]
    # Walls rank above everything, so that no path prefers them.
    rank = np.full(flat.size, flat.size, dtype=np.int64)
    rank[order] = np.arange(n)
    ranks = rank.reshape(field.shape)
    down = _down(ranks, n)
    end = down
    while not np.array_equal(further := end[end], end):
        end = further
    minima = np.flatnonzero(end == np.arange(n))
    number = np.zeros(n, dtype=np.int64)
    number[minima] = np.arange(len(minima))
    number = number[end]
    return Basins(order, down, minima, number, *_passes(ranks, number, n))


def _down(ranks: Indices, n: int) -> Indices:
    """For each rank that of its lowest neighbor, or its own."""
    padded = np.pad(ranks, 1, constant_values=ranks.size)
    lowest = ranks
    for begin in product(range(3), repeat=ranks.ndim):
        lowest = np.minimum(lowest, padded[tuple(slice(b, b + n) for b, n in zip(begin, ranks.shape, strict=True))])
    inside = ranks < n
    down = np.empty(n, dtype=np.int64)
    down[ranks[inside]] = lowest[inside]
    return down


def _passes(ranks: Indices, number: Indices, n: int) -> tuple[Indices, Indices, Indices]:
    """The lowest pass between each two neighboring basins: heights, lows and ends of `Basins`."""
    heights, lows, pairs = [], [], []
    # Steps to half of the neighbors of a cell; the other half sees it from the other side.
    for step in (one for one in product((-1, 0, 1), repeat=ranks.ndim) if one > (0,) * ranks.ndim):
        by = list(zip(step, ranks.shape, strict=True))
        one = ranks[tuple(slice(max(0, -s), n - max(0, s)) for s, n in by)].ravel()
        two = ranks[tuple(slice(max(0, s), n - max(0, -s)) for s, n in by)].ravel()
        open_ = (one < n) & (two < n)
        one, two = one[open_], two[open_]
        apart = number[one] != number[two]
        one, two = one[apart], two[apart]
        heights.append(np.maximum(one, two))
        lows.append(np.minimum(one, two))
        pairs.append(np.sort(np.stack([number[one], number[two]], 1), axis=1))
    height, low, pair = np.concatenate(heights), np.concatenate(lows), np.concatenate(pairs)
    by_height = np.lexsort((low, height))
    height, low, pair = height[by_height], low[by_height], pair[by_height]
    _, first = np.unique(pair[:, 0] * max(n, 1) + pair[:, 1], return_index=True)
    # In one cell several passes may lie: their order is then that of the basins.
    first = first[np.lexsort((pair[first, 1], pair[first, 0], height[first]))]
    return height[first], low[first], pair[first]


def _merge(heights: Indices, ends: Indices, count: int) -> tuple[Indices, Indices]:
    """Join basins from the lowest pass up; the higher minimum of two ends there (elder rule)."""
    root = list(range(count))
    saddles, parents = np.full(count, -1, dtype=np.int64), np.full(count, -1, dtype=np.int64)
    if not len(heights):
        return saddles, parents

    def find(k: int) -> int:
        while root[k] != k:
            root[k] = root[root[k]]
            k = root[k]
        return k

    used = joining(ends, count)
    for height, one, two in zip(heights[used].tolist(), ends[used, 0].tolist(), ends[used, 1].tolist(), strict=True):
        one, two = find(one), find(two)
        elder, younger = min(one, two), max(one, two)
        root[younger] = elder
        saddles[younger], parents[younger] = height, elder
    return saddles, parents


def joining(ends: Indices, count: int) -> Indices:
    """Which passes, from the lowest up, join basins that no lower one has joined yet: those of the minimum spanning tree.

    Args:
        ends: (P, 2) numbers of basins, lowest pass first.
        count: how many basins there are.
    """
    # Compiled code finds them; their numbers are their weights.
    weights = np.arange(1, len(ends) + 1)
    spanning = minimum_spanning_tree(coo_array((weights, (ends[:, 0], ends[:, 1])), (count, count)))
    return np.sort(spanning.data.astype(np.int64)) - 1
