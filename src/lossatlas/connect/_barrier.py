"""How high a path rises: three definitions that are in use, and intervals for them by paired bootstrap."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lossatlas import archive

Array = NDArray[np.float64]
Interval = tuple[float, float]

DEFINITIONS: dict[str, str] = {
    "entezari": "max over t of L(t) − [(1−t) L(0) + t L(1)] (Entezari et al. 2022)",
    "ainsworth": "max over t of L(t) − [L(0) + L(1)] / 2 (Ainsworth et al. 2023)",
    "frankle": "max over t of error(t) − [error(0) + error(1)] / 2 (Frankle et al. 2020)",
}

_NUMBERS = 2**24  # drawn at once, so that memory stays bounded


@dataclass(frozen=True)
class Barrier(archive.Result):
    """One height of a path.

    Attributes:
        definition: a name in `DEFINITIONS`.
        value: the height; infinite if a loss on the way is not finite.
        t: where the maximum is.
        interval: 95 % interval over examples, or None where there is none.
    """

    definition: str
    value: float
    t: float
    interval: Interval | None = None


def above(definition: str, t: Array, y: Array) -> Array:
    """Height over what the ends suggest, (…, n), for y (…, n): loss, or error for ``frankle``."""
    first, last = y[..., :1], y[..., -1:]
    base: Array = (1 - t) * first + t * last if definition == "entezari" else (first + last) / 2
    return y - base


def barrier(definition: str, t: Array, y: Array) -> Barrier:
    """The height of a profile y (n,) at t (n,)."""
    heights = above(definition, t, y)
    if not np.isfinite(heights).all():
        return Barrier(definition, math.inf, float(t[int(np.argmax(~np.isfinite(y)))]))
    peak = int(np.argmax(heights))
    return Barrier(definition, float(heights[peak]), float(t[peak]))


def bootstrap(rows: Array, *, resamples: int, seed: int) -> Array:
    """Means over resamples of the examples, (R, n).

    Paired: a resample draws the same examples at every t, so that what makes an example hard everywhere cancels.

    Args:
        rows: (n, E), one number per t and example.
        resamples: R.
        seed: of the resamples; the same seed draws the same examples.

    Source:
        Efron and Tibshirani: An introduction to the bootstrap, 1993, chapter 13 (percentile intervals).
    """
    rng = np.random.default_rng(seed)
    examples = rows.shape[1]
    parts = []
    step = max(1, min(resamples, _NUMBERS // max(1, examples)))
    for first in range(0, resamples, step):
        size = min(step, resamples - first)
        drawn = rng.integers(0, examples, (size, examples)) + examples * np.arange(size)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=size * examples).reshape(size, examples)
        parts.append((counts / examples) @ rows.T)
    return np.concatenate(parts)


def percentiles(draws: Array, confidence: float = 0.95) -> Any:
    """Lower and upper end of the percentile interval along the first axis."""
    tail = (1 - confidence) / 2 * 100
    return np.percentile(draws, [tail, 100 - tail], axis=0)


def monotone_rise(y: Array) -> Array:
    """The largest rise from an earlier to a later point, (…), of profiles (…, n); 0 if they never rise."""
    lowest = np.minimum.accumulate(y, axis=-1)
    found: Array = (y - lowest).max(axis=-1)
    return found
