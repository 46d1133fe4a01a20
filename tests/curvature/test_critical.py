"""Critical points: known ones are found with their exact index, and what is none is not called one."""

import itertools
import json
import math

import numpy as np
import pytest
import torch
from torch import nn

import lossatlas as la
from lossatlas import archive
from lossatlas.curvature import (
    CriticalPoints,
    SaddleDescent,
    critical_point,
    critical_points,
    descend_both_sides,
    saddle_directions,
)
from lossatlas.draw import IndexDisplay
from lossatlas.surface import Layout, Reading, Surface

# Published to six decimals: the minima with the function, the others in any text on it.
HIMMELBLAU = {
    "minimum": [(3.0, 2.0), (-2.805118, 3.131312), (-3.779310, -3.283186), (3.584428, -1.848126)],
    "saddle": [(0.086678, 2.884255), (3.385154, 0.073852), (-3.073026, -0.081353), (-0.127961, -1.953715)],
    "maximum": [(-0.270845, -0.923039)],
}


def _hessian(function):
    return torch.func.jacrev(torch.func.grad(function))  # forward mode would script, with a warning


class Written(Surface):
    """A surface from a formula of one point, differentiated by autograd; counts what it is asked."""

    def __init__(self, function, dimension, start=None):
        self.function, self.name, self.layout = function, "written", Layout.vector(dimension)
        self.start = torch.zeros(dimension, dtype=torch.float64) if start is None else start
        self.asked = 0

    def read(self, points):
        self.asked += len(points)
        return Reading(torch.stack([self.function(p) for p in points]).double())

    def gradients(self, points, sample=None):
        self.asked += len(points)
        slope = [torch.func.grad(self.function)(p) for p in points]
        return torch.stack([self.function(p) for p in points]).double(), torch.stack(slope)

    def products(self, point, vectors):
        self.asked += len(vectors)
        return vectors.double() @ _hessian(self.function)(point).double()


def planted(signs, seed=0):
    """½ θᵀ Q diag(signs) Qᵀ θ about a point that is not the origin."""
    n = len(signs)
    q, _ = torch.linalg.qr(torch.randn(n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))
    matrix = q @ torch.diag(torch.tensor(signs, dtype=torch.float64)) @ q.T
    center = torch.linspace(-1, 1, n, dtype=torch.float64)
    return Written(lambda p: 0.5 * (p - center) @ matrix @ (p - center), n), center


@pytest.mark.slow
@pytest.mark.parametrize("method", ["newton", "gradient-norm"])
def test_himmelblau_has_its_nine_critical_points(method):
    found = critical_points(la.landscapes.himmelblau(), starts=45, method=method, seed=1)
    assert found.counts == {"true": 45, "gradient-flat": 0, "unfinished": 0}
    distinct = found.distinct()
    assert len(distinct) == 9
    for kind, places in HIMMELBLAU.items():
        mine = sorted(tuple(p.point.tolist()) for p in distinct if p.kind == kind)
        assert np.allclose(mine, sorted(places), atol=2e-6), kind
    assert all(p.exact and p.index == {"minimum": 0, "saddle": 1, "maximum": 2}[p.kind] for p in distinct)
    assert all(p.gradient_norm < 1e-7 for p in distinct)  # ‖H‖ ‖θ‖ is a few hundred


@pytest.mark.parametrize("below", [0, 1, 5, 12])
def test_a_planted_saddle_is_found_with_its_exact_index(below):
    signs = [-(1.0 + i) for i in range(below)] + [0.5 + i for i in range(12 - below)]
    surface, center = planted(signs, seed=below)
    for method in ("newton", "gradient-norm"):
        (found,) = critical_points(surface, starts=1, method=method)
        assert (found.label, found.index, found.exact, found.zeros) == ("true", below, True, 0)
        assert torch.allclose(found.point, center, atol=1e-9)
        assert np.allclose(found.eigenvalues, sorted(signs), atol=1e-9)


def test_a_flat_direction_is_counted_as_zero_not_as_negative():
    surface, center = planted([-2.0, 0.0, 0.0, 1.0, 3.0])
    one = critical_point(surface, point=center)
    assert (one.label, one.index, one.zeros, one.kind) == ("true", 1, 2, "saddle")


@pytest.mark.slow
def test_the_monkey_saddle_is_degenerate():
    found = critical_points(la.landscapes.monkey_saddle(), starts=10)
    assert found.counts["true"] == 10 and len(found.distinct(1e-3)) == 1
    assert all((p.kind, p.index, p.zeros) == ("degenerate", 0, 2) for p in found)
    exactly = critical_point(la.landscapes.monkey_saddle(), point=torch.zeros(2, dtype=torch.float64))
    assert exactly.label == "true" and exactly.flatness == 0 and exactly.kind == "degenerate"


