"""L-BFGS: a model of the curvature from the last few steps, within the box, with a line search of its own in every run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lossatlas._errors import InputError
from lossatlas._layout import Layout
from lossatlas.optimize._again import Again
from lossatlas.optimize._optimizer import Optimizer, Walk
from lossatlas.optimize._ranges import not_negative, positive, whole
from lossatlas.optimize._rescaled import rescaled
from lossatlas.optimize._rows import SHORT, dot, norm
from lossatlas.optimize._streams import Streams
from lossatlas.optimize.gradient._linesearch import LineSearch
from lossatlas.probe import At, Gradients

Rows = NDArray[np.bool_]
Array = NDArray[np.float64]
# The longest step of a search where no box ends it (Byrd et al. 1995).
LONGEST = 1e10


@final
@dataclass(frozen=True)
class LBFGS(Optimizer):
    """θ ← θ + t d, d = P(θ − H g) − θ with H from the last m pairs, P the projection onto the box, and t by Moré & Thuente.

    Coordinates at an edge of the box whose gradient pushes outward are held; H is that of the others (two-metric projection,
    Bertsekas 1982). Where the projected step does not descend, d is −H g itself, to the edge of the box. The search ends at
    L(θ + td) ≤ L + c₁ t g·d and |∇L(θ + td)·d| ≤ c₂ |g·d|. Every gradient counts. A run whose search fails forgets its pairs;
    failing from steepest descent too, it has settled. So it has when the gradient of the free coordinates is no longer
    than `tolerance`, or a step lowers the loss by no more than `ftol` · |L|. Then it ends, or begins again at a point
    uniform in the box.

    Args:
        window: pairs m that are kept.
        first: length of the first trial step, in units of θ, of at least a twentieth and at most half of a side of the box.
        decrease: c₁.
        curvature: c₂.
        trials: gradients per line search before it fails.
        tolerance: a gradient no longer than this is the end.
        ftol: a relative decrease of the loss no larger than this is the end.
        restarts: how often it may begin again; more than 0 needs a box.
    """

    window: int = 10
    first: float = 1.0
    decrease: float = 1e-3
    curvature: float = 0.9
    trials: int = 20
    tolerance: float = 1e-12
    ftol: float = 1e-15
    restarts: int = 0

    name: ClassVar[str] = "lbfgs"
    title: ClassVar[str] = "L-BFGS"
    queries: ClassVar[frozenset[type]] = frozenset({Gradients})
    evaluates: ClassVar[str] = "one gradient per trial of its line search"
    remembers: ClassVar[str] = "the last m steps and gradient changes (2mN)"
    source: ClassVar[str] = "Nocedal 1980; Byrd et al. 1995; Moré & Thuente 1994"
    reference: ClassVar[str] = "nocedal1980"

    def __post_init__(self) -> None:
        positive(self, "first", "decrease", "curvature")
        not_negative(self, "tolerance", "ftol")
        whole(self, 1, "window", "trials")
        whole(self, 0, "restarts")
        if not 0 < self.decrease < self.curvature < 1:
            raise InputError(
                f"lbfgs got decrease={self.decrease!r}, curvature={self.curvature!r}; expected "
                "0 < decrease < curvature < 1."
            )

    @property
    def wanders(self) -> bool:  # type: ignore[override]
        """Whether it begins again."""
        return self.restarts > 0

    def walk(self, start: Tensor, layout: Layout, rng: Streams) -> Walk:
        """One trial of every run's line search per query."""
        return (yield from rescaled(lambda begin, within: self._walk(begin, within, rng), start, layout))

    def _walk(self, start: Tensor, layout: Layout, rng: Streams) -> Walk:
        runs = len(start)
        box = None if layout.box is None else layout.box.to(start)
        again = Again(self.restarts, layout.box, rng)
        memory, search = _Memory(self.window, start), LineSearch(runs, self.decrease, self.curvature, self.trials)
        theta = trial = best = start
        value, lowest = np.full(runs, np.nan), np.full(runs, np.inf)
        gradient = direction = torch.zeros_like(start)
        # Runs that have yet to hear of the point where they begin.
        begins, live, at = np.ones(runs, dtype=bool), np.ones(runs, dtype=bool), None
        while live.any():
            answer = yield Gradients(trial, at=at, active=torch.from_numpy(live.copy()).to(start.device))
            found = answer.values.cpu().numpy()
            slope = _numbers(dot(answer.gradients.double(), direction.double()))
            heard = search.hear(live & ~begins, found, slope)
            memory.keep(answer.gradients - gradient, trial - theta, heard.taken)
            with np.errstate(invalid="ignore"):
                level = value - found <= self.ftol * np.maximum(np.abs(value), np.abs(found))
            moved = heard.taken | (live & begins)
            theta, gradient = _choose(moved, trial, theta), _choose(moved, answer.gradients, gradient)
            value = np.where(moved, found, value)
            settled = (heard.lost & (memory.held == 0)) | (heard.taken & level) | (begins & ~np.isfinite(value))
            memory.forget(heard.lost)
            fresh = moved | heard.lost
            if fresh.any():
                free = _free(theta, gradient, box)
                settled |= fresh & ~(_numbers(norm(gradient * free)) > self.tolerance)
                begins = live & settled & (again.left > 0)
                live = live & (~settled | begins)
                going = fresh & ~settled & live
                if going.any():
                    turned = self._direction(memory, theta, gradient, free, box)
                    direction = _choose(going, turned, direction)
                    self._search(search, going, memory, value, theta, gradient, direction, box)
            else:
                begins = np.zeros(runs, dtype=bool)
            trial = _inside(theta + torch.from_numpy(search.step)[:, None].to(theta) * direction, box)
            if self.restarts:
                # A run that began again elsewhere stands at the best of its descents.
                better = value < lowest
                best, lowest = _choose(better, theta, best), np.where(better, value, lowest)
                at = At(best, torch.from_numpy(lowest).to(start.device))
            else:
                at = At(theta, torch.from_numpy(value).to(start.device))
            if begins.any():
                memory.forget(begins)
                trial = trial.clone()
                for b in np.flatnonzero(begins):
                    trial[b] = torch.from_numpy(again.point(int(b))).to(trial)
        return at

    def _search(
        self, search: LineSearch, rows: Rows, memory: _Memory, value: Array,
        theta: Tensor, gradient: Tensor, direction: Tensor, box: Tensor | None,
    ) -> None:  # fmt: skip
        """Begin to search along new directions."""
        slope = _numbers(dot(gradient.double(), direction.double()))
        length = _numbers(norm(direction.double()))
        first = np.where(memory.held > 0, 1.0, np.minimum(1.0, self.first / np.maximum(length, 1e-300)))
        most = np.full(len(length), LONGEST)
        if box is not None:
            room = torch.where(direction > 0, box[:, 1] - theta, theta - box[:, 0]).double() / direction.double().abs()
            most = np.minimum(most, room.nan_to_num(nan=LONGEST).amin(1).cpu().numpy())
        search.begin(rows, value, slope, first, np.maximum(most, first * (box is not None)))

    def _direction(self, memory: _Memory, theta: Tensor, gradient: Tensor, free: Tensor, box: Tensor | None) -> Tensor:
        """Where each run goes from where it stands, (runs, N)."""
        steep = -gradient * free
        newton = -memory.times(gradient * free, None if bool(free.all()) else free) * free
        newton = torch.where(_descends(newton, gradient)[:, None], newton, steep)
        if box is None:
            return newton
        projected = _inside(theta + newton, box) - theta
        # A coordinate at an edge goes no further, whatever H says.
        blocked = ((theta <= box[:, 0]) & (newton < 0)) | ((theta >= box[:, 1]) & (newton > 0))
        cut = torch.where(blocked, 0.0, newton)
        return torch.where(_descends(projected, gradient)[:, None], projected, cut)


