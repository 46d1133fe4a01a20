"""`lossatlas tour`: the main jobs end to end, on one page."""

from __future__ import annotations

from pathlib import Path

import click


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
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path), help="Write all numbers to this file, for other programs."
)
def command(out: Path, points: int, runs: int, seed: int, json_file: Path | None) -> None:
    """Train a small CNN on scikit-learn's digits, chart its loss surface, and race optimizers on the four wells.

    Writes a folder with atlas.html, one file to explore, to race on and to mail, and index.html, the same to read:
    pictures and tables, what they show, and what each one cost. Takes about two minutes on two cores.

    \b
      lossatlas tour --out atlas
    """
    from lossatlas import archive
    from lossatlas.cli._user import prepare
    from lossatlas.page import check, tour

    check(points, runs, seed)
    prepare(out, json_file)
    record = tour(out, points=points, runs=runs, seed=seed, say=click.echo)
    click.echo(f"\nopen {out / 'atlas.html'} to explore it ({out / 'index.html'} is the same to read)")
    if json_file is not None:
        archive.write_json(json_file, record)
