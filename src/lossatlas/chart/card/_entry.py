"""What all lines of a card have in common: numbers, the sentences that follow from them, and how both are written."""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

from lossatlas import archive

if TYPE_CHECKING:
    from lossatlas.curvature import Estimate, SaddleProbability

# What shows less than this share of something hides it.
TELLING = 0.1


class Within(NamedTuple):
    """A number with its interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, measured: Estimate | SaddleProbability) -> Self:
        """The number of a result, and its interval."""
        return cls(measured.value, *measured.interval)


def short(value: float) -> str:
    """Three digits."""
    if value != 0 and 1e-4 <= abs(value) < 1e5:
        digits = max(0, 2 - math.floor(math.log10(abs(value))))
        text = f"{value:,.{digits}f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
    else:
        text = f"{value:.2e}".replace("e-0", "e-").replace("e+0", "e") if value else "0"
    return text.replace("-", "−")


def share(value: float) -> str:
    """A share in percent, two digits, never rounded to nothing or to everything."""
    percent = 100 * value
    if percent == 0 or not math.isfinite(percent):
        return "0 %" if percent == 0 else "–"
    if 0 < abs(percent) < 1e-3:
        return f"{percent:.0e} %".replace("e-0", "e−").replace("-", "−")
    if abs(percent) >= 99.5:
        return f"{percent:,.3g} %" if percent != 100 else "100 %"
    return f"{percent:.2g} %".replace("-", "−")


def between(number: Within, write: Any = short) -> str:
    """A number and its interval."""
    return f"{write(number.value)} [{write(number.low)}, {write(number.high)}]"


@dataclass(frozen=True)
class Part(archive.Result, abc.ABC):
    """One line of the card."""

    heading: ClassVar[str] = ""

    @abc.abstractmethod
    def says(self) -> list[str]:
        """What was found, in sentences."""

    def reading(self) -> list[str]:
        """What was found, in sentences."""
        return self.says()

    def warns(self) -> list[str]:
        """What the reader should not miss, among the sentences."""
        return []