@pytest.mark.slow
def test_where_only_the_norm_of_the_gradient_is_stationary_the_catch_is_called_gradient_flat():
    """x³/3 + x + y²/2 has gradient (x² + 1, y): never zero, smallest at the origin, where its Hessian has a kernel."""
    surface = Written(lambda p: p[0] ** 3 / 3 + p[0] + p[1] ** 2 / 2, 2)
    starts = torch.tensor([[0.7, 1.0], [-0.4, -2.0], [1.5, 0.3]], dtype=torch.float64)
    for method in ("newton", "gradient-norm"):
        found = critical_points(surface, starts=starts, method=method)
        assert found.counts["gradient-flat"] == 3 and not found.true and not found.distinct()
        for one in found:
            assert one.gradient_norm == pytest.approx(1.0, abs=1e-3) and one.flatness < 1e-3
            assert one.newton_residual == pytest.approx(1.0, abs=1e-2)


def test_a_plateau_is_not_taken_for_a_critical_point():
    """Far from the well the gradient is below 1e-3, but so is the Hessian: small is not zero."""
    surface = la.landscapes.plateau()
    found = critical_point(surface)
    assert found.gradient_norm < 1e-3 and found.label != "true"


@pytest.mark.parametrize("method", ["newton", "gradient-norm"])
def test_a_linear_loss_divides_by_no_zero(method):
    slope = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    found = critical_points(Written(lambda p: slope @ p, 3), starts=3, method=method)
    assert found.counts["gradient-flat"] == 3
    assert all((p.index, p.zeros, p.hessian_norm, p.flatness, p.kind) == (0, 3, 0.0, 0.0, "degenerate") for p in found)


def test_the_numbers_of_a_label_are_those_of_the_dense_hessian():
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    x, y = torch.randn(17, 4, dtype=torch.float64), torch.arange(17) % 3
    surface = la.NetworkSurface(model, "cross_entropy", (x, y))

    def loss(theta):
        return nn.functional.cross_entropy(torch.func.functional_call(model, surface.layout.split(theta), (x,)), y)

    one = critical_point(surface)
    g, h = torch.func.grad(loss)(surface.theta), _hessian(loss)(surface.theta)
    values = np.linalg.eigvalsh(h.numpy())
    norm = np.abs(values).max()
    assert one.label == "unfinished" and one.index == int((values < -one.epsilon).sum()) > 0
    assert (
        one.zeros == int((np.abs(values) <= one.epsilon).sum()) >= 6
    )  # a shift of all logits: one for each hidden unit, and the bias
    assert one.hessian_norm == pytest.approx(norm, rel=1e-9)
    assert one.flatness == pytest.approx(float((h @ g).norm() / (norm * g.norm())), rel=1e-8)
    assert one.gradient_norm == pytest.approx(float(g.norm()), rel=1e-10)


@pytest.mark.slow
def test_many_dimensions_are_searched_with_products_and_the_index_is_a_lower_bound():
    signs = [-3.0, -2.0, -1.5, *np.linspace(0.5, 4.0, 247).tolist()]
    surface, center = planted(signs)
    found = critical_points(surface, starts=1, exact=False, epsilon=0.1)
    for one in found:
        assert one.label == "true" and not one.exact and one.eigenvalues is None
        assert 1 <= one.index <= 3 and "at least" in one.sentence
        assert torch.allclose(one.point, center, atol=1e-7)
        assert math.isnan(one.share) and one.kind == "unknown"
    without = critical_points(surface, starts=1, exact=False, method="gradient-norm")[0]
    assert without.label == "true" and without.index is None
    exact = critical_point(surface, point=center)
    assert exact.exact and exact.index == 3


@pytest.mark.slow
def test_every_critical_point_of_a_plane_field_is_found_and_half_are_saddles():
    """As many saddles as minima and maxima together, but for the box's edge; within four standard errors of four fields."""
    shares, counts = [], []
    for seed in range(4):
        surface = la.landscapes.random_field(2, seed)
        found = [p for p in critical_points(surface, starts=100, seed=seed).distinct(1e-5) if p.point.abs().max() < 3]
        kinds = [p.kind for p in found]
        shares.append(kinds.count("saddle") / len(kinds))
        counts.append(len(kinds))
    error = np.std(shares, ddof=1) / math.sqrt(len(shares))
    assert abs(np.mean(shares) - 0.5) < 4 * max(error, 0.02)
    # Kac and Rice: E|det(M − hI)| / 2π = (4/√3) / 2π of them in a unit of area.
    expected = 36 * 4 / math.sqrt(3) / (2 * math.pi)
    assert abs(np.mean(counts) - expected) < 4 * np.std(counts, ddof=1) / math.sqrt(len(counts)) + 1


