"""The numbers of held-out cells by hand: with what probability they were drawn, and the interval that four of them give."""

import math

import numpy as np
import pytest
from scipy import stats

from lossatlas.chart.sampling._certificate import certify
from lossatlas.chart.sampling._grid import grid
from lossatlas.chart.sampling._held import HeldOut


def test_the_probability_of_a_held_out_cell_is_its_mean_over_all_draws():
    held, rng = HeldOut(grid(1.0, 4, 2), 6, seed=3), np.random.default_rng(0)
    maps, cells = [], []
    for _ in range(2):
        expected, taken = rng.uniform(0.1, 1, (4, 4)), rng.random((4, 4)) < 0.3
        even = ~taken / (~taken).sum()
        steep = expected**1.5 * ~taken
        maps.append((even + steep / steep.sum()).ravel() / 2)
        cells.append(held.draw(expected, taken))
        assert not taken.ravel()[cells[-1]].any()
        held.tell(cells[-1], {"loss": np.zeros(6)})
    drawn = np.concatenate(cells)
    np.testing.assert_allclose(held.probabilities, (maps[0][drawn] + maps[1][drawn]) / 2, rtol=1e-13)


def test_the_certificate_of_four_cells_is_students_on_the_logarithm_stretched_upward():
    errors, losses = np.array([0.1, -0.2, 0.05, 0.3]), np.array([1.0, 2.0, -4.0, 5.0])
    probabilities = np.array([0.02, 0.01, 0.04, 0.02])
    found = certify(errors, losses, probabilities, 100, span=2.0, tolerance=0.01)
    squares = [(e / 1) ** 2 / (100 * p) for e, p in zip(errors, probabilities, strict=True)]
    mean = sum(squares) / 4
    half = stats.t.ppf(0.975, 3) * math.sqrt(sum((s - mean) ** 2 for s in squares) / 3 / 4) / mean / 2
    assert found.rms == pytest.approx(math.sqrt(mean)) and found.worst == 0.3
    low, high = found.interval
    assert math.log(found.rms / low) == pytest.approx(1.1 * half)
    assert math.log(high / found.rms) == pytest.approx(2.5 * half)
    # Shares 0.0125 (weight 1/4), 0.06 (1/2), 0.1 (1/2 + 1/2): half of the weight 9/4 is passed at 0.1.
    assert found.relative == pytest.approx(0.1)
