"""Nested dyadic grids: cubics are reproduced, surpluses vanish on them, and a tree of cells covers the square once."""

import numpy as np
import pytest

from lossatlas.chart.sampling._dyadic import Dyadic, spline


def told(tree, found, function):
    for level, nodes in found:
        tree.tell(level, nodes, function(*(nodes / 2**level).T))


def cubic(x, y=0.0):
    return 1 + 2 * x - 3 * x**2 + x**3 + y * (2 - y + 3 * y**2) - 4 * x * y**2


@pytest.mark.parametrize("dimension", [1, 2])
def test_a_cubic_is_known_from_few_nodes(dimension):
    tree = Dyadic(dimension, 6)
    told(tree, tree.whole(3), cubic)
    axes = [np.linspace(0, 1, 23), np.linspace(0, 1, 31)][:dimension]
    filled = tree.fill(lambda v: v)
    assert np.allclose(filled.at(*axes), cubic(*np.meshgrid(*axes, indexing="ij")), atol=1e-12)
    # From 5 nodes per axis on a cubic is predicted; from 3 it is not.
    assert np.abs(filled.surplus[3]).max() < 1e-12 < np.abs(filled.surplus[2]).max()
    assert tree.count == 9**dimension


def test_every_node_is_asked_once_and_leaves_cover_the_square():
    rng = np.random.default_rng(0)
    tree = Dyadic(2, 6)
    seen = set()
    found = tree.whole(2)
    for _ in range(5):
        for level, nodes in found:
            for node in nodes:
                key = tuple(node / 2**level)
                assert key not in seen
                seen.add(key)
        told(tree, found, cubic)
        area = sum(leaves.sum() / 4.0**level for level, leaves in tree.leaves.items())
        assert area == pytest.approx(1.0, abs=1e-15)
        found = tree.split({k: v & (rng.random(v.shape) < 0.3) for k, v in tree.leaves.items()})
    assert tree.count == len(seen)


def test_the_finest_level_is_never_passed():
    tree = Dyadic(2, 3)
    told(tree, tree.whole(3), cubic)
    assert tree.split({3: np.ones((8, 8), dtype=bool)}) == []


def test_holes_are_kept_and_make_their_border_be_looked_at():
    tree = Dyadic(2, 6)

    def half(x, y):
        return np.where(x > 0.6, np.nan, x + y)

    told(tree, tree.whole(3), half)
    filled = tree.fill(lambda v: v)
    axis = np.linspace(0, 1, 41)
    field = filled.at(axis, axis)
    assert np.isfinite(field[axis < 0.55]).all() and np.isnan(field[axis > 0.7]).all()
    assert np.allclose(field[axis < 0.3], (axis[:, None] + axis)[axis < 0.3], atol=0.05)
    assert np.isinf(filled.surplus[3]).any() and np.isfinite(filled.surplus[3]).any()


def test_the_spline_is_scipys_tensor_product():
    from scipy.interpolate import CubicSpline

    rng = np.random.default_rng(1)
    grid, x = rng.normal(size=(9, 9)), np.linspace(0, 1, 9)
    fine = np.linspace(0, 1, 33)
    slow = CubicSpline(x, CubicSpline(x, grid, axis=0)(fine), axis=1)(fine)
    assert np.allclose(spline(grid, fine, fine), slow, atol=1e-12)