@pytest.mark.slow
def test_the_budget_is_never_overrun_by_a_single_question():
    surface = la.landscapes.random_field(4, 2)
    free = critical_points(surface, starts=6, seed=2)
    tight = critical_points(surface, starts=6, seed=2, budget=23)
    assert max(p.queries for p in free) > 23 >= max(p.queries for p in tight)
    assert any("budget" in p.status for p in tight)
    assert all(p.certificate == 4 for p in tight)
    one = Written(lambda p: torch.cos(p).sum() + p.prod(), 3)
    found = critical_points(one, starts=2, budget=9)
    assert one.asked == found.meter.gradients + found.meter.products
    assert sum(p.queries + p.certificate for p in found) <= one.asked


@pytest.mark.slow
def test_the_same_seed_catches_the_same_and_another_does_not():
    surface = la.landscapes.random_field(3, 1)
    one, two, other = (critical_points(surface, starts=4, seed=s) for s in (7, 7, 8))
    assert all(torch.equal(a.point, b.point) for a, b in zip(one, two, strict=True))
    assert not torch.equal(one.starts, other.starts)


@pytest.mark.slow
def test_a_network_is_searched_from_around_its_own_point_and_left_alone():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 1)).double()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    x = torch.randn(30, 3, dtype=torch.float64)
    surface = la.NetworkSurface(model, "mse", (x, x.sum(1, keepdim=True).sin()))
    found = critical_points(surface, starts=4, spread=0.3, steps=60)
    assert 0 < float((found.starts - surface.theta).norm(dim=1).max()) < 3 * float(surface.theta.norm())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert len(found) == 4 and {p.label for p in found} <= {"true", "gradient-flat", "unfinished"}
    assert found.meter.examples == 30 * (found.meter.gradients + found.meter.products)


def test_float32_is_judged_by_what_float32_can_tell():
    torch.manual_seed(0)
    model, x = nn.Linear(2, 1), torch.randn(40, 2)
    surface = la.NetworkSurface(model, "mse", (x, x @ torch.tensor([[1.0], [2.0]]) + 0.5))
    found = critical_points(surface, starts=2)
    assert found.provenance["tolerance"] == 1e-5 and found.counts["true"] == 2
    assert found[0].kind == "minimum"


@pytest.mark.slow
def test_a_catch_is_saved_drawn_and_told(tmp_path):
    found = critical_points(la.landscapes.random_field(3, 0), starts=12)
    counts = found.counts
    assert counts["true"] and counts["gradient-flat"] + counts["unfinished"]
    kind, arrays, record = archive.load(found.save(tmp_path))
    assert (
        kind == "critical-points"
        and arrays["starts"].shape == (12, 3)
        and arrays["points/11/eigenvalues"].shape == (3,)
    )
    assert record["counts"] == counts and record["points"][0]["label"] == found[0].label
    again = CriticalPoints.restore(arrays, record)
    assert again.record() == found.record() and torch.equal(again[3].point, found[3].point)
    assert np.array_equal(again[3].eigenvalues, found[3].eigenvalues) and torch.equal(again.starts, found.starts)
    json.dumps(found[0].record(), allow_nan=False)
    assert found[0].sentence in found._repr_html_().replace("&gt;", ">")
    display = found.plot()
    texts = " ".join(t.get_text() for t in display.ax_.texts)
    assert f"Left out of 12 catches: {counts['gradient-flat']} gradient-flat" in texts
    drawn = display.ax_.collections
    assert len(drawn) == 1 and len(drawn[0].get_offsets()) == counts["true"]
    everything = found.plot(labels=("true", "gradient-flat", "unfinished"))
    assert sum(len(part.get_offsets()) for part in everything.ax_.collections) == 12
    with pytest.raises(la.InputError, match="gradient-flat"):
        found.plot(labels=("flat",))


@pytest.mark.slow
def test_a_picture_of_nothing_says_so_and_arrays_that_do_not_fit_are_refused():
    empty = IndexDisplay([1.0, 2.0], [0.5, math.nan], ["unfinished", "true"]).plot()
    texts = " ".join(t.get_text() for t in empty.ax_.texts)
    assert "nothing to draw" in texts and "1 unfinished, 1 without a known index" in texts
    theory = IndexDisplay([1.0], [0.5], ["true"], curve=(np.array([0.0, 1.0]), np.array([-1.0, 1.0]))).plot()
    assert theory.ax_.lines[0].get_label() == "theory"
    with pytest.raises(la.InputError, match="one for each"):
        IndexDisplay([1.0], [0.5], [])
    with pytest.raises(la.InputError, match="from 0 to 1"):
        IndexDisplay([1.0], [5.0], ["true"])


def test_an_interrupted_search_keeps_what_it_has():
    def stop(done, starts):
        assert starts == 5
        if done == 2:
            raise KeyboardInterrupt

    found = critical_points(la.landscapes.himmelblau(), starts=5, progress=stop)
    assert found.status == "interrupted" and len(found) == 2 and found.counts["true"] == 2


