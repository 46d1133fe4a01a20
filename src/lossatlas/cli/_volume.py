"""`lossatlas volume`: the loss around the user's own network along three and more directions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lossatlas.cli._log import message
from lossatlas.cli._network import Network, network, network_options
from lossatlas.cli._pictures import figure_options
from lossatlas.cli._planes import NORMALIZATIONS, direction
from lossatlas.cli._programs import program_options, told
from lossatlas.cli._say import say
from lossatlas.cli._unused import refuse
from lossatlas.cli._workers import engine_options

if TYPE_CHECKING:
    from lossatlas.chart import Space
    from lossatlas.surface import NetworkSurface

_FILE = click.Path(path_type=Path)


@click.command("volume", short_help="Evaluate the loss around your network along three and more directions.")
@network_options(required=True)
@click.option(
    "--space",
    "kind",
    default="random",
    show_default=True,
    metavar="KIND | DIRECTION,…",
    help="How the directions are made: random (drawn from a seed), between (through further checkpoints), or hessian (the largest "
    "eigenvalues). Or three and more directions, with their settings: 'gradient,random,eigenvector(which=smallest)'.",
)
@click.option(
    "--dimension", type=int, default=3, show_default=True, help="Number of directions of --space random and hessian."
)
@click.option(
    "--through",
    type=_FILE,
    multiple=True,
    help="For --space between: another checkpoint. Repeat for three to eight of them.",
)
@click.option(
    "--normalization",
    type=click.Choice(NORMALIZATIONS),
    help="How to scale random directions: relative to the norm of each filter (the default), layer or weight; to length one per "
    "filter or layer; not at all; or as in the code of Li et al.",
)
@click.option(
    "--ignore",
    type=click.Choice(["biasbn", "nothing"]),
    help="Keep biases and batch norm fixed (biasbn), or keep nothing fixed.",
)
@click.option(
    "--span", default="1", show_default=True, metavar="S | LOW,HIGH", help="Range of the axes: -S to S, or LOW to HIGH."
)
@click.option(
    "--points",
    default="21",
    show_default=True,
    metavar="N | NX,NY,NZ…",
    help="Grid points per axis; an odd number includes the center. Every one is evaluated.",
)
@click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Random seed of the directions."
)
@click.option(
    "--out",
    type=_FILE,
    help="Folder for all results. If the command is interrupted, the same command resumes from there.",
)
@click.option(
    "--export",
    "exports",
    type=_FILE,
    multiple=True,
    help="Also write the volume to this file: .vti (ParaView; three directions) or .csv. May be repeated.",
)
@program_options
@click.option(
    "--forecast",
    "foretold",
    is_flag=True,
    help="Time a few evaluations, print the estimated cost, and stop. Nothing is written.",
)
@click.option("--quiet", is_flag=True, help="Show neither the cost estimate nor a progress bar.")
@figure_options
@engine_options
def command(
    own: Network,
    kind: str,
    dimension: int,
    through: tuple[Path, ...],
    normalization: str | None,
    ignore: str | None,
    span: str,
    points: str,
    seed: int,
    out: Path | None,
    exports: tuple[Path, ...],
    foretold: bool,
    quiet: bool,
) -> None:
    """Evaluate the loss around your own network on a grid along three and more directions.

    Every grid point is evaluated: 21 per axis are 9,261 in three dimensions. --forecast says how long that takes.

    \b
      lossatlas volume --model my.py:make_model --data my.py:make_data \\
          --loss cross_entropy --checkpoint w.safetensors --points 15 --out DIR --export loss.vti
      … --space hessian --forecast
      … --space between --through b.pt --through c.pt --through d.pt
      … --space 'gradient,random,eigenvector(which=smallest)'

    \b
    DIR then holds
      volume.json, volume.safetensors   the record and the arrays (lossatlas.load)
      slices.png                        slices through the center, one for each pair of directions
      accuracy.png                      the same of the accuracy, for classification losses
      manifest.json, ledger.sqlite      every evaluation, so that an interrupted command can resume
    """
    from lossatlas._errors import InputError
    from lossatlas.chart import forecast, volume
    from lossatlas.cli._user import numbers, prepare

    module = own.module()
    surface = network(own, module)
    if not foretold:
        prepare(out, *exports)
    space = _space(surface, kind, dimension, through, normalization, ignore, seed)
    found = numbers(span, "--span")
    width: Any = found[0] if len(found) == 1 else tuple(found)
    settings: dict[str, Any] = {"span": width, "points": _points(points), "ledger": out}
    refused = [path for path in exports if path.suffix.lower() == ".vti" and space.frame.dimension != 3]
    if refused:
        raise InputError(
            f"got --export {refused[0]} for {space.frame.dimension} directions; expected 3, since ParaView has no more. Write .csv."
        )
    if foretold:
        say("\n- ".join(forecast(surface, space, **settings).lines()))
        return
    result = volume(surface, space, progress=not quiet, **settings)
    if out is not None:
        result.save(out)
    say(f"{surface.name}: {surface.dimension:,} parameters, {surface.examples:,} examples")
    for sentence in result.reading():
        say(f"- {sentence}")
    say(f"cost: {result.meter.sentence}")
    if out is not None:
        result.plot().save(out / "slices.png")
        if "accuracy" in result.extras:
            result.plot(channel="accuracy").save(out / "accuracy.png")
        message(f"written: {out}")
    for path in exports:
        result.export(path)
        message(f"written: {path}")
    told(lambda: _record(result))


def _space(
    surface: NetworkSurface,
    kind: str,
    dimension: int,
    through: tuple[Path, ...],
    normalization: str | None,
    ignore: Any,
    seed: int,
) -> Space:
    from lossatlas.chart import Space
    from lossatlas.cli._optimizers import split

    where = f"with --space {kind}"
    if kind != "random":
        refuse("normalization", "ignore", where=where)
    if kind not in ("random", "hessian"):
        refuse("dimension", where=where)
    if kind != "between":
        refuse("through", where=where)
    match kind:
        case "random":
            chosen = {} if normalization is None else {"normalization": normalization}
            return Space.random(surface, dimension=dimension, seed=seed, ignore=ignore, **chosen)
        case "hessian":
            return Space.hessian(surface, dimension=dimension, seed=seed)
        case "between":
            return Space.between(surface, surface.theta, *through)
        case _:
            return Space(surface, *(direction(spec, seed, "--space") for spec in split(kind)))


def _record(result: Any) -> dict[str, Any]:
    arrays = {"axes": [axis.tolist() for axis in result.axes], "loss": result.loss.tolist()}
    return {**result.record(), **arrays, "extras": {name: channel.tolist() for name, channel in result.extras.items()}}


def _points(text: str) -> Any:
    from lossatlas._errors import InputError

    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(
            f"got --points {text!r}; expected a whole number, or one for each axis, for example 21 or 21,15,9."
        ) from None
    return found[0] if len(found) == 1 else found
