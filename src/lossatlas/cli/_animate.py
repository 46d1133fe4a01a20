"""`lossatlas animate`: results that were saved, as animations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lossatlas.cli._log import message

KINDS = ("gif", "mp4")


@click.command("animate", short_help="Write saved races, training paths and basin maps as animations.")
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="DIR…")
@click.option("--format", "kind", type=click.Choice(KINDS), default="gif", show_default=True, help="mp4 needs ffmpeg.")
@click.option("--frames", type=int, default=60, show_default=True, help="Number of frames from the first to the last.")
@click.option("--seconds", type=float, default=6.0, show_default=True, help="Time from the first frame to the last.")
@click.option("--hold", type=float, default=2.0, show_default=True, help="Seconds that the last frame stands.")
@click.option("--width", metavar="LENGTH", help="Width of the frames, for example 3.3in or 84mm.  [default: 6.5in]")
@click.option("--dpi", type=float, metavar="DOTS", help="Resolution in dots per inch.  [default: 100]")
@click.option("--title", help="Title in place of the result's own; '' for none.")
def command(
    folders: tuple[Path, ...],
    kind: str,
    frames: int,
    seconds: float,
    hold: float,
    width: str | None,
    dpi: float | None,
    title: str | None,
) -> None:
    """Write every race, training path and basin map in folders, and below them, as an animation beside it.

    A race runs over its map, a training path grows on its plane with the losses below it, and a basin map fills in, the
    fastest starts first. Nothing is evaluated but the map under a race. The same folder gives the same bytes.

    \b
      lossatlas race four-wells --optimizers gd,momentum,annealing --map 100 --out DIR
      lossatlas chart --model my.py:make_model --data my.py:make_data --plane pca --through RUN --out DIR
      lossatlas animate DIR --frames 90 --seconds 9
    """
    from lossatlas._errors import OutputError
    from lossatlas._load import results_in
    from lossatlas.cli._pictures import written
    from lossatlas.draw import animate, figures

    chosen = {name: value for name, value in (("width", width), ("dpi", dpi), ("title", title)) if value is not None}
    made = 0
    with figures(**chosen, command=written()):  # type: ignore[arg-type]
        for folder in folders:
            found, faults = results_in(folder)
            for fault in faults:
                message(fault)
            for place, result in found.items():
                if not hasattr(result, "motion"):
                    continue
                target = (folder / place).with_suffix(f".{kind}")
                animate(result, target, frames=frames, seconds=seconds, hold=hold)
                message(f"written: {target} ({target.stat().st_size / 1024:,.0f} KB)")
                made += 1
    if not made:
        raise OutputError(
            f"{', '.join(repr(str(folder)) for folder in folders)} holds no race, training path or basin map; expected what race, or "
            "chart with --plane pca --through, wrote with --out."
        )


def option(command_: Any) -> Any:
    """Give a command --animate."""
    return click.option(
        "--animate",
        "animated",
        type=click.Choice(KINDS),
        help="Also write an animation in this format; 'lossatlas animate DIR' makes it later, with other settings.",
    )(command_)
