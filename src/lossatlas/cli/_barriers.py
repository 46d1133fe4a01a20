"""`lossatlas barriers`: the barrier between every two of several checkpoints, and how alike they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lossatlas.cli._log import message
from lossatlas.cli._network import Network, network, network_options
from lossatlas.cli._pictures import figure_options
from lossatlas.cli._programs import program_options, told
from lossatlas.cli._say import say


@click.command("barriers", short_help="Measure the loss barrier between every two of several checkpoints.")
@click.argument("checkpoints", nargs=-1, required=True, type=click.Path(path_type=Path))
@network_options(required=True, checkpoint=False, test="to evaluate the paths there too")
@click.option(
    "--definition",
    type=click.Choice(["entezari", "ainsworth", "frankle"]),
    default="entezari",
    show_default=True,
    help="Definition of the barrier: loss above the chord of the end losses, loss above their mean, or error above their mean.",
)
@click.option("--points", type=int, help="Maximum number of points along each line: 20 by default.")
@click.option("--align/--no-align", "aligned", help="Permute the second network of every pair to match the first.")
@click.option(
    "--similarity/--no-similarity", "alike", help="Also compare their representations, layer by layer (linear CKA)."
)
@click.option("--layer", help="Module whose representations are drawn; the last by default.")
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the records and the pictures.")
@program_options
@click.option("--quiet", is_flag=True, help="Show no progress bar.")
@figure_options
def command(
    checkpoints: tuple[Path, ...],
    own: Network,
    definition: str,
    points: int | None,
    aligned: bool,
    alike: bool,
    layer: str | None,
    seed: int,
    out: Path | None,
    quiet: bool,
) -> None:
    """Measure the loss barrier between every two of several checkpoints.

    At least three checkpoints of one architecture. The straight line between every two of them is evaluated; intervals
    come from a paired bootstrap over the examples, and that of the mean from leaving out each network in turn.

    \b
      lossatlas barriers a.pt b.pt c.pt --model my.py:make_model --data my.py:make_data --similarity --out DIR

    \b
    DIR then holds
      barriers/       the record and the arrays (lossatlas.load)
      barriers.png    the matrix, with intervals
      similarity/     with --similarity: linear CKA of every layer
      similarity.png  the matrix of one layer
    """
    from lossatlas.cli._unused import refuse
    from lossatlas.cli._user import prepare
    from lossatlas.connect import barriers, similarity

    if not alike:
        refuse("layer", where="without --similarity")
    module = own.module()
    surface = network(own, module)
    other = None if own.test is None else network(own, module, test=True)
    prepare(out)
    named: dict[str, Any] = dict(zip(_names(checkpoints), checkpoints, strict=True))
    found = barriers(
        surface, named, definition=definition, test=other, points=points, seed=seed, aligned=aligned, progress=not quiet
    )
    if out is not None:
        found.save(out / "barriers")
    say(found.sentence)
    say(str(found.table()))
    same = similarity(surface, named) if alike else None
    if same is not None:
        if out is not None:
            same.save(out / "similarity")
        say(same.sentence)
    if out is not None:
        found.plot_matrix().save(out / "barriers.png")
        if same is not None:
            same.plot(layer=layer).save(out / "similarity.png")
        message(f"written: {out}")
    told(lambda: {"barriers": found.record(), **({} if same is None else {"similarity": same.record()})})


def _names(paths: tuple[Path, ...]) -> list[str]:
    """Short names that tell the files apart: their stems, with as many folders before them as it takes."""
    for depth in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join((*path.parts[-depth:-1], path.stem)) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [f"{k + 1}" for k in range(len(paths))]
