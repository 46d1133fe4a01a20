"""C2: the four wells are what the note says they are."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from lossatlas.lessons._lesson import Check, Ending, Lesson, Row, spent
from lossatlas.lessons._well_checks import ground, height
from lossatlas.probe import Probe, Products
from lossatlas.race import race
from lossatlas.surface import landscapes

CLAIM = (
    "The four wells: A at (−2.5, −2.5), the global well at (3, −1), two more traps of other depths, and a ridge through "
    "the middle beside a long narrow valley, on a gentle bowl."
)


def experiment(runs: int, seed: int) -> Iterator[Row]:
    """Evaluate the surface for minima, basins, the pass, and its curvature in the middle."""
    yield (
        "Gradients and curvatures are evaluated at the wells, descent starts from every point of a 60 × 60 grid, and the loss is "
        "followed along the straight way from A to the global well."
    )
    surface = landscapes.four_wells()
    probe = Probe(surface)
    yield from ground(surface, probe)
    start, ridge = height(surface, probe, "A", "global")
    yield Check(
        "the start lies above the pass from A to the global well, so that a heavy ball has the height to get over it",
        f"the loss is {start:.2f} at the start, and {ridge:.2f} at the highest point of the straight way",
        start > ridge,
    )
    crest = torch.tensor([[-1.0, 1.0], [0.0, 0.0], [1.0, -1.0]], dtype=torch.float64)
    products = probe.evaluate(Products(crest, torch.eye(2, dtype=torch.float64).expand(3, 2, 2))).products
    across = torch.tensor([1.0, 1.0], dtype=torch.float64) / 2**0.5
    bent = [float(across @ hessian @ across) for hessian in products]
    yield Check(
        "a ridge runs through the middle: across it the surface curves downward",
        f"curvatures {', '.join(f'{b:.1f}' for b in bent)} at (−1, 1), (0, 0) and (1, −1)",
        all(b < 0 for b in bent),
    )
    yield Ending(
        spent(probe.meter),
        caveats=("The note gives places and one ridge: widths, depths and the bowl are ours (docs/decisions/0002).",),
        pictures={"wells": race(surface, ["gd"], seed=seed).plot()},
    )


LESSON = Lesson("C2", CLAIM, experiment, depends="nothing that is random: the constants of the landscape are fixed.")
