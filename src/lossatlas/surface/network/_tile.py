"""Many θ per forward where that is faster, which is measured on the first points of the actual job and then kept."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

Evaluate = Callable[[Tensor], tuple[Tensor, Tensor]]
WIDTHS = (8, 32)
WARM = 2


class Tile:
    """Chooses between a loop over points and one vectorized call for several, by timing both on real points.

    No point is evaluated twice for the measurement beyond `WARM` per candidate. A model that cannot be vectorized
    (control flow that depends on data, in-place writes) is looped.

    Args:
        loop: evaluates any number of points one after another.
        together: evaluates all given points in one forward.
        allowed: whether that is proven to give what the loop gives; called once, before it is tried.
    """

    def __init__(self, loop: Evaluate, together: Evaluate, allowed: Callable[[], bool]) -> None:
        self._loop = loop
        self._together = together
        self._allowed = allowed
        self._width: int | None = None

    @property
    def choice(self) -> int:
        """Points per forward in use: 1 for the loop, 0 as long as nothing was measured."""
        return self._width or 0

    def __call__(self, points: Tensor, limit: int) -> tuple[Tensor, Tensor]:
        """Evaluate points (B, N), at most `limit` of them at once."""
        parts: list[tuple[Tensor, Tensor]] = []
        done = 0
        if self._width is None and len(points) >= 2 * sum(WIDTHS):
            done, parts = self._measure(points, limit)
        width = min(self._width or 1, limit)
        while done < len(points) or not parts:
            chunk = points[done : done + width] if width > 1 else points[done:]
            parts.append(self._together_or_not(chunk) if width > 1 and len(chunk) > 1 else self._loop(chunk))
            done += len(chunk)
        first, second = zip(*parts, strict=True)
        return torch.cat(first), torch.cat(second)

    def _together_or_not(self, points: Tensor) -> tuple[Tensor, Tensor]:
        try:
            return self._at_once(points)
        except Exception:  # a user's own, or that of a branch taken here for the first time: the loop names the point
            self._width = 1
            return self._loop(points)

    def _at_once(self, points: Tensor) -> tuple[Tensor, Tensor]:
        # A kernel without a batched form warns and is looped inside; the clock tells, the user need not be.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
            return self._together(points)

    def _measure(self, points: Tensor, limit: int) -> tuple[int, list[tuple[Tensor, Tensor]]]:
        parts, done = [], 0
        self._loop(points[:WARM])
        begin = time.perf_counter()
        parts.append(self._loop(points[:8]))
        done = 8
        best, best_seconds = 1, _seconds(begin, points) / 8
        for width in WIDTHS if self._allowed() else ():
            if width > limit:
                break
            try:
                self._at_once(points[:WARM])
                begin = time.perf_counter()
                answer = self._at_once(points[done : done + width])
                seconds = _seconds(begin, points) / width
            except Exception:  # what a user's code raises, or torch's transforms of it: the loop says it better
                break
            parts.append(answer)
            done += width
            if seconds < 0.9 * best_seconds:
                best, best_seconds = width, seconds
        self._width = best
        return done, parts


def _seconds(begin: float, points: Tensor) -> float:
    if points.device.type == "cuda":
        torch.cuda.synchronize(points.device)
    return time.perf_counter() - begin