class _Memory:
    """The last pairs s, y of every run, scaled to s·y = 1, the oldest first; where a run has fewer, the first are zero.

    Attributes:
        held: (runs,) how many pairs each run has.
    """

    def __init__(self, window: int, like: Tensor) -> None:
        self.window = window
        self.held = np.zeros(len(like), dtype=np.int64)
        # (runs, m, N), and the products sᵢ·yⱼ for i ≤ j and yᵢ·yⱼ.
        self.steps = self.changes = like.new_zeros(len(like), window, like.shape[1])
        self.cross = self.squares = np.zeros((len(like), window, window))

    def keep(self, change: Tensor, step: Tensor, rows: Rows) -> None:
        """Append y and s of some runs, where s·y is safely positive; the others keep what they have."""
        if not rows.any():
            return
        curvature = dot(step.double(), change.double())
        least = 1e-10 * norm(step).double() * norm(change).double()
        kept = rows & (curvature > least).cpu().numpy()
        if not kept.any():
            return
        scale = torch.where(torch.from_numpy(kept).to(curvature.device), 1 / curvature.sqrt(), 1.0).to(step)[:, None]
        self.steps = _choose(kept, torch.cat([self.steps[:, 1:], (step * scale)[:, None]], 1), self.steps)
        self.changes = _choose(kept, torch.cat([self.changes[:, 1:], (change * scale)[:, None]], 1), self.changes)
        self.held = np.minimum(self.held + kept, self.window)
        most, newest = int(self.held.max()), self.changes[:, -1]
        for name, pairs in (("cross", self.steps), ("squares", self.changes)):
            old = getattr(self, name)
            new = np.zeros_like(old)
            new[:, :-1, :-1] = old[:, 1:, 1:]
            new[:, -most:, -1] = _along(pairs[:, -most:], newest)
            setattr(self, name, np.where(kept[:, None, None], new, old))

    def times(self, gradient: Tensor, free: Tensor | None) -> Tensor:
        """H g in the compact form (Byrd, Nocedal & Schnabel 1994), of the free coordinates, from the scaled identity γ.

        H = γ + S R⁻ᵀ (D + γ YᵀY) R⁻¹ Sᵀ − γ (S R⁻ᵀ Yᵀ + Y R⁻¹ Sᵀ), Rᵢⱼ = sᵢ·yⱼ for i ≤ j, D = diag R, γ = s·y / y·y of the
        newest pair.
        """
        pairs = int(self.held.max())
        if not pairs:
            return gradient
        steps, changes = self.steps[:, -pairs:], self.changes[:, -pairs:]
        cross, squares = self.cross[:, -pairs:, -pairs:], self.squares[:, -pairs:, -pairs:]
        if free is not None:
            steps, changes = steps * free[:, None], changes * free[:, None]
            cross, squares = (np.stack([_along(a, y) for y in changes.unbind(1)], 2) for a in (steps, changes))
        diagonal = np.einsum("bii->bi", cross)
        # A pair that has no curvature left among the free coordinates is as if it were not there.
        sound = diagonal > 1e-10
        both = sound[:, :, None] & sound[:, None, :]
        upper = np.where(both, np.triu(cross), np.eye(pairs))
        squares = np.where(both, np.triu(squares) + np.triu(squares, 1).transpose(0, 2, 1), 0.0)
        along, against = (np.where(sound, _along(one, gradient), 0.0) for one in (steps, changes))
        run, newest = np.arange(len(sound)), pairs - 1 - sound[:, ::-1].argmax(1)
        gamma = np.where(
            sound.any(1), diagonal[run, newest] / np.where(sound.any(1), squares[run, newest, newest], 1.0), 1.0
        )
        inner = _solved(upper, along, reversed(range(pairs)))
        outer = np.where(sound, diagonal, 1.0) * inner + gamma[:, None] * (_sums(squares, inner) - against)
        on_steps = _solved(upper.transpose(0, 2, 1), outer, range(pairs))
        moved = _combined(steps, on_steps) - _combined(changes, gamma[:, None] * inner)
        return torch.from_numpy(gamma)[:, None].to(gradient) * gradient + moved

    def forget(self, rows: Rows) -> None:
        """Drop the pairs of some runs."""
        if not (rows & (self.held > 0)).any():
            return
        self.held = np.where(rows, 0, self.held)
        self.steps, self.changes = (_choose(rows, torch.zeros_like(one), one) for one in (self.steps, self.changes))
        self.cross, self.squares = (np.where(rows[:, None, None], 0.0, one) for one in (self.cross, self.squares))


