"""`lossatlas lessons`: claims put to the test."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from lossatlas.cli._pictures import figure_options


@click.command("lessons", short_help="Test claims about loss surfaces by experiment.")
@click.argument("ids", nargs=-1)
@click.option(
    "--runs", type=int, help="Runs per lesson, each with its own random seed; each lesson has its own default."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed of the first run.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for pictures and for the evidence, one JSON file per lesson.",
)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all evidence to this file.")
@figure_options
def command(ids: tuple[str, ...], runs: int | None, seed: int, out: Path | None, json_file: Path | None) -> None:
    """Put claims to the test: each lesson prints its claim, runs, and says what came out.

    IDS are numbers of the list, or FILE.py:NAME for a lesson of your own; without any the lessons are listed. Verdicts
    are "supported", "not supported here" or "depends", from the numbers of the run, with intervals where something is
    random, and what it cost in evaluations.

    \b
      lossatlas lessons
      lossatlas lessons A1 C1
      lossatlas lessons C3 --runs 1000
      lossatlas lessons my.py:LESSON --out atlas
    """
    from rich.console import Console

    from lossatlas import _checks, archive
    from lossatlas.cli._unused import refuse
    from lossatlas.cli._user import call, prepare
    from lossatlas.lessons import claims, lesson, register

    if runs is not None:
        _checks.whole("runs", runs, where="lessons")
    _checks.seed(seed, where="lessons")
    if not ids:
        refuse("runs", "seed", "out", "json_file", where="without a lesson to run")
        for number, claim in claims().items():
            click.echo(f"{number}  {claim}")
        return
    chosen = [register(call(name, "the lesson")) if ":" in name else lesson(name) for name in ids]
    if not any(one.runs for one in chosen):
        refuse("runs", where=f"with {', '.join(one.id for one in chosen)}, in which nothing is random")
    prepare(out, json_file)
    console = Console(width=None if Console().is_terminal else 140)
    records = []
    for k, one in enumerate(chosen, start=1):
        if sys.stderr.isatty():
            click.echo(f"lesson {one.id}, {k} of {len(chosen)} …", err=True)
        evidence = one.run(runs=runs, seed=seed)
        console.print(evidence)
        records.append(evidence.record())
        if out is not None:
            evidence.save(out)
    if json_file is not None:
        archive.write_json(json_file, {"kind": "lessons", "lessons": records})
