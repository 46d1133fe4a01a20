"""The topology of volumes: a slow flood of sublevel sets, wells that are planted, and layers that are charts."""

from itertools import product

import numpy as np
import pytest

import lossatlas as la
from lossatlas._errors import InputError
from lossatlas.chart import Volume
from lossatlas.chart._merge_tree import merge_tree
from lossatlas.probe import Meter


def held(loss):
    loss = np.asarray(loss, dtype=np.float64)
    axes = tuple(np.linspace(-1, 1, n) for n in reversed(loss.shape))
    labels = tuple("αβγδ"[: loss.ndim])
    return Volume(axes, loss, {}, labels, "planted", Meter(), {"surface": {"dtype": "torch.float64"}})


def flooded(field):
    """Persistence of each minimum but the lowest, cell by cell: lakes are sets, and the higher of two ends where they meet."""
    lakes, ends = [], []
    for cell in sorted(np.ndindex(*field.shape), key=lambda one: (field[one], one)):
        around = {tuple(np.add(cell, step)) for step in product((-1, 0, 1), repeat=field.ndim)}
        met = sorted((lake for lake in lakes if lake[1] & around), key=lambda lake: lake[0])
        lakes = [lake for lake in lakes if not lake[1] & around]
        lakes.append((met[0][0] if met else field[cell], {cell}.union(*(lake[1] for lake in met))))
        ends += [field[cell] - lake[0] for lake in met[1:]]
    return sorted(ends)


@pytest.mark.parametrize("shape", [(5, 6, 4), (4, 3, 4, 3), (7, 8)])
def test_pairs_are_those_of_a_slow_flood(shape):
    field = np.random.default_rng(len(shape)).normal(size=shape)
    tree = merge_tree(field)
    met = tree.saddles >= 0
    found = sorted((field.ravel()[tree.saddles[met]] - field.ravel()[tree.minima[met]]).tolist())
    assert found == pytest.approx(flooded(field)) and len(found) > 1


def wells(n=21):
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n)] * 3, indexing="ij")
    field = 1e-3 * (x**2 + y**2 + z**2)
    for (cx, cy, cz), depth in (((-0.5, -0.4, 0.3), 1.0), ((0.5, 0.4, -0.5), 0.5)):
        field = field - depth * np.exp(-((x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2) / (2 * 0.15**2))
    return field


def test_planted_wells_stand_with_their_depth_and_place():
    volume = held(wells())
    found = volume.topology()
    one, two = found.minima[:2]
    assert [f.real for f in found.minima[:3]].count(True) == 2 == found.count
    assert one.position == pytest.approx((-0.5, -0.4, 0.3)) and two.position == pytest.approx((0.5, 0.4, -0.5))
    assert two.persistence == pytest.approx(0.5, abs=0.01) and two.index == (5, 14, 15)
    assert volume.loss[two.index] == two.value and len(found.pairs[1].saddle.position) == 3
    assert "2 minima" in found.sentence and "chart" not in found.sentence and "(0.5, 0.4, -0.5)" in str(found)
    assert volume.smad().value == pytest.approx((0.5 + 1.0) / 2, abs=0.01) and volume.smad().resolved == 2
    rows = found.to_dataframe()
    assert list(rows.columns[:8]) == ["pair", "kind", "alpha", "beta", "gamma", "k", "j", "i"]
    assert rows.iloc[0][["k", "j", "i"]].tolist() == list(one.index)
    assert found.plot().figure_ is not None


def test_noise_below_its_error_stands_for_nothing():
    rough = wells() + 1e-12 * np.random.default_rng(0).normal(size=(21, 21, 21))
    assert held(rough).topology().count == 2
    with pytest.raises(InputError, match="metric='log'"):
        held(rough).topology(metric="log")
    with pytest.raises(InputError, match="minimum_persistence"):
        held(rough).topology(minimum_persistence=-1)


def test_a_layer_has_the_topology_of_its_chart():
    volume = held(wells())
    layer = held(wells()).slice(2, 0.3)
    flat = layer.topology()
    place = volume.topology().minima[0]
    assert flat.minima[0].position == pytest.approx(place.position[:2]) and flat.minima[0].value == place.value


def test_it_is_saved_and_loaded(tmp_path):
    found = held(wells(9)).topology()
    back = la.load(found.save(tmp_path))
    assert back.sentence == found.sentence and back.pairs[0].extremum.index == found.pairs[0].extremum.index
