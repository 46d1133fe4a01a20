"""Laws that hold for every kind of direction, alone and mixed with any other, the user's own among them."""

import copy
import itertools
import json
import pickle
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

import lossatlas as la
from lossatlas._errors import PlaneError
from lossatlas.chart.directions import Direction, Drawn, catalog

X = torch.randn(9, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = torch.randint(3, (9,), generator=torch.Generator().manual_seed(1))


def net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()


@dataclass(frozen=True)
class Layer(Direction):
    """The user's own: the weights of one layer grow, the others stay."""

    index: int = 0

    def draw(self, surface, origin):
        row = torch.zeros_like(origin)
        span = surface.layout.blocks[self.index].span
        row[span] = origin[span]
        return row


@dataclass(frozen=True)
class Spelled(Direction):
    """The user's own with everything said, as an array."""

    kind = "spelled"

    def draw(self, surface, origin):
        row = np.cos(np.arange(surface.dimension))
        return Drawn(row, {"phase": 0.0}, "cosines", ("drawn by hand",), "one cosine")


SURFACE = la.NetworkSurface(net(), "cross_entropy", (X, Y))
WALK = SURFACE.theta + torch.randn(6, SURFACE.dimension, generator=torch.Generator().manual_seed(2)).double().cumsum(0)
START = {name: value.clone() for name, value in net().state_dict().items()}
KINDS = {
    "random": lambda: la.directions.random(seed=3),
    "gradient": lambda: la.directions.gradient(),
    "eigenvector": lambda: la.directions.eigenvector("smallest"),
    "worst": lambda: la.directions.worst(radius=0.2, steps=2),
    "between": lambda: la.directions.between(START, net(1)),
    "pca": lambda: la.directions.pca(WALK, component=2),
    "given": lambda: la.directions.given(net(4)),
    "Layer": lambda: Layer(2),
    "spelled": lambda: Spelled(),
}
HERE = SURFACE.theta


def test_every_kind_is_here():
    assert set(catalog) <= set(KINDS)
    assert all(getattr(la.directions, name) is kind for name, kind in catalog.items())


@pytest.mark.parametrize("name", KINDS)
def test_a_direction_is_finite_recorded_and_the_same_twice(name, tmp_path):
    one, two = (la.Line(SURFACE, KINDS[name](), origin=HERE) for _ in range(2))
    torch.testing.assert_close(one.frame.directions, two.frame.directions, rtol=0, atol=1e-9)
    # The first products of a surface are held against others, and may be summed in another order.
    assert one.how == two.how or name == "eigenvector"
    assert bool(torch.isfinite(one.frame.directions).all()) and one.frame.directions.any()
    assert one.labels[0].startswith("t, ") and one.labels[0].endswith(")")
    record = json.loads(json.dumps(one.record(), allow_nan=False))
    assert record["kind"] == KINDS[name]().kind and record["how"]["digest"] == one.how["digest"]
    one.save(tmp_path)
    back = la.Line.restore(SURFACE, tmp_path)
    assert torch.equal(back.frame.directions, one.frame.directions) and back.record() == one.record()
    crossed = pickle.loads(pickle.dumps(one))
    assert torch.equal(crossed.frame.directions, one.frame.directions) and crossed.record() == one.record()


@pytest.mark.parametrize("pair", list(itertools.permutations(KINDS, 2)), ids="+".join)
def test_any_two_make_a_plane_of_the_same_rows(pair, tmp_path):
    plane = la.Plane(SURFACE, *(KINDS[name]() for name in pair), origin=HERE)
    for row, name in zip(plane.frame.directions, pair, strict=True):
        assert torch.equal(row, la.Line(SURFACE, KINDS[name](), origin=HERE).frame.directions[0])
    kinds = [part["kind"] for part in plane.how["directions"]]
    assert plane.kind == "+".join(kinds) and kinds == [KINDS[name]().kind for name in pair]
    plane.save(tmp_path)
    back = la.Plane.restore(SURFACE, tmp_path)
    assert torch.equal(back.frame.directions, plane.frame.directions) and back.record() == plane.record()


@pytest.mark.parametrize("name", KINDS)
def test_a_direction_beside_itself_spans_nothing(name):
    with pytest.raises(la.InputError, match=r"parallel|different eigenvectors"):
        la.Plane(SURFACE, KINDS[name](), KINDS[name](), origin=HERE)


@dataclass(frozen=True)
class Zero(Direction):
    size: float = 0.0

    def draw(self, surface, origin):
        return torch.full_like(origin, self.size)


def test_zero_and_what_is_not_finite_are_refused():
    with pytest.raises(PlaneError, match="length 0"):
        la.Line(SURFACE, Zero())
    with pytest.raises(PlaneError, match="length nan"):
        la.Plane(SURFACE, la.directions.random(), Zero(float("nan")))
    with pytest.raises(la.InputError, match="expected 2"):
        la.Plane(SURFACE, la.directions.random())
    with pytest.raises(la.InputError, match="of its own"):

        class Stolen(Direction):
            kind = "random"

            def draw(self, surface, origin):
                return origin


def test_what_is_drawn_together_has_the_rows_of_what_is_drawn_alone():
    """Random: one stream; eigenvectors: one iteration; components: one decomposition."""
    first, second = la.Plane.random(SURFACE, seed=3).frame.directions
    assert torch.equal(la.Line(SURFACE, la.directions.random(seed=3)).frame.directions[0], first)
    assert torch.equal(la.Line(SURFACE, la.directions.random(seed=3, index=1)).frame.directions[0], second)
    for plane, parts in (
        (la.Plane.hessian(SURFACE), [la.directions.eigenvector(name) for name in ("largest", "smallest")]),
        (la.Plane.pca(SURFACE, WALK), [la.directions.pca(WALK, k) for k in (1, 2)]),
    ):
        alone = torch.cat([la.Line(SURFACE, part, origin=HERE).frame.directions for part in parts])
        torch.testing.assert_close(plane.frame.directions, alone, rtol=0, atol=1e-5)
    assert la.Plane.hessian(SURFACE).how["products"] < 2 * la.Line.hessian(SURFACE).how["products"] + 10


def test_a_direction_with_an_origin_of_its_own_begins_there():
    plane = la.Plane(SURFACE, la.directions.between(net(1), net(2)), la.directions.random())
    assert torch.equal(plane.frame.origin, SURFACE.vector(net(1))) and plane.how["origin"] == "given"
    both = la.directions.between(net(1), net(2)), la.directions.pca(WALK)
    with pytest.raises(PlaneError, match="origin=…"):
        la.Plane(SURFACE, *both)
    moved = la.Plane(SURFACE, *both, origin=net(3))
    assert torch.equal(moved.frame.origin, SURFACE.vector(net(3))) and "points" not in moved.how["directions"][0]
    assert moved.labels[0].startswith("α, from a to b")


def test_directions_are_put_at_right_angles_where_that_is_wanted():
    parts = Layer(0), la.directions.gradient()
    raw, right, unit = (la.Plane(SURFACE, *parts, **how) for how in ({}, {"orthogonal": True}, {"orthonormal": True}))
    d1, d2 = raw.frame.directions.numpy()
    assert right.frame.directions[0].numpy() == pytest.approx(d1)
    assert right.frame.directions[1].numpy() == pytest.approx(d2 - (d1 @ d2) / (d1 @ d1) * d1)
    gram = (unit.frame.directions @ unit.frame.directions.T).numpy()
    assert gram == pytest.approx(np.eye(2), abs=1e-12)
    q, _ = np.linalg.qr(np.stack([d1, d2]).T)
    assert np.abs((q.T @ unit.frame.directions.numpy().T).diagonal()) == pytest.approx([1, 1])
    assert all("(Euclidean distance)" in label for label in unit.labels)


def test_running_statistics_move_along_the_direction_between_models_and_rest_along_another():
    torch.manual_seed(0)
    a = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3)).double().eval()
    b = copy.deepcopy(a)
    b[1].running_mean += 0.5
    b[0].weight.data += 0.1
    surface = la.NetworkSurface(a, "cross_entropy", (X, Y))
    plane = la.Plane(surface, la.directions.between(a, b), la.directions.random(seed=1))
    assert plane.how["batchnorm"] == "interpolate"
    assert torch.equal(plane.frame.statistics[1], la.Line.between(surface, a, b).frame.statistics[1])
    assert not plane.frame.statistics[2].any()
    own = nn.functional.cross_entropy(b(X), Y)
    assert float(surface.on(plane).values(torch.tensor([[1.0, 0.0]]).double())) == pytest.approx(own.item(), rel=1e-12)
    assert any("interpolated between a and b" in note for note in plane.notes)


def test_a_chart_on_a_plane_of_ones_own_is_saved_and_loaded(tmp_path):
    plane = la.Plane(SURFACE, Layer(0), Spelled())
    chart = la.chart(SURFACE, plane, points=5, exact=True, progress=False)
    chart.save(tmp_path)
    back = la.load(tmp_path)
    assert back.provenance["plane"] == json.loads(json.dumps({"kind": plane.kind, **plane.how}))
    assert back.provenance["plane"]["directions"][0] == {"kind": "Layer", "index": 0}
    assert back.labels == (
        "α, Layer(index=0) (1 = Euclidean distance " + f"{plane.how['norms'][0]:.4g})",
        "β, cosines (one cosine)",
    )
    assert "drawn by hand" in back.provenance["notes"]
    theta = plane.frame.origin + float(back.alpha[3]) * plane.frame.directions[0] - plane.frame.directions[1]
    assert back.loss[0, 3] == pytest.approx(float(SURFACE.values(theta[None])), rel=1e-12)
