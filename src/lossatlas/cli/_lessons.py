"""`lossatlas lessons`: claims put to the test."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lossatlas.cli._pictures import figure_options
from lossatlas.cli._programs import program_options, told
from lossatlas.cli._say import say

if TYPE_CHECKING:
    from lossatlas.lessons import Evidence, Lesson


@click.command("lessons", short_help="Test claims about loss surfaces by experiment.")
@click.argument("ids", nargs=-1)
@click.option(
    "--runs", type=int, help="Runs per lesson, each with its own random seed; each lesson has its own default."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed of the first run.")
@click.option(
    "--quick",
    is_flag=True,
    help="The short form of each lesson, under 20 seconds: fewer runs and smaller networks. Without IDS: all of them.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for pictures and for the evidence, one JSON file per lesson. Each row is kept there as soon as it is known.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Skip lessons that were finished in --out with the same settings.",
)
@program_options
@figure_options
def command(
    ids: tuple[str, ...],
    runs: int | None,
    seed: int,
    quick: bool,
    out: Path | None,
    resume: bool,
) -> None:
    """Put claims to the test: each lesson prints its claim, runs, and says what came out.

    IDS are numbers of the list, or FILE.py:NAME for a lesson of your own; without any the lessons are listed, with how
    long they take. A lesson prints what it tests and how before it computes anything, and each row as soon as it is
    known. Verdicts are "supported", "not supported here" or "depends", from the numbers of the run, with intervals where
    something is random, and what it cost in evaluations.

    \b
      lossatlas lessons
      lossatlas lessons A1 C1
      lossatlas lessons C3 --runs 1000
      lossatlas lessons --quick --out atlas
      lossatlas lessons my.py:LESSON --out atlas
    """
    from lossatlas import _checks
    from lossatlas._errors import InputError
    from lossatlas.cli._unused import refuse
    from lossatlas.cli._user import call, prepare
    from lossatlas.lessons import claims, lesson, register

    if runs is not None:
        _checks.whole("runs", runs, where="lessons")
    _checks.seed(seed, where="lessons")
    if not ids and not quick:
        refuse("runs", "seed", "out", "resume", "json_file", "fail_if", where="without a lesson to run")
        _list()
        return
    if resume and out is None:
        raise InputError(
            "lessons got --resume without --out; expected the folder in which lessons were finished. Give --out DIR."
        )
    chosen = [register(call(name, "the lesson")) if ":" in name else lesson(name) for name in ids or claims()]
    if not any(one.runs for one in chosen):
        refuse("runs", where=f"with {', '.join(one.id for one in chosen)}, in which nothing is random")
    prepare(out)
    records = []
    for one in chosen:
        evidence = _kept(one, out, runs, seed, quick) if resume and out is not None else None
        records.append((evidence or _shown(one, runs, seed, quick, out)).record())
    told(lambda: {"kind": "lessons", "lessons": records})


def _list() -> None:
    """The claims, each with the seconds that its lesson took, measured beforehand."""
    from lossatlas.lessons import claims, durations

    took = durations()
    say("Seconds it takes in full, and with --quick, measured on one core.\n")
    for number, claim in claims().items():
        times = [f"{took[number][form]:.0f} s" if form in took.get(number, {}) else "" for form in ("full", "quick")]
        say(f"{times[0]:>6} {times[1]:>6}  {number}  {claim}")


def _shown(one: Lesson, runs: int | None, seed: int, quick: bool, out: Path | None) -> Evidence:
    """Run a lesson; every row is printed, and kept, as soon as it is known."""
    from lossatlas.lessons import Check

    _say(f"{one.id}  {one.claim}")
    # Rows of an earlier run that was stopped are written over by as many and more, never by fewer.
    earlier = None if out is None else _same(one, out, runs, seed, quick)
    before = 0 if earlier is None or earlier.complete else len(earlier.checks)
    evidence = None
    try:
        for row, evidence in one.stream(runs=runs, seed=seed, quick=quick):
            if isinstance(row, str):
                _say(f"Experiment: {row}")
            elif isinstance(row, Check):
                _say(row.sentence, indent=2)
                if out is not None and len(evidence.checks) >= before:
                    evidence.save(out)
    except KeyboardInterrupt:
        rows = len(evidence.checks) if evidence is not None else 0
        kept = f"; what it had is in {out / f'lesson-{one.id}.json'}" if out is not None and rows else ""
        _say(f"{one.id} was stopped after {rows} row{'s' * (rows != 1)}{kept}.")
        raise
    assert evidence is not None
    if out is not None:
        evidence.save(out)
    for line in (*evidence.closing(), evidence.cost_sentence):
        _say(line)
    say()
    return evidence


def _kept(one: Lesson, out: Path, runs: int | None, seed: int, quick: bool) -> Evidence | None:
    """What a lesson brought out in this folder before, if it was finished with the same settings."""
    found = _same(one, out, runs, seed, quick)
    if found is None or not found.complete:
        return None
    _say(f"{one.id}  {found.verdict} It was finished in {out / f'lesson-{one.id}.json'}.\n")
    return found


def _same(one: Lesson, out: Path, runs: int | None, seed: int, quick: bool) -> Evidence | None:
    """What this folder holds of a lesson with the same settings, finished or not."""
    from lossatlas.lessons import Evidence

    file = out / f"lesson-{one.id}.json"
    if not file.is_file():
        return None
    found = Evidence.load(file)
    same = (found.seed, found.quick, found.claim) == (seed, quick, one.claim)
    return found if same and (not one.runs or found.runs == one.count(runs, quick)) else None


def _say(text: str, indent: int = 0) -> None:
    """A paragraph in lines as wide as the terminal, at most 110 characters, written at once."""
    import shutil
    import textwrap

    width = max(40, min(110, shutil.get_terminal_size((110, 24)).columns))
    lead = " " * indent
    say(textwrap.fill(text, width, initial_indent=lead, subsequent_indent=lead + ("    " if indent else "")))
