"""`lossatlas tour`: the main jobs end to end, on one page."""

from __future__ import annotations

from pathlib import Path

import click

from lossatlas.cli._log import message
from lossatlas.cli._programs import program_options, told
from lossatlas.cli._say import say


@click.command("tour", short_help="Train a small network, chart it, race optimizers, and write one page about it.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("atlas"),
    show_default=True,
    help="Folder for the page and its pictures.",
)
@click.option("--points", type=int, default=51, show_default=True, help="Grid points per axis of the chart.")
@click.option("--runs", type=int, default=1000, show_default=True, help="Number of runs of annealing and restarts.")
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed.")
@program_options
def command(out: Path, points: int, runs: int, seed: int) -> None:
    """Train a small CNN on scikit-learn's digits, chart its loss surface, and race optimizers on the four wells.

    Writes a folder with atlas.html, one file to explore, to race on and to mail, and index.html, the same to read:
    pictures and tables, what they show, and what each one cost. Takes about two minutes on two cores.

    \b
      lossatlas tour --out atlas
    """
    from lossatlas.cli._user import prepare
    from lossatlas.page import check, tour

    check(points, runs, seed)
    prepare(out)
    record = tour(out, points=points, runs=runs, seed=seed, say=say)
    message(f"\nopen {out / 'atlas.html'} to explore it ({out / 'index.html'} is the same to read)")
    told(lambda: record)
