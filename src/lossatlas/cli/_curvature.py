"""`lossatlas curvature`: the curvature of a loss surface at a point, every number with its error."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lossatlas._said import several
from lossatlas.cli._gradients import gradients, measured_only
from lossatlas.cli._kept import Kept
from lossatlas.cli._log import message
from lossatlas.cli._network import Network, network, network_options
from lossatlas.cli._pictures import figure_options
from lossatlas.cli._programs import missed, program_options, tell, told
from lossatlas.cli._say import say
from lossatlas.cli._several import compare_checkpoints
from lossatlas.cli._workers import engine_options

if TYPE_CHECKING:
    from torch import Tensor

    from lossatlas.surface import Surface

_FILE = click.Path(path_type=Path)
MAPS = ("random", "hessian", "gradient")
# Products for the trace where nobody says otherwise.
TRACED = 200


@click.command("curvature", short_help="Measure the curvature of the loss around your network, with error bars.")
@click.argument("landscape", required=False, metavar="[LANDSCAPE | A]")
@click.argument("others", nargs=-1, type=_FILE, metavar="[B …]")
@network_options()
@click.option("--at", metavar="X,Y,…", help="Point on the LANDSCAPE; its start by default.")
@click.option(
    "--k", type=int, help="Number of eigenvalues from each end of the spectrum; 5 by default, or as many as there are."
)
@click.option(
    "--probes", type=int, default=4, show_default=True, help="Number of random vectors for the spectrum; 0 to skip it."
)
@click.option(
    "--steps",
    type=int,
    default=80,
    show_default=True,
    help="Lanczos steps per random vector, one Hessian-vector product each.",
)
@click.option(
    "--relative",
    type=float,
    default=0.05,
    show_default=True,
    help="Target relative half-width of the trace's confidence interval, and relative error of the Fisher diagonal.",
)
@click.option(
    "--limit",
    type=int,
    show_default="200 products, 1,000 examples",
    help="Maximum number of Hessian-vector products for the trace, or of examples for the Fisher diagonal.",
)
@click.option(
    "--sharpness",
    "kinds",
    default="sam,asam,average",
    show_default=True,
    help="Definitions of sharpness, separated by commas: lambda-max, trace, keskar, sam, asam, average; with a radius as in "
    "sam(0.1); or none.",
)
@click.option(
    "--search",
    type=int,
    metavar="STARTS",
    help="Also search for critical points from this many starting points, and plot index against loss.",
)
@click.option(
    "--along",
    type=_FILE,
    multiple=True,
    help="A checkpoint of a training run; repeat in order to plot λmax along the run.",
)
@click.option("--lr", type=float, help="Learning rate η of that run, to draw the stability threshold 2/η.")
@click.option(
    "--halves",
    type=int,
    default=9,
    show_default=True,
    help="Of several networks: random halves of the data that each is measured on again, for the error over the data; 0 for none.",
)
@click.option(
    "--map",
    "mapped",
    type=click.Choice(MAPS),
    help="Also map the ratio of the extreme eigenvalues |λmin/λmax| over a plane of this kind, one pair at each point.",
)
@click.option("--map-points", type=int, default=9, show_default=True, help="Points of the map along each axis.")
@click.option(
    "--map-span", type=float, default=1.0, show_default=True, help="The map goes from −S to S along each axis."
)
@click.option(
    "--map-limit",
    type=int,
    help="Refuse a map that its first point shows to take more Hessian-vector products than this; 50,000 by default.",
)
@click.option(
    "--critical",
    is_flag=True,
    help="Measure only the critical sharpness along the gradient: one gradient and fewer than ten losses, for networks too "
    "large for Hessian-vector products.",
)
@click.option(
    "--noise-scale",
    "noise",
    is_flag=True,
    help="Measure only the gradient noise scale, from gradients of mini-batches; with other such options these too.",
)
@click.option(
    "--fisher-diagonal",
    "fisher",
    is_flag=True,
    help="Measure only the diagonal of the empirical Fisher matrix, from gradients of single examples; with other such options "
    "these too.",
)
@click.option(
    "--batch-size",
    type=int,
    show_default="64, or half of the examples",
    help="Examples of a mini-batch for --noise-scale.",
)
@click.option("--batches", type=int, default=32, show_default=True, help="Number of mini-batches for --noise-scale.")
@click.option(
    "--how",
    type=click.Choice(["auto", "exact", "differences"]),
    default="auto",
    show_default=True,
    help="How Hessian-vector products are taken: exact second derivatives, central differences of gradients, or the latter only "
    "where the former cannot be had.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed.")
@click.option("--out", type=_FILE, help="Folder for the arrays, the records and the pictures.")
@program_options
@click.option("--quiet", is_flag=True, help="Show no progress bar.")
@figure_options
@engine_options
def command(
    landscape: str | None,
    others: tuple[Path, ...],
    own: Network,
    at: str | None,
    k: int | None,
    probes: int,
    steps: int,
    relative: float,
    limit: int | None,
    kinds: str,
    search: int | None,
    along: tuple[Path, ...],
    lr: float | None,
    halves: int,
    mapped: str | None,
    map_points: int,
    map_span: float,
    map_limit: int | None,
    critical: bool,
    noise: bool,
    fisher: bool,
    batch_size: int | None,
    batches: int,
    how: Any,
    seed: int,
    out: Path | None,
    quiet: bool,
) -> None:
    """Measure the curvature of the loss around your own network, or at a point of a LANDSCAPE; or compare checkpoints A B ….

    Near a point the loss is L + g·d + ½ d·Hd. The Hessian H is used only through products with vectors. This prints

    \b
      is the point critical   |g| and r = |Hg| / (|H| |g|): if r is near 0 while g is not, this
                              is a gradient-flat point, not a critical point
      extremes                the k largest and smallest eigenvalues, with residuals: some
                              eigenvalue is guaranteed to lie within that distance
      trace                   with a 95 % interval, and the cost of a narrower one
      spectrum                the density of eigenvalues, with a band over the random vectors
      sharpness               by several definitions, each with its radius and scaling

    Finding no negative eigenvalue does not prove a minimum until the smallest one has converged. And a flat minimum
    need not be a good one: rescaling the units of a ReLU network changes the curvature, but not the function.

    \b
      lossatlas curvature --model my.py:make_model --data my.py:make_data \\
          --loss cross_entropy --checkpoint w.safetensors --k 5 --probes 4 \\
          --out DIR --json FILE
      lossatlas curvature himmelblau --at 0.0867,2.8843 --search 60 --out DIR
      lossatlas curvature --critical --model my.py:make_model --data my.py:make_data
      lossatlas curvature … --along step-0.safetensors --along step-100.safetensors \\
          --lr 0.1 --out DIR
      lossatlas curvature … --noise-scale --fisher-diagonal --json -
      lossatlas curvature … --map random --map-points 9 --out DIR
      lossatlas curvature a.safetensors b.safetensors --model my.py:make_model \\
          --data my.py:make_data --sharpness 'sam(0.05)' --out DIR

    Of several checkpoints A B … the sharpness is tabulated, each value with the error of its estimate and the standard error over
    the data. --critical, --noise-scale and --fisher-diagonal need no Hessian-vector products.

    Results are written as they come. If the command is interrupted or killed, the same command goes on from there.

    \b
    DIR then holds
      curvature.json                  all printed numbers
      extremes.png, spectrum.png      eigenvalues with residuals; the density with its band
      trace.png                       convergence of the trace, if it was estimated
      index.png, along.png            with --search; with --along
      map.png                         with --map; a map that is interrupted resumes
      noise.png, fisher.png           with --noise-scale; with --fisher-diagonal
      sharpness-1/, sharpness-2/, …   the tables of several networks
      *.json, *.safetensors           each result in full (eigenvectors, nodes, samples, points)
    """
    from lossatlas import _checks
    from lossatlas.cli._unused import refuse
    from lossatlas.cli._user import prepare
    from lossatlas.curvature import (
        Hessian,
        critical_point,
        critical_points,
        curvature_along,
        sharpness,
    )
    from lossatlas.probe import Probe
    from lossatlas.surface import tensor_digest

    measures = _kinds(kinds)
    show = not quiet
    only = gradients(critical, noise, fisher, relative, limit, batch_size, batches, seed, show)
    if not noise:
        refuse("batch_size", "batches", where="without --noise-scale")
    if mapped is None:
        refuse("map_points", "map_span", "map_limit", where="without --map")
    _checks.whole("--map-points", map_points, 2, 100)
    _checks.number("--map-span", map_span, above=0)
    _checks.optional(_checks.whole, "--map-limit", map_limit)
    if others:
        compare_checkpoints(landscape, others, own, measures, only, halves, seed, how, out, show)
        return
    refuse("halves", where="without several checkpoints")
    surface, point = _surface(landscape, own, at)
    prepare(out)
    say(f"{surface.name}: {several(surface.dimension, 'parameter')}, {several(surface.examples, 'example')}")
    if only:
        measured_only(surface, point, only, out, seed)
        return
    probe = Probe(surface)
    k = min(5, surface.dimension) if k is None else k
    operator = Hessian(surface, point, how=how, probe=probe)
    there: dict[str, Any] = {"point": point, "seed": seed, "how": how, "probe": probe}
    kept = Kept(
        out, {"surface": surface.fingerprint(), "point": tensor_digest(operator.point), "how": how, "seed": seed}, probe
    )
    told(kept.record)
    ends = kept.one("extremes", {"k": k}, lambda: operator.extremes(k, seed=seed, progress=show))
    here = kept.one("point", {}, lambda: critical_point(surface, **there))
    by = f"{operator.method}{f', since {operator.reason}' if operator.reason else ''}"
    tell("at the point", here.sentence, f"Hessian-vector products by {by}")
    low, high = (", ".join(f"{v:.4g}" for v in pairs.values) for pairs in (ends.smallest, ends.largest))
    tell("extremes", *ends.reading(), f"largest: {high}", f"smallest: {low}")
    whole = kept.one(
        "trace",
        {"relative": relative, "limit": limit or TRACED, "k": k},
        lambda: operator.trace(
            relative=relative, limit=TRACED if limit is None else limit, known=ends, seed=seed, progress=show
        ),
    )
    assert whole.frobenius is not None
    tell("trace", whole.sentence, whole.frobenius.sentence)
    if probes:
        spread = kept.one(
            "spectrum",
            {"probes": probes, "steps": steps},
            lambda: operator.spectrum(probes=probes, steps=steps, seed=seed, progress=show),
        )
        tell("spectrum", *spread.reading())
    measured = [
        kept.one(
            f"sharpness-{number + 1}",
            {"kind": kind, "rho": rho},
            partial(sharpness, surface, kind, rho=rho, progress=show, **there),
        )
        for number, (kind, rho) in enumerate(measures)
    ]
    if measured:
        tell("sharpness", *(one.sentence for one in measured))
    if search is not None:
        caught = kept.one(
            "search",
            {"starts": search},
            lambda: critical_points(surface, starts=search, seed=seed, how=how, probe=probe, progress=show),
        )
        tell(
            "critical points",
            caught.sentence,
            *([caught.status] if caught.status != "complete" else []),
            *(one.sentence for one in caught.distinct()[:12]),
        )
    if along:
        run = kept.one(
            "along",
            {"files": [tensor_digest(surface.vector(file)) for file in along], "lr": lr, "k": k},
            lambda: curvature_along(
                surface, [str(file) for file in along], lr=lr, k=k, seed=seed, how=how, probe=probe, progress=show
            ),
        )
        tell("along the run", *run.reading())
    if mapped is not None:
        cells = {"plane": mapped, "points": map_points, "span": map_span}
        chart = kept.one("map", cells, partial(_map, surface, point, cells, map_limit, seed, how, probe, out, show))
        tell(f"map over a {mapped} plane", *chart.reading())
    kept.finish()
    cost = probe.meter
    earlier = f"; {several(kept.found, 'result')} came from the folder" if kept.found else ""
    say(
        f"cost: {several(cost.products, 'Hessian-vector product')}, {several(cost.gradients, 'gradient')}, "
        f"{several(cost.values, 'loss evaluation')}, {cost.surface_seconds:.2f} s{earlier}"
    )
    if out is not None:
        _draw(out, kept.done)
        message(f"written: {out}")
    if whole.status.startswith("not converged"):
        missed(f"the trace reached ± {whole.half / abs(whole.value):.2g} of its value, not ± {relative:g}", "relative")


def _map(
    surface: Surface, point: Tensor | None, cells: Mapping[str, Any], most: int | None, seed: int, how: Any, probe: Any,
    out: Path | None, show: bool,
) -> Any:  # fmt: skip
    """The curvature map over a plane through the point."""
    from lossatlas.chart import Plane
    from lossatlas.curvature import curvature_map

    make: Any = getattr(Plane, cells["plane"])
    plane = make(surface, seed=seed, origin=point)
    limits = {} if most is None else {"most": most}
    found = curvature_map(
        surface, plane, points=cells["points"], span=cells["span"], seed=seed, how=how, folder=out, probe=probe,
        progress=show, on_forecast=lambda made: message(f"{made.sentence}; {made.notes[0]}"), **limits,
    )  # fmt: skip
    if found.status.startswith("interrupted"):
        raise KeyboardInterrupt  # what is done lies in the folder, and the same command goes on from there
    return found


def _surface(landscape: str | None, own: Network, at: str | None) -> tuple[Surface, Tensor | None]:
    import torch

    from lossatlas._errors import InputError
    from lossatlas.cli._user import numbers
    from lossatlas.surface import landscapes

    if landscape is not None:
        if own.given:
            raise InputError(
                f"got the landscape {landscape!r} and {', '.join(own.given)}; expected one or the other. Leave out LANDSCAPE "
                "for your own network, whose weights go in as --checkpoint; two checkpoints and more are compared."
            )
        surface = landscapes.landscape(landscape)
        return surface, torch.tensor(numbers(at, "--at"), dtype=torch.float64) if at is not None else None
    if own.model is None or own.data is None:
        raise InputError(
            "got neither a LANDSCAPE nor both --model and --data; expected, for example, himmelblau, or --model "
            "my.py:make_model --data my.py:make_data."
        )
    if at is not None:
        raise InputError(
            f"got --at {at} with --model; expected it with a LANDSCAPE. A network's point is its --checkpoint."
        )
    return network(own, own.module()), None


def _kinds(text: str) -> list[tuple[Any, float | None]]:
    """Kinds of sharpness with their radius, as in ``sam(0.1),asam``."""
    from lossatlas._errors import InputError, UnknownNameError
    from lossatlas.curvature import KINDS

    found: list[tuple[Any, float | None]] = []
    for part in (word.strip() for word in text.split(",")):
        if part in ("", "none"):
            continue
        name, _, rest = part.partition("(")
        if name not in KINDS:
            raise UnknownNameError("kind of sharpness", name, KINDS)
        try:
            found.append((name, float(rest.rstrip(")")) if rest else None))
        except ValueError as error:
            raise InputError(
                f"got --sharpness {part!r}; expected a kind with its radius, for example sam(0.1)."
            ) from error
    return found


def _draw(out: Path, done: Mapping[str, Any]) -> None:
    pictures = {
        "extremes": "extremes.png",
        "spectrum": "spectrum.png",
        "search": "index.png",
        "along": "along.png",
        "map": "map.png",
    }
    for name in pictures.keys() & done.keys():
        done[name].plot().save(out / pictures[name])
    if done["trace"].samples:
        done["trace"].plot().save(out / "trace.png")
