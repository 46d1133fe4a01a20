"""Where along a path to evaluate: few points, more where the profile curves and around its maximum.

A profile is a smooth function of one number, so a cubic spline through few points is as good as many points joined
by straight lines. How good is measured: each point is left out once and predicted from the others.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicHermiteSpline, CubicSpline

Array = NDArray[np.float64]

COARSE = 9
CLOSE = 1e-3
# Of the points there may be, so many are kept for the maximum.
PEAK = 2
# H⁴/384 with slopes, 3h⁴/128 without: at equal error slopes pay if one costs less than this many values.
BREAK_EVEN = 9.0**0.25


@dataclass(frozen=True, eq=False)
class Profile:
    """A function of t known at some points, and how it is filled in between.

    Attributes:
        t: (n,) increasing.
        y: (n,) values there.
        slopes: (n,) dy/dt where they were requested, else None.
        breaks: where the function may have a kink; it is filled in piece by piece.
    """

    t: Array
    y: Array
    slopes: Array | None = None
    breaks: Array = field(default_factory=lambda: np.array([0.0, 1.0]))

    def __call__(self, t: Array) -> Array:
        """The values at any t in between; NaN in the pieces that hold a value that is not finite."""
        t = np.asarray(t, dtype=np.float64)
        found = np.full(t.shape, np.nan)
        for low, high in zip(self.breaks[:-1], self.breaks[1:], strict=True):
            inside = (t >= low) & (t <= high)
            own = (self.t >= low) & (self.t <= high)
            if inside.any():
                found[inside] = _fill(self.t[own], self.y[own], self._part(own), t[inside])
        return found

    def errors(self) -> Array:
        """How far off the filled-in values may be, per interval, (n − 1,): from leaving each point out once.

        A point that is left out is predicted across its two intervals; what is missed there is carried over to each of
        them with the third power of the spacing, one less than a smooth profile would allow.
        """
        missed = np.zeros(len(self.t) - 1)
        for low, high in zip(self.breaks[:-1], self.breaks[1:], strict=True):
            own = np.flatnonzero((self.t >= low) & (self.t <= high))
            for k in own[1:-1]:
                kept = own[own != k]
                told = _fill(self.t[kept], self.y[kept], self._part(kept), self.t[k : k + 1])[0]
                off = abs(told - self.y[k]) if np.isfinite(told) else np.inf
                for interval in (k - 1, k):
                    share = (self.t[interval + 1] - self.t[interval]) / (self.t[k + 1] - self.t[k - 1])
                    edge = 2.0 if interval in (own[0], own[-1] - 1) else 1.0
                    missed[interval] = max(missed[interval], off * edge * 2 * share**3)
        return missed

    def _part(self, own: NDArray[np.bool_] | NDArray[np.intp]) -> Array | None:
        return None if self.slopes is None else self.slopes[own]


def _fill(t: Array, y: Array, slopes: Array | None, at: Array) -> Array:
    if not np.isfinite(y).all() or (slopes is not None and not np.isfinite(slopes).all()):
        return np.full(at.shape, np.nan)
    if slopes is not None:
        filled = CubicHermiteSpline(t, y, slopes)(at)
    elif len(t) < 4:
        filled = np.polyval(np.polyfit(t, y, len(t) - 1), at)
    else:
        filled = CubicSpline(t, y)(at)
    return np.asarray(filled, dtype=np.float64)


Told = tuple[Array, Array | None]


def adaptive(points: int, tolerance: float, breaks: Array) -> Generator[Array, Told, Profile]:
    """Evaluate coarsely, then halve the intervals whose error is above the tolerance, and close in on the maximum.

    Args:
        points: the most there may be.
        tolerance: of the filled-in profile, as a share of its range.
        breaks: where the profile may have kinks, ends included; always evaluated.

    Returns:
        The profile. Where a value is not finite, refinement stops with what there is.
    """
    coarse = np.linspace(0, 1, min(points, COARSE))
    first = np.unique(np.concatenate([coarse, breaks]))
    if len(breaks) > 2:  # a kink needs a point on either side to be told from a curve
        middles = (breaks[1:] + breaks[:-1]) / 2
        first = np.unique(np.concatenate([breaks, middles, coarse if points >= 3 * COARSE else []]))
    known = _profile(first, (yield first), breaks)
    while len(known.t) < points and np.isfinite(known.y).all():
        wanted = _coarsest(known, tolerance)[: max(0, points - len(known.t) - PEAK)]
        if not len(wanted):
            wanted = _peak(known, tolerance)
        if not len(wanted):
            break
        known = _joined(known, _profile(np.sort(wanted), (yield np.sort(wanted)), breaks))
    return known


def uniform(points: int, breaks: Array) -> Generator[Array, Told, Profile]:
    """Evaluate at equal distances, and at the kinks."""
    t = np.unique(np.concatenate([np.linspace(0, 1, points), breaks]))
    return _profile(t, (yield t), breaks)


def _coarsest(known: Profile, tolerance: float) -> Array:
    """The middles of the intervals whose error is too large, the largest first."""
    errors = known.errors()
    order = np.argsort(-errors)
    return ((known.t[1:] + known.t[:-1]) / 2)[order[errors[order] > tolerance * float(np.ptp(known.y))]]


def _peak(known: Profile, tolerance: float) -> Array:
    """Where the filled-in profile rises highest above its chord, if that is higher than what was evaluated."""

    def above(t: Array, y: Array) -> Array:
        return np.asarray(y - (1 - t) * known.y[0] - t * known.y[-1])

    fine = np.linspace(0, 1, 2001)
    filled = above(fine, known(fine))
    peak = float(fine[int(np.nanargmax(filled))])
    gained = float(np.nanmax(filled) - above(known.t, known.y).max())
    new = gained > tolerance / 4 * float(np.ptp(known.y)) and np.abs(known.t - peak).min() > CLOSE
    return np.array([peak] if new else [])


def _profile(t: Array, told: Told, breaks: Array) -> Profile:
    return Profile(t, np.asarray(told[0], dtype=np.float64), told[1], breaks)


def _joined(one: Profile, two: Profile) -> Profile:
    t = np.concatenate([one.t, two.t])
    order = np.argsort(t)
    slopes = None
    if one.slopes is not None and two.slopes is not None:
        slopes = np.concatenate([one.slopes, two.slopes])[order]
    return Profile(t[order], np.concatenate([one.y, two.y])[order], slopes, one.breaks)
