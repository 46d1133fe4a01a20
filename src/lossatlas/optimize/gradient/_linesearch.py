"""The line search of Moré & Thuente, every run's at its own stage."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Rows = NDArray[np.bool_]
# A bracket narrower than this share of its upper end is as far as it pays to look.
NARROW = 0.1
# How far beyond the last step a search without a bracket may go, at least and at most.
NEAR, FAR = 1.1, 4.0


@dataclass(frozen=True)
class Verdict:
    """What has become of the trials.

    Attributes:
        taken: (runs,) which steps end their search.
        lost: (runs,) which searches end without a step that lowers the loss.
    """

    taken: Rows
    lost: Rows


class LineSearch:
    """φ(t) = L(θ + t d) of every run, until φ(t) ≤ φ(0) + c₁ t φ′(0) and |φ′(t)| ≤ c₂ |φ′(0)| (Moré & Thuente 1994).

    The next trial is a safeguarded minimum of a cubic or quadratic through what is known of φ, of
    ψ(t) = φ(t) − φ(0) − c₁ t φ′(0) until a step of lower ψ has a rising φ′.

    Args:
        runs: how many.
        decrease: c₁.
        curvature: c₂.
        trials: evaluations before a search ends.

    Attributes:
        step: (runs,) the trial t.
    """

    def __init__(self, runs: int, decrease: float, curvature: float, trials: int) -> None:
        self.decrease, self.curvature, self.trials = decrease, curvature, trials
        zeros = np.zeros(runs)
        self.step, self.most, self.value, self.slope = zeros, zeros, zeros, zeros
        self.count, self.bracketed, self.second = np.zeros(runs, dtype=np.int64), zeros > 0, zeros > 0
        # The best step so far and the other end, with losses and derivatives.
        self.x, self.fx, self.gx = zeros, zeros, zeros
        self.y, self.fy, self.gy = zeros, zeros, zeros
        self.low, self.high, self.width, self.before = zeros, zeros, zeros, zeros

    def begin(self, rows: Rows, value: Array, slope: Array, step: Array, most: Array) -> None:
        """A new search of some runs from φ(0) and φ′(0) < 0, with a first trial and the longest step allowed."""
        step = np.minimum(step, most)
        fresh = {
            "step": step, "most": most, "value": value, "slope": slope, "count": 0, "bracketed": False, "second": False,
            "x": 0.0, "fx": value, "gx": slope, "y": 0.0, "fy": value, "gy": slope,
            "low": 0.0, "high": (1 + FAR) * step, "width": most, "before": 2 * most,
        }  # fmt: skip
        for name, new in fresh.items():
            setattr(self, name, np.where(rows, new, getattr(self, name)))

    def hear(self, rows: Rows, value: Array, slope: Array) -> Verdict:
        """Take φ and φ′ at the trials of some runs; those that go on have another `step`."""
        finite = np.isfinite(value) & np.isfinite(slope)
        self.count = self.count + rows
        test = self.value + self.step * self.decrease * self.slope
        with np.errstate(invalid="ignore"):
            enough = finite & (value <= test)
            self.second = self.second | (rows & enough & (slope >= 0))
            done = enough & (np.abs(slope) <= -self.curvature * self.slope)
            done |= enough & (self.step == self.most) & (slope <= self.decrease * self.slope)
            over = self.bracketed & ((self.step <= self.low) | (self.step >= self.high))
            over |= self.bracketed & (self.high - self.low <= NARROW * self.high)
            over |= self.count >= self.trials
            lower = value < self.value
        taken = rows & finite & (done | (over & lower))
        lost = rows & ~taken & over
        back = rows & ~finite & ~lost
        # Where there is no loss, the way there is halved, and the search goes no further again.
        self.most = np.where(back, self.step, self.most)
        on = rows & finite & ~taken & ~lost
        trial = self.step
        self._on(on, value, slope, test)
        self.step = np.where(back, self.x + 0.5 * (trial - self.x), self.step)
        self.high = np.where(back, np.minimum(self.high, self.most), self.high)
        # Rounding leaves no room between the ends: the best step is the last, and need not be evaluated again if it is the one at hand.
        stuck = on & self.bracketed & (self.step == self.x)
        return Verdict(taken | (stuck & (self.x == trial) & lower), lost | (stuck & (self.x == 0)))

    def _on(self, rows: Rows, value: Array, slope: Array, test: Array) -> None:
        """The next trial and bracket of some runs."""
        if not rows.any():
            return
        # In the first stage ψ is followed in place of φ where that has not been brought low enough.
        tilt = np.where(~self.second & (value <= self.fx) & (value > test), self.decrease * self.slope, 0.0)
        x, y, t = self.x, self.y, self.step
        fx, fy, f = self.fx - x * tilt, self.fy - y * tilt, value - t * tilt
        gx, gy, g = self.gx - tilt, self.gy - tilt, slope - tilt
        with np.errstate(all="ignore"):
            new, ends = _trial(x, fx, gx, y, fy, gy, t, f, g, self.bracketed, self.low, self.high)
        higher = f > fx
        turned = ~higher & (np.sign(g) * np.sign(gx) < 0)
        at, best, other = (t, value, slope), (x, self.fx, self.gx), (y, self.fy, self.gy)
        for names, found in (
            (
                ("y", "fy", "gy"),
                [np.where(higher, a, np.where(turned, b, c)) for a, b, c in zip(at, best, other, strict=True)],
            ),
            (("x", "fx", "gx"), [np.where(higher, b, a) for a, b in zip(at, best, strict=True)]),
        ):
            for name, one in zip(names, found, strict=True):
                setattr(self, name, np.where(rows, one, getattr(self, name)))
        bracketed = self.bracketed | ends
        gap = np.abs(self.y - self.x)
        # A bracket that has not shrunk by a third in two trials is halved.
        new = np.where(bracketed & (gap >= 0.66 * self.before), self.x + 0.5 * (self.y - self.x), new)
        self.before = np.where(rows & bracketed, self.width, self.before)
        self.width = np.where(rows & bracketed, gap, self.width)
        low = np.where(bracketed, np.minimum(self.x, self.y), new + NEAR * (new - self.x))
        high = np.where(bracketed, np.maximum(self.x, self.y), new + FAR * (new - self.x))
        new = np.clip(new, 0.0, self.most)
        new = np.where(bracketed & ((new <= low) | (new >= high) | (high - low <= NARROW * high)), self.x, new)
        for name, one in (("bracketed", bracketed), ("low", low), ("high", high), ("step", new)):
            setattr(self, name, np.where(rows, one, getattr(self, name)))


def _trial(
    x: Array, fx: Array, gx: Array, y: Array, fy: Array, gy: Array, t: Array, f: Array, g: Array,
    bracketed: Rows, low: Array, high: Array,
) -> tuple[Array, Rows]:  # fmt: skip
    """The four cases of Moré & Thuente 1994, section 4: a new trial, and whether the minimum is bracketed now."""
    higher = f > fx
    turned = ~higher & (g * np.sign(gx) < 0)
    flatter = ~higher & ~turned & (np.abs(g) < np.abs(gx))
    theta = 3 * (fx - f) / (t - x) + gx + g
    scale = np.maximum(np.maximum(np.abs(theta), np.abs(gx)), np.abs(g))
    root = scale * np.sqrt(np.maximum(0.0, (theta / scale) ** 2 - (gx / scale) * (g / scale)))
    # 1. A higher loss: the cubic's minimum if that is nearer to the best step, else halfway to the quadratic's.
    gamma = np.where(t < x, -root, root)
    cubic = x + (gamma - gx + theta) / (gamma - gx + gamma + g) * (t - x)
    parabola = x + gx / ((fx - f) / (t - x) + gx) / 2 * (t - x)
    first = np.where(np.abs(cubic - x) <= np.abs(parabola - x), cubic, cubic + (parabola - cubic) / 2)
    # 2. A lower loss and a derivative of the other sign: the farther of the cubic's and the secant's minimum.
    gamma = np.where(t > x, -root, root)
    secant = t + g / (g - gx) * (x - t)
    cubic = t + (gamma - g + theta) / (gamma - g + gamma + gx) * (x - t)
    second = np.where(np.abs(cubic - t) > np.abs(secant - t), cubic, secant)
    # 3. A lower loss and a smaller derivative of the same sign: the cubic may have its minimum beyond.
    ratio = (gamma - g + theta) / (gamma + (gx - g) + gamma)
    beyond = np.where(t > x, high, low)
    cubic = np.where((ratio < 0) & (gamma != 0), t + ratio * (x - t), beyond)
    nearer = np.abs(cubic - t) < np.abs(secant - t)
    within = np.where(nearer, cubic, secant)
    limit = t + 0.66 * (y - t)
    within = np.where(t > x, np.minimum(limit, within), np.maximum(limit, within))
    third = np.where(bracketed, within, np.clip(np.where(nearer, secant, cubic), low, high))
    # 4. A lower loss and a derivative no smaller: the cubic of the other end, or as far as allowed.
    theta = 3 * (f - fy) / (y - t) + gy + g
    scale = np.maximum(np.maximum(np.abs(theta), np.abs(gy)), np.abs(g))
    root = scale * np.sqrt(np.maximum(0.0, (theta / scale) ** 2 - (gy / scale) * (g / scale)))
    gamma = np.where(t > y, -root, root)
    cubic = t + (gamma - g + theta) / (gamma - g + gamma + gy) * (y - t)
    fourth = np.where(bracketed, cubic, beyond)
    new = np.where(higher, first, np.where(turned, second, np.where(flatter, third, fourth)))
    return new, higher | turned
