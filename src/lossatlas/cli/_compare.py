"""`lossatlas chart --compare`: the network beside its other checkpoints, on the same seeds and in one color scale."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lossatlas.cli._say import say

if TYPE_CHECKING:
    from lossatlas.chart import Comparison
    from lossatlas.surface import NetworkSurface

# Cells per axis unless --points is given: all of them are evaluated, on every plane of every network.
POINTS = 21


def compared(
    surface: NetworkSurface,
    made: Callable[[Path], NetworkSurface],
    checkpoints: tuple[Path, ...],
    called: list[str],
    **settings: Any,
) -> Comparison:
    """Chart a network and others on paired planes, and print how rough each is.

    Args:
        surface: the network of --model and --checkpoint.
        made: the same with the weights of another file.
        checkpoints: these files.
        called: names of the network, and of each of these.
        settings: of `lossatlas.compare`.
    """
    from lossatlas.chart import compare

    own, *names = called
    named: dict[str, NetworkSurface] = {own: surface}
    for name, path in zip(names, checkpoints, strict=True):
        named[name] = made(path)
    found = compare(named, **settings)
    say(str(found.table()))
    for sentence in [*found.definitions, *found.reading()]:
        say(f"- {sentence}")
    return found
