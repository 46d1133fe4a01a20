"""The frame of a lesson: a claim, an experiment that can come out against it, evidence, a verdict, and the cost."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from lossatlas import archive
from lossatlas.probe import Meter

Outcome = Literal["supported", "not supported here", "depends"]


@dataclass(frozen=True)
class Check(archive.Result):
    """One part of a claim, held against a number.

    Attributes:
        what: the part of the claim.
        measured: what came out, with its interval or its bound.
        holds: whether that is what the claim says, by the criterion stated in `what`.
    """

    what: str
    measured: str
    holds: bool


@dataclass(frozen=True)
class Evidence(archive.Result):
    """What an experiment brought out.

    Attributes:
        id: of the lesson.
        claim: as it is tested.
        experiment: what was done, with its constants.
        checks: the parts of the claim.
        cost: queries and examples asked for.
        caveats: what the experiment does not show.
        seed: of the first run.
        runs: seeds used, or None where nothing is left to chance.
        seconds: it took.
        data: further numbers, plain JSON values.
        pictures: displays by name; in no record.
    """

    SAYS: ClassVar[tuple[str, ...]] = ("outcome",)

    id: str
    claim: str
    experiment: str
    checks: tuple[Check, ...]
    cost: dict[str, Any]
    caveats: tuple[str, ...] = ()
    seed: int = 0
    runs: int | None = None
    seconds: float = 0.0
    data: dict[str, Any] = field(default_factory=dict)
    pictures: dict[str, Any] = field(default_factory=dict, metadata=archive.UNSAVED)

    @property
    def outcome(self) -> Outcome:
        """``supported`` if every part holds, ``not supported here`` if none does, else ``depends``."""
        held = sum(check.holds for check in self.checks)
        if held == len(self.checks):
            return "supported"
        return "not supported here" if held == 0 else "depends"

    def reading(self) -> list[str]:
        """The claim with its outcome, every part of it with what was measured, and the caveats."""
        parts = [
            f"{check.what}: {check.measured} ({'holds' if check.holds else 'does not hold'})" for check in self.checks
        ]
        return [f"{self.id}, {self.outcome}: {self.claim}", *parts, *(f"but: {caveat}" for caveat in self.caveats)]

    def save(self, folder: archive.Location) -> Path:
        """Write ``lesson-ID.json`` and every picture as ``lesson-ID-NAME.png`` into a folder.

        Args:
            folder: made if needed.

        Returns:
            The folder.
        """
        place = Path(folder)
        archive.write_json(place / f"lesson-{self.id}.json", self.record())
        for name, picture in self.pictures.items():
            picture.save(place / f"lesson-{self.id}-{name}.png")
        return place

    def __rich__(self) -> Any:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(show_edge=False, title=f"{self.id}: {self.outcome}", title_justify="left")
        table.add_column("part of the claim", overflow="fold")
        table.add_column("measured", overflow="fold")
        table.add_column("holds")
        for check in self.checks:
            table.add_row(check.what, check.measured, "yes" if check.holds else "no")
        asked = ", ".join(f"{value:,} {kind}" for kind, value in self.cost.items() if value)
        notes = [f"but: {caveat}" for caveat in self.caveats]
        seeds = "" if self.runs is None else f"; {self.runs:,} seeds from {self.seed}"
        cost = f"cost: {asked or 'no queries'}{seeds}; {self.seconds:.1f} s"
        head = [Text(f"claim: {self.claim}"), Text(f"experiment: {self.experiment}")]
        return Group(*head, table, *(Text(note) for note in notes), Text(cost), Text(""))


Experiment = Callable[[int, int], Evidence]


@dataclass(frozen=True)
class Lesson:
    """A claim with the experiment that tests it.

    Attributes:
        id: as in the list of claims.
        claim: what is tested, in one sentence.
        experiment: function of (runs, seed).
        runs: default number of seeds; 0 where nothing is left to chance.
    """

    id: str
    claim: str
    experiment: Experiment
    runs: int = 0

    def run(self, *, runs: int | None = None, seed: int = 0) -> Evidence:
        """Run the experiment.

        Args:
            runs: seeds, for lessons with chance in them; the lesson's own number by default.
            seed: of the first run.
        """
        begin = time.perf_counter()
        evidence = self.experiment(runs or self.runs, seed)
        return replace(evidence, seconds=time.perf_counter() - begin)


def bill(*meters: Meter) -> dict[str, int]:
    """The queries of several meters together."""
    total = sum(meters, Meter())
    return {kind: getattr(total, kind) for kind in ("values", "gradients", "products", "examples")}
