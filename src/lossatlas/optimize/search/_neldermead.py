"""Nelder–Mead: a simplex of N + 1 points that turns its worst corner over, begun again elsewhere once it has collapsed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lossatlas._layout import Layout
from lossatlas.optimize._again import Again
from lossatlas.optimize._optimizer import Optimizer, Walk, known
from lossatlas.optimize._ranges import flag, not_negative, positive, whole
from lossatlas.optimize._streams import Streams
from lossatlas.probe import At, Values

Array = NDArray[np.float64]
# What the point that a run has evaluated last was for.
CORNER, REFLECTED, EXPANDED, OUTSIDE, INSIDE = range(5)


@final
@dataclass(frozen=True)
class NelderMead(Optimizer):
    """Move the worst of N + 1 corners through the centroid m of the others, x = (1 + c) m − c x_worst; shrink if that fails.

    c = ρ reflects, c = ρχ expands, c = ψρ and c = −ψ contract, and to shrink is x ← x_best + σ (x − x_best), with ρ = 1, χ = 2,
    ψ = σ = ½. With `adaptive`, χ = 1 + 2/N, ψ = ¾ − 1/(2N), σ = 1 − 1/N (Gao & Han 2012; the same in two dimensions).
    Points outside of the box are projected onto it. A simplex that is smaller than `xatol` and whose values differ by no more
    than `fatol` has collapsed; the next one begins at a point uniform in the box. Without a box a run ends there.

    Args:
        size: edge of a new simplex along each axis, as a share of the box's width (in units of θ where there is no box).
        adaptive: coefficients that depend on N.
        restarts: how often it may begin again.
        xatol: distance of a corner from the best in each coordinate, in the units of `size`.
        fatol: difference of a corner's loss from the best, in units of the loss.
    """

    size: float = 0.05
    adaptive: bool = False
    restarts: int = 1000
    xatol: float = 1e-4
    fatol: float = 1e-11

    name: ClassVar[str] = "nelder-mead"
    title: ClassVar[str] = "Nelder–Mead"
    queries: ClassVar[frozenset[type]] = frozenset({Values})
    evaluates: ClassVar[str] = "one value: a corner, or a point on the line through the worst corner"
    remembers: ClassVar[str] = "N + 1 corners and their values"
    source: ClassVar[str] = "Nelder & Mead 1965; Gao & Han 2012"
    reference: ClassVar[str] = "nelder1965"
    wanders: ClassVar[bool] = True

    def __post_init__(self) -> None:
        positive(self, "size")
        flag(self, "adaptive")
        whole(self, 0, "restarts")
        not_negative(self, "xatol", "fatol")

    def walk(self, start: Tensor, layout: Layout, rng: Streams) -> Walk:
        """Evaluate one point of every run's simplex per query."""
        simplices = _Simplices(self, start.double().cpu().numpy(), layout, Again(self.restarts, layout.box, rng))
        lowest, best, at = np.full(len(start), np.inf), simplices.point, None
        while bool(simplices.live.any()):
            points = simplices.point
            answer = yield Values(
                torch.from_numpy(points).to(start), at=at, active=torch.from_numpy(simplices.live.copy())
            )
            found = known(answer.values).cpu().numpy()
            better = found < lowest
            best, lowest = np.where(better[:, None], points, best), np.where(better, found, lowest)
            at = At(torch.from_numpy(best).to(start), torch.from_numpy(lowest).to(start.device))
            simplices.hear(found)


