"""C4: the deep wells are what the note says they are."""

from __future__ import annotations

import torch

from lossatlas.lessons._lesson import Check, Lesson, Part, spent
from lossatlas.lessons._well_checks import ground
from lossatlas.probe import Probe
from lossatlas.surface import landscapes

CLAIM = (
    "The deep wells: three traps of depths 3.0, 3.5 and 4.0 and a global well of 6.5 on a gentle bowl; the start in the "
    "south-west, the global well diagonally opposite in the south-east, A (3.5) catches the start."
)


def experiment(runs: int, seed: int) -> Part:
    """Evaluate the surface for minima and basins, and compare places and depths with the note's."""
    surface = landscapes.deep_wells()
    probe = Probe(surface)
    depths = {well.name: well.depth for well in surface.wells}
    deepest = next(well for well in surface.wells if well.name == "global")
    assert surface.start is not None
    places = torch.sign(surface.start).tolist(), torch.sign(deepest.minimum).tolist()
    checks = (
        *ground(surface, probe),
        Check(
            "depths 3.0, 3.5 (A), 4.0 and 6.5 (global)",
            ", ".join(f"{name} {depth}" for name, depth in depths.items()),
            sorted(depths.values()) == [3.0, 3.5, 4.0, 6.5] and depths["A"] == 3.5 and depths["global"] == 6.5,
        ),
        Check(
            "the start in the south-west, the global well in the south-east",
            f"start {surface.start.tolist()}, global {[round(v, 2) for v in deepest.minimum.tolist()]}",
            places == ([-1.0, -1.0], [1.0, -1.0]),
        ),
    )
    what = "Gradients and curvatures at the declared wells; normalized descent from a 60 × 60 grid."
    return Part(what, checks, spent(probe.meter))


LESSON = Lesson("C4", CLAIM, experiment)
