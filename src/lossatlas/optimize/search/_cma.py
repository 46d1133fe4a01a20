"""CMA-ES: a Gaussian that learns from the ranks of its samples how far, and along which axes, to look."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lossatlas._errors import InputError
from lossatlas._layout import Layout
from lossatlas.optimize._again import Again
from lossatlas.optimize._optimizer import Optimizer, Walk, known
from lossatlas.optimize._ranges import positive, whole
from lossatlas.optimize._streams import Streams
from lossatlas.probe import At, Values

Array = NDArray[np.float64]
Rows = NDArray[np.int64]
# Where a descent ends (Hansen 2009, section 2; the tolerances are absolute, as in its author's program).
TOL_X, TOL_FUN, TOL_HISTORY, CONDITION, TOL_UP = 1e-11, 1e-11, 1e-12, 1e14, 1e3
# How many generations lie between two looks whether a descent stagnates.
LOOK = 10


@final
@dataclass(frozen=True)
class CMAES(Optimizer):
    """Sample from a Gaussian N(m, σ²C) whose mean and covariance follow the better samples; begin again, twice as large, when stuck.

    All constants are those of Hansen 2016, negative weights included. λ = 4 + ⌊3 ln N⌋ samples per generation at first; every
    restart doubles λ (IPOP, Auger & Hansen 2005) and begins at a point uniform in the box. A descent ends where its samples or
    their losses no longer differ, where C is singular to rounding, where σ has grown a thousandfold, or where the losses of
    the last generations no longer fall (Hansen 2009). Samples outside of the box are mirrored at its edge. λ of the first descent is
    what is evaluated per query: a larger generation is made of several.

    Args:
        sigma: first standard deviation, as a share of the box's width (in units of θ where there is no box).
        population: λ of the first descent; 0 for the default above.
        restarts: how often it may begin again.
    """

    sigma: float = 0.2
    population: int = 0
    restarts: int = 9

    name: ClassVar[str] = "cma"
    title: ClassVar[str] = "CMA-ES"
    queries: ClassVar[frozenset[type]] = frozenset({Values})
    evaluates: ClassVar[str] = "values of λ samples per generation"
    remembers: ClassVar[str] = "a mean, a covariance and two paths (N² + 3N)"
    source: ClassVar[str] = "Hansen & Ostermeier 2001; Auger & Hansen 2005; Hansen 2016"
    reference: ClassVar[str] = "hansen2001"
    wanders: ClassVar[bool] = True

    def __post_init__(self) -> None:
        positive(self, "sigma")
        whole(self, 0, "population", "restarts")
        if self.population in (1, 2):
            raise InputError(
                f"cma got population={self.population!r}; expected a population of at least 3, or 0 for the default."
            )

    def walk(self, start: Tensor, layout: Layout, rng: Streams) -> Walk:
        """Evaluate λ samples of every run's Gaussian per query."""
        n = start.shape[1]
        size = self.population or 4 + int(3 * math.log(n))
        clouds = _Gaussians(
            self.sigma, size, start.double().cpu().numpy(), layout, Again(self.restarts, layout.box, rng)
        )
        runs = np.arange(len(start))
        best, lowest, at = clouds.mean.copy(), np.full(len(start), np.inf), None
        while clouds.live.any():
            points = clouds.sample(rng.normal(size, n).cpu().numpy())
            live = torch.from_numpy(clouds.live.copy()).to(start.device)
            answer = yield Values(torch.from_numpy(points).to(start), at=at, active=live)
            found = known(answer.values).cpu().numpy()
            leader = found.argmin(1)
            better = found[runs, leader] < lowest
            best = np.where(better[:, None], points[runs, leader], best)
            lowest = np.where(better, found[runs, leader], lowest)
            at = At(torch.from_numpy(best).to(start), torch.from_numpy(lowest).to(start.device))
            clouds.hear(found)


@dataclass(frozen=True)
class _Constants:
    """What depends on N and λ only (Hansen 2016, table 1)."""

    weights: Array
    parents: int
    mass: float
    path: float
    damping: float
    cumulation: float
    rank_one: float
    rank_mu: float
    length: float
    every: int


