"""`lossatlas chart --compare`: the network beside other checkpoints of its, on the same seeds and in one color scale."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lossatlas._errors import InputError

if TYPE_CHECKING:
    from lossatlas.chart import Comparison
    from lossatlas.surface import NetworkSurface

# Cells per axis unless --points is given: all of them are asked, on every plane of every network.
POINTS = 21


def compared(
    surface: NetworkSurface, made: Callable[[Path], NetworkSurface], checkpoints: tuple[Path, ...], **settings: Any
) -> Comparison:
    """Chart a network and others on paired planes, and print how rough each is.

    Args:
        surface: the network of --model and --checkpoint.
        made: the same with the weights of another file.
        checkpoints: these files.
        settings: of `lossatlas.compare`.

    Raises:
        InputError: if two files have one name.
    """
    from lossatlas.chart import compare

    named: dict[str, NetworkSurface] = {"model": surface}
    for path in checkpoints:
        if path.stem in named:
            raise InputError(
                f"got two networks named {path.stem!r}; expected files with names of their own. Rename one."
            )
        named[path.stem] = made(path)
    found = compare(named, **settings)
    click.echo(str(found.table()))
    for sentence in [*found.definitions, *found.reading()]:
        click.echo(f"- {sentence}")
    return found
