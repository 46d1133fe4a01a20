"""What counts as having reached a known well."""

import torch

import lossatlas as la
from lossatlas.race._verdict import basins


def test_a_minimum_beside_a_known_well_is_no_part_of_it():
    # Minima at x = 0, 2 and 10, of which the one at 2 is not told: a fifth of the known ones' distance off.
    surface = la.Function(
        lambda u: (u[0] * (u[0] - 2) * (u[0] - 10)) ** 2 / 100 + u[1] ** 2,
        [(-1, 11), (-1, 1)],
        start=[5.0, 0.0],
        minima={"global": [0.0, 0.0], "far": [10.0, 0.0]},
    )
    points = torch.tensor([[0.3, 0.2], [2.1, 0.1], [9.8, -0.3]], dtype=torch.float64)
    names, distance = basins(surface, points)
    assert names == ("global", None, "far")
    assert torch.isnan(distance[1]) and torch.allclose(distance[[0, 2]] ** 2, torch.tensor([0.13, 0.13]).double())
