"""`lossatlas advise`: which optimizer suits a surface, and what it cost to find out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lossatlas.cli._landscape import landscape_of, landscape_options
from lossatlas.cli._log import message
from lossatlas.cli._network import Network, network, network_options
from lossatlas.cli._pictures import figure_options
from lossatlas.cli._programs import program_options, told
from lossatlas.cli._say import say, screen

if TYPE_CHECKING:
    from lossatlas.advise import Advice
    from lossatlas.surface import Surface


@click.command("advise", short_help="Find out which optimizer suits a surface, and check it by a race.")
@click.argument("landscape", required=False)
@click.option(
    "--budget",
    type=float,
    help="Maximum cost of everything, in evaluations of the loss; never exceeded. 500 by default, 3,000 on a network.",
)
@landscape_options
@network_options()
@click.option(
    "--batch-size",
    default="64",
    show_default=True,
    metavar="SIZE | all",
    help="On a network: number of examples per gradient.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed.")
@click.option("--forecast", "only_forecast", is_flag=True, help="Print what it would cost, and stop.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the record and the pictures.")
@program_options
@click.option("--quiet", is_flag=True, help="Show no progress bar.")
@figure_options
def command(
    landscape: str | None,
    budget: float | None,
    bbob: str | None,
    dim: int,
    instance: int,
    given: str | None,
    box: str | None,
    own: Network,
    batch_size: str,
    seed: int,
    only_forecast: bool,
    out: Path | None,
    quiet: bool,
) -> None:
    """Find out which optimizer suits a LANDSCAPE, a function, or your own network.

    A small counted probe measures facts with 95 % intervals: how much of the losses a quadratic explains, noise,
    roughness, ripples, whether gradients are correct, the cost of an evaluation. A decision tree leads from them to a
    short-list, and says at each question what decided it. The short-list always contains the single best algorithm for such
    a budget; a race checks the advice, and one budget covers everything.

    \b
      lossatlas advise four-wells --budget 500 --out DIR
      lossatlas advise --function my.py:f --box -2:2,-1:3 --budget 300
      lossatlas advise --bbob f8 --dim 5 --budget 1000
      lossatlas advise --model my.py:make_model --data my.py:make_data --loss cross_entropy

    On a network the advice is a learning rate: 0.1 · 2/λ, λ the largest eigenvalue of the Hessian, is the center of a race
    of learning rates; the noise scale and the conditioning are measured too.

    Ctrl-C keeps what was found: the advice of the race so far.

    \b
    DIR then holds
      advice.json, advice.safetensors   the record: lossatlas.load("DIR")
      tree.png, race.png                the way through the tree; lowest loss against cost
    """
    from lossatlas.advise import advise, forecast
    from lossatlas.cli._race_network import _size
    from lossatlas.cli._unused import refuse
    from lossatlas.cli._user import prepare

    surface: Surface
    if own.given:
        refuse("landscape", "bbob", "dim", "instance", "given", "box", where="with --model")
        surface, size = network(own, own.module()), _size(batch_size)
    else:
        refuse("batch_size", where="on a landscape")
        surface, size = landscape_of(landscape, bbob, dim, instance, given, box), None
    say(forecast(surface, budget=budget, batch_size=size).sentence)
    if only_forecast:
        return
    prepare(out)
    found = advise(surface, budget=budget, batch_size=size, seed=seed, progress=not quiet)
    tell(found, screen(170), out)


def tell(found: Advice, console: object, out: Path | None) -> None:
    """Print an advice and write it; exit as interrupted programs do where it was.

    Args:
        found: the advice.
        console: of rich.
        out: folder, or None.
    """
    # What is printed is kept by then.
    if out is not None:
        found.save(out)
    first, *others = found.reading()
    say(first)
    for sentence in others:
        say(f"- {sentence}")
    if found.legs:
        console.print(found.table())  # type: ignore[attr-defined]
    if out is not None:
        found.plot().save(out / "tree.png")
        if found.legs:
            found.plot_race().save(out / "race.png")
        message(f"written: {out}")
    told(found.record)
    if found.status.startswith("interrupted"):
        raise click.exceptions.Exit(130)
