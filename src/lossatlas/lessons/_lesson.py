"""The frame of a lesson: a claim, an experiment that can come out against it, evidence, a verdict, and the cost."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from lossatlas import _checks, archive
from lossatlas._errors import InputError, UnknownNameError

if TYPE_CHECKING:
    from lossatlas.probe import Meter
    from lossatlas.race import NetworkRace

Outcome = Literal["supported", "not supported here", "depends"]
KINDS = ("values", "gradients", "products", "examples")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


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

    def __post_init__(self) -> None:
        for name in ("what", "measured"):
            _checks.instance(name, getattr(self, name), str, "a text", where="Check")
        object.__setattr__(self, "holds", _checks.flag("holds", self.holds, where="Check"))


@dataclass(frozen=True)
class Part(archive.Result):
    """What an experiment brought out on one kind of surface, such as landscapes or networks.

    Attributes:
        experiment: what was done, with its constants.
        checks: the parts of the claim.
        cost: evaluations and examples, as `spent` counts them.
        caveats: what the experiment does not show.
        data: further numbers, plain JSON values.
        pictures: displays by name; in no record.

    Raises:
        InputError: for no checks, or for what is of another kind.
    """

    experiment: str
    checks: tuple[Check, ...]
    cost: Mapping[str, int]
    caveats: tuple[str, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)
    pictures: dict[str, Any] = field(default_factory=dict, metadata=archive.UNSAVED)

    def __post_init__(self) -> None:
        _checks.instance("experiment", self.experiment, str, "a text", where="Part")
        for name, kind, expected in (("checks", Check, "at least one Check"), ("caveats", str, "texts")):
            given = _checks.instance(name, getattr(self, name), (tuple, list), f"a tuple of {expected}", where="Part")
            for one in given if given or name == "caveats" else (None,):
                _checks.instance(name, one, kind, f"a tuple of {expected}", where="Part")
            object.__setattr__(self, name, tuple(given))
        for name in ("cost", "data", "pictures"):
            _checks.instance(name, getattr(self, name), Mapping, "a mapping by name", where="Part")
        for what, count in self.cost.items():
            if what not in KINDS:
                raise UnknownNameError("kind of cost", what, KINDS)
            _checks.whole(f"cost[{what!r}]", count, 0, where="Part")


@dataclass(frozen=True)
class Evidence(archive.Result):
    """What a lesson brought out, over all of its parts.

    Attributes:
        id: of the lesson.
        claim: as it is tested.
        parts: what came out, one for every kind of surface it was tested on.
        seed: of the first run.
        runs: how many there were, or None where nothing is random.
        seconds: it took.
    """

    SAYS: ClassVar[tuple[str, ...]] = ("outcome", "checks", "cost")

    id: str
    claim: str
    parts: tuple[Part, ...]
    seed: int = 0
    runs: int | None = None
    seconds: float = 0.0

    @property
    def experiment(self) -> str:
        """What was done, with its constants."""
        return " ".join(part.experiment for part in self.parts)

    @property
    def checks(self) -> tuple[Check, ...]:
        """The parts of the claim."""
        return tuple(check for part in self.parts for check in part.checks)

    @property
    def cost(self) -> dict[str, int]:
        """Evaluations and examples."""
        return {kind: sum(part.cost.get(kind, 0) for part in self.parts) for kind in KINDS}

    @property
    def caveats(self) -> tuple[str, ...]:
        """What the experiment does not show."""
        return tuple(caveat for part in self.parts for caveat in part.caveats)

    @property
    def data(self) -> dict[str, Any]:
        """Further numbers, plain JSON values."""
        return {name: value for part in self.parts for name, value in part.data.items()}

    @property
    def pictures(self) -> dict[str, Any]:
        """Displays by name."""
        return {name: picture for part in self.parts for name, picture in part.pictures.items()}

    @property
    def outcome(self) -> Outcome:
        """``supported`` if every part holds, ``not supported here`` if none does, else ``depends``."""
        held = sum(check.holds for check in self.checks)
        if held == len(self.checks):
            return "supported"
        return "not supported here" if held == 0 else "depends"

    def reading(self) -> list[str]:
        """The claim with its outcome, every part of it with what was measured, and the caveats."""
        checks = [
            f"{check.what}: {check.measured} ({'holds' if check.holds else 'does not hold'})" for check in self.checks
        ]
        return [f"{self.id}, {self.outcome}: {self.claim}", *checks, *(f"but: {caveat}" for caveat in self.caveats)]

    def save(self, folder: archive.Location) -> Path:
        """Write ``lesson-ID.json`` and every picture as ``lesson-ID-NAME.png`` into a folder.

        Args:
            folder: made if needed.

        Returns:
            The folder.

        Raises:
            OutputError: if it cannot be written.
        """
        place = Path(folder)
        archive.write_json(place / f"lesson-{self.id}.json", self.record())
        for name, picture in self.pictures.items():
            picture.save(place / f"lesson-{self.id}-{name}.png")
        return place

    @classmethod
    def load(cls, file: archive.Location) -> Evidence:
        """The evidence that was saved, without its pictures.

        Args:
            file: the ``lesson-ID.json`` that `save` wrote.

        Raises:
            OutputError: if the file is missing, damaged, or no evidence.
        """
        return cls.restore({}, archive.read_json(file))

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
        counted = ", ".join(f"{value:,} {kind}" for kind, value in self.cost.items() if value)
        notes = [f"but: {caveat}" for caveat in self.caveats]
        runs = "" if self.runs is None else f"; {self.runs:,} runs from seed {self.seed}"
        cost = f"cost: {counted or 'no evaluations'}{runs}; {self.seconds:.1f} s"
        head = [Text(f"claim: {self.claim}"), Text(f"experiment: {self.experiment}")]
        return Group(*head, table, *(Text(note) for note in notes), Text(cost), Text(""))


Experiment = Callable[[int, int], Part | Sequence[Part]]


@dataclass(frozen=True)
class Lesson:
    """A claim with the experiment that tests it.

    Attributes:
        id: as in the list of claims: letters, digits, ``-`` and ``_``, since files are named after it.
        claim: what is tested, in one sentence.
        experiment: function of (runs, seed) that returns a `Part`, or one for every kind of surface.
        runs: how many by default, each with its own seed; 0 where nothing is random.

    Raises:
        InputError: for an id that names no file, an experiment that is no function, or runs that cannot be.

    Example:
        >>> from lossatlas.lessons import Check, Lesson, Part
        >>> def experiment(runs, seed):
        ...     return Part("Added.", (Check("1 + 1 is 2", f"{1 + 1}", 1 + 1 == 2),), {})
        >>> Lesson("X1", "Sums are what they are said to be.", experiment).run().outcome
        'supported'
    """

    id: str
    claim: str
    experiment: Experiment
    runs: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not _ID.fullmatch(self.id):
            raise InputError(
                f"a lesson got id={_checks.shown(self.id)}; expected letters, digits, '-' and '_', for example 'X1'."
            )
        _checks.instance("claim", self.claim, str, "one sentence", where=f"the lesson {self.id}")
        if not callable(self.experiment):
            raise InputError(
                f"the lesson {self.id} got experiment={_checks.shown(self.experiment)}; expected a function of (runs, seed)."
            )
        object.__setattr__(self, "runs", _checks.whole("runs", self.runs, 0, where=f"the lesson {self.id}"))

    def run(self, *, runs: int | None = None, seed: int = 0) -> Evidence:
        """Run the experiment.

        Args:
            runs: how many, for lessons in which something is random; the lesson's own number by default.
            seed: of the first run.

        Raises:
            InputError: for runs or a seed that cannot be, or an experiment that returns something else.
        """
        runs = self.runs if runs is None else _checks.whole("runs", runs, where=f"the lesson {self.id}")
        seed = _checks.seed(seed, where=f"the lesson {self.id}")
        begin = time.perf_counter()
        found = self.experiment(runs, seed)
        parts = (found,) if isinstance(found, Part) else tuple(found) if isinstance(found, Sequence) else (None,)
        if not parts or not all(isinstance(part, Part) for part in parts):
            raise InputError(
                f"the experiment of the lesson {self.id} returned {_checks.shown(found)}; expected a Part, or several."
            )
        seconds = time.perf_counter() - begin
        return Evidence(self.id, self.claim, parts, seed, runs if self.runs else None, seconds)


def spent(*meters: Meter) -> dict[str, int]:
    """The evaluations and examples of several meters together."""
    return {kind: sum(getattr(meter, kind) for meter in meters) for kind in KINDS}


def meters_of(race: NetworkRace) -> list[Meter]:
    """The meters of a race on a network: its tuning and what was measured on the way included."""
    tunings = [runner.tuning.meter for runner in race.runners.values() if runner.tuning is not None]
    return [race.referee, *race.meter.values(), *tunings]
