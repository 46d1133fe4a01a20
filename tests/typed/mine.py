"""A program as users write them: `make types` holds it to mypy's strictest rules, and its types to what they are."""

from typing import assert_type

from torch import Tensor, nn

import lossatlas as la


def judged(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """An error of interpolation."""
    surface = la.NetworkSurface(model, "cross_entropy", (x, y))
    plane: la.Plane = la.Plane.random(surface, seed=0)
    chart: la.Chart = la.chart(surface, plane, points=5)
    certificate: la.Certificate = chart.certificate
    race = la.race(la.landscapes.four_wells(), ["gd"], steps=3)
    assert_type(race, la.Race)
    return certificate.rms
