"""What a job is expected to take, before it is done: evaluations, examples, seconds and bytes, with what is not known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from lossatlas import archive


@dataclass(frozen=True, repr=False)
class Forecast(archive.Result):
    """What a job is expected to take.

    Attributes:
        evaluations: losses (or outputs of the network, of all examples) that will be evaluated.
        examples: examples that will be read for them.
        seconds: for the whole job, by a few of its own points that were timed; an extrapolation, not a promise.
        measured_on: how many points were evaluated and timed for it.
        parts: seconds by part of the job; they add up to `seconds`.
        sizes: bytes by what takes them; they add up to `bytes`.
        evaluations_within: fewest and most evaluations, where their number is decided on the way.
        seconds_within: seconds with these.
        bytes_within: bytes with these.
        memory: bytes by device that the model and an evaluation take, where they are known.
        notes: what the numbers rest on, in sentences.
    """

    KIND: ClassVar[str] = "forecast"
    SAYS: ClassVar[tuple[str, ...]] = ("bytes",)

    evaluations: int
    examples: int
    seconds: float
    measured_on: int
    parts: Mapping[str, float] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    evaluations_within: tuple[int, int] | None = None
    seconds_within: tuple[float, float] | None = None
    bytes_within: tuple[int, int] | None = None
    memory: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        """What outputs at nodes, the ledger and the files take together; each counts once."""
        return sum(self.sizes.values())

    @property
    def card_bytes(self) -> int:
        """What the honesty card adds, its picture included; 0 where no card was forecast."""
        return self.sizes.get("card", 0)

    @property
    def sentence(self) -> str:
        """The forecast in words."""
        return self._sentence(brief=False)

    def _sentence(self, *, brief: bool) -> str:
        low, high = self.evaluations_within or (self.evaluations, self.evaluations)
        between = f" (between {low:,} and {high:,})" if low < high else ""
        about = "about " if low < high else ""
        examples = f", {self.examples:,} examples" if self.examples else ""
        seconds = duration(self.seconds)
        if self.seconds_within is not None and low < high:
            seconds += f" (at most {duration(self.seconds_within[1])})"
        text = f"{about}{self.evaluations:,} evaluations{between}{examples}, about {seconds}"
        if self.sizes:
            text += f", {size(self.bytes)}"
            if self.bytes_within is not None and self.bytes_within[0] < self.bytes_within[1]:
                text += f" (at most {size(self.bytes_within[1])})"
        if self.memory:
            text += "; memory: " + ", ".join(f"{size(taken)} on {name}" for name, taken in self.memory.items())
        if brief:
            return text
        if not self.measured_on:
            return f"forecast: {text}; no point was evaluated for it"
        return f"forecast: {text}; {self.measured_on:,} points were evaluated and timed for it"

    def lines(self) -> list[str]:
        """The forecast part by part, in sentences."""
        says = [self.sentence]
        if len(self.parts) > 1:
            says.append(
                "seconds: " + ", ".join(f"{name} {duration(part)}" for name, part in self.parts.items() if part)
            )
        if self.sizes:
            says.append("bytes: " + ", ".join(f"{name} {size(part)}" for name, part in self.sizes.items() if part))
        return [*says, *self.notes]

    def __repr__(self) -> str:
        return f"<Forecast: {self._sentence(brief=True)}>"


def duration(seconds: float) -> str:
    """Seconds in the unit in which they are read."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def size(count: int) -> str:
    """Bytes in the unit in which they are read."""
    for unit, each in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= each:
            return f"{count / each:.3g} {unit}"
    return f"{count} bytes"
