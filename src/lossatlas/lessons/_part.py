"""A part of a lesson: the same claim measured on another ground, and how it joins the rest of the evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lossatlas.lessons._correlation import mean
from lossatlas.lessons._lesson import Check, Evidence, bill
from lossatlas.probe import Meter
from lossatlas.race import NetworkRace

KINDS = ("values", "gradients", "products", "examples")


@dataclass(frozen=True)
class Part:
    """What an experiment on one ground brought out.

    Attributes:
        experiment: what was done, with its constants.
        checks: parts of the claim.
        cost: queries and examples asked for.
        caveats: what it does not show.
        data: further numbers, plain JSON values.
        pictures: displays by name.
    """

    experiment: str
    checks: tuple[Check, ...]
    cost: dict[str, int]
    caveats: tuple[str, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)
    pictures: dict[str, Any] = field(default_factory=dict)


def joined(evidence: Evidence, part: Part, runs: int) -> Evidence:
    """The evidence with one more part.

    Args:
        evidence: of the other grounds.
        part: what is added.
        runs: seeds of the part; those of the evidence stay what is reported if it has any.
    """
    return replace(
        evidence,
        experiment=f"{evidence.experiment} {part.experiment}",
        checks=evidence.checks + part.checks,
        cost={kind: evidence.cost[kind] + part.cost[kind] for kind in KINDS},
        caveats=evidence.caveats + part.caveats,
        runs=evidence.runs or runs,
        data={**evidence.data, "network": part.data},
        pictures={**evidence.pictures, **part.pictures},
    )


def spent(*asked: Meter | NetworkRace) -> dict[str, int]:
    """The queries of meters and of races on networks, their tuning and what was measured on the way included."""
    meters: list[Meter] = []
    for one in asked:
        if isinstance(one, Meter):
            meters.append(one)
        else:
            tunings = [runner.tuning.meter for runner in one.runners.values() if runner.tuning is not None]
            meters += [one.referee, *one.meter.values(), *tunings]
    return bill(*meters)


def interval(draws: Sequence[float], form: str = ".3g", suffix: str = "") -> str:
    """A mean and Student's 95 % interval in words.

    Example:
        >>> interval([1.0, 2.0, 3.0])
        '2 (-0.484 to 4.48)'
    """
    middle, low, high = mean(draws)
    return f"{middle:{form}}{suffix} ({low:{form}} to {high:{form}}{suffix})"
