"""The frame of a lesson: a claim, an experiment that can come out against it, evidence, a verdict, and the cost."""

from __future__ import annotations

import inspect
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
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
# Dots per inch at which a picture of page width is as wide as a projector shows, 1,920 dots.
PROJECTED = 1920 / 6.5
_SAID = {
    "supported": "every part of the claim holds here",
    "depends": "some parts of the claim hold here and some do not",
    "not supported here": "no part of the claim holds here",
}
_FEW = (
    "This is the short form: a part can fail in it only because few runs leave a wide interval. The full form decides."
)
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def _capital(text: str) -> str:
    """A sentence's beginning: a word gets a capital, a symbol such as λ stays."""
    text = text.strip().rstrip(".")
    return text[:1].upper() + text[1:] if re.match("[a-z]{2}|a ", text) else text


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

    @property
    def sentence(self) -> str:
        """The part of the claim, whether it holds, and what was measured."""
        return f"{'Holds' if self.holds else 'Fails'}: {_capital(self.what)}. {_capital(self.measured)}."


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
class Ending:
    """What an experiment that yields its rows one by one yields last; see `Lesson`.

    Attributes:
        cost: as of a `Part`.
        caveats: as of a `Part`.
        data: as of a `Part`.
        pictures: as of a `Part`.
    """

    cost: Mapping[str, int]
    caveats: tuple[str, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)
    pictures: dict[str, Any] = field(default_factory=dict)


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
        quick: whether it was the short form of the experiment.
        depends: what the outcome depends on, in a few words.
        complete: whether the experiment came to its end; what was stopped has the rows that it had.
    """

    SAYS: ClassVar[tuple[str, ...]] = ("outcome", "checks", "cost")

    id: str
    claim: str
    parts: tuple[Part, ...]
    seed: int = 0
    runs: int | None = None
    seconds: float = 0.0
    quick: bool = False
    depends: str = ""
    complete: bool = True

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
        stopped = () if self.complete else ("The experiment was stopped before its end: rows are missing.",)
        return (*stopped, *(caveat for part in self.parts for caveat in part.caveats))

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
        if held == len(self.checks) > 0:
            return "supported"
        return "not supported here" if held == 0 and self.checks else "depends"

    @property
    def verdict(self) -> str:
        """The outcome in words: how many parts of the claim hold, and what a short form leaves open."""
        held, parts = sum(check.holds for check in self.checks), len(self.checks)
        said = f"{held} of {parts} parts hold: {_SAID[self.outcome]}."
        return f"{said} {_FEW}" if self.quick and held < parts else said

    def reading(self) -> list[str]:
        """The claim, every part of it with what was measured, the verdict, what it does not show, and what it depends on."""
        return [f"{self.id}: {self.claim}", *(check.sentence for check in self.checks), *self.closing()]

    def closing(self) -> list[str]:
        """What is said after the last row: the verdict, what the experiment does not show, and what the outcome depends on."""
        last = [f"Depends on: {self.depends}"] if self.depends else []
        return [self.verdict, *(f"Note: {caveat}" for caveat in self.caveats), *last]

    @property
    def cost_sentence(self) -> str:
        """The cost in words."""
        counted = ", ".join(f"{value:,} {kind}" for kind, value in self.cost.items() if value) or "no evaluations"
        runs = "" if self.runs is None else f"; {self.runs:,} runs from seed {self.seed}"
        return f"Cost: {counted}{runs}; {self.seconds:.1f} s."

    def save(self, folder: archive.Location) -> Path:
        """Write every picture as ``lesson-ID-NAME.png`` into a folder, and then ``lesson-ID.json``: what names a lesson has all of it.

        Of a lesson that has not come to its end, only the rows are written.

        Args:
            folder: made if needed.

        Returns:
            The folder.

        Raises:
            OutputError: if it cannot be written.
        """
        place = Path(folder)
        for name, picture in self.pictures.items() if self.complete else ():
            picture.save(place / f"lesson-{self.id}-{name}.png", dpi=PROJECTED)
        archive.write_json(place / f"lesson-{self.id}.json", self.record())
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
        from rich.padding import Padding
        from rich.text import Text

        head = [Text(f"{self.id}  {self.claim}"), Text(f"Experiment: {self.experiment}")]
        rows = [Padding(Text(check.sentence), (0, 0, 0, 2)) for check in self.checks]
        return Group(*head, *rows, *map(Text, self.closing()), Text(self.cost_sentence), Text(""))


Row = str | Check | Ending
Experiment = Callable[..., Part | Sequence[Part] | Iterator[Row]]


@dataclass(frozen=True)
class Lesson:
    """A claim with the experiment that tests it.

    An experiment returns its `Part`, or it is a generator, so that each row is shown and kept as soon as it is known: for
    every kind of surface it yields what will be done (a text, before anything is computed), then each `Check`, then an
    `Ending`. An experiment that takes ``quick`` has a short form.

    Attributes:
        id: as in the list of claims: letters, digits, ``-`` and ``_``, since files are named after it.
        claim: what is tested, in one sentence.
        experiment: function of (runs, seed), or (runs, seed, quick), that returns a `Part`, or one for every kind of surface, or
            yields rows.
        runs: how many by default, each with its own seed; 0 where nothing is random.
        quick: how many in its short form; a tenth of them by default.
        depends: what the outcome depends on, in a few words that end the sentence "Depends on: …".

    Raises:
        InputError: for an id that names no file, an experiment that is no function, or runs that cannot be.

    Example:
        >>> from lossatlas.lessons import Check, Ending, Lesson
        >>> def experiment(runs, seed):
        ...     yield "Two numbers are added."
        ...     yield Check("1 + 1 is 2", f"{1 + 1}", 1 + 1 == 2)
        ...     yield Ending({})
        >>> Lesson("X1", "Sums are what they are said to be.", experiment).run().outcome
        'supported'
    """

    id: str
    claim: str
    experiment: Experiment
    runs: int = 0
    quick: int | None = None
    depends: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not _ID.fullmatch(self.id):
            raise InputError(
                f"a lesson got id={_checks.shown(self.id)}; expected letters, digits, '-' and '_', for example 'X1'."
            )
        where = f"the lesson {self.id}"
        _checks.instance("claim", self.claim, str, "one sentence", where=where)
        _checks.instance("depends", self.depends, str, "a text", where=where)
        if not callable(self.experiment):
            raise InputError(
                f"the lesson {self.id} got experiment={_checks.shown(self.experiment)}; expected a function of (runs, seed)."
            )
        object.__setattr__(self, "runs", _checks.whole("runs", self.runs, 0, where=where))
        if self.quick is not None:
            object.__setattr__(self, "quick", _checks.whole("quick", self.quick, where=where))

    def run(self, *, runs: int | None = None, seed: int = 0, quick: bool = False) -> Evidence:
        """Run the experiment.

        Args:
            runs: how many, for lessons in which something is random; the lesson's own number by default.
            seed: of the first run.
            quick: whether to run its short form: fewer runs, and smaller networks where it has them.

        Raises:
            InputError: for runs or a seed that cannot be, or an experiment that returns something else.
        """
        *_, (_, evidence) = self.stream(runs=runs, seed=seed, quick=quick)
        return evidence

    def count(self, runs: int | None = None, quick: bool = False) -> int:
        """How many runs there are: as many as are wanted, or the lesson's own number.

        Raises:
            InputError: for runs that cannot be.
        """
        if runs is not None:
            return _checks.whole("runs", runs, 1, 10**7, where=f"the lesson {self.id}")
        return self.quick or max(1, self.runs // 10) if quick and self.runs else self.runs

    def stream(
        self, *, runs: int | None = None, seed: int = 0, quick: bool = False
    ) -> Iterator[tuple[Row | None, Evidence]]:
        """Run the experiment, and hand over each row as soon as it is known.

        Args:
            runs: as for `run`.
            seed: as for `run`.
            quick: as for `run`.

        Yields:
            What came last, and the evidence so far; at the end None and all of it.

        Raises:
            InputError: as `run` does.
        """
        where = f"the lesson {self.id}"
        quick = _checks.flag("quick", quick, where=where)
        runs = self.count(runs, quick)
        seed = _checks.seed(seed, where=where)
        begin = time.perf_counter()
        settings = {"quick": quick} if "quick" in inspect.signature(self.experiment).parameters else {}
        done: list[Part] = []
        text, checks = "", list[Check]()

        def so_far(complete: bool) -> Evidence:
            parts = (*done, Part(text, tuple(checks), {})) if checks else tuple(done)
            seconds = time.perf_counter() - begin
            return Evidence(
                self.id, self.claim, parts, seed, runs if self.runs else None, seconds, quick, self.depends, complete
            )

        for row in self._rows(self.experiment(runs, seed, **settings)):
            if isinstance(row, str):
                text = row
            elif isinstance(row, Check):
                checks.append(row)
            else:
                done.append(Part(text, tuple(checks), row.cost, row.caveats, row.data, row.pictures))
                text, checks = "", []
            yield row, so_far(False)
        if checks or not done:
            raise InputError(f"the experiment of the lesson {self.id} ended without an Ending; yield one last.")
        yield None, so_far(True)

    def _rows(self, found: object) -> Iterator[Row]:
        """The rows of an experiment in the order in which they are known; all at its end where it returns parts."""
        if isinstance(found, Iterator):
            for row in found:
                if not isinstance(row, str | Check | Ending):
                    raise InputError(
                        f"the experiment of the lesson {self.id} yielded {_checks.shown(row)}; expected a text, a Check or an Ending."
                    )
                yield row
            return
        parts = (found,) if isinstance(found, Part) else tuple(found) if isinstance(found, Sequence) else (None,)
        if not parts or not all(isinstance(part, Part) for part in parts):
            raise InputError(
                f"the experiment of the lesson {self.id} returned {_checks.shown(found)}; expected a Part, or several."
            )
        for part in parts:
            assert isinstance(part, Part)
            yield part.experiment
            yield from part.checks
            yield Ending(part.cost, part.caveats, part.data, part.pictures)


def spent(*meters: Meter) -> dict[str, int]:
    """The evaluations and examples of several meters together."""
    return {kind: sum(getattr(meter, kind) for meter in meters) for kind in KINDS}


def meters_of(race: NetworkRace) -> list[Meter]:
    """The meters of a race on a network: its tuning and what was measured on the way included."""
    tunings = [runner.tuning.meter for runner in race.runners.values() if runner.tuning is not None]
    return [race.referee, *race.meter.values(), *tunings]
