"""What the lessons on landscapes of wells have in common: their surface, evaluated and compared with its declaration."""

from __future__ import annotations

import itertools

import torch

from lossatlas.lessons._lesson import Check
from lossatlas.probe import Gradients, Probe, Products, Values
from lossatlas.race import basins
from lossatlas.surface import Surface

GRID = 60


def ground(surface: Surface, probe: Probe) -> list[Check]:
    """Are the declared wells minima, are there others, and where does the start lie?"""
    minima = torch.stack([well.minimum for well in surface.wells])
    slopes = probe.evaluate(Gradients(minima)).gradients.norm(dim=1)
    eye = torch.eye(2, dtype=torch.float64).expand(len(minima), 2, 2)
    products = probe.evaluate(Products(minima, eye)).products
    assert surface.box is not None and surface.start is not None
    least = float(torch.linalg.eigvalsh(products).min())
    low, high = surface.box[:, 0], surface.box[:, 1]
    axis = torch.linspace(0, 1, GRID, dtype=torch.float64)
    unit = torch.stack([axis.repeat(GRID), axis.repeat_interleave(GRID)], 1)
    names, _ = basins(surface, low + (high - low) * unit, probe)
    shares = {well.name: names.count(well.name) / len(names) for well in surface.wells}
    lost = names.count(None)
    home = basins(surface, surface.start[None], probe)[0][0]
    depths = sorted(-well.value for well in surface.wells)
    return [
        Check(
            f"all {len(minima)} wells are minima: no gradient, and curvature upward in every direction",
            f"the gradient there is {float(slopes.max()):.0e} at most, the curvature {least:.2g} at least",
            float(slopes.max()) < 1e-8 and least > 0,
        ),
        Check(
            "there are no other minima: descent from everywhere ends in one of the wells",
            f"from {len(names) - lost:,} of {len(names):,} grid points, "
            + ", ".join(f"{share:.0%} in {name}" for name, share in shares.items()),
            lost == 0,
        ),
        Check("the start lies in the basin of A", f"descent from the start ends in {home}", home == "A"),
        Check(
            "the wells are of different depths, and the global one is the deepest",
            "the losses at their bottoms are "
            + ", ".join(f"{well.value:.2f} in {well.name}" for well in surface.wells),
            min(b - a for a, b in itertools.pairwise(depths)) > 0.05
            and min(surface.wells, key=lambda w: w.value).name == "global",
        ),
    ]


def height(surface: Surface, probe: Probe, well: str, other: str, points: int = 2001) -> tuple[float, float]:
    """The loss at the start, and the highest loss on the straight way between two wells."""
    found = {w.name: w.minimum for w in surface.wells}
    along = torch.linspace(0, 1, points, dtype=torch.float64)[:, None]
    way = found[well] + along * (found[other] - found[well])
    assert surface.start is not None
    return float(probe.evaluate(Values(surface.start[None])).values), float(probe.evaluate(Values(way)).values.max())
