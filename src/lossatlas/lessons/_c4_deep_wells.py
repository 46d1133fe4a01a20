"""C4: the deep wells are what the note says they are."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from lossatlas.lessons._lesson import Check, Ending, Lesson, Row, spent
from lossatlas.lessons._well_checks import ground
from lossatlas.probe import Probe
from lossatlas.race import race
from lossatlas.surface import landscapes

CLAIM = (
    "The deep wells: three traps of depths 3.0, 3.5 and 4.0 and a global well of 6.5 on a gentle bowl; the start in the "
    "south-west, the global well diagonally opposite in the south-east, A (3.5) catches the start."
)


def experiment(runs: int, seed: int) -> Iterator[Row]:
    """Evaluate the surface for minima and basins, and compare places and depths with the note's."""
    yield "Gradients and curvatures are evaluated at the wells, and descent starts from every point of a 60 × 60 grid."
    surface = landscapes.deep_wells()
    probe = Probe(surface)
    depths = {well.name: well.depth for well in surface.wells}
    deepest = next(well for well in surface.wells if well.name == "global")
    assert surface.start is not None
    places = torch.sign(surface.start).tolist(), torch.sign(deepest.minimum).tolist()
    yield from ground(surface, probe)
    yield Check(
        "the traps are 3.0, 3.5 (A) and 4.0 deep, and the global well 6.5",
        ", ".join(f"{name} is {depth} deep" for name, depth in depths.items()),
        sorted(depths.values()) == [3.0, 3.5, 4.0, 6.5] and depths["A"] == 3.5 and depths["global"] == 6.5,
    )
    yield Check(
        "the start lies in the south-west, the global well in the south-east",
        f"the start at ({', '.join(f'{v:g}' for v in surface.start.tolist())}), the well at "
        f"({', '.join(f'{v:.2f}' for v in deepest.minimum.tolist())})",
        places == ([-1.0, -1.0], [1.0, -1.0]),
    )
    yield Ending(spent(probe.meter), pictures={"wells": race(surface, ["gd"], seed=seed).plot()})


LESSON = Lesson("C4", CLAIM, experiment, depends="nothing that is random: the constants of the landscape are fixed.")
