"""What a probe found out about a surface: a number with its interval, and what it took."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite, isnan

from lossatlas import archive


@dataclass(frozen=True)
class Fact(archive.Result):
    """A number that a decision can rest on.

    Attributes:
        name: short, as the tree names it.
        what: in words, with its unit.
        value: estimated; NaN where it could not be.
        low: lower end of the 95 % interval; minus infinity where nothing is known.
        high: upper end.
        cost: values (or their worth) that were evaluated for it alone; 0 where it falls out of what was.
    """

    name: str
    what: str
    value: float
    low: float = -inf
    high: float = inf
    cost: float = 0.0

    def __post_init__(self) -> None:
        for name in ("value", "low", "high", "cost"):
            object.__setattr__(self, name, float(getattr(self, name)))

    @property
    def known(self) -> bool:
        """Whether anything is known of it."""
        return not isnan(self.value)

    @property
    def exact(self) -> bool:
        """Whether it is known without error."""
        return self.low == self.value == self.high

    @property
    def sentence(self) -> str:
        """The number with its interval."""
        if not self.known:
            return f"{self.what}: not known"
        if self.exact:
            return f"{self.what}: {shown(self.value)}"
        ends = " to ".join(shown(end) if isfinite(end) else ("−∞" if end < 0 else "∞") for end in (self.low, self.high))
        return f"{self.what}: {shown(self.value)} ({ends})"


def shown(value: float) -> str:
    """A number as sentences have it."""
    if not isfinite(value):
        return "∞" if value > 0 else "−∞"
    if value != 0 and not 1e-3 <= abs(value) < 1e5:
        return f"{value:.2g}"
    return f"{value:,.0f}" if value == int(value) and abs(value) >= 10 else f"{value:.3g}"
