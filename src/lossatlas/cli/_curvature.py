"""`lossatlas curvature`: how a loss surface bends at a point, every number with its error."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lossatlas.cli._network import criterion, loss_options

if TYPE_CHECKING:
    from torch import Tensor

    from lossatlas.surface import Surface

_FILE = click.Path(path_type=Path)


@click.command("curvature", short_help="How the loss surface bends around your network, with error bars.")
@click.argument("landscape", required=False)
@click.option("--model", metavar="FILE.py:FUNCTION", help="Function without arguments that returns the torch module.")
@click.option("--data", metavar="FILE.py:FUNCTION", help="Function that returns (X, y), a Dataset or a DataLoader.")
@loss_options
@click.option(
    "--checkpoint",
    type=_FILE,
    help="Weights: a file, or a folder that a trainer wrote; FILE::KEY for a part of a file.",
)
@click.option(
    "--eval", "evaluate", is_flag=True, help="Put the model into evaluation mode (dropout off, batch norm frozen)."
)
@click.option("--at", metavar="X,Y,…", help="On a LANDSCAPE: the point; its declared start by default.")
@click.option("--k", type=int, help="Eigenvalues from each end; 5 by default, or as many as there are.")
@click.option(
    "--probes", type=int, default=4, show_default=True, help="Random vectors behind the spectrum; 0 for none."
)
@click.option("--steps", type=int, default=80, show_default=True, help="Hessian products with each of them.")
@click.option(
    "--relative", type=float, default=0.05, show_default=True, help="How narrow the interval of the trace is to be."
)
@click.option(
    "--limit",
    type=int,
    default=200,
    show_default=True,
    help="Hessian products at most for the trace; it says what more would buy.",
)
@click.option(
    "--sharpness",
    "kinds",
    default="sam,asam,average",
    show_default=True,
    help="Kinds separated by commas: lambda-max, trace, keskar, sam, asam, average; with their radius as sam(0.1); or none.",
)
@click.option(
    "--search",
    type=int,
    metavar="STARTS",
    help="Also search for critical points from this many starts, and draw index against loss.",
)
@click.option(
    "--along",
    type=_FILE,
    multiple=True,
    help="A checkpoint of the run, in order; repeated, λmax along the run is drawn.",
)
@click.option("--rate", type=float, help="Learning rate of that run: draws the line 2/η.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of everything random.")
@click.option("--out", type=_FILE, help="Folder for the arrays, the records and the pictures.")
@click.option("--json", "json_file", type=_FILE, help="Write everything a program needs into this file.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def command(
    landscape: str | None,
    model: str | None,
    data: str | None,
    loss: str | None,
    objective: str | None,
    checkpoint: Path | None,
    evaluate: bool,
    at: str | None,
    k: int | None,
    probes: int,
    steps: int,
    relative: float,
    limit: int,
    kinds: str,
    search: int | None,
    along: tuple[Path, ...],
    rate: float | None,
    seed: int,
    out: Path | None,
    json_file: Path | None,
    quiet: bool,
) -> None:
    """How the loss surface bends around your own network, or at a point of a LANDSCAPE.

    Near a point the loss is L + g·d + ½ d·Hd. This asks for the Hessian H by its products with vectors, never for H
    itself, and prints

    \b
      is the point critical   |g|, and r = |Hg| / (|H| |g|): if r is near 0 while g is
                              not, only the size of the gradient rests there
      extremes                the k largest and smallest eigenvalues with residuals: an
                              eigenvalue lies within that distance for certain
      trace                   with a 95 % interval, and what a closer one would cost
      spectrum                how eigenvalues are spread, with a band over the probes
      sharpness               by several definitions, each with its radius and scaling

    No negative eigenvalue met is no proof of a minimum: eigenvalues are approached from inside. And flat is not
    good: units of a ReLU network can be rescaled so that any curvature comes out, with the same function.

    \b
      lossatlas curvature --model my.py:make_model --data my.py:make_data \\
          --loss cross_entropy --checkpoint w.safetensors --k 5 --probes 4 \\
          --out DIR --json FILE
      lossatlas curvature himmelblau --at 0.0867,2.8843 --search 60 --out DIR
      lossatlas curvature … --along step-0.safetensors --along step-100.safetensors \\
          --rate 0.1 --out DIR

    \b
    DIR then holds
      curvature.json                  all numbers of the printout
      extremes.png, spectrum.png      eigenvalues with residuals; the density with its band
      trace.png                       how the estimate settled, where it is one
      index.png, along.png            with --search; with --along
      *.json, *.safetensors           each result as it is (vectors, nodes, draws, points)
    """
    from lossatlas import archive
    from lossatlas.cli._user import prepare
    from lossatlas.curvature import Hessian, critical_point, critical_points, curvature_along, sharpness
    from lossatlas.probe import Probe

    measures = _kinds(kinds)
    surface, point = _surface(landscape, model, data, loss, objective, checkpoint, evaluate, at)
    prepare(out, json_file)
    show = not quiet
    done: dict[str, Any] = {}
    click.echo(f"{surface.name}: {surface.dimension:,} parameters, {surface.examples:,} examples")

    def tell(title: str, *sentences: str) -> None:
        click.echo(title)
        for sentence in sentences:
            click.echo(f"- {sentence}")

    probe = Probe(surface)
    there: dict[str, Any] = {"point": point, "seed": seed, "probe": probe}
    k = min(5, surface.dimension) if k is None else k
    operator = Hessian(surface, point, probe=probe)
    ends = operator.extremes(k, seed=seed, progress=show)
    here = critical_point(surface, **there)
    tell("at the point", here.sentence)
    low, high = (", ".join(f"{v:.4g}" for v in pairs.values) for pairs in (ends.smallest, ends.largest))
    tell("extremes", *ends.reading(), f"largest: {high}", f"smallest: {low}")
    done |= {"point": here, "extremes": ends}
    whole = operator.trace(relative=relative, limit=limit, known=ends, seed=seed, progress=show)
    assert whole.frobenius is not None
    tell("trace", whole.sentence, whole.frobenius.sentence)
    done["trace"] = whole
    if probes:
        spread = operator.spectrum(probes=probes, steps=steps, seed=seed, progress=show)
        tell("spectrum", *spread.reading())
        done["spectrum"] = spread
    measured = [sharpness(surface, kind, rho=rho, progress=show, **there) for kind, rho in measures]
    if measured:
        tell("sharpness", *(one.sentence for one in measured))
    if search is not None:
        caught = critical_points(surface, starts=search, seed=seed, probe=probe, progress=show)
        tell(
            "critical points",
            caught.sentence,
            *([caught.status] if caught.status != "complete" else []),
            *(one.sentence for one in caught.distinct()[:12]),
        )
        done["search"] = caught
    if along:
        run = curvature_along(
            surface, [str(file) for file in along], rate=rate, k=k, seed=seed, probe=probe, progress=show
        )
        tell("along the run", *run.reading())
        done["along"] = run
    records = {name: one.record() for name, one in done.items()}
    records["sharpness"] = [one.record() for one in measured]
    bill = probe.meter
    everything = {"kind": "curvature", "surface": surface.fingerprint(), **records, "meter": bill.record()}
    click.echo(
        f"asked: {bill.products:,} Hessian products, {bill.gradients:,} gradients, {bill.values:,} losses, "
        f"{bill.surface_seconds:.2f} s"
    )
    if out is not None:
        _write(out, done, everything)
        click.echo(f"written: {out}")
    if json_file is not None:
        archive.write_json(json_file, everything)


def _surface(
    landscape: str | None, model: str | None, data: str | None, loss: str | None, objective: str | None,
    checkpoint: Path | None, evaluate: bool, at: str | None,
) -> tuple[Surface, Tensor | None]:  # fmt: skip
    import torch

    from lossatlas._errors import InputError
    from lossatlas.cli._checkpoints import tell
    from lossatlas.cli._user import call, numbers
    from lossatlas.surface import NetworkSurface, landscapes, load_checkpoint

    if landscape is not None:
        if model or data or checkpoint:
            raise InputError(
                f"got the landscape {landscape!r} and a model, data or checkpoint; expected one or the other. Leave out "
                "LANDSCAPE for your own network."
            )
        surface = landscapes.landscape(landscape)
        return surface, torch.tensor(numbers(at, "--at"), dtype=torch.float64) if at is not None else None
    if model is None or data is None:
        raise InputError(
            "got neither a LANDSCAPE nor both --model and --data; expected, for example, himmelblau, or --model "
            "my.py:make_model --data my.py:make_data."
        )
    if at is not None:
        raise InputError(
            f"got --at {at} with --model; expected it with a LANDSCAPE. A network's point is its --checkpoint."
        )
    module = call(model, "--model")
    if checkpoint is not None:
        tell(load_checkpoint(module, checkpoint))
    if evaluate:
        module.eval()
    return NetworkSurface(module, data=call(data, "--data"), **criterion(loss, objective)), None


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


def _write(out: Path, done: dict[str, Any], everything: dict[str, Any]) -> None:
    from lossatlas import archive

    pictures = {"extremes": "extremes.png", "spectrum": "spectrum.png", "search": "index.png", "along": "along.png"}
    for name, one in done.items():
        if hasattr(one, "save"):
            one.save(out)
        if name in pictures:
            one.plot().save(out / pictures[name])
    if done["trace"].samples:
        done["trace"].plot().save(out / "trace.png")
    archive.write_json(out / "curvature.json", everything)
