"""`lossatlas lecture`: the note on loss surfaces as one page."""

from __future__ import annotations

from pathlib import Path

import click

from lossatlas.cli._log import message
from lossatlas.cli._say import say


@click.command(
    "lecture", short_help="Write the lecture on loss surfaces as one page, every statement beside its experiment."
)
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("lecture.html"), show_default=True, help="The page."
)
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of finished lessons, as `lossatlas lessons --out DIR` writes them; no lesson is run then.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed.")
def command(out: Path, source: Path | None, seed: int) -> None:
    """Write the lecture on loss surfaces as one HTML page, for a class or to read alone.

    It goes from "what is a loss surface?" to four misconceptions, one statement at a time. Beside each stands its
    experiment: predict, watch, reveal. What a lesson measured can contradict the statement, and the page then says so.

    The short form of every lesson is run first, and kept in a folder beside the page; a second call runs only what is
    missing. The page is one file, needs no network, and can be mailed.

    \b
      lossatlas lecture --out lecture.html
      lossatlas lessons --out lessons C3 D4
      lossatlas lecture --from lessons --out lecture.html
    """
    from lossatlas.page import lecture

    lecture(out, source=source, seed=seed, say=say)
    message(f"open {out}")
