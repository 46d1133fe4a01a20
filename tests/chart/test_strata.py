"""The certificate by strata on numbers where every quantile is known: each of its constants counts."""

import math

import numpy as np
import pytest

from lossatlas.chart.card._entry import Within
from lossatlas.chart.card._hessian_entries import Trace
from lossatlas.chart.sampling._metric import Metric
from lossatlas.chart.sampling._strata import Certified, Row, certify


@pytest.mark.parametrize(("held", "few"), [(16, 1.0), (8, 2**0.75)])
def test_errors_that_are_half_of_what_was_expected_everywhere(held, few):
    expected, close = np.ones(400), np.arange(400) < 100
    cells = np.concatenate([np.arange(held), 100 + np.arange(held)])
    near, whole, scaled = certify(
        expected, close, np.isin(np.arange(400), cells), cells, np.full(2 * held, 0.5), np.ones(2 * held)
    )
    # Near the minimum the 95th percentile is raised by a fifth, the largest by a half; all ratios are alike, so that the
    # interval is its floor: 0.2 times 2.8 on the logarithm, wider where few cells were held out.
    assert (near.median, near.p95, near.worst) == pytest.approx((0.5, 0.6, 0.75))
    assert (whole.median, whole.p95, whole.worst) == pytest.approx((0.5, 0.5, 0.5))
    for row in (near, whole):
        assert math.log(row.p95_interval[1] / row.p95) == pytest.approx(2.8 * 0.2 * few)
        assert math.log(row.p95 / row.p95_interval[0]) == pytest.approx(2.8 * 0.2 * few)
        assert row.worst_interval[0] == 0.5
    assert np.unique(scaled).tolist() == [0.0, 0.5]


def test_an_interval_where_most_cells_are_off_by_nothing_stays_one_that_can_be_read():
    # As of a loss that counts errors: two of 32 cells are off by a half, and in a draw without them nothing is.
    expected, close, cells = np.ones(400), np.arange(400) < 100, np.r_[:16, 100:116]
    errors = np.where(np.isin(np.arange(32), (20, 24)), 0.5, 0.0)
    near, whole, _ = certify(expected, close, np.isin(np.arange(400), cells), cells, errors, np.ones(32))
    assert near.p95_interval == (0.0, 0.0) and (whole.p95, whole.p95_interval[0]) == (0.5, 0.0)
    assert whole.p95_interval[1] == pytest.approx(0.5 * math.exp(2.8 * 0.2))


def test_the_whole_may_be_off_two_and_a_half_times_as_far_as_the_minimum():
    def reached(near, whole):
        rows = (
            Row(name, 0.0, p95, p95, *[(0.0, 1.0)] * 3, 16, 100) for name, p95 in (("near", near), ("whole", whole))
        )
        return Certified(*rows, "relative", 0.1, {}).reached

    assert reached(0.099, 0.249) and not reached(0.101, 0.249) and not reached(0.099, 0.251)


def test_a_loss_of_zero_is_measured_against_the_floor():
    metric = Metric.of(np.array([1e-9, 2.0]))
    assert metric.name == "relative"
    found = metric.error(np.array([3e-8, 1.1]), np.array([0.0, 1.0]))
    assert found == pytest.approx([1.5, 0.1], rel=1e-6)


def test_what_a_plane_holds_of_a_trace_has_the_interval_of_the_trace():
    held = Trace(Within(10.0, 8.0, 12.5), 20.0, 2.0, 2, 50, None, 1e-3, None).held
    assert held == pytest.approx((0.2, 0.16, 0.25))
