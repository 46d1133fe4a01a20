"""Intervals by leaving out, on numbers where the answer is known."""

import itertools

import numpy as np
import pytest
from scipy import stats

from lossatlas.connect._pairs import over_networks
from lossatlas.connect._similarity import _with_interval, cka


def test_over_networks_it_is_the_sum_over_all_that_are_left_out_once():
    pairs = list(itertools.combinations(range(4), 2))
    values = np.array([1.0, 4.0, 2.0, 8.0, 5.0, 7.0])
    low, high = over_networks(values, np.array(pairs), 4)
    without = [np.mean([v for v, pair in zip(values, pairs, strict=True) if k not in pair]) for k in range(4)]
    deviation = (3 / 4 * sum((one - np.mean(without)) ** 2 for one in without)) ** 0.5
    half = stats.t.ppf(0.975, 3) * deviation
    assert (low, high) == pytest.approx((4.5 - half, 4.5 + half))


def test_over_blocks_of_examples_likewise():
    rng = np.random.default_rng(0)
    one, two = (rows @ rows.T for rows in rng.normal(size=(2, 8, 3)))
    value, (low, high) = _with_interval(one, two, True)
    # Four blocks of two examples each: there are no more than half as many blocks as examples.
    without = []
    for k in range(4):
        kept = [i for i in range(8) if i // 2 != k]
        without.append(cka(one[np.ix_(kept, kept)], two[np.ix_(kept, kept)], True))
    half = stats.t.ppf(0.975, 3) * np.sqrt(3 / 4 * ((np.array(without) - np.mean(without)) ** 2).sum())
    assert value == pytest.approx(cka(one, two, True)) and (value - low, high - value) == pytest.approx((half, half))
