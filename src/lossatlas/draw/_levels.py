"""Where the contour lines of a field go, and how their numbers are written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from lossatlas._errors import InputError
from lossatlas.draw._display import Array, array

if TYPE_CHECKING:
    from matplotlib.colors import Normalize

Levels = Literal["auto", "linear", "log", "asinh", "quantile"] | Sequence[float]

# From this ratio of the largest to the smallest value on, automatic levels are logarithmic.
DECADES = 30.0
# A field with no more cells at 0 or below, no further below than so much of a typical value, is positive but for errors.
STRAY, STRAY_DEPTH = 0.02, 1 / 30


@dataclass(frozen=True)
class Scale:
    """The levels of a field and how values between them become colors.

    Attributes:
        kind: ``"linear"``, ``"log"``, ``"asinh"``, ``"quantile"``, ``"constant"`` or ``"empty"`` (nothing finite).
        levels: increasing, at least two.
        low: smallest finite value.
        high: largest finite value.
        width: of an asinh scale, the value below which it is linear and above which it is logarithmic.
    """

    kind: str
    levels: Array
    low: float
    high: float
    width: float = 1.0

    @property
    def inner(self) -> Array:
        """The levels that some line can follow: strictly between the extremes."""
        return self.levels[(self.levels > self.low) & (self.levels < self.high)]

    @property
    def extend(self) -> Literal["neither", "both", "min", "max"]:
        """On which sides the field goes beyond the levels."""
        under, over = self.low < self.levels[0], self.high > self.levels[-1]
        return "both" if under and over else "min" if under else "max" if over else "neither"

    def norm(self, colors: int = 256) -> Normalize:
        """Values to colors."""
        from matplotlib.colors import AsinhNorm, BoundaryNorm, LogNorm, Normalize

        if self.kind == "log":
            return LogNorm(self.levels[0], self.levels[-1])
        if self.kind == "asinh":
            return AsinhNorm(self.width, self.levels[0], self.levels[-1])
        if self.kind == "quantile":
            return BoundaryNorm(self.levels, colors, extend=self.extend)
        return Normalize(self.levels[0], self.levels[-1])

    def drawn(self, z: Array) -> Array:
        """The values as they are drawn: on a logarithmic scale, what is 0 or below goes below the lowest level."""
        return np.where(z <= 0, self.levels[0] / 10, z) if self.kind == "log" else z

    def height(self, z: Array) -> Array:
        """The values where they stand on the scale: their logarithm to base 10, asinh(z / width), or themselves."""
        if self.kind == "log":
            result: Array = np.log10(np.where(z <= 0, self.levels[0], z))
            return result
        if self.kind == "asinh":
            bent: Array = np.arcsinh(z / self.width)
            return bent
        return z

    def value(self, height: float) -> float:
        """The value at a height: the inverse of `height`."""
        if self.kind == "log":
            return float(10.0**height)
        return float(self.width * np.sinh(height)) if self.kind == "asinh" else height

    def steps(self, z: Array) -> Array:
        """The distance between the two contour levels around each value; beyond the levels, that of the last two.

        Below the lowest of logarithmic levels it is that level itself.
        """
        gaps = np.diff(self.levels)
        if self.kind == "log":
            gaps = np.concatenate([[self.levels[0]], gaps])
            return gaps[np.clip(np.searchsorted(self.levels, z, side="right"), 0, len(gaps) - 1)]
        return gaps[np.clip(np.searchsorted(self.levels, z, side="right") - 1, 0, len(gaps) - 1)]

    def text(self, value: float, _: object = None) -> str:
        """A level as short as it can be without two of them reading the same."""
        step = float(np.diff(self.levels).min())
        if self.kind == "linear" and step >= 1e-3 and abs(self.levels).max() < 1e6:
            for decimals in range(4):
                if np.all(abs(np.round(self.levels, decimals) - self.levels) < 1e-3 * step):
                    return f"{value:,.{decimals}f}".replace("-", "−")
        digits = 3
        while digits < 12 and len({f"{v:.{digits}g}" for v in self.levels}) < len(self.levels):
            digits += 1
        return number(value, digits)


def number(value: float, digits: int = 3) -> str:
    """A number in few characters: 0.05, 1,500 or 2×10⁶.

    Example:
        >>> number(0.05), number(12000.0), number(0.0)
        ('0.05', '12,000', '0')
    """
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if 1e-3 <= abs(value) < 1e5:
        decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
        text = f"{value:,.{decimals}f}".replace("-", "−")
        return text.rstrip("0").rstrip(".") if "." in text else text
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    power = f"10^{{{int(exponent)}}}"
    return f"${power}$" if mantissa == "1" else f"$-{power}$" if mantissa == "-1" else f"${mantissa}{{\\times}}{power}$"


def scale_of(z: Array, levels: Levels = "auto") -> Scale:
    """Choose levels for a field.

    Automatic levels are logarithmic (1, 2, 5, 10 …) when the field is positive and spans more than a factor of 30. A few
    values at 0 or barely below it, as errors of a reconstruction make them, do not change that: they are drawn below
    the lowest level. A field that crosses zero gets evenly spaced levels, or, where its lowest tenth takes less than a
    thirtieth of its range, levels that are even around zero and logarithmic away from it (asinh). Logarithmic levels
    begin at most one decade below the bulk: a single point next to zero adds no decades.

    Args:
        z: the field; values that are not finite are left out.
        levels: ``"auto"``, ``"linear"``, ``"log"``, ``"asinh"``, ``"quantile"``, or the levels themselves.

    Returns:
        The scale. A field that crosses zero has no logarithms: ``"log"`` then means ``"asinh"``.

    Raises:
        InputError: an unknown word, or levels that do not increase.
    """
    finite = z[np.isfinite(z)]
    if not finite.size:
        return Scale("empty", np.array([0.0, 1.0]), 0.0, 0.0)
    low, high = float(finite.min()), float(finite.max())
    if not isinstance(levels, str):
        given = array("levels", levels)
        if given.size < 2 or not np.all(np.isfinite(given)) or np.any(np.diff(given) <= 0):
            raise InputError(f"levels are {given.tolist()}; give at least two numbers that increase.")
        return Scale("log" if given[0] > 0 and given[-1] > DECADES * given[0] else "linear", given, low, high)
    if levels not in ("auto", "linear", "log", "asinh", "quantile"):
        raise InputError(
            f"levels is {levels!r}; give 'auto', 'linear', 'log', 'asinh', 'quantile' or a list of numbers."
        )
    if high - low <= 1e-12 * max(abs(low), abs(high)):
        margin = abs(low) * 0.1 or 1.0
        return Scale("constant", np.array([low - margin, low + margin]), low, high)
    if levels == "auto":
        levels = _automatic(finite)
    if levels == "log" and not _is_positive(finite):
        levels = "asinh"
    if levels == "log":
        return Scale("log", _log_levels(_lowest(finite), high), low, high)
    if levels == "asinh":
        width = _width(finite)
        return Scale("asinh", _asinh_levels(low, high, width), low, high, width)
    if levels == "quantile":
        cuts = np.unique([float(f"{q:.2g}") for q in np.quantile(finite, np.linspace(0, 1, 12)[1:-1])])
        cuts = np.concatenate([[low], cuts[(cuts > low) & (cuts < high)], [high]])
        return Scale("quantile", cuts, low, high)
    from matplotlib.ticker import MaxNLocator

    ticks = np.asarray(MaxNLocator(nbins=12, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high), dtype=np.float64)
    first = max(int(np.searchsorted(ticks, low, side="right")) - 1, 0)
    last = min(int(np.searchsorted(ticks, high, side="left")), ticks.size - 1)
    return Scale("linear", ticks[first : last + 1], low, high)


def _automatic(finite: Array) -> Literal["linear", "log", "asinh", "quantile"]:
    """The kind of scale that shows a field."""
    if _is_positive(finite):
        return "log" if float(finite.max()) > DECADES * _lowest(finite) else "linear"
    # On even levels a valley whose lowest tenth of cells fills no level is one color.
    lowest = _portion(finite, 0.1)
    if lowest < 1 / DECADES and _portion(np.arcsinh(finite / _width(finite)), 0.1) > 3 * lowest:
        return "asinh"
    return "quantile" if _portion(finite, 0.5) < 1 / DECADES else "linear"


def _is_positive(finite: Array) -> bool:
    """Whether a field is positive, but for zeros and a few values that are as good as zero."""
    positive = finite[finite > 0]
    if not positive.size:
        return False
    low, strays = float(finite.min()), int(np.count_nonzero(finite < 0))
    return strays <= STRAY * finite.size and -low <= STRAY_DEPTH * float(np.median(positive))


def _lowest(finite: Array) -> float:
    """Where logarithmic levels begin."""
    positive = finite[finite > 0]
    return max(float(positive.min()), float(np.quantile(positive, 0.005)) / 10)


def _portion(finite: Array, share: float) -> float:
    """How much of its range the lowest share of a field takes."""
    low, high = float(finite.min()), float(finite.max())
    return (float(np.quantile(finite, share)) - low) / (high - low)


def _width(finite: Array) -> float:
    """A round number near the smallest sizes of a field, at most eight decades below its largest."""
    sizes = np.abs(finite)
    found = max(float(np.quantile(sizes, 0.1)), 1e-8 * float(sizes.max()))
    return 10.0 ** min(max(math.floor(math.log10(found)), -300), 300)


def _asinh_levels(low: float, high: float, width: float) -> Array:
    """Zero, and on either side the logarithmic levels from the width outward."""

    def outward(end: float) -> Array:
        if end <= width:
            return np.array([end]) if end > 0 else np.zeros(0)
        return _log_levels(width, max(end, 2 * width), room=(max(-low, 0.0) > width) + (high > width))

    below, above = -outward(-low)[::-1], outward(high)
    return np.concatenate([below, [0.0] if low <= 0 <= high else [], above])


def _log_levels(low: float, high: float, room: int = 1) -> Array:
    """Round levels that enclose the range: 1-2-5 in each decade, 1-3, or powers of ten when there are many.

    With ``room`` = 2 there are half as many, to leave place for as many others.
    """
    bottom, top = math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1
    decades = math.log10(high / low)
    if decades * room <= 4.5:
        digits: tuple[int, ...] = (1, 2, 5)
    elif decades * room <= 7:
        digits = (1, 3)
    else:
        digits = (1,)
    stride = max(1, math.ceil(decades * room / 14)) if digits == (1,) else 1
    ladder = np.array(
        [digit * 10.0**power for power in range(bottom, min(top + stride, 309), stride) for digit in digits]
    )
    if decades < 1.0 and room == 1:
        return np.geomspace(low, high, 10)
    first = max(int(np.searchsorted(ladder, low, side="right")) - 1, 0)
    last = int(np.searchsorted(ladder, high, side="left"))
    return ladder[first : last + 1]
