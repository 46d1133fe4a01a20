"""Intervals of means and proportions, against SciPy's own."""

import math

import numpy as np
import pytest
from scipy.stats import beta, ttest_1samp

from lossatlas import _statistics


@pytest.mark.parametrize("draws", [[1.0, 2.0, 4.0], [-3.0, 0.5], list(range(40))])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_students_interval_is_that_of_scipy(draws, confidence):
    """The interval of SciPy's t test, both of whose ends a one-sided quantile misses."""
    oracle = ttest_1samp(draws, 0.0).confidence_interval(confidence)
    middle, error, half = _statistics.mean(draws, confidence)
    assert (middle - half, middle + half) == pytest.approx((oracle.low, oracle.high), rel=1e-12)
    assert _statistics.mean_interval(draws, confidence) == pytest.approx((oracle.low, oracle.high), rel=1e-12)
    assert error == pytest.approx(np.std(draws, ddof=1) / math.sqrt(len(draws)))


def test_what_cannot_be_known_is_not_bounded():
    for draws in ([], [3.0], [1.0, math.inf], [math.nan, 1.0]):
        assert _statistics.mean_interval(draws) == (-math.inf, math.inf)
    assert _statistics.mean([3.0]) == (3.0, math.inf, math.inf)
    assert _statistics.mean([2.0, 2.0]) == (2.0, 0.0, 0.0), "equal draws have an interval of no width"


@pytest.mark.parametrize("hits,draws", [(0, 10), (3, 10), (10, 10), (57, 1000)])
def test_clopper_and_pearson_by_their_quantiles(hits, draws):
    low = beta.ppf(0.025, hits, draws - hits + 1) if hits else 0.0
    high = beta.ppf(0.975, hits + 1, draws - hits) if hits < draws else 1.0
    assert _statistics.proportion_interval(hits, draws, method="exact") == pytest.approx((low, high), abs=1e-9)


@pytest.mark.parametrize("hits,draws", [(0, 10), (3, 10), (10, 10), (57, 1000)])
def test_wilsons_interval_is_where_the_score_test_ends(hits, draws):
    """The ends p solve |hits/draws − p| = z √(p(1 − p)/draws)."""
    for end in _statistics.proportion_interval(hits, draws, 0.95):
        assert abs(hits / draws - end) == pytest.approx(
            1.959963984540054 * math.sqrt(end * (1 - end) / draws), abs=1e-9
        )
