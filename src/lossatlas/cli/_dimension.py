"""`lossatlas dimension`: how many dimensions a loss surface has."""

from __future__ import annotations

import click

from lossatlas.cli._programs import program_options, told
from lossatlas.cli._say import screen


@click.command("dimension", short_help="Count the dimensions of a loss surface.")
@click.argument("names", nargs=-1)
@click.option(
    "--model",
    metavar="FILE.py:FUNCTION",
    help="Function that returns your own network; built on the meta device if possible, so it need not fit in memory.",
)
@program_options
def command(names: tuple[str, ...], model: str | None) -> None:
    """Count the dimensions of a loss surface: parameters + 1.

    NAMES are standard models; without any (and without --model) all of them are listed. The parameters are counted on
    the published configuration, built without allocating memory.

    \b
      lossatlas dimension resnet50
      lossatlas dimension gpt3
      lossatlas dimension --model my.py:make_model
    """
    from rich.table import Table
    from rich.text import Text

    from lossatlas._errors import InputError
    from lossatlas.cli._user import call
    from lossatlas.surface import count, standard, standard_dimension

    found = []
    if model is not None:
        import torch

        try:
            with torch.device("meta"):
                module = call(model, "--model")
        except InputError:
            # A function that computes with its tensors, or loads weights, needs real ones.
            module = call(model, "--model")
        found.append(count(module))
    wanted = names or (() if model is not None else tuple(standard))
    found += [standard_dimension(name) for name in wanted]
    table = Table(title="Dimensions of loss surfaces", title_justify="left")
    for k, column in enumerate(("model", "parameters N", "dimensions N + 1", "note")):
        table.add_column(column, justify="right" if k in (1, 2) else "left", overflow="fold")
    for one in found:
        table.add_row(Text(one.name), f"{one.parameters:,}", f"{one.surface:,}", Text(one.note))
    screen().print(table)
    rows = [
        {"name": d.name, "parameters": d.parameters, "dimensions": d.surface, "frozen": d.frozen, "note": d.note}
        for d in found
    ]
    told(lambda: {"kind": "dimension", "models": rows})
