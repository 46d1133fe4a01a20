"""What counts as having reached a known well."""

import numpy as np
import torch

import lossatlas as la
from lossatlas.race._tune import LOGARITHMIC
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


def test_the_cost_of_a_start_is_what_it_took_to_settle_to_a_hundredth():
    """On a round bowl each step of gradient descent multiplies the loss by (1 − η)²."""
    made = la.basin_map(la.landscapes.quadratic(1.0), la.optimizer("gd", lr=0.1), points=2, steps=60, progress=False)
    heights = 0.81 ** np.arange(60)
    goal = heights[-1] + 0.01 * (heights[0] - heights[-1])
    assert made.cost.tolist() == [[1 + int(np.argmax(heights <= goal))] * 2] * 2


def test_tuning_takes_the_lowest_of_log_spaced_trials():
    found = la.tune("gd", la.landscapes.quadratic(10.0), trials=64, steps=5, progress=False)
    rates = np.array([settings["lr"] for settings, _ in found.trials[1:]])
    scores = [score for _, score in found.trials]
    assert found.best.lr == found.trials[int(np.argmin(scores))][0]["lr"] and found.score == min(scores)
    low, high = LOGARITHMIC["lr"]
    share = np.log(rates / low) / np.log(high / low)
    # The mean of 63 even numbers is off by more than 0.15 in one of 30,000 seeds.
    assert ((share >= 0) & (share <= 1)).all() and abs(share.mean() - 0.5) < 0.15
