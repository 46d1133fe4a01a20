"""A count sketch: a vector of N numbers folded into few, linearly, so that lengths and angles are kept in the mean.

S x has m entries. Chunk k of x (m entries) is multiplied by signs and added at a random rotation r_k:
(S x)[(p + r_k) mod m] += s_k t_p x[k m + p]. Two entries of one chunk never meet, two of different chunks with
probability 1/m, so that E⟨Sx, Sy⟩ = ⟨x, y⟩ and the standard error of a squared length is at most 2/√m of it. Signs and
rotations take m + 2N/m numbers, where a table of buckets would take 2N.

Source: Charikar, Chen and Farach-Colton: Finding frequent items in data streams, ICALP 2002 (the sketch); Weinberger et
al.: Feature hashing for large scale multitask learning, ICML 2009 (signs, and the variance).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import final

import numpy as np
import torch
from torch import Tensor

from lossatlas import _checks
from lossatlas._errors import InputError

LEAST = 64
# The error of so many is 1/2,048 of the largest distance.
MOST = 2**24


@final
class Sketch:
    """Folds vectors of one length; the same seed folds the same way on every machine.

    Args:
        dimension: N, entries of a vector.
        size: m, entries of its sketch.
        seed: of signs and rotations.

    Attributes:
        error: at most this is the standard error of a squared length, relative to it: 2/√m, and 0 where nothing meets
            because N ≤ m.
        meeting: 1 − 1/c where c parameters share an entry: 0 where none meets another.

    Raises:
        InputError: for a sketch of fewer than 64 entries, or of more than 2²⁴.

    Example:
        >>> import torch
        >>> fold = Sketch(1000, 256)
        >>> x, y = torch.ones(1000), torch.arange(1000.0)
        >>> bool(torch.allclose(fold([2 * x + y]), 2 * fold([x]) + fold([y])))
        True
    """

    def __init__(self, dimension: int, size: int, seed: int = 0) -> None:
        size = _checks.whole(
            "sketch", size, LEAST, MOST, do=f"The error is 2/√sketch: {2 / math.sqrt(LEAST):g} at {LEAST}."
        )
        seed = _checks.seed(seed)
        self.dimension, self.size, self.seed = dimension, size, seed
        source = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, size))))
        chunks = -(-dimension // size)
        self.meeting = 1 - 1 / chunks
        self.error = 2 / math.sqrt(size) * math.sqrt(self.meeting)
        self._within = torch.from_numpy(2.0 * source.integers(0, 2, size) - 1)
        self._across = (2 * source.integers(0, 2, chunks) - 1).tolist()
        self._rotations = source.integers(0, size, chunks).tolist()

    @property
    def bytes(self) -> int:
        """What it holds."""
        return 8 * (self.size + 2 * len(self._across))

    def __call__(self, parts: Iterable[Tensor]) -> Tensor:
        """The sketch (m,), float64 on the CPU, of a vector given in consecutive parts of any shape, on any device."""
        total, begin = None, 0
        for part in parts:
            flat = part.detach().reshape(-1)
            if total is None:
                total = torch.zeros(self.size, dtype=torch.float64, device=flat.device)
                self._within = self._within.to(flat.device)
            for first in range(-(begin % self.size), flat.numel(), self.size):
                self._add(total, flat, max(first, 0), min(first + self.size, flat.numel()), begin)
            begin += flat.numel()
        if total is None or begin != self.dimension:
            raise InputError(f"got a vector of {begin:,} entries; expected {self.dimension:,}, as this sketch folds.")
        return total.cpu()

    def _add(self, total: Tensor, flat: Tensor, low: int, high: int, begin: int) -> None:
        """Add entries low to high of a part that begins at `begin`, all of one chunk."""
        chunk, place = divmod(begin + low, self.size)
        signed = flat[low:high] * self._within[place : place + high - low]
        to = (place + self._rotations[chunk]) % self.size
        until = min(high - low, self.size - to)
        total[to : to + until].add_(signed[:until], alpha=self._across[chunk])
        if until < high - low:
            total[: high - low - until].add_(signed[until:], alpha=self._across[chunk])
