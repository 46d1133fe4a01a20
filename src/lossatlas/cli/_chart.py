"""`lossatlas chart`: the user's own network on a plane."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command("chart", short_help="Chart the loss surface around your own network.")
@click.option(
    "--model",
    required=True,
    metavar="FILE.py:FUNCTION",
    help="Function without arguments that returns the torch module.",
)
@click.option(
    "--data", required=True, metavar="FILE.py:FUNCTION", help="Function that returns (X, y), a Dataset or a DataLoader."
)
@click.option(
    "--loss",
    default="cross_entropy",
    show_default=True,
    help="cross_entropy, nll, mse, l1, huber, bce_with_logits, model, or FILE.py:FUNCTION of (output, target).",
)
@click.option(
    "--checkpoint", type=click.Path(path_type=Path), help="Weights: .safetensors, or .pt read with weights_only=True."
)
@click.option(
    "--eval", "evaluate", is_flag=True, help="Put the model into evaluation mode (dropout off, batch norm frozen)."
)
@click.option(
    "--plane", "kind", type=click.Choice(["random"]), default="random", show_default=True, help="How the plane is made."
)
@click.option(
    "--normalization",
    type=click.Choice(["filter", "layer", "none"]),
    default="filter",
    show_default=True,
    help="What one unit on an axis means: relative to each filter's norm (Li et al. 2018), to each layer's, or plain.",
)
@click.option("--span", type=float, default=1.0, show_default=True, help="How far to go to both sides.")
@click.option(
    "--points", type=int, default=51, show_default=True, help="Cells per axis; an odd number includes the center."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random directions.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the arrays, the record and the pictures.")
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path), help="Write everything a program needs into this file."
)
@click.option("--quiet", is_flag=True, help="No forecast, no progress bar.")
def command(
    model: str,
    data: str,
    loss: str,
    checkpoint: Path | None,
    evaluate: bool,
    kind: str,
    normalization: str,
    span: float,
    points: int,
    seed: int,
    out: Path | None,
    json_file: Path | None,
    quiet: bool,
) -> None:
    """Chart the loss surface around your own network.

    Two random directions are drawn through the network's parameters and scaled to its filters; the loss is
    evaluated at every cell of a grid over that plane. What it will cost is said first, what it did cost afterwards.

    \b
      lossatlas chart --model my.py:make_model --data my.py:make_data \\
          --loss cross_entropy --checkpoint w.safetensors --points 51 --seed 0 --out DIR

    \b
    DIR then holds
      chart.json, chart.safetensors   the record and the arrays (lossatlas.load)
      contour.png, relief.png         the loss over the plane
      accuracy.png                    where the loss is a classification loss

    The picture is a slice: two directions of as many as the network has parameters.
    """
    from lossatlas import archive
    from lossatlas.chart import Plane, chart
    from lossatlas.cli._user import call, function, prepare
    from lossatlas.surface import NetworkSurface, load_checkpoint

    module = call(model, "--model")
    if checkpoint is not None:
        load_checkpoint(module, checkpoint)
    if evaluate:
        module.eval()
    chosen: Any = function(loss, "--loss") if ":" in loss else loss
    surface = NetworkSurface(module, chosen, call(data, "--data"))
    plane = Plane.random(surface, seed=seed, normalization=normalization)
    prepare(out, json_file)
    made = chart(surface, plane, span=span, points=points, progress=not quiet)
    click.echo(f"{surface.name}: {surface.dimension:,} parameters, {surface.examples:,} examples")
    click.echo(f"loss at the center: {surface.loss_at_theta:.6g}")
    for sentence in made.reading():
        click.echo(f"- {sentence}")
    seconds = made.meter["surface_seconds"]
    click.echo(f"asked: {made.meter['values']:,} losses, {made.meter['examples']:,} examples, {seconds:.2f} s")
    if out is not None:
        made.save(out)
        made.plot().save(out / "contour.png")
        made.plot_relief().save(out / "relief.png")
        if "accuracy" in made.extras:
            made.plot(channel="accuracy").save(out / "accuracy.png")
        click.echo(f"written: {out}")
    if json_file is not None:
        arrays = {"alpha": made.alpha.tolist(), "beta": made.beta.tolist(), "loss": made.loss.tolist()}
        extras = {name: channel.tolist() for name, channel in made.extras.items()}
        archive.write_json(json_file, {**made.record(), **arrays, "extras": extras})
