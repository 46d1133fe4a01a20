"""Nodes in half precision, where that is measured to be faster and held-out cells say that it is exact enough.

Held-out cells and centers are always evaluated in full: what half precision does to the field is part of the error that
they measure.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lossatlas._errors import DataError, ModelError, NotApplicableError
from lossatlas.chart.sampling._adaptive import OutputSampler
from lossatlas.chart.sampling._metric import Metric
from lossatlas.chart.sampling._outputs import finite

Array = NDArray[np.float64]
Read = Callable[[Array], list[Tensor]]

# Half precision must be so many times as fast, and its own error at most this share of the tolerance.
FASTER, SHARE = 1.25, 0.3
# Nodes that are timed in either precision, after as many that are not.
TIMED = 2


class TooCoarseError(Exception):
    """Half precision takes too much of the tolerance."""


@final
class Halves:
    """Reads the points of an `OutputSampler`, some of them in half precision.

    Args:
        full: outputs by batch at coordinates.
        half: the same in half precision.
        decided: whether half precision is faster, as an earlier run on the same plane found; None to measure it.
        decide: told what was measured.
        clock: in seconds.
    """

    def __init__(
        self,
        full: Read,
        half: Read,
        *,
        decided: bool | None = None,
        decide: Callable[[bool], None] = lambda yes: None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.full, self.half, self.used, self.decide, self.clock = full, half, decided, decide, clock
        self._checked = False

    def read(self, sampler: OutputSampler, coords: Array) -> list[Tensor]:
        """Outputs at what the sampler wants to know next; it is told which of them are rounded.

        Raises:
            TooCoarseError: if the held-out cells say so.
        """
        if self.used is False:
            return self.full(coords)
        if sampler.holding:
            outputs = self.full(coords)
            if self.used and not self._checked:
                self._check(sampler, coords, outputs)
            return outputs
        rounded = ~sampler.central(coords)
        if not sampler.store.count:
            # Those that are timed in full stay so, in this run and when it is resumed.
            rounded[np.flatnonzero(rounded)[: 2 * TIMED]] = False
        if not rounded.any() or (self.used is None and (sampler.store.count or rounded.sum() <= TIMED)):
            return self.full(coords)
        full, slow = self._timed(self.full, coords[~rounded]) if not rounded.all() else ([], 0.0)
        if self.used is None:
            self.used = self._seconds(coords[rounded][: 2 * TIMED]) * FASTER <= slow
            self.decide(self.used)
        halves = (self.half if self.used else self.full)(coords[rounded])
        sampler.rounded = rounded & self.used
        if self.used and not (sound := finite(halves)).all():
            # What overflows by rounding alone is no hole of the field.
            sampler.rounded[rounded] = sound
            for part, again in zip(halves, self.full(coords[rounded][~sound]), strict=True):
                part[~sound] = again
        if rounded.all():
            return halves
        outputs = []
        for exact, half in zip(full, halves, strict=True):
            both = exact.new_empty(len(coords), *exact.shape[1:])
            both[~rounded], both[rounded] = exact, half
            outputs.append(both)
        return outputs

    def _timed(self, read: Read, coords: Array) -> tuple[list[Tensor], float]:
        """Outputs, and seconds of one point once all is warm."""
        if self.used is not None or len(coords) <= TIMED:
            return read(coords), 0.0
        first = read(coords[:-TIMED])
        begin = self.clock()
        last = read(coords[-TIMED:])
        taken = (self.clock() - begin) / TIMED
        return [torch.cat(both) for both in zip(first, last, strict=True)], taken

    def _seconds(self, coords: Array) -> float:
        """Of one point in half precision; infinite where the model cannot be run in it."""
        try:
            return self._timed(self.half, coords)[1]
        except (DataError, ModelError, NotApplicableError):
            return math.inf

    def _check(self, sampler: OutputSampler, coords: Array, outputs: list[Tensor]) -> None:
        self._checked = True
        (true, _), (found, _) = (
            sampler.filler.losses(None, sampler.filler.prepare(each)) for each in (outputs, self.half(coords))
        )
        sound = np.isfinite(true)
        if not sound.any():
            return
        off = Metric.of(sampler.losses[sampler.finite]).error(found[sound], true[sound])
        sampler.rounding = float(np.quantile(np.nan_to_num(off, nan=np.inf), 0.95))
        if sampler.rounding > SHARE * sampler.tolerance:
            self.used = False
            raise TooCoarseError