class _Simplices:
    """The simplices of all runs, each at its own stage.

    Attributes:
        point: (runs, N) what is to be evaluated next.
        live: (runs,) which runs go on.
    """

    def __init__(self, rule: NelderMead, start: Array, layout: Layout, again: Again) -> None:
        runs, n = start.shape
        self.rule, self.again = rule, again
        self.box = None if layout.box is None else layout.box.double().cpu().numpy()
        self.low, self.high = (None, None) if self.box is None else (self.box[:, 0], self.box[:, 1])
        self.width = np.ones(n) if self.box is None else self.box[:, 1] - self.box[:, 0]
        wide = max(n, 2) if rule.adaptive else 2
        expand, self.contract, self.shrink = 1 + 2 / wide, 0.75 - 1 / (2 * wide), 1 - 1 / wide
        # The factor c of each kind of point.
        self.factors = np.array([0.0, 1.0, expand, self.contract, -self.contract])
        self.corners, self.values = np.zeros((runs, n + 1, n)), np.full((runs, n + 1), np.inf)
        self.kind, self.corner = np.full(runs, CORNER), np.zeros(runs, dtype=np.int64)
        self.reflected, self.height = start, np.full(runs, np.inf)
        self.live = np.ones(runs, dtype=bool)
        self.point = start
        for b in range(runs):
            self._begin(b, start[b])
        self.point = self.corners[:, 0].copy()

    def hear(self, found: Array) -> None:
        """Take the losses (runs,) of the points, and make the next."""
        point, kind = self.point, self.kind
        best, second, worst = self.values[:, 0], self.values[:, -2], self.values[:, -1]
        filled = kind == CORNER
        reflected, expanded, outside = kind == REFLECTED, kind == EXPANDED, kind == OUTSIDE
        expands = reflected & (found < best)
        turned = reflected & ~expands
        lower = found < worst
        taken = (
            (turned & (found < second))
            | (expanded & (found < self.height))
            | (outside & (found <= self.height))
            | ((kind == INSIDE) & lower)
        )
        contracts = turned & ~taken
        back = expanded & ~taken
        shrinks = ~(filled | reflected | expanded | taken)
        self.reflected = np.where(reflected[:, None], point, self.reflected)
        replaced = taken | back
        self.corners[:, -1] = np.where(
            replaced[:, None], np.where(back[:, None], self.reflected, point), self.corners[:, -1]
        )
        self.values[:, -1] = np.where(replaced, np.where(back, self.height, found), worst)
        self.height = np.where(reflected, found, self.height)
        whole = replaced
        if filled.any():
            rows = np.flatnonzero(filled)
            self.values[rows, self.corner[rows]] = found[rows]
            self.corner[rows] += 1
            whole = replaced | (filled & (self.corner == self.values.shape[1]))
        if whole.any():
            self._order(np.flatnonzero(whole))
        self.kind = np.where(whole, REFLECTED, kind)
        self.kind[expands] = EXPANDED
        self.kind[contracts] = np.where(lower, OUTSIDE, INSIDE)[contracts]
        if shrinks.any():
            rows = np.flatnonzero(shrinks)
            first = self.corners[rows, :1]
            self.corners[rows, 1:] = self._inside(first + self.shrink * (self.corners[rows, 1:] - first))
            self.kind[rows], self.corner[rows] = CORNER, 1
        if whole.any():
            self._collapse(whole)
        self._propose()

    def _order(self, rows: NDArray[np.int64]) -> None:
        order = self.values[rows].argsort(axis=1, kind="stable")
        self.values[rows] = np.take_along_axis(self.values[rows], order, 1)
        self.corners[rows] = np.take_along_axis(self.corners[rows], order[..., None], 1)

    def _propose(self) -> None:
        """The next point of each run: a corner that has no value yet, or one on the line through the worst."""
        n = self.corners.shape[2]
        factor = self.factors[self.kind][:, None]
        centroid = self.corners[:, 0]
        for j in range(1, n):
            centroid = centroid + self.corners[:, j]
        moved = self._inside((1 + factor) * (centroid / n) - factor * self.corners[:, -1])
        corner = self.corners[np.arange(len(self.kind)), np.minimum(self.corner, n)]
        self.point = np.where((self.kind == CORNER)[:, None], corner, moved)

    def _collapse(self, whole: NDArray[np.bool_]) -> None:
        """Begin again where a whole simplex has no size left."""
        flat = self.values[:, -1] <= self.values[:, 0] + self.rule.fatol
        flat &= whole & self.live
        if not flat.any():
            return
        for b in np.flatnonzero(flat):
            if np.any(np.abs(self.corners[b, 1:] - self.corners[b, 0]) > self.rule.xatol * self.width):
                continue
            if self.again.left[b]:
                self._begin(b, self.again.point(b))
            else:
                self.live[b] = False

    def _begin(self, b: int, where: Array) -> None:
        """A new simplex of a run: a corner and its neighbors along the axes, within the box."""
        edge = self.rule.size * self.width
        if self.high is not None:
            edge = np.where(where + edge > self.high, -edge, edge)
        self.corners[b] = where
        self.corners[b, 1:] += np.diag(edge)
        self.corners[b] = self._inside(self.corners[b])
        self.kind[b], self.corner[b] = CORNER, 0

    def _inside(self, points: Array) -> Array:
        return points if self.box is None else np.clip(points, self.low, self.high)
