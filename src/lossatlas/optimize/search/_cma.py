"""CMA-ES by its author's own library, behind the meter."""

from __future__ import annotations

import importlib.util
import warnings
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
from torch import Tensor

from lossatlas._errors import InputError, NotApplicableError
from lossatlas._layout import Layout
from lossatlas.optimize._minds import Mind, side_by_side
from lossatlas.optimize._optimizer import Optimizer, Walk
from lossatlas.optimize._ranges import positive, whole
from lossatlas.optimize._streams import Streams
from lossatlas.probe import Values


@final
@dataclass(frozen=True)
class CMAES(Optimizer):
    """Sample from a Gaussian whose mean and covariance follow the better samples; begin again, twice as large, when stuck.

    Needs the extra ``cma`` (pycma). λ = 4 + ⌊3 ln N⌋ samples per generation at first; every restart doubles λ (IPOP,
    Auger & Hansen 2005) and begins at a random point of the box.

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
    source: ClassVar[str] = "Hansen & Ostermeier 2001; Auger & Hansen 2005"
    reference: ClassVar[str] = "hansen2001"
    wanders: ClassVar[bool] = True
    batched: ClassVar[bool] = False

    def __post_init__(self) -> None:
        positive(self, "sigma")
        whole(self, 0, "population", "restarts")
        if self.population in (1, 2):
            raise InputError(
                f"cma got population={self.population!r}; expected a population of at least 3, or 0 for the default."
            )

    def walk(self, start: Tensor, layout: Layout, rng: Streams) -> Walk:
        """Let the library say where to evaluate, one run beside the other."""
        if importlib.util.find_spec("cma") is None:
            raise NotApplicableError(
                "it needs the library pycma, which is not installed; install it with pip install 'lossatlas[cma]'."
            )
        box = None if layout.box is None else layout.box.double().cpu().numpy()
        points = start.double().cpu().numpy()
        minds = [self._think(point, box, seed) for point, seed in zip(points, rng.seeds().tolist(), strict=True)]
        yield from side_by_side(minds, start, stands_at_best=True)

    def _think(self, start: np.ndarray, box: np.ndarray | None, seed: int) -> Mind:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import cma

        generator = np.random.default_rng(seed)
        width = 1.0 if box is None else box[:, 1] - box[:, 0]
        low = 0.0 if box is None else box[:, 0]
        n = len(start)
        size = self.population or 4 + int(3 * np.log(n))
        for descent in range(self.restarts + 1):
            begin = start if descent == 0 or box is None else low + width * generator.random(n)
            settings: dict[str, Any] = {
                "verbose": -9,
                "seed": np.nan,
                "randn": lambda *shape: generator.standard_normal(shape),
                "popsize": size * 2**descent,
                "CMA_stds": np.broadcast_to(width, n).copy(),
            }
            if box is not None:
                settings["bounds"] = [list(box[:, 0]), list(box[:, 1])]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                strategy = cma.CMAEvolutionStrategy(begin, self.sigma, settings)
            while not strategy.stop():
                points = strategy.ask()
                told = []
                for point in points:
                    told.append((yield point))
                # A loss that is infinite ranks last; the library wants finite numbers.
                worst = max((v for v in told if np.isfinite(v)), default=0.0)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    strategy.tell(points, [v if np.isfinite(v) else worst + 1e3 * (1 + abs(worst)) for v in told])
