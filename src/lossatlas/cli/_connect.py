"""`lossatlas connect`: what lies between two trained networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lossatlas.cli._log import message
from lossatlas.cli._network import Network, network, network_options
from lossatlas.cli._pictures import figure_options
from lossatlas.cli._programs import program_options, told
from lossatlas.cli._say import say
from lossatlas.cli._workers import engine_options


@click.command(
    "connect", short_help="Measure the loss barrier between two trained networks, along a line or a trained curve."
)
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@network_options(required=True, checkpoint=False, test="to evaluate the path there too")
@click.option(
    "--kind",
    type=click.Choice(["line", "bezier", "chain", "band"]),
    default="line",
    show_default=True,
    help="Shape of the path: a straight line, a trained Bézier curve, a trained polygonal chain, or a nudged elastic band.",
)
@click.option(
    "--controls",
    type=int,
    help="Number of control points of a curve between A and B: 1 by default; for a band at most 7.",
)
@click.option(
    "--steps", type=int, default=1000, show_default=True, help="Training steps of a curve, one mini-batch each."
)
@click.option("--lr", type=float, default=3e-3, show_default=True, help="Learning rate for training a curve.")
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    help="Folder for training checkpoints; the same command resumes from there.",
)
@click.option(
    "--definition",
    type=click.Choice(["entezari", "ainsworth", "frankle"]),
    default="entezari",
    show_default=True,
    help="Definition of the barrier: loss above the chord of the end losses, loss above their mean, or error above their mean.",
)
@click.option(
    "--points", type=int, help="Maximum number of points along the path: 20 on a line and 61 on a curve by default."
)
@click.option(
    "--statistics",
    type=click.Choice(["reset", "stale", "repair"]),
    default="reset",
    show_default=True,
    help="Batch-norm statistics along the path: re-estimated at every t, interpolated between the ends (stale), or REPAIR of "
    "all hidden units.",
)
@click.option("--align/--no-align", "aligned", help="Permute B's hidden units to match A's first, then compare.")
@click.option(
    "--method",
    type=click.Choice(["weights", "activations", "both", "straight-through"]),
    default="weights",
    show_default=True,
    help="Match hidden units by their weights, their activations, or both; or learn the permutations by gradients of the loss "
    "halfway between A and B (straight-through).",
)
@click.option(
    "--align-steps",
    type=int,
    default=200,
    show_default=True,
    help="Steps of --method straight-through, a mini-batch each.",
)
@click.option(
    "--guess-names", is_flag=True, help="If B names its tensors differently, pair them by prefix, order and shape."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the arrays, the record and the pictures.")
@program_options
@click.option("--quiet", is_flag=True, help="Show no progress bar.")
@figure_options
@engine_options
def command(
    a: Path,
    b: Path,
    own: Network,
    kind: Any,
    controls: int | None,
    steps: int,
    lr: float,
    resume: Path | None,
    definition: str,
    points: int | None,
    statistics: Any,
    aligned: bool,
    method: Any,
    align_steps: int,
    guess_names: bool,
    seed: int,
    out: Path | None,
    quiet: bool,
) -> None:
    """Measure the loss barrier between two trained networks.

    A and B are two checkpoints of one architecture. The loss is evaluated along the straight line between them, most
    densely where its curvature is high and around its maximum, or along a curve that is trained to keep the loss low.
    Intervals come from a paired bootstrap over the examples.

    \b
      lossatlas connect a.safetensors b.safetensors --model my.py:make_model --data my.py:make_data \\
          --test my.py:make_test --out DIR

    \b
    DIR then holds
      path.json, path.safetensors   the record and the arrays (lossatlas.load)
      profile.png                   the loss along the path
      error.png                     for classification losses
      plane.png                     for a curve: the plane through A, B and the farthest control point
      alignment/                    with --align: the permutation, and B permuted (permuted.safetensors)
      naive/                        with --align: the straight line without alignment
      merge/                        with --align: averages of A and B, several ways, and the weights of the best
    """
    from lossatlas.cli._unused import refuse
    from lossatlas.cli._user import prepare
    from lossatlas.connect import align, connect, merge

    if kind == "line":
        refuse("controls", "steps", "lr", "resume", where="with --kind line")
    if not aligned:
        refuse("method", where="without --align")
    if method != "straight-through":
        refuse("align_steps", where="without --method straight-through")
    module = own.module()
    surface = network(own, module)
    other = None if own.test is None else network(own, module, test=True)
    prepare(out)
    names: Any = "guess" if guess_names else None
    settings: dict[str, Any] = {
        "test": other, "definition": definition, "points": points, "seed": seed, "progress": not quiet
    }  # fmt: skip
    matching: dict[str, Any] = {
        "method": method,
        "steps": align_steps,
        "names": names,
        "seed": seed,
        "progress": not quiet,
    }
    moved = align(surface, a, b, **matching) if aligned else None
    naive = (
        connect(surface, a, b, names=names, statistics="reset" if statistics == "repair" else statistics, **settings)
        if moved
        else None
    )
    path = connect(
        surface,
        a,
        b if moved is None else moved.permuted,
        kind=kind,
        statistics=statistics,
        names=None if moved else names,
        controls=controls,
        steps=steps,
        lr=lr,
        folder=resume,
        **settings,
    )
    # What is printed is kept by then: who stops the command loses nothing that was seen.
    if out is not None:
        path.save(out)
    merged = merge(surface, a, b, test=other, alignment=moved, names=names, seed=seed) if moved else None
    if out is not None and moved is not None and merged is not None and naive is not None:
        moved.save(out / "alignment")
        merged.save(out / "merge")
        naive.save(out / "naive")
    say(f"{surface.name}: {surface.dimension:,} parameters, {surface.examples:,} examples")
    for sentence in path.reading():
        say(f"- {sentence}")
    if moved is not None and merged is not None and naive is not None:
        low = f"{naive.barrier:.4g}" + (
            f" ({naive.interval[0]:.4g} to {naive.interval[1]:.4g})" if naive.interval else ""
        )
        say(f"without alignment: barrier of the straight line {low}")
        for sentence in moved.reading():
            say(f"- {sentence}")
        say(str(merged))
    cost = path.meter
    say(
        f"cost: {cost.values:,} loss evaluations, {cost.gradients:,} gradients, {cost.examples:,} examples, "
        f"{cost.surface_seconds:.2f} s"
    )
    if out is not None:
        also = None if naive is None else {"without alignment": naive}
        path.plot(label=None if naive is None else f"aligned, {kind}", also=also).save(out / "profile.png")
        if path.error is not None:
            path.plot(quantity="error").save(out / "error.png")
        if kind != "line":
            path.plot_plane(surface).save(out / "plane.png")
        message(f"written: {out}")

    def record() -> dict[str, Any]:
        arrays = {name: values.tolist() for name, values in path.arrays().items() if name != "curve/controls"}
        others = {"naive": naive, "alignment": moved, "merge": merged}
        beside = {name: one.record() for name, one in others.items() if one is not None}
        return {**path.record(), "arrays": arrays, **beside}

    told(record)
