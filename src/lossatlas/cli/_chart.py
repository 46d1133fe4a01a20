"""`lossatlas chart`: the user's own network on a plane."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from lossatlas.cli._compare import POINTS, compared
from lossatlas.cli._network import Network, load, network, network_options, note
from lossatlas.cli._planes import KINDS, NORMALIZATIONS, Wanted

if TYPE_CHECKING:
    from lossatlas.surface import NetworkSurface

_FILE = click.Path(path_type=Path)


@click.command("chart", short_help="Chart the loss surface around your own network.")
@network_options(required=True)
@click.option(
    "--batchnorm",
    type=click.Choice(["frozen", "interpolate", "recompute", "batch"]),
    help="Running statistics away from the center: the model's, moved with the weights between models, measured anew "
    "at every point, or each batch's own. By default they are interpolated with --plane between, and frozen on other "
    "planes.",
)
@click.option(
    "--plane",
    "kind",
    type=click.Choice(KINDS),
    default="random",
    show_default=True,
    help="How the directions are made: drawn from a seed, through further checkpoints, principal components of a path, "
    "extreme eigenvectors of the Hessian, along the gradient, or the worst direction within a radius.",
)
@click.option("--line", is_flag=True, help="One direction instead of two.")
@click.option(
    "--through",
    type=_FILE,
    multiple=True,
    help="A further checkpoint, a file or a folder, for --plane between and pca; or, for pca, the folder of a run: a recorded "
    "one, or one with numbered checkpoints (checkpoint-16, checkpoint-32, or net-16.pt, net-32.pt). May be repeated: "
    "checkpoints are one run, oldest first; further folders are laid on the plane of the first.",
)
@click.option(
    "--centering",
    type=click.Choice(["final", "mean"]),
    default="final",
    show_default=True,
    help="Of --plane pca: components about the last point of the path, or about its mean.",
)
@click.option(
    "--normalization",
    type=click.Choice(NORMALIZATIONS),
    help="What one unit on an axis means: relative to each filter's norm (Li et al. 2018, the default of random and "
    "worst), each layer's, each weight's; of length one per filter or layer; plain; or their reference to the letter.",
)
@click.option(
    "--ignore", type=click.Choice(["biasbn", "nothing"]), help="Leave biases and batch norm where they are, or nothing."
)
@click.option("--policy", is_flag=True, help="Print what the normalization does to every block, and stop.")
@click.option(
    "--span",
    default="1",
    show_default=True,
    metavar="S | LOW,HIGH | auto",
    help="How far to go: to both sides, from LOW to HIGH, or to where the loss has grown --growth-fold. With runs on "
    "--plane pca, auto frames their paths, and is the default.",
)
@click.option("--growth", type=float, default=10.0, show_default=True, help="For --span auto.")
@click.option(
    "--points",
    default="51",
    show_default=True,
    metavar="N | NX,NY",
    help="Cells per axis; an odd number includes the center.",
)
@click.option("--exact", is_flag=True, help="Ask every cell; no shortcut, no error.")
@click.option(
    "--tolerance",
    type=float,
    default=0.02,
    show_default=True,
    help="Without --exact: 95th percentile of the relative error near the minimum; 2.5 times that over the whole chart.",
)
@click.option("--probes", type=int, default=28, show_default=True, help="Cells held out to measure that error.")
@click.option(
    "--subset", metavar="N", help="Resolve the field with N of the examples instead of interpolating outputs."
)
@click.option("--card/--no-card", default=None, help="The honesty card; by default where it is affordable.")
@click.option(
    "--compare",
    "others",
    type=_FILE,
    multiple=True,
    help="A further checkpoint to draw beside this one: random planes of the same seeds, one color scale, and how rough "
    "each is (21 cells per axis, all asked, unless --points says otherwise). May be repeated.",
)
@click.option("--seeds", type=click.IntRange(1), default=5, show_default=True, help="Planes for --compare.")
@click.option(
    "--seed",
    type=click.IntRange(0, 2**63 - 1),
    default=0,
    show_default=True,
    help="Of random directions and held-out cells.",
)
@click.option(
    "--out",
    type=_FILE,
    help="Folder for the ledger, the arrays, the record and the pictures. The same command resumes there.",
)
@click.option(
    "--export", "exports", type=_FILE, multiple=True, help="Also write .csv, .h5 (Li et al.), .vts or .vtp (ParaView)."
)
@click.option("--json", "json_file", type=_FILE, help="Write everything a program needs into this file.")
@click.option(
    "--forecast",
    "foretold",
    is_flag=True,
    help="Say what it would take (evaluations, examples, seconds, bytes, card and pictures included) after timing a few "
    "points, and stop. Nothing is written.",
)
@click.option("--quiet", is_flag=True, help="No forecast, no progress bar.")
def command(
    own: Network,
    batchnorm: str | None,
    kind: str,
    line: bool,
    through: tuple[Path, ...],
    centering: str,
    normalization: str | None,
    ignore: Any,
    policy: bool,
    span: str,
    growth: float,
    points: str,
    exact: bool,
    tolerance: float,
    probes: int,
    subset: str | None,
    card: bool | None,
    others: tuple[Path, ...],
    seeds: int,
    seed: int,
    out: Path | None,
    exports: tuple[Path, ...],
    json_file: Path | None,
    foretold: bool,
    quiet: bool,
) -> None:
    """Chart the loss surface around your own network.

    Two random directions are drawn through the network's parameters and scaled to its filters. A few cells of a grid
    over that plane are asked, the rest is put through them, and cells that were held out say how far it is off; --exact
    asks every cell. What it will cost is said first, what it did cost afterwards.

    \b
      lossatlas chart --model my.py:make_model --data my.py:make_data \\
          --loss cross_entropy --checkpoint w.safetensors --points 51 --seed 0 --out DIR
      … --plane between --line --through other.safetensors
      … --plane pca --through step-000.safetensors --through step-100.safetensors …
      … --plane pca --through TRAINER_OUTPUT         # its checkpoint-16, checkpoint-32 …
      … --plane pca --through RUN                    # recorded by lossatlas record or a Recorder
      … --plane hessian --span auto
      … --compare early.safetensors --compare other.safetensors --seeds 5

    \b
    DIR then holds
      chart.json, chart.safetensors   the record and the arrays (lossatlas.load)
      contour.png, relief.png         the loss over the plane (profile.png for a line)
      samples.png                     with the points that were evaluated, unless all were
      log.png                         with levels over decades, where contour.png has even ones
      topology.png                    minima, saddles and maxima that are more than the error (not of a line)
      accuracy.png                    where the loss is a classification loss
      path.png, trajectory.*          with --plane pca: the runs, and what the plane hides of them; their paths are drawn
                                      on contour.png and relief.png too
      card.png                        the honesty card: what the picture can and cannot show; where it would take more
                                      than half a minute only with --card, and a sentence says so
      compare.png, comparison.*       with --compare: all networks on planes of the same seeds
      manifest.json, ledger.sqlite    every answer: killed at any moment, the same command goes on from there

    The picture is a slice: two directions of as many as the network has parameters.
    """
    from lossatlas.chart import chart, trajectory
    from lossatlas.chart import policy as table
    from lossatlas.cli import _pictures
    from lossatlas.cli._planes import at_the_end, made, runs_of
    from lossatlas.cli._user import names_of, prepare
    from lossatlas.surface import check_checkpoint

    module = own.module()
    runs = runs_of(kind, through, own.checkpoint)
    called = names_of((*((own.checkpoint,) if own.checkpoint is not None else ()), *others))
    called = called if own.checkpoint is not None else ["model", *called]
    # What is compared at the end is looked at before the work begins.
    for path in others:
        check_checkpoint(module, path)
    if own.checkpoint is None and runs:
        note(at_the_end(module, next(iter(runs.values()))))
    surface = network(own, module, batchnorm=batchnorm)
    if policy:
        _print(table(surface, normalization or "filter", ignore=ignore))
        return
    if not foretold:
        prepare(out, json_file, *exports)
    plane = made(surface, Wanted(kind, line, normalization, ignore, seed, through, centering), runs)
    settings: dict[str, Any] = {
        "points": _points(points),
        "exact": exact,
        "tolerance": tolerance,
        "probes": probes,
        "subset": _subset(subset),
        "growth": growth,
        "ledger": out,
        "seed": seed,
    }
    if foretold:
        from lossatlas.cli._forecast import foretell

        drawn: dict[str, Any] = {
            "card": card,
            "pictures": out is not None,
            "runs": runs,
            "others": len(others),
            "seeds": seeds,
        }
        foretell(surface, plane, settings | {"span": 1.0 if runs else _span(span)}, **drawn)
        return
    seen = trajectory(surface, plane, runs, points=None) if runs else None  # type: ignore[arg-type]
    by_default = click.get_current_context().get_parameter_source("span") is ParameterSource.DEFAULT
    framed = seen.span if seen is not None and (by_default or span == "auto") else _span(span)
    result = chart(surface, plane, span=framed, progress=not quiet, **settings)
    click.echo(f"{surface.name}: {surface.dimension:,} parameters, {surface.examples:,} examples")
    click.echo(f"loss at the center: {surface.loss_at_theta:.6g}")
    for sentence in result.reading():
        click.echo(f"- {sentence}")
    topology = result.topology()
    click.echo(f"- {topology.sentence}")
    _bill(result)
    if reason := _pictures.without_card(result, card, out):
        _pictures.note(result, reason)
    else:
        _print(result.card(progress=not quiet))
    if seen is not None:
        seen = replace(seen, field=result)
        for sentence in seen.reading()[: len(seen.runs)]:
            click.echo(f"- {sentence}")
    if out is not None:
        _pictures.write(result, out, seen)
    beside = None
    if others:

        def other(path: Path) -> NetworkSurface:
            load(module, path)
            return network(own, module, batchnorm=batchnorm)

        chosen = click.get_current_context().get_parameter_source("points") is not ParameterSource.DEFAULT
        beside = compared(
            surface,
            other,
            others,
            called,
            seeds=range(seed, seed + seeds),
            normalization=normalization or "filter",
            span=_spans(result),
            points=_points(points) if chosen else POINTS,
            ledger=None if out is None else out / "planes",
            progress=not quiet,
        )
    if out is not None:
        if beside is not None:
            beside.save(out)
            beside.plot(planes=min(2, seeds)).save(out / "compare.png")
        if seen is not None:
            seen.save(out)
            seen.plot().save(out / "path.png")
        click.echo(f"written: {out}")
    for path in exports:
        result.export(path)
        click.echo(f"written: {path}")
    if json_file is not None:
        _json(result, json_file)


def _print(shown: Any) -> None:
    from rich.console import Console

    Console(width=None if Console().is_terminal else 140).print(shown)


def _bill(result: Any) -> None:
    meter = result.meter
    fields = meter["fields"]
    cheap = f" ({fields['cheap']['values']:,} of them of the cheap field)" if "cheap" in fields else ""
    known = f", {meter['recalled']:,} more were in the ledger" if meter.get("recalled") else ""
    if meter.get("confirmed"):
        known += f" ({meter['confirmed']:,} of its cells were evaluated again and agreed)"
    seconds = meter["surface_seconds"]
    click.echo(f"asked: {meter['values']:,} losses{cheap}, {meter['examples']:,} examples, {seconds:.2f} s{known}")


def _spans(result: Any) -> list[tuple[float, float]]:
    """How far a chart goes along each axis, for pictures beside it."""
    axes = [result.alpha, result.alpha if result.is_line else result.beta]
    return [(float(axis[0]), float(axis[-1])) for axis in axes]


def _json(result: Any, path: Path) -> None:
    from lossatlas import archive

    names = ("alpha", "beta", "loss", "error", "exactly", "samples")
    arrays = {name: getattr(result, name).tolist() for name in names}
    extras = {name: channel.tolist() for name, channel in result.extras.items()}
    archive.write_json(path, {**result.record(), **arrays, "extras": extras, "topology": result.topology().record()})


def _span(text: str) -> Any:
    from lossatlas._errors import InputError
    from lossatlas.cli._user import numbers

    if text == "auto":
        return text
    found = numbers(text, "--span")
    if len(found) > 2:
        raise InputError(f"got --span {text!r}; expected one number, LOW,HIGH, or auto.")
    return found[0] if len(found) == 1 else (found[0], found[1])


def _points(text: str) -> Any:
    from lossatlas._errors import InputError

    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(
            f"got --points {text!r}; expected a whole number, or NX,NY, for example 51 or 51,31."
        ) from None
    if len(found) > 2:
        raise InputError(f"got --points {text!r}; expected one number, or NX,NY.")
    return found[0] if len(found) == 1 else (found[0], found[1])


def _subset(text: str | None) -> Any:
    from lossatlas._errors import InputError

    if text is None:
        return "auto"
    if text == "none":
        return None
    try:
        return int(text)
    except ValueError:
        raise InputError(f"got --subset {text!r}; expected a number of examples, or none.") from None
