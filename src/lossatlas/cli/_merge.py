"""`lossatlas merge`: ledgers of parts, joined into one."""

from __future__ import annotations

from pathlib import Path

import click

from lossatlas.cli._say import say


@click.command("merge", short_help="Join the ledgers of a chart that was evaluated in parts.")
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="A B …")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the joined ledger; by default the first one.")
def command(folders: tuple[Path, ...], out: Path | None) -> None:
    """Join ledgers of one surface and one plane, as 'lossatlas chart --part I/N' wrote them on several machines.

    Nothing is evaluated. The ledgers must be of the same surface and the same plane. Merging again changes nothing. Cells
    that several parts evaluated, and cells that none did, are reported.

    \b
      lossatlas chart … --exact --part 1/16 --out DIR        # on one machine, and so on up to 16/16
      lossatlas merge DIR/part-* --out DIR
      lossatlas chart … --exact --out DIR                    # reads everything, evaluates nothing
    """
    from lossatlas.chart import gaps
    from lossatlas.probe import merge_ledgers

    merged = merge_ledgers(folders, out)
    for sentence in (*merged.sentences(), *gaps(merged)):
        say(f"- {sentence}")
