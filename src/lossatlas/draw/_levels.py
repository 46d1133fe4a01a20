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

Levels = Literal["auto", "linear", "log", "quantile"] | Sequence[float]


@dataclass(frozen=True)
class Scale:
    """The levels of a field and how values between them become colors.

    Attributes:
        kind: ``"linear"``, ``"log"``, ``"quantile"``, ``"constant"`` or ``"empty"`` (nothing finite).
        levels: increasing, at least two.
        low: smallest finite value.
        high: largest finite value.
    """

    kind: str
    levels: Array
    low: float
    high: float

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
        from matplotlib.colors import BoundaryNorm, LogNorm, Normalize

        if self.kind == "log":
            return LogNorm(self.levels[0], self.levels[-1])
        if self.kind == "quantile":
            return BoundaryNorm(self.levels, colors, extend=self.extend)
        return Normalize(self.levels[0], self.levels[-1])

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

    Automatic levels are logarithmic (1, 2, 5, 10 …) when the field is positive and its bulk (5 to 95 %) spans more
    than a factor of 60 or it has a long tail, quantiles when it has a long tail but is not positive, else evenly
    spaced. Logarithmic levels begin at most one decade below the bulk: a single point next to zero adds no decades.

    Args:
        z: the field; values that are not finite are left out.
        levels: ``"auto"``, ``"linear"``, ``"log"``, ``"quantile"``, or the levels themselves.

    Returns:
        The scale. A field without a positive minimum cannot be logarithmic: ``"log"`` then means quantiles.

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
        return Scale("log" if _spans_decades(given[0], given[-1]) else "linear", given, low, high)
    if levels not in ("auto", "linear", "log", "quantile"):
        raise InputError(f"levels is {levels!r}; give 'auto', 'linear', 'log', 'quantile' or a list of numbers.")
    if high - low <= 1e-12 * max(abs(low), abs(high)):
        margin = abs(low) * 0.1 or 1.0
        return Scale("constant", np.array([low - margin, low + margin]), low, high)
    if levels == "auto":
        middle = float(np.median(finite))
        few, many = np.quantile(finite, [0.05, 0.95])
        heavy = high - low > 30 * (middle - low)
        # A parabola is not a case for logarithms, however close to its zero it was sampled: its ratio is below 20.
        wide = low > 0 and (heavy or many > 60 * few)
        levels = "log" if wide else "quantile" if heavy else "linear"
    if levels == "log" and low <= 0:
        levels = "quantile"
    if levels == "log":
        return Scale("log", _log_levels(max(low, float(np.quantile(finite, 0.005)) / 10), high), low, high)
    if levels == "quantile":
        cuts = np.unique([float(f"{q:.2g}") for q in np.quantile(finite, np.linspace(0, 1, 12)[1:-1])])
        cuts = np.concatenate([[low], cuts[(cuts > low) & (cuts < high)], [high]])
        return Scale("quantile", cuts, low, high)
    from matplotlib.ticker import MaxNLocator

    ticks = np.asarray(MaxNLocator(nbins=12, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high), dtype=np.float64)
    first = max(int(np.searchsorted(ticks, low, side="right")) - 1, 0)
    last = min(int(np.searchsorted(ticks, high, side="left")), ticks.size - 1)
    return Scale("linear", ticks[first : last + 1], low, high)


def _spans_decades(low: float, high: float) -> bool:
    return low > 0 and high / low > 30


def _log_levels(low: float, high: float) -> Array:
    """Round levels that enclose the range: 1-2-5 in each decade, 1-3, or powers of ten when there are many."""
    bottom, top = math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1
    decades = math.log10(high / low)
    if decades <= 4.5:
        digits: tuple[int, ...] = (1, 2, 5)
    elif decades <= 7:
        digits = (1, 3)
    else:
        digits = (1,)
    stride = max(1, math.ceil(decades / 14)) if digits == (1,) else 1
    ladder = np.array(
        [digit * 10.0**power for power in range(bottom, min(top + stride, 309), stride) for digit in digits]
    )
    if decades < 1.0:
        return np.geomspace(low, high, 10)
    first = max(int(np.searchsorted(ladder, low, side="right")) - 1, 0)
    last = int(np.searchsorted(ladder, high, side="left"))
    return ladder[first : last + 1]
