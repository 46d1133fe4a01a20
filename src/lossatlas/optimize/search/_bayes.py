"""Bayesian optimization: a surrogate of everything seen decides where to look next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from lossatlas._errors import InputError, NotApplicableError
from lossatlas._imports import imported
from lossatlas._layout import Layout
from lossatlas.optimize._minds import Mind, side_by_side
from lossatlas.optimize._optimizer import Optimizer, Walk
from lossatlas.optimize._ranges import positive, whole
from lossatlas.optimize._streams import Streams
from lossatlas.optimize.search._surrogate import Posterior
from lossatlas.probe import Values

Array = NDArray[np.float64]
NIL = -1e12


@final
@dataclass(frozen=True)
class Bayes(Optimizer):
    """Evaluate where the expected improvement below the best seen is largest, under a Gaussian process of all observations.

    The first points are the start and a Sobol sequence. Then: fit a Matérn-5/2 process, maximize log EI over Sobol
    candidates and candidates near the best, refine the winner by L-BFGS-B. A proposal closer than `apart` (in units
    of the box) to a seen point is never made: the next best candidate is taken. From `settled` observations on, the
    lengths are fitted at every fifth only.

    Args:
        initial: points of the first design, the start among them.
        candidates: Sobol candidates for the next point.
        apart: least distance to a seen point, relative to the box.
        settled: observations after which the lengths are fitted less often.
    """

    initial: int = 5
    candidates: int = 1024
    apart: float = 1e-6
    settled: int = 40

    name: ClassVar[str] = "bayes"
    title: ClassVar[str] = "Bayesian optimization"
    queries: ClassVar[frozenset[type]] = frozenset({Values})
    evaluates: ClassVar[str] = "one value where it expects most"
    remembers: ClassVar[str] = "every observation, and a surrogate of them"
    source: ClassVar[str] = "Jones, Schonlau & Welch 1998; Ament et al. 2023"
    reference: ClassVar[str] = "jones1998"
    wanders: ClassVar[bool] = True
    batched: ClassVar[bool] = False

    def __post_init__(self) -> None:
        whole(self, 2, "initial")
        whole(self, 8, "candidates")
        whole(self, 1, "settled")
        positive(self, "apart")
        if self.apart >= 0.1:
            raise InputError(f"bayes got apart={self.apart!r}; expected a distance in (0, 0.1), as a share of the box.")

    def breaks(self, answered: int) -> list[int]:
        """Every question is about a place of its own."""
        return list(range(1, answered + 1))

    def walk(self, start: Tensor, layout: Layout, rng: Streams) -> Walk:
        """Look where the surrogate expects most."""
        if layout.box is None:
            raise NotApplicableError("it needs a box to search, and this surface has none. Give the surface a box.")
        box = layout.box.double().cpu().numpy()
        seeds = rng.seeds().tolist()
        minds = [self._think(point, box, seed) for point, seed in zip(start.double().cpu().numpy(), seeds, strict=True)]
        yield from side_by_side(minds, start, stands_at_best=False)

    def _think(self, start: Array, box: Array, seed: int) -> Mind:
        imported("scipy.stats")
        from scipy.stats import qmc  # where it is used: it takes a second, and every command loads this module

        generator = np.random.default_rng(seed)
        low, width = box[:, 0], box[:, 1] - box[:, 0]
        design = qmc.Sobol(len(box), rng=generator)
        points, values = np.empty((0, len(box))), np.empty(0)
        kernel: Any = None
        while True:
            if len(points) == 0:
                point = start
            elif len(points) < self.initial:
                point = low + width * design.random(1)[0]
            else:
                keep = len(points) >= self.settled and len(points) % 5
                surrogate = Posterior(points, values, box, kernel if keep else None)
                kernel = surrogate.kernel
                point = self._propose(surrogate, points, values, generator)
            value = yield point
            points, values = np.vstack([points, point]), np.append(values, value)

    def _propose(self, surrogate: Posterior, points: Array, values: Array, generator: np.random.Generator) -> Array:
        imported("scipy.stats")
        from scipy.stats import qmc

        box = surrogate.box
        low, width = box[:, 0], box[:, 1] - box[:, 0]
        best = int(values.argmin())
        everywhere = qmc.Sobol(len(box), rng=generator).random(1 << (self.candidates - 1).bit_length())
        center = surrogate.unit(points[best])
        size = 10.0 ** generator.uniform(-3, -0.5, (128, 1))
        near = np.clip(center + size * generator.standard_normal((128, len(box))), 0, 1)
        cube = np.vstack([everywhere, near])
        score = surrogate.log_improvement(low + width * cube, surrogate.lowest)
        order = np.argsort(-score, kind="stable")

        def loss(u: Array) -> float:
            # Where the improvement is nil even in its logarithm, differences of it would not be numbers.
            return -max(float(surrogate.log_improvement((low + width * u)[None], surrogate.lowest)[0]), NIL)

        refined = minimize(loss, cube[order[0]], method="L-BFGS-B", bounds=[(0, 1)] * len(box), options={"maxiter": 20})
        proposals = [np.clip(refined.x, 0, 1), *cube[order]] if refined.fun <= -score[order[0]] else cube[order]
        seen = surrogate.unit(points)
        for u in proposals:
            if np.abs(seen - u).max(axis=1).min() > self.apart:
                return np.asarray(low + width * u)
        return np.asarray(low + width * generator.random(len(box)))
