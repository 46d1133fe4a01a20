"""`lossatlas page`: results that were saved, as one page that can be explored."""

from __future__ import annotations

from pathlib import Path

import click

from lossatlas.cli._log import message
from lossatlas.cli._say import say


@click.command("page", short_help="Write a folder of results as one page that can be explored.")
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="DIR…")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("atlas.html"),
    show_default=True,
    help="The page, or with the ending .scene the document that it shows.",
)
@click.option("--title", help="Title of the page; by default it is named after what it holds.")
def command(folders: tuple[Path, ...], out: Path, title: str | None) -> None:
    """Write every result in folders, and in folders below them, as one HTML page.

    The page works offline and from a mail: charts as maps and reliefs with the error of every cell, races from where one
    clicks, basins, comparisons, recorded runs, paths and lessons. Without JavaScript its tables and pictures are still there.

    \b
      lossatlas page atlas/ --out atlas.html
      lossatlas page chart/ race/ --out both.html --title "Digits"
    """
    from lossatlas import archive
    from lossatlas._errors import OutputError
    from lossatlas._load import results_in
    from lossatlas.page import Scene, page, scene

    archive.prepare_file(out)
    if len(folders) == 1 and folders[0].suffix == ".scene":
        made = Scene.load(folders[0])
    else:
        results, faults = [], []
        for folder in folders:
            found, wrong = results_in(folder)
            results += list(found.values())
            faults += wrong
        for fault in faults:
            message(fault)
        if not results:
            said = ", ".join(repr(str(folder)) for folder in folders)
            raise OutputError(
                f"{said} holds no result of lossatlas; expected what save() of a result or --out of a command wrote."
            )
        made = scene(*results, title=title)
    for note in made.head["notes"]:
        say(f"- {note}")
    if out.suffix == ".scene":
        made.save(out)
    else:
        page(made, path=out, title=title)
    say(made.sentence)
    message(f"open {out}")
