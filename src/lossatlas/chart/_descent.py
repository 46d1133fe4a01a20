"""Where each cell of a field descends to once the minima that do not stand are left out, and the ways down."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from lossatlas.chart._merge_tree import Basins, basins, joining

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Pass:
    """The lowest pass between two regions.

    Attributes:
        cell: flat index of its higher cell.
        beyond: of its lower one, a neighbor in the other region.
        regions: numbers of the two, that of ``cell`` first.
    """

    cell: int
    beyond: int
    regions: tuple[int, int]


@final
class Descent:
    """The regions that descend to each of some minima, and the passes at which they meet.

    Basins of minima that do not stand are joined from the lowest pass up: each drains over the lowest pass out of it, into
    the basin on the other side (the cancellation of a minimum with the saddle it is paired with; Edelsbrunner, Harer &
    Zomorodian, "Hierarchical Morse–Smale Complexes for Piecewise Linear 2-Manifolds", Discrete & Computational Geometry
    30, 2003). Passes between two minima that stand are kept.

    Args:
        field: (ny, nx); cells that are not finite are walls.
        standing: flat indices of the minima that stand, at least one in each part that walls cut off.

    Attributes:
        region: (ny, nx) number in ``standing`` of the minimum that each cell descends to; −1 at walls.
        passes: those that are kept, from the lowest up.
    """

    def __init__(self, field: Array, standing: Iterable[int]) -> None:
        self._found: Basins = basins(field)
        found = self._found
        self._rank = np.full(field.size, -1, dtype=np.int64)
        self._rank[found.order] = np.arange(len(found.order))
        self._label = np.full(len(found.minima), -1, dtype=np.int64)
        stands = np.fromiter(standing, dtype=np.int64)
        inside = found.number[self._rank[stands]]
        self._label[inside] = np.arange(len(stands))
        self._stands = frozenset(inside.tolist())
        # For a basin that drains: the cell of it at the pass, and the cell on the other side.
        self._drain: dict[int, tuple[int, int]] = {}
        kept = self._join()
        self.region = np.full(field.shape, -1, dtype=np.int64)
        self.region.flat[found.order] = self._label[found.number]
        self.passes = [self._pass(number) for number in kept]

    def path(self, cell: int) -> list[int]:
        """The cells from one down to the minimum of its region, itself included, none of them twice.

        In a basin that drains the way goes through its minimum, back up to the pass and down on the other side.
        """
        found, order = self._found, self._found.order
        place = int(self._rank[cell])
        way = self._down(place)
        while (drain := self._drain.get(int(found.number[place]))) is not None:
            here, place = drain
            way += [*reversed(self._down(here)[:-1]), *self._down(place)]
        seen: dict[int, int] = {}
        straight: list[int] = []
        for one in way:
            if one in seen:
                # What lies between two visits of a cell is a way into a pit and out again.
                for left in straight[seen[one] + 1 :]:
                    del seen[left]
                del straight[seen[one] + 1 :]
            else:
                seen[one] = len(straight)
                straight.append(one)
        return [int(order[one]) for one in straight]

    def _down(self, place: int) -> list[int]:
        """Ranks of the steepest descent from one, down to the minimum of its basin."""
        down, way = self._found.down, [place]
        while int(down[place]) != place:
            place = int(down[place])
            way.append(place)
        return way

    def _join(self) -> list[int]:
        """Label every basin; the numbers of the passes between two that stand."""
        found, label = self._found, self._label
        if not len(found.ends):
            return []
        root, members = list(range(len(label))), [[k] for k in range(len(label))]
        joined: dict[int, list[tuple[int, int]]] = {}
        kept = []

        def find(k: int) -> int:
            while root[k] != k:
                root[k] = root[root[k]]
                k = root[k]
            return k

        # Of several passes in one cell the one with the lower other side goes first.
        order = np.lexsort((found.lows, found.heights))
        for number in order[joining(found.ends[order], len(label))].tolist():
            a, b = found.ends[number].tolist()
            one, other = find(a), find(b)
            if label[one] >= 0 and label[other] >= 0:
                kept.append(number)
            else:
                joined.setdefault(a, []).append((b, number))
                joined.setdefault(b, []).append((a, number))
                for end, group, across in ((b, one, other), (a, other, one)):
                    if label[group] < 0 <= label[across]:
                        label[members[group]] = label[end]
            if len(members[one]) < len(members[other]):
                one, other = other, one
            root[other] = one
            members[one] += members[other]
        self._route(joined)
        return kept

    def _route(self, joined: dict[int, list[tuple[int, int]]]) -> None:
        """From the minima that stand outward: over which pass each basin drains."""
        found = self._found
        ahead = [k for k in joined if k in self._stands]
        seen = set(ahead)
        while ahead:
            after = []
            for near in ahead:
                for far, number in joined[near]:
                    if far in seen:
                        continue
                    seen.add(far)
                    after.append(far)
                    high, low = int(found.heights[number]), int(found.lows[number])
                    self._drain[far] = (high, low) if int(found.number[high]) == far else (low, high)
            ahead = after

    def _pass(self, number: int) -> Pass:
        found = self._found
        cell, beyond = int(found.heights[number]), int(found.lows[number])
        one, other = (int(self._label[found.number[place]]) for place in (cell, beyond))
        return Pass(int(found.order[cell]), int(found.order[beyond]), (one, other))
