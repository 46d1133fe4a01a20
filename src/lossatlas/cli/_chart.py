"""`lossatlas chart`: the user's own network on a plane."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from lossatlas.cli._animate import option as animate_option
from lossatlas.cli._compare import POINTS, compared
from lossatlas.cli._log import message
from lossatlas.cli._network import Network, load, network, network_options, note
from lossatlas.cli._pictures import figure_options
from lossatlas.cli._planes import NORMALIZATIONS, PlaneType, Wanted
from lossatlas.cli._programs import missed, program_options, told
from lossatlas.cli._say import say, screen
from lossatlas.cli._streamed import TOKENS, UNUSED, charted, foretell
from lossatlas.cli._workers import engine_options

if TYPE_CHECKING:
    from lossatlas.surface import NetworkSurface

_FILE = click.Path(path_type=Path)


@click.command("chart", short_help="Chart the loss surface around your own network.")
@network_options(required=True)
@click.option(
    "--batchnorm",
    type=click.Choice(["frozen", "interpolate", "recompute", "batch"]),
    help="Batch-norm statistics away from the center: the model's own, interpolated between the models, recomputed at "
    "every point, or those of each batch. The default is interpolate with --plane between, and frozen on other planes.",
)
@click.option(
    "--plane",
    "kind",
    type=PlaneType(),
    default="random",
    show_default=True,
    help="How the directions are made: drawn from a seed, through further checkpoints, principal components of a path, "
    "extreme eigenvectors of the Hessian, along the gradient, or the worst direction within a radius. Or any two directions, "
    "with their settings: 'gradient,eigenvector(which=smallest)', 'random(seed=3),my.py:MyDirection'.",
)
@click.option("--line", is_flag=True, help="Chart a line: one direction instead of two.")
@click.option(
    "--through",
    type=_FILE,
    multiple=True,
    help="For --plane between and pca: another checkpoint, a file or a folder. For pca also the folder of a run: a recording, "
    "or numbered checkpoints (checkpoint-16, checkpoint-32, or net-16.pt, net-32.pt). May be repeated: single checkpoints "
    "form one run, oldest first; further runs are projected onto the plane of the first.",
)
@click.option(
    "--centering",
    type=click.Choice(["final", "mean"]),
    show_default="final",
    help="For --plane pca: center the components on the last point of the path, or on its mean.",
)
@click.option(
    "--normalization",
    type=click.Choice(NORMALIZATIONS),
    help="How to scale the directions: relative to the norm of each filter (Li et al. 2018; the default for random and "
    "worst), layer or weight; to length one per filter or layer; not at all; or exactly as in the code of Li et al.",
)
@click.option(
    "--ignore",
    type=click.Choice(["biasbn", "nothing"]),
    help="Keep biases and batch norm fixed (biasbn), or keep nothing fixed.",
)
@click.option("--policy", is_flag=True, help="Print how the normalization treats each parameter tensor, and stop.")
@click.option(
    "--span",
    default="1",
    show_default=True,
    metavar="S | LOW,HIGH | auto",
    help="Range of the axes: -S to S, LOW to HIGH, or auto: to where the loss has grown by the factor --growth. With runs "
    "on --plane pca, auto frames their paths and is the default.",
)
@click.option(
    "--growth", type=float, default=10.0, show_default=True, help="Growth factor of the loss for --span auto."
)
@click.option(
    "--points",
    default="51",
    show_default=True,
    metavar="N | NX,NY",
    help="Grid points per axis; an odd number includes the center.",
)
@click.option("--exact", is_flag=True, help="Evaluate every grid point: no interpolation, no error.")
@click.option(
    "--tolerance",
    type=float,
    default=0.02,
    show_default=True,
    help="Without --exact: target for the 95th percentile of the relative error near the minimum. Over the whole chart the "
    "target is 2.5 times as large.",
)
@click.option(
    "--probes", type=int, default=28, show_default=True, help="Number of grid points held out to measure that error."
)
@click.option(
    "--subset",
    metavar="N",
    help="Shape the chart with a subset of N examples instead of interpolating the network's outputs.",
)
@click.option(
    "--card/--no-card", default=None, help="Make the honesty card; by default only if it takes less than half a minute."
)
@click.option(
    "--compare",
    "others",
    type=_FILE,
    multiple=True,
    help="Another checkpoint to chart beside this one, on random planes from the same seeds and with one color scale; prints "
    "how rough each is. Evaluates 21 points per axis unless --points says otherwise. May be repeated.",
)
@click.option("--seeds", type=click.IntRange(1), default=5, show_default=True, help="Number of planes for --compare.")
@click.option(
    "--seed",
    type=click.IntRange(0, 2**63 - 1),
    default=0,
    show_default=True,
    help="Random seed for directions and held-out points.",
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
    help="Also write the chart to this file: .csv, .h5 (as Li et al.), .vts or .vtp (ParaView). May be repeated.",
)
@program_options
@click.option(
    "--forecast",
    "foretold",
    is_flag=True,
    help="Time a few evaluations, print the estimated cost (evaluations, examples, seconds, bytes; card and pictures "
    "included), and stop. Nothing is written.",
)
@click.option(
    "--part",
    metavar="I/N",
    help="With --exact: evaluate the I-th of N parts only, and keep it in DIR/part-I-of-N. 'lossatlas merge DIR/part-* --out DIR' "
    "joins them, and the same command without --part then makes the chart.",
)
@click.option("--quiet", is_flag=True, help="Show neither the cost estimate nor a progress bar.")
@animate_option
@figure_options
@engine_options
def command(
    own: Network,
    batchnorm: str | None,
    kind: str,
    line: bool,
    through: tuple[Path, ...],
    centering: str | None,
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
    foretold: bool,
    part: str | None,
    quiet: bool,
    animated: str | None,
) -> None:
    """Chart the loss surface around your own network.

    By default the chart lies on two random directions, scaled to the network's filters. The loss is evaluated at a few
    grid points and interpolated elsewhere; held-out points measure the error. --exact evaluates every grid point. A cost
    estimate is printed first, the actual cost at the end.

    \b
      lossatlas chart --model my.py:make_model --data my.py:make_data \\
          --loss cross_entropy --checkpoint w.safetensors --points 51 --seed 0 --out DIR
      … --plane between --line --through other.safetensors
      … --plane pca --through step-000.safetensors --through step-100.safetensors …
      … --plane pca --through TRAINER_OUTPUT         # its checkpoint-16, checkpoint-32 …
      … --plane pca --through RUN                    # recorded by lossatlas record or a Recorder
      … --plane hessian --span auto
      lossatlas chart --model hf:FOLDER --data tokens.safetensors --loss tokens --points 21 --out DIR
      … --plane 'gradient,eigenvector(which=largest)'   # any two; one with --line
      … --compare early.safetensors --compare other.safetensors --seeds 5

    \b
    DIR then holds
      chart.json, chart.safetensors   the record and the arrays (lossatlas.load)
      contour.png, relief.png         the loss over the plane (profile.png for a line)
      samples.png                     the evaluated points, unless all were evaluated
      log.png                         log-spaced contour levels, if those of contour.png are linear
      topology.png                    minima, saddles and maxima that exceed the error (planes only)
      accuracy.png                    for classification losses
      path.png, trajectory.*          with --plane pca: the runs, and how much of them the plane hides; their paths are
                                      also drawn on contour.png and relief.png; path.gif with --animate
      card.png                        the honesty card: what the chart can and cannot show
      compare.png, comparison.*       with --compare: all networks, on planes from the same seeds
      manifest.json, ledger.sqlite    every evaluation, so that an interrupted command can resume

    The chart is a 2-D slice of a space with as many dimensions as the network has parameters.
    """
    from lossatlas._errors import InputError
    from lossatlas.chart import chart, trajectory
    from lossatlas.chart import policy as table
    from lossatlas.cli import _pictures
    from lossatlas.cli._planes import at_the_end, drawn_kinds, made, runs_of
    from lossatlas.cli._unused import refuse
    from lossatlas.cli._user import names_of, prepare
    from lossatlas.surface import check_checkpoint

    if exact:
        refuse("tolerance", "probes", "subset", where="with --exact")
    if own.loss == TOKENS:
        refuse(*UNUSED, where="with --loss tokens, which walks a large model module by module on random directions")
        asked: dict[str, Any] = {
            "line": line,
            "seed": seed,
            "normalization": normalization,
            "ignore": ignore,
            "growth": growth,
            "ledger": out,
            "span": _span(span),
            "points": _points(points),
            "exact": exact,
            "tolerance": tolerance,
            "probes": probes,
        }
        if foretold:
            foretell(own, pictures=out is not None, **asked)
            return
        prepare(out, *exports)
        streamed = charted(own, progress=not quiet, **asked)
        for sentence in streamed.reading():
            say(f"- {sentence}")
        _cost(streamed)
        if out is not None:
            _pictures.write(streamed, out, None)
            message(f"written: {out}")
        for path in exports:
            streamed.export(path)
            message(f"written: {path}")
        told(partial(_record, streamed))
        _tolerated(streamed)
        return
    if not others:
        refuse("seeds", where="without --compare")
    if span != "auto" or kind == "pca":
        refuse("growth", where="without --span auto" if span != "auto" else "with --plane pca")
    module = own.module()
    runs = runs_of(kind, through, own.checkpoint)
    if animated and (not runs or line or out is None):
        raise InputError(
            "got --animate without a training path over a plane and a folder; expected --plane pca --through RUN --out DIR."
        )
    called = names_of((*((own.checkpoint,) if own.checkpoint is not None else ()), *others))
    called = called if own.checkpoint is not None else ["model", *called]
    # What is compared at the end is looked at before the work begins.
    for path in others:
        check_checkpoint(module, path)
    if own.checkpoint is None and runs:
        note(at_the_end(module, next(iter(runs.values()))))
    surface = network(own, module, batchnorm=batchnorm)
    if part is not None and (not exact or out is None or span == "auto" or foretold):
        raise InputError(
            f"got --part {part} without --exact, --out or a fixed --span; expected all three, and no --forecast: parts are of cells "
            "that are known beforehand, and each keeps its own ledger."
        )
    if policy:
        _print(table(surface, normalization or "filter", ignore=ignore))
        return
    if not foretold:
        prepare(out, *exports)
    # Where others are compared, their random planes are normalized.
    scaled = None if others and kind not in drawn_kinds(line) else normalization
    plane = made(surface, Wanted(kind, line, scaled, ignore, seed, through, centering), runs)
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
        from lossatlas.cli._forecast import foretell as foretell_network

        drawn: dict[str, Any] = {
            "card": card,
            "pictures": out is not None,
            "runs": runs,
            "others": len(others),
            "seeds": seeds,
        }
        foretell_network(surface, plane, settings | {"span": 1.0 if runs else _span(span)}, **drawn)
        return
    if part is not None and out is not None:
        _part(surface, plane, part, out, span=_span(span), points=_points(points), progress=not quiet)
        return
    seen = trajectory(surface, plane, runs, points=None) if runs and not line else None  # type: ignore[arg-type]
    by_default = click.get_current_context().get_parameter_source("span") is ParameterSource.DEFAULT
    framed: Any = _span(span)
    if runs and (by_default or span == "auto"):
        framed = _along(surface, plane, runs) if seen is None else seen.span
    result = chart(surface, plane, span=framed, progress=not quiet, **settings)
    say(f"{surface.name}: {surface.dimension:,} parameters, {surface.examples:,} examples")
    say(f"loss at the center: {surface.loss_at_theta:.6g}")
    for sentence in result.reading():
        say(f"- {sentence}")
    topology = result.topology()
    say(f"- {topology.sentence}")
    _cost(result)
    if reason := _pictures.without_card(result, card, out):
        _pictures.note(result, reason)
    else:
        _print(result.card(progress=not quiet))
    if seen is not None:
        seen = replace(seen, field=result)
        for sentence in seen.reading()[: len(seen.runs)]:
            say(f"- {sentence}")
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
            if animated:
                from lossatlas.draw import animate

                animate(seen, out / f"path.{animated}")
        message(f"written: {out}")
    for path in exports:
        result.export(path)
        message(f"written: {path}")
    told(partial(_record, result))
    _tolerated(result)


def _part(surface: Any, plane: Any, part: str, out: Path, **settings: Any) -> None:
    """Evaluate one part, and say what comes next."""
    from lossatlas.chart import chart_part

    folder = out / f"part-{part.replace('/', '-of-')}"
    meter = chart_part(surface, plane, part, folder, **settings)
    say(f"part {part} is in {folder}: {meter.sentence}")
    say(f"when all parts are there: lossatlas merge {out}/part-* --out {out}")


def _print(shown: Any) -> None:
    screen().print(shown)


def _cost(result: Any) -> None:
    meter = result.meter
    fields = result.meters
    cheap = f" ({fields['cheap'].values:,} of them on a subset of the examples)" if "cheap" in fields else ""
    known = f"; {meter.recalled:,} more came from the ledger" if meter.recalled else ""
    if meter.confirmed:
        known += f" ({meter.confirmed:,} of those were evaluated again and agreed)"
    seconds = meter.surface_seconds
    if meter.worker_seconds:
        known += f"; workers were busy for {meter.worker_seconds:.2f} s"
    if meter.lost:
        known += f"; {meter.lost:,} more were lost with workers that ended, and evaluated again"
    say(f"cost: {meter.values:,} loss evaluations{cheap}, {meter.examples:,} examples, {seconds:.2f} s{known}")


def _along(surface: Any, line: Any, runs: dict[str, Any]) -> tuple[float, float]:
    """What holds all runs on a line, with some room around them."""
    import torch

    places = torch.cat([line.project(run, surface=surface).coords for run in runs.values()])
    low, high = float(places.min()), float(places.max())
    return low - 0.1 * (high - low), high + 0.1 * (high - low)


def _spans(result: Any) -> list[tuple[float, float]]:
    """How far a chart goes along each axis, for pictures beside it."""
    axes = [result.alpha, result.alpha if result.is_line else result.beta]
    return [(float(axis[0]), float(axis[-1])) for axis in axes]


def _tolerated(result: Any) -> None:
    """Note where the tolerance that was typed is not reached."""
    if not result.certificate.reached:
        missed(f"the tolerance of {result.certificate.tolerance:g} was not reached", "tolerance")


def _record(result: Any) -> dict[str, Any]:
    names = ("alpha", "beta", "loss", "error", "exactly", "samples")
    arrays = {name: getattr(result, name).tolist() for name in names}
    extras = {name: channel.tolist() for name, channel in result.extras.items()}
    return {**result.record(), **arrays, "extras": extras, "topology": result.topology().record()}


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