def _half_bad():
    return Written(lambda p: torch.log(p[0]) + p[1] ** 2, 2)


def test_a_start_that_is_not_finite_is_unfinished_and_the_others_go_on():
    starts = torch.tensor([[-1.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    found = critical_points(_half_bad(), starts=starts, steps=10)
    assert found[0].label == "unfinished" and "not finite" in found[0].status and math.isnan(found[0].loss)
    assert math.isfinite(found[1].loss)


def test_starts_that_are_all_not_finite_are_refused():
    with pytest.raises(la.InputError, match="none of 2 starts"):
        critical_points(_half_bad(), starts=torch.tensor([[-1.0, 1.0], [-2.0, 1.0]], dtype=torch.float64))


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"starts": 0}, "from 1 to"),
        ({"starts": torch.zeros(2, 3)}, "expected"),
        ({"starts": torch.zeros(0, 2)}, "at least one row"),
        ({"method": "newtn"}, "newton"),
        ({"budget": 0}, "budget"),
        ({"steps": 1.5}, "steps"),
        ({"epsilon": -1.0}, "epsilon"),
        ({"tolerance": math.nan}, "tolerance"),
        ({"spread": 0.0}, "spread"),
    ],
)
def test_what_does_not_fit_is_refused(settings, part):
    with pytest.raises(la.InputError, match=part):
        critical_points(la.landscapes.himmelblau(), **settings)


def test_a_surface_without_box_and_start_wants_starts():
    surface = Written(lambda p: p @ p, 2)
    surface.start = None
    with pytest.raises(la.InputError, match="give starts"):
        critical_points(surface, starts=3)


def test_the_directions_of_a_saddle_are_its_negative_eigenpairs():
    surface, center = planted([-3.0, -1.0, 0.0, 2.0, 5.0])
    found = saddle_directions(surface, point=center)
    assert np.allclose(found.values, [-3.0, -1.0])
    product = surface.products(center, torch.from_numpy(found.vectors))
    assert torch.allclose(product, torch.from_numpy(found.values[:, None] * found.vectors), atol=1e-12)
    assert len(saddle_directions(surface, 1, point=center).values) == 1
    bowl = la.landscapes.quadratic()
    assert not len(saddle_directions(bowl).values)
    with pytest.raises(la.InputError, match="down nowhere"):
        descend_both_sides(bowl)
    with pytest.raises(la.InputError, match="1 to 2"):
        saddle_directions(bowl, 3)


@pytest.mark.slow
def test_both_sides_of_himmelblaus_saddles_end_in_neighboring_minima():
    """Around the maximum the four minima and four saddles alternate: each saddle joins two neighbors."""
    surface = la.landscapes.himmelblau()
    joined = set()
    for place in HIMMELBLAU["saddle"]:
        down = descend_both_sides(surface, point=torch.tensor(place, dtype=torch.float64))
        assert down.curvature < 0 and not down.same_end
        for side in down.sides:
            assert side.end.label == "true" and side.end.kind == "minimum" and side.status == "settled"
            assert np.all(np.diff(side.loss) < 0) and np.all(np.diff(side.distance) > 0)
        joined.add(frozenset(side.well for side in down.sides))
    names = [min(surface.wells, key=lambda w: math.dist(w.minimum.tolist(), p)).name for p in HIMMELBLAU["minimum"]]
    ring = [names[0], names[1], names[2], names[3]]  # counter-clockwise around the maximum
    assert joined == {frozenset(pair) for pair in itertools.pairwise([*ring, ring[0]])}


@pytest.mark.slow
def test_a_descent_is_saved_drawn_and_refused_where_it_makes_no_sense(tmp_path):
    surface = la.landscapes.himmelblau()
    point = torch.tensor(HIMMELBLAU["maximum"][0], dtype=torch.float64)
    down = descend_both_sides(surface, point=point, direction=torch.tensor([1.0, 0.0]))
    assert math.isnan(down.curvature) and "different ends" in down.sentence
    _, arrays, record = archive.load(down.save(tmp_path))
    again = SaddleDescent.restore(arrays, record)
    assert again.record()["sides"] == down.record()["sides"] and np.array_equal(again.sides[1].loss, down.sides[1].loss)
    assert again.sentence in down._repr_html_().replace("&lt;", "<")
    assert arrays["sides/0/loss"][0] == down.saddle.loss and record["same_end"] is False
    line = down.plot().ax_.lines[0]
    assert line.get_xdata()[0] < 0 < line.get_xdata()[-1]
    for settings in ({"direction": torch.zeros(2)}, {"push": -1.0}, {"limit": 0}, {"stride": math.inf}):
        with pytest.raises(la.InputError, match="expected"):
            descend_both_sides(surface, point=point, **settings)
