"""What every command that measures offers to other programs: all numbers as JSON, conditions on them, and exit codes."""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import operator
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import click
from click.core import ParameterSource

from lossatlas._errors import InputError, UnknownNameError
from lossatlas.cli._say import say

# Exit codes beside 0, 2 and 130.
FAILED, MISSED = 3, 4
# The file name that stands for the output stream.
STREAM = Path("-")
_STATE = "lossatlas.programs"
# Names that a message lists where one is unknown.
LISTED = 40
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge, "<=": operator.le, "==": operator.eq, "!=": operator.ne, ">": operator.gt, "<": operator.lt,
}  # fmt: skip
_CONDITION = re.compile(r"\s*(?P<name>[^<>=!]*[^<>=!\s])\s*(?P<how>>=|<=|==|!=|>|<)\s*(?P<value>[^<>=!]*[^<>=!\s])\s*")

_log = logging.getLogger(__name__)


@final
@dataclass(frozen=True)
class Condition:
    """A condition on a number of a record, as it was typed.

    Attributes:
        text: as it was typed.
        name: of the number: the keys that lead to it, joined by dots, or the last of them where that is enough.
        how: one of ``>``, ``>=``, ``<``, ``<=``, ``==`` and ``!=``.
        value: a number; with ``==`` and ``!=`` also a text.
    """

    text: str
    name: str
    how: str
    value: float | str

    @classmethod
    def read(cls, text: str) -> Condition:
        """The condition that a text is; nothing in it is evaluated as code.

        Raises:
            InputError: for anything else than NAME, an operator and a number (or a text with == and !=).
        """
        found = _CONDITION.fullmatch(text)
        if found is None:
            raise InputError(
                f"got --fail-if {text!r}; expected NAME, one of {' '.join(_OPERATORS)}, and a number, for example 'barrier>0.1'."
            )
        how, word = found["how"], found["value"]
        try:
            value: float | str = float(word)
        except ValueError:
            value = word.strip("'\"")
        if isinstance(value, float) and math.isnan(value):
            raise InputError(f"got --fail-if {text!r}; expected a number: nothing can be compared with nan.")
        if isinstance(value, str) and how not in ("==", "!="):
            raise InputError(f"got --fail-if {text!r}; expected a number after {how}, for example 'barrier>0.1'.")
        return cls(text, found["name"], how, value)

    def holds(self, record: Mapping[str, Any]) -> tuple[bool, str]:
        """Whether it holds in a record, and in words what it was held against.

        Where the name is that of a list, it holds if it does for any entry. What cannot be compared, a missing number or one
        that is no number, holds too: a check must not pass on what was never measured.

        Raises:
            UnknownNameError: if the record has nothing of that name, or several things.
        """
        found = _find(self.name, record)
        values = found if isinstance(found, list) else [found]
        for one in values:
            if isinstance(self.value, str):
                if _OPERATORS[self.how](str(one), self.value):
                    return True, f"{self.name} is {one}"
            elif not isinstance(one, int | float) or math.isnan(one):
                return (
                    True,
                    f"{self.name} is {'no number' if isinstance(one, float) else repr(one)}, and cannot be compared",
                )
            elif _OPERATORS[self.how](one, self.value):
                return True, f"{self.name} is {one:.6g}"
        return False, f"{self.name} is {', '.join(map(_short, values[:4]))}"


@final
class _State:
    """What a command has told so far."""

    def __init__(self) -> None:
        self.make: Callable[[], Mapping[str, Any]] | None = None
        self.missed: list[str] = []


