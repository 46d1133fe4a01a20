"""C2: the four wells are what the note says they are."""

from __future__ import annotations

import torch

from lossatlas.lessons._lesson import Check, Lesson, Part, spent
from lossatlas.lessons._well_checks import ground, height
from lossatlas.probe import Probe, Products
from lossatlas.surface import landscapes

CLAIM = (
    "The four wells: A at (−2.5, −2.5), the global well at (3, −1), two more traps of other depths, and a ridge through "
    "the middle beside a long narrow valley, on a gentle bowl."
)


def experiment(runs: int, seed: int) -> Part:
    """Evaluate the surface for minima, basins, the pass, and its curvature in the middle."""
    surface = landscapes.four_wells()
    probe = Probe(surface)
    start, ridge = height(surface, probe, "A", "global")
    crest = torch.tensor([[-1.0, 1.0], [0.0, 0.0], [1.0, -1.0]], dtype=torch.float64)
    products = probe.evaluate(Products(crest, torch.eye(2, dtype=torch.float64).expand(3, 2, 2))).products
    across = torch.tensor([1.0, 1.0], dtype=torch.float64) / 2**0.5
    bent = [float(across @ hessian @ across) for hessian in products]
    checks = (
        *ground(surface, probe),
        Check(
            "the start lies above the pass from A to the global well (a heavy ball has the height)",
            f"loss {start:.3f} against {ridge:.3f} on the straight way",
            start > ridge,
        ),
        Check(
            "a ridge runs through the middle: the curvature across it is negative",
            f"at (−1, 1), (0, 0), (1, −1): {', '.join(f'{b:.2f}' for b in bent)}",
            all(b < 0 for b in bent),
        ),
    )
    return Part(
        "Gradients and curvatures at the declared wells; normalized descent from a 60 × 60 grid; the straight way from A.",
        checks,
        spent(probe.meter),
        caveats=("the note gives places and one ridge: widths, depths and the bowl are ours (docs/decisions/0002)",),
    )


LESSON = Lesson("C2", CLAIM, experiment)
