"""Answers in this process."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, final
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from lossatlas._layout import Sample
from lossatlas.probe.engine._base import Part, reading_of
from lossatlas.probe.engine._evaluate import evaluate, steadied
from lossatlas.surface import Reading, Slice, Surface

# What a crash may cost where answers are kept.
PIECE_SECONDS = 0.5


@final
class Inline:
    """Answers in this process, with all of its threads.

    Args:
        steady: whether every row has bits of its own, the same that workers give it. Otherwise rows of one query may be
            evaluated together, which is faster and equal to rounding.
    """

    lost = proof_examples = workers = 0
    worker_seconds = clock_seconds = 0.0
    notes: tuple[str, ...] = ()

    def __init__(self, *, steady: bool = False) -> None:
        self.steady = steady
        self._piece = torch.get_num_threads()
        self._steadied: WeakKeyDictionary[Surface, Surface] = WeakKeyDictionary()

    def __repr__(self) -> str:
        return "Inline(steady=True)" if self.steady else "Inline()"

    @property
    def width(self) -> int:
        """One point per thread."""
        return torch.get_num_threads()

    @property
    def speed(self) -> int:
        """One point per thread."""
        return torch.get_num_threads()

    def read(self, surface: Surface, points: Tensor) -> Reading:
        """Losses and channels at points (B, N)."""
        if not self.steady:
            return surface.read(points)
        return reading_of(evaluate(self._own(surface), None, "values", {"points": points}, {}, None))

    def stream(self, surface: Surface, points: Tensor) -> Iterator[Part]:
        """The same in pieces of half a second."""
        done = 0
        while done < len(points):
            rows = torch.arange(done, min(done + self._piece, len(points)))
            begin = time.perf_counter()
            reading = self.read(surface, points[done : done + self._piece])
            seconds = time.perf_counter() - begin
            answer = {"values": reading.values} | {f"extra {name}": part for name, part in reading.extras.items()}
            yield Part(rows, answer, seconds)
            done += len(rows)
            wanted, width = int(len(rows) * PIECE_SECONDS / max(seconds, 1e-9)), torch.get_num_threads()
            # Whole rounds of all threads: what is over would leave all but a few of them idle.
            self._piece = -(-max(width, min(wanted, 4 * self._piece)) // width) * width

    def gradients(self, surface: Surface, points: Tensor, sample: Sample | None) -> tuple[Tensor, Tensor]:
        """Losses (B,) and gradients (B, N)."""
        if not self.steady:
            return surface.gradients(points, sample)
        rows = {"points": points} if sample is None else {"points": points, "seeds": sample.seeds}
        found = evaluate(surface, None, "gradients", rows, {}, None if sample is None else sample.size)
        return found["values"], found["gradients"]

    def products(self, surface: Surface, point: Tensor, vectors: Tensor, sample: Sample | None = None) -> Tensor:
        """Hessian at a point (N,) times vectors (K, N), of all data or of one mini-batch."""
        if not self.steady:
            return (
                surface.exact_products(point, vectors)
                if sample is None
                else surface.sampled_products(point, vectors, sample)
            )
        shared = {"point": point} if sample is None else {"point": point, "seed": sample.seeds}
        size = None if sample is None else sample.size
        return evaluate(surface, None, "products", {"vectors": vectors}, shared, size)["products"]

    def outputs(self, surface: Surface, source: Any, coords: Any) -> Iterator[Part]:
        """By batch, a network's outputs at coordinates (P, k); they always have bits of their own."""
        begin = time.perf_counter()
        found = {str(k): part for k, part in enumerate(source.read(np.asarray(coords)))}
        yield Part(torch.arange(len(coords)), found, time.perf_counter() - begin)

    def close(self) -> None:
        """There is nothing to let go of."""

    def _own(self, surface: Surface) -> Surface:
        if not isinstance(surface, Slice) or surface.steady:
            return surface
        if surface not in self._steadied:
            self._steadied[surface] = steadied(surface)
        return self._steadied[surface]
