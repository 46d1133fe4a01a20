"""Random numbers, one independent stream per run, so that a run does not depend on how many run beside it."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from typing import final

import numpy as np
import torch
from torch import Tensor

_CHUNK = 512


@final
class Streams:
    """A Philox stream for each run, keyed by (seed, run).

    Args:
        seed: of the whole race.
        runs: the run numbers, or how many.
        salt: keeps different racers of one race apart: a number, or their names.
        tape: takes what is drawn, in order, those of every part of a method among them; None to keep no tape.
    """

    def __init__(
        self, seed: int, runs: int | Sequence[int], salt: int | str = 0, tape: list[Tensor] | None = None
    ) -> None:
        self.runs = [int(run) for run in runs] if isinstance(runs, Iterable) else list(range(int(runs)))
        # Names may hold what has no encoding.
        number = salt if isinstance(salt, int) else zlib.crc32(salt.encode("utf-8", "surrogatepass"))
        self._seed, self._salt, self._tape = int(seed), number, tape
        self._kinds: dict[str, _Buffer] = {}

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers (runs, *shape), float64."""
        return self._draw("normal", shape)

    def uniform(self, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1), (runs, *shape), float64."""
        return self._draw("uniform", shape)

    def seeds(self) -> Tensor:
        """A fresh seed for every run, (runs,), int64: what a mini-batch is drawn by."""
        return (self.uniform() * 2.0**53).long()

    def part(self, name: object) -> Streams:
        """Streams of the same runs that share nothing with these, for one part of a method."""
        return Streams(self._seed, self.runs, f"{self._salt} {name}", self._tape)

    def _draw(self, kind: str, shape: tuple[int, ...]) -> Tensor:
        if kind not in self._kinds:
            which = ("normal", "uniform").index(kind)
            sources = [
                np.random.Generator(np.random.Philox(np.random.SeedSequence((self._seed, self._salt, run, which))))
                for run in self.runs
            ]
            self._kinds[kind] = _Buffer(sources, kind)
        drawn = self._kinds[kind].take(int(np.prod(shape, dtype=int))).reshape(len(self.runs), *shape)
        if self._tape is not None:
            self._tape.append(drawn)
        return drawn


class _Buffer:
    """Numbers drawn ahead in chunks: one call per run and chunk, not per run and step."""

    def __init__(self, sources: list[np.random.Generator], kind: str) -> None:
        self.sources, self.kind = sources, kind
        self.numbers = torch.empty(len(sources), 0, dtype=torch.float64)
        self.used = 0

    def take(self, count: int) -> Tensor:
        left = self.numbers.shape[1] - self.used
        if left < count:
            fresh = max(_CHUNK, count)
            rows = [s.standard_normal(fresh) if self.kind == "normal" else s.random(fresh) for s in self.sources]
            self.numbers = torch.cat([self.numbers[:, self.used :], torch.from_numpy(np.stack(rows))], 1)
            self.used = 0
        taken = self.numbers[:, self.used : self.used + count].contiguous()
        self.used += count
        return taken