@functools.cache
def _constants(n: int, size: int) -> _Constants:
    raw = math.log((size + 1) / 2) - np.log(np.arange(1, size + 1))
    parents = size // 2
    better, worse = raw[:parents], raw[parents:]
    mass = float(better.sum() ** 2 / (better**2).sum())
    against = float(worse.sum() ** 2 / (worse**2).sum())
    cumulation = (4 + mass / n) / (n + 4 + 2 * mass / n)
    path = (mass + 2) / (n + mass + 5)
    damping = 1 + 2 * max(0.0, math.sqrt((mass - 1) / (n + 1)) - 1) + path
    rank_one = 2 / ((n + 1.3) ** 2 + mass)
    rank_mu = min(1 - rank_one, 2 * (0.25 + mass + 1 / mass - 2) / ((n + 2) ** 2 + mass))
    least = min(1 + rank_one / rank_mu, 1 + 2 * against / (mass + 2), (1 - rank_one - rank_mu) / (n * rank_mu))
    weights = np.where(raw >= 0, raw / raw[raw > 0].sum(), least * raw / np.abs(raw[raw < 0]).sum())
    length = math.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n**2))
    every = max(1, int(1 / (10 * n * (rank_one + rank_mu))))
    return _Constants(weights, parents, mass, path, damping, cumulation, rank_one, rank_mu, length, every)


