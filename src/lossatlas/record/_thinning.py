"""Which whole points are kept: all of them, or few and evenly spread though nobody knows how long the run will be."""

from __future__ import annotations

from collections.abc import Iterable
from typing import final


@final
class Thinning:
    """Keeps every row's point, or each second, each fourth … so that there are never more than so many.

    Args:
        most: points at most, the last one of a run besides; None for no limit.
        stride: rows from one kept point to the next so far.
        kept: rows and steps whose points there are already.
    """

    def __init__(self, most: int | None, stride: int = 1, kept: Iterable[tuple[int, int]] = ()) -> None:
        self.most, self.stride = most, stride
        self._kept = list(kept)

    def take(self, row: int, step: int, *, last: bool) -> tuple[bool, list[int]]:
        """Whether the point of this row is kept, and the steps whose points make room for it.

        Args:
            row: its number.
            step: of the optimizer.
            last: whether the run ends here; that point is kept in any case.
        """
        dropped: list[int] = []
        while self.most is not None and row % self.stride == 0 and len(self._kept) >= self.most:
            self.stride *= 2
            dropped += [step for k, step in self._kept if k % self.stride]
            self._kept = [(k, step) for k, step in self._kept if k % self.stride == 0]
        point = last or row % self.stride == 0
        if point:
            self._kept.append((row, step))
        return point, dropped
