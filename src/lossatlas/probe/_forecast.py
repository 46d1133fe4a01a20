"""What a job will cost, said as it starts: points × examples, and seconds at the rate of its first points."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Forecast:
    """The expected bill of a job.

    Attributes:
        points: losses that will be asked for.
        examples: examples that will be read for them.
        seconds: for the whole job, at the rate of its first points; an extrapolation, not a promise.
        at_least: whether more may turn out to be needed.
        measured_on: how many of the job's own points that rate comes from; none is asked twice.
    """

    points: int
    examples: int
    seconds: float
    measured_on: int
    at_least: bool = False

    @property
    def sentence(self) -> str:
        """The forecast in words."""
        examples = f", {self.examples:,} examples" if self.examples else ""
        least = "at least " if self.at_least else ""
        return (
            f"forecast: {least}{self.points:,} losses{examples}, about {_duration(self.seconds)} "
            f"(from the first {self.measured_on:,})"
        )


def _duration(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