class _Gaussians:
    """The Gaussians of all runs, each at its own generation and with its own λ.

    Attributes:
        live: (runs,) which runs go on.
        mean: (runs, N).
    """

    def __init__(self, sigma: float, size: int, start: Array, layout: Layout, again: Again) -> None:
        runs, n = start.shape
        self.first, self.size, self.again = sigma, size, again
        box = None if layout.box is None else layout.box.double().cpu().numpy()
        self.low, self.width = (np.zeros(n), np.ones(n)) if box is None else (box[:, 0], box[:, 1] - box[:, 0])
        self.boxed = box is not None
        self.live, self.mean = np.ones(runs, dtype=bool), start.copy()
        self.sizes = np.full(runs, size)
        self.sigma, self.generation, self.filled = (
            np.zeros(runs),
            np.zeros(runs, dtype=np.int64),
            np.zeros(runs, dtype=np.int64),
        )
        self.covariance, self.axes = np.zeros((runs, n, n)), np.zeros((runs, n, n))
        self.lengths, self.path, self.cumulated = np.zeros((runs, n)), np.zeros((runs, n)), np.zeros((runs, n))
        self.steps, self.values = np.zeros((runs, size, n)), np.zeros((runs, size))
        self.history: list[list[tuple[float, float]]] = [[] for _ in range(runs)]
        for b in range(runs):
            self._begin(b, start[b])

    def _begin(self, b: int, where: Array) -> None:
        n = len(where)
        self.mean[b], self.sigma[b], self.generation[b], self.filled[b] = where, self.first, 0, 0
        self.covariance[b], self.axes[b], self.lengths[b] = np.eye(n), np.eye(n), 1.0
        self.path[b], self.cumulated[b], self.history[b] = 0.0, 0.0, []

    def sample(self, normal: Array) -> Array:
        """Points (runs, k, N) from standard normal numbers of that shape."""
        steps = np.matmul(normal * self.lengths[:, None], self.axes.transpose(0, 2, 1))
        runs, count = np.arange(len(steps))[:, None], normal.shape[1]
        self.steps[runs, self.filled[:, None] + np.arange(count)] = steps
        points = self.mean[:, None] + self.sigma[:, None, None] * (self.width * steps)
        if not self.boxed:
            return points
        # The plane is folded at the edges of the box.
        folded = np.mod(points - self.low, 2 * self.width)
        return np.where(
            (points >= self.low) & (points <= self.low + self.width),
            points,
            self.low + np.minimum(folded, 2 * self.width - folded),
        )

    def hear(self, found: Array) -> None:
        """Take the losses (runs, k) of the points; whole generations move their Gaussians."""
        runs, count = np.arange(len(found))[:, None], found.shape[1]
        self.values[runs, self.filled[:, None] + np.arange(count)] = found
        self.filled += count
        whole = self.filled >= self.sizes
        for size in set(self.sizes[whole].tolist()):
            rows = np.flatnonzero(whole & (self.sizes == size))
            self._move(rows, _constants(self.mean.shape[1], size))
        self.filled[whole] = 0
        for b in np.flatnonzero(whole & self.live):
            if self._stuck(b):
                self.live[b] = self.again.left[b] > 0
                if self.live[b]:
                    self.sizes[b] *= 2
                    self._begin(b, self.again.point(b))
        most = int(self.sizes.max())
        if most > self.values.shape[1]:
            more = most - self.values.shape[1]
            self.steps, self.values = (
                np.pad(self.steps, ((0, 0), (0, more), (0, 0))),
                np.pad(self.values, ((0, 0), (0, more))),
            )

    def _move(self, rows: Rows, k: _Constants) -> None:
        """One generation of some runs of the same λ."""
        size, n = len(k.weights), self.mean.shape[1]
        values = self.values[rows, :size]
        order = values.argsort(axis=1, kind="stable")
        steps = np.take_along_axis(self.steps[rows, :size], order[..., None], 1)
        for b, place in zip(rows.tolist(), order, strict=True):
            self.history[b].append((float(self.values[b, place[0]]), float(self.values[b, place[size // 2]])))
        axes, lengths = self.axes[rows], self.lengths[rows]
        mean_step = np.matmul(k.weights[: k.parents], steps[:, : k.parents])
        self.mean[rows] += self.sigma[rows, None] * self.width * mean_step
        # C^(−1/2) y of the mean step and of all samples.
        white = np.matmul(np.concatenate([mean_step[:, None], steps], 1), axes) / lengths[:, None]
        whitened = np.matmul(white[:, :1], axes.transpose(0, 2, 1))[:, 0]
        self.generation[rows] += 1
        path = (1 - k.path) * self.path[rows] + math.sqrt(k.path * (2 - k.path) * k.mass) * whitened
        norm = np.sqrt((path**2).sum(1))
        steady = norm / np.sqrt(1 - (1 - k.path) ** (2 * self.generation[rows])) < (1.4 + 2 / (n + 1)) * k.length
        keep, gain = 1 - k.cumulation, math.sqrt(k.cumulation * (2 - k.cumulation) * k.mass)
        cumulated = keep * self.cumulated[rows] + np.where(steady, gain, 0.0)[:, None] * mean_step
        far = np.maximum((white[:, 1:] ** 2).sum(2), 1e-300)
        weights = np.where(k.weights >= 0, k.weights, k.weights * n / far)
        stay = (
            1
            + np.where(steady, 0.0, k.rank_one * k.cumulation * (2 - k.cumulation))
            - k.rank_one
            - k.rank_mu * k.weights.sum()
        )
        covariance = (
            stay[:, None, None] * self.covariance[rows]
            + k.rank_one * cumulated[:, :, None] * cumulated[:, None]
            + k.rank_mu * np.matmul((weights[..., None] * steps).transpose(0, 2, 1), steps)
        )
        self.path[rows], self.cumulated[rows] = path, cumulated
        self.covariance[rows] = (covariance + covariance.transpose(0, 2, 1)) / 2
        self.sigma[rows] *= np.exp(np.minimum(1.0, k.path / k.damping * (norm / k.length - 1)))
        due = rows[self.generation[rows] % k.every == 0]
        if len(due):
            squares, axes = np.linalg.eigh(self.covariance[due])
            self.lengths[due], self.axes[due] = np.sqrt(np.maximum(squares, 1e-300)), axes

    def _stuck(self, b: int) -> bool:
        """Whether a run's descent has come to its end."""
        n, size, sigma = self.mean.shape[1], int(self.sizes[b]), float(self.sigma[b])
        history, deviations = self.history[b], sigma * np.sqrt(self.covariance[b].diagonal())
        recent = 10 + math.ceil(30 * n / size)
        best = [one for one, _ in history[-recent:]]
        values = self.values[b, :size]
        low, high = min(best), max(best)
        level = high <= low + TOL_HISTORY or max(high, values.max()) <= min(low, values.min()) + TOL_FUN
        if level and len(history) >= recent:
            return True
        if max(deviations.max(), sigma * np.abs(self.cumulated[b]).max()) < TOL_X:
            return True
        longest, shortest = float(self.lengths[b].max()), float(self.lengths[b].min())
        if longest**2 > CONDITION * shortest**2 or sigma * longest > TOL_UP * self.first:
            return True
        axis = int(self.generation[b]) % n
        shift = 0.1 * sigma * self.lengths[b, axis] * self.width * self.axes[b, :, axis]
        if (self.mean[b] + shift == self.mean[b]).all() or (
            self.mean[b] + 0.2 * deviations * self.width == self.mean[b]
        ).any():
            return True
        window = 120 + math.ceil(30 * n / size)
        if len(history) < window or self.generation[b] % LOOK:
            return False
        del history[:-window]
        third = int(0.3 * window)
        new, old = np.median(history[-third:], axis=0), np.median(history[:third], axis=0)
        return bool((new >= old).all())