def program_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command that measures --json and --fail-if; it hands its record over with `told`.

    The file is written, and the conditions are tested, when the command has ended, also where it was interrupted after it
    told something. With ``--json -`` everything else that the command prints goes to the error stream.
    """

    @functools.wraps(command)
    def measured(*args: Any, json_file: Path | None, fail_if: tuple[str, ...], **settings: Any) -> Any:
        from lossatlas import archive

        conditions = [Condition.read(text) for text in fail_if]
        if json_file is not None and json_file != STREAM:
            archive.prepare_file(json_file)
        context = click.get_current_context()
        state = context.meta[_STATE] = _State()
        aside = contextlib.redirect_stdout(sys.stderr) if json_file == STREAM else contextlib.nullcontext()
        try:
            with aside:
                answer = command(*args, **settings)
        except (click.exceptions.Exit, KeyboardInterrupt):
            if state.make is not None:
                _conclude(state, context, conditions, json_file)
            raise
        code = _conclude(state, context, conditions, json_file)
        if code:
            raise click.exceptions.Exit(code)
        return answer

    options = (
        click.option(
            "--json",
            "json_file",
            type=click.Path(path_type=Path),
            help="Write all numbers to this file, for other programs; - for the output stream, and everything else then goes to "
            "the error stream.",
        ),
        click.option(
            "--fail-if",
            "fail_if",
            multiple=True,
            metavar="CONDITION",
            help="End with exit code 3 if a number of the --json record meets this condition, for example 'barrier>0.1'. May be repeated.",
        ),
    )
    made: Any = measured
    for option in reversed(options):
        made = option(made)
    return made  # type: ignore[no-any-return]


def told(make: Callable[[], Mapping[str, Any]]) -> None:
    """Hand over the record of a command; the last one counts.

    Args:
        make: makes the record, plain JSON values; called only if someone wants it.
    """
    state = click.get_current_context().meta.get(_STATE)
    if state is not None:
        state.make = make


def tell(title: str, *sentences: str) -> None:
    """Print a title, and sentences below it as a list."""
    say(title)
    for sentence in sentences:
        say(f"- {sentence}")


def missed(sentence: str, *options: str) -> None:
    """Note that a tolerance that was typed has not been met: the command then ends with exit code 4.

    Args:
        sentence: says which, and what was reached.
        options: names of the parameters that set it; where none of them was typed nothing is noted.
    """
    context = click.get_current_context()
    state = context.meta.get(_STATE)
    if state is not None and any(context.get_parameter_source(one) is ParameterSource.COMMANDLINE for one in options):
        state.missed.append(sentence)


def _conclude(state: _State, context: click.Context, conditions: list[Condition], file: Path | None) -> int:
    """Write the record and test the conditions; the exit code."""
    from lossatlas import archive

    for sentence in state.missed:
        _log.error("lossatlas: %s", sentence)
    if state.make is None and conditions:
        raise InputError(
            f"got --fail-if {conditions[0].text!r} with options that measure nothing; expected none. Leave it out."
        )
    if state.make is None and file is not None:
        _log.info("nothing was written to %s, since nothing was measured", file)
    if state.make is None or (file is None and not conditions):
        return MISSED if state.missed else 0
    record = dict(state.make())
    command = str(context.info_name)
    tested, unknown = [], None
    for one in conditions:
        try:
            holds, says = one.holds(record)
        except UnknownNameError as error:
            unknown = unknown or error
            continue
        tested.append({"condition": one.text, "holds": holds, "says": says})
        if holds:
            _log.error("lossatlas: failed, since %s: %s", one.text, says)
    more: dict[str, Any] = {"conditions": tested} if conditions else {}
    more |= {"missed": list(state.missed)} if state.missed else {}
    if file is not None:
        whole = archive.headed(command, record | more)
        if file == STREAM:
            click.echo(archive.dump(whole).decode(), nl=False)  # for programs: as it is
        else:
            archive.write_json(file, whole)
    if unknown is not None:
        raise unknown
    if any(one["holds"] for one in tested):
        return FAILED
    return MISSED if state.missed else 0


def _find(name: str, record: Mapping[str, Any]) -> Any:
    """The number, text or list under a name: all keys joined by dots, or as many of the last as tell it apart."""
    there = dict(_named(record, ""))
    if name in there:
        return there[name]
    ends = {place: value for place, value in there.items() if place.endswith(f".{name}")}
    if len(ends) == 1:
        return next(iter(ends.values()))
    known = list(ends) or [place for place in there if not place.rpartition(".")[2].isdigit()]
    shortest = sorted(known, key=lambda place: (place.count("."), place))[:LISTED]
    kind = "number" if not ends else "single number (it is short for several)"
    raise UnknownNameError(f"{kind} in the record", name, shortest)


def _named(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Every number, text and list of numbers with its name."""
    lead = f"{place}." if place else ""
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from _named(one, f"{lead}{key}")
        return
    if isinstance(value, list | tuple):
        if value and all(isinstance(one, int | float) for one in value):
            yield place, list(value)
        for k, one in enumerate(value):
            yield from _named(one, f"{lead}{k}")
        return
    if value is None or isinstance(value, str | bool | int | float):
        yield place, value


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
