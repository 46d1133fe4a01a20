"""Points where runs begin again: each run's own, independent of the other runs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lossatlas.optimize._streams import Streams


class Again:
    """Points uniform in a box, from a generator for each run that is made when it is first needed.

    Args:
        restarts: how often each run may begin again.
        box: (N, 2), or None: then no run may.
        rng: streams of the runs, of which one number is drawn.

    Attributes:
        left: (runs,) how often each run still may.
    """

    def __init__(self, restarts: int, box: Tensor | None, rng: Streams) -> None:
        self.seeds = rng.seeds().tolist()
        self.left = np.full(len(self.seeds), 0 if box is None else restarts)
        self._box = None if box is None else box.double().cpu().numpy()
        self._generators: dict[int, np.random.Generator] = {}

    def point(self, run: int) -> NDArray[np.float64]:
        """The next point (N,) of a run."""
        assert self._box is not None
        if run not in self._generators:
            self._generators[run] = np.random.default_rng(self.seeds[run])
        self.left[run] -= 1
        low, high = self._box.T
        point: NDArray[np.float64] = low + (high - low) * self._generators[run].random(len(low))
        return point