def _along(pairs: Tensor, one: Tensor) -> Array:
    """Products of vectors (runs, pairs, N) with one (runs, N), in float64."""
    if pairs.shape[-1] > SHORT:
        return np.stack([_numbers(dot(pair.double(), one.double())) for pair in pairs.unbind(1)], 1)
    return _numbers(dot(pairs.double(), one.double()[:, None]))


# What follows adds in the order of the pairs: the zeros of runs that have fewer pairs than others change no bit.
def _combined(pairs: Tensor, factors: Array) -> Tensor:
    """Σⱼ factorⱼ pairⱼ of each run, (runs, N)."""
    if pairs.shape[-1] <= SHORT:
        return torch.from_numpy(_sums(pairs.double().cpu().numpy().transpose(0, 2, 1), factors)).to(pairs)
    weights = torch.from_numpy(factors).to(pairs)
    total = weights[:, :1] * pairs[:, 0]
    for j in range(1, pairs.shape[1]):
        total = torch.addcmul(total, weights[:, j : j + 1], pairs[:, j])
    return total


def _sums(matrices: Array, columns: Array) -> Array:
    """Matrices (runs, i, j) times columns (runs, j)."""
    total = matrices[:, :, 0] * columns[:, :1]
    for j in range(1, matrices.shape[2]):
        total = total + matrices[:, :, j] * columns[:, j : j + 1]
    return total


def _solved(triangular: Array, columns: Array, order: Iterable[int]) -> Array:
    """Solutions of triangular systems (runs, i, j), (runs, i), by substitution in an order."""
    left = columns.copy()
    found = np.zeros_like(columns)
    for j in order:
        found[:, j] = left[:, j] / triangular[:, j, j]
        left -= triangular[:, :, j] * found[:, j : j + 1]
    return found


def _numbers(tensor: Tensor) -> Array:
    found: Array = tensor.double().cpu().numpy()
    return found


def _choose(rows: Rows, yes: Tensor, no: Tensor) -> Tensor:
    mask = torch.from_numpy(rows).to(no.device)
    return torch.where(mask.reshape(-1, *[1] * (no.ndim - 1)), yes, no)


def _inside(points: Tensor, box: Tensor | None) -> Tensor:
    return points if box is None else points.clamp(box[:, 0], box[:, 1])


def _free(theta: Tensor, gradient: Tensor, box: Tensor | None) -> Tensor:
    """1 for coordinates that may move, 0 for those at an edge that are pushed outward."""
    if box is None:
        return torch.ones_like(theta)
    held = ((theta <= box[:, 0]) & (gradient > 0)) | ((theta >= box[:, 1]) & (gradient < 0))
    return (~held).to(theta)


def _descends(direction: Tensor, gradient: Tensor) -> Tensor:
    """Whether the loss falls along a direction by more than rounding, (runs,)."""
    a, b = direction.double(), gradient.double()
    return dot(a, b) < -1e-14 * norm(a) * norm(b)
