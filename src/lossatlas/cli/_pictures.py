"""How all commands draw, and the pictures of a chart in its folder with a sentence for each that is left out."""

from __future__ import annotations

import functools
import re
import shlex
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from lossatlas.cli._say import say

# What a card takes in losses, about, and the seconds that it may take where neither --card nor --no-card is given.
CARD_LOSSES, PATIENCE = 2200, 30.0

_FIGURES = (
    click.option(
        "--format",
        "formats",
        metavar="KIND,…",
        help="File format of the pictures: png, pdf, svg, or several separated by commas.  [default: png]",
    ),
    click.option(
        "--width", metavar="LENGTH", help="Width of the pictures, for example 3.3in or 84mm.  [default: 6.5in]"
    ),
    click.option("--title", help="Title of the pictures in place of their own; '' for none."),
    click.option(
        "--cmap", metavar="NAME", help="Color map of contour maps and reliefs: a matplotlib name such as cividis."
    ),
    click.option(
        "--dpi", type=float, metavar="DOTS", help="Resolution of the pictures in dots per inch.  [default: 150]"
    ),
)


def figure_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command that draws --format, --width, --title, --cmap and --dpi.

    They hold for every picture that is saved while it runs; the command line itself is written into each file.
    """

    @functools.wraps(command)
    def drawn(
        *args: Any,
        formats: str | None,
        width: str | None,
        title: str | None,
        cmap: str | None,
        dpi: float | None,
        **settings: Any,
    ) -> Any:
        given = {"formats": _kinds(formats), "width": width, "title": title, "cmap": cmap, "dpi": dpi}
        chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if not chosen and settings.get("out") is None:
            return command(*args, **settings)  # nothing is drawn, and matplotlib need not be imported
        from lossatlas._errors import InputError
        from lossatlas.draw import figures

        if chosen and settings.get("out") is None and "out" in settings:
            named = ", ".join("--format" if name == "formats" else f"--{name}" for name in chosen)
            raise InputError(f"got {named} without a folder for pictures; expected --out DIR.")
        with figures(**chosen, command=written()):
            return command(*args, **settings)

    for option in reversed(_FIGURES):
        drawn = option(drawn)
    return drawn


def written() -> str:
    """The command line as it can be typed again here, without the names of folders that only this machine has."""
    typed = click.get_current_context().find_root().obj or sys.argv[1:]
    line = shlex.join(["lossatlas", *typed])
    for folder, short in ((str(Path.cwd()), ""), (str(Path.home()), "~/")):
        if folder.strip("/"):
            line = re.sub(rf"(?<![^\s'\"=,]){re.escape(folder)}/", short, line)
    return line


def _kinds(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(part.strip().lower() for part in text.split(","))


def note(result: Any, sentence: str) -> None:
    """Print a sentence, and keep it with the chart."""
    result.provenance["notes"].append(sentence)
    say(f"- {sentence}")


def without_card(result: Any, wanted: bool | None, out: Path | None) -> str:
    """Why no card is made, in a sentence; empty where one is.

    Args:
        result: the chart.
        wanted: --card, --no-card, or neither.
        out: the folder, or None.
    """
    if wanted:
        return ""
    old = "; the card.png there is of an earlier chart" if out is not None and (out / "card.png").exists() else ""
    if wanted is False:
        return f"no honesty card was made, since --no-card was given{old}"
    if out is None:
        return "no honesty card was made, since there is no folder for it; --card makes it and prints it"
    seconds = CARD_LOSSES * _seconds_of_a_loss(result)
    if seconds < PATIENCE:
        return ""
    return (
        f"no honesty card was made, since it would take about {seconds:,.0f} s, more than {PATIENCE:.0f} s; "
        f"--card makes it, and card.png{old}"
    )


def write(result: Any, out: Path, seen: Any = None) -> None:
    """Write a chart and its pictures into a folder, and say which pictures are left out and why.

    Args:
        result: the chart.
        out: the folder.
        seen: runs on its plane, or None.
    """
    from lossatlas.draw import Display

    result.save(out)  # first of all: drawing takes seconds, and may be interrupted
    pictures: dict[str, Display] = {}
    missing: dict[str, str] = {}
    if result.is_line:
        pictures["profile.png"] = result.plot(samples=True)
    else:
        draw = result.plot if seen is None else partial(seen.plot, panels=False)
        contour = draw()
        pictures["contour.png"] = contour
        pictures["relief.png"] = (result if seen is None else seen).plot_relief()
        pictures["topology.png"] = result.topology().plot()
        if result.certificate.exact:
            missing["samples.png"] = "every cell was evaluated"
        else:
            pictures["samples.png"] = result.plot(samples=True)
        if not result.positive:
            missing["log.png"] = "some losses are not positive and have no logarithm"
        elif (log := draw(scale="log")).render() == contour.render():
            missing["log.png"] = "contour.png has logarithmic levels"
        else:
            pictures["log.png"] = log
    if "accuracy" in result.extras:
        pictures["accuracy.png"] = result.plot(channel="accuracy")
    else:
        missing["accuracy.png"] = "the loss is not a known classification loss"
    if "card" in result.kept:
        pictures["card.png"] = result.card().plot()
    if missing:
        listed = "; ".join(f"{name}, since {reason}" for name, reason in missing.items())
        note(result, f"not drawn: {listed}")
        result.save(out)
    for name, picture in pictures.items():
        picture.save(out / name)


def _seconds_of_a_loss(result: Any) -> float:
    """As the chart took them; timed anew where a ledger knew all of them."""
    exact = result.meters["exact"]
    if exact.values:
        return float(exact.surface_seconds / exact.values)
    import torch

    from lossatlas.probe import Probe, Values

    surface, plane = result.source
    probe, count = Probe(surface.on(plane)), max(1, torch.get_num_threads())
    center = Values(torch.zeros(count, plane.frame.dimension, dtype=torch.float64))
    probe.evaluate(center)
    begin = time.perf_counter()
    probe.evaluate(center)
    return (time.perf_counter() - begin) / count
