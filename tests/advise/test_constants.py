"""Constants of the advisor that are part of what it promises: the documentation names them."""

from lossatlas.advise import _thresholds as thresholds


def test_the_probe_takes_a_tenth_and_where_that_is_not_enough_a_quarter():
    assert (thresholds.PROBE_SHARE, thresholds.PROBE_MOST) == (0.1, 0.25)


def test_each_class_of_budgets_has_its_hedge():
    assert [end for end, _ in thresholds.HEDGES] == [250, 700, float("inf")]
    assert [name for _, name in thresholds.HEDGES] == ["nelder-mead", "cma", "de"]
