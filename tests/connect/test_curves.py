"""Curves that stay low: geometry, training, bands, resuming, batch norm."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

import lossatlas as la
from lossatlas.connect import Curve
from lossatlas.connect._band import Band, spread
from lossatlas.connect._curve import straight
from lossatlas.connect._curve_trainer import ControlPoints, CurveTrainer, Recipe
from lossatlas.demo import digits


def ends(surface):
    return [well.minimum for well in surface.wells]


def recipe(**settings):
    return Recipe(
        **{"steps": 10, "batch_size": 0, "lr": 0.1, "weight_decay": 0.0, "rule": "adam", "seed": 0} | settings
    )


@pytest.mark.parametrize("kind, degree", [("line", 1), ("bezier", 2), ("bezier", 4), ("chain", 3), ("band", 5)])
def test_the_geometry_of_a_curve(kind, degree):
    generator = torch.Generator().manual_seed(0)
    controls = torch.randn(degree + 1, 7, generator=generator, dtype=torch.float64)
    curve = Curve(kind, controls)
    fine = np.linspace(0, 1, 15001)
    points = curve.points(fine)
    assert torch.equal(points[0], controls[0]) and torch.equal(points[-1], controls[-1])
    steps = points.diff(dim=0).norm(dim=1).numpy()
    assert curve.length == pytest.approx(steps.sum(), rel=1e-7)
    assert curve.arc(np.array([0.37]))[0] == pytest.approx(steps[:5550].sum(), rel=1e-6)
    assert curve.weights(fine).sum(1) == pytest.approx(np.ones(15001))
    h = 1e-6
    at = np.array([0.13, 0.41, 0.77])
    finite = (curve.weights(at + h) - curve.weights(at - h)) / (2 * h)
    assert curve.slopes(at) == pytest.approx(finite, abs=1e-8)
    if kind == "bezier":  # de Casteljau's construction, the slow obvious way
        rows = [list(controls)]
        while len(rows[-1]) > 1:
            rows.append([0.63 * p + 0.37 * q for p, q in zip(rows[-1][:-1], rows[-1][1:], strict=True)])
        assert curve.points(np.array([0.37]))[0] == pytest.approx(rows[-1][0].numpy(), rel=1e-12)


def test_a_new_curve_is_the_straight_line():
    a, b = torch.randn(2, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for kind, controls in (("bezier", 1), ("bezier", 3), ("chain", 4)):
        t = np.linspace(0, 1, 9)
        line = torch.stack([(1 - x) * a + x * b for x in t])
        assert torch.allclose(straight(kind, a, b, controls).points(t), line, atol=1e-12)


def test_spreading_pivots_evens_out_their_distances():
    corner = torch.tensor([[0.0, 0.0], [0.1, 0.0], [0.2, 0.0], [3.0, 0.0]], dtype=torch.float64)
    even = spread(corner)
    assert even[:, 0].tolist() == pytest.approx([0, 1, 2, 3]) and torch.equal(even[[0, -1]], corner[[0, -1]])


def test_the_gradient_of_a_control_point_is_autograds(bent_valley):
    surface = bent_valley()
    controls = torch.tensor([[-1.0, 0.2], [0.3, 0.7], [0.1, -0.4], [1.0, 0.0]], dtype=torch.float64)
    bend = CurveTrainer(Curve("bezier", controls), recipe(rule="sgd", weight_decay=0.3, lr=1.0))
    query = bend.next_query()
    t = bend._t
    value, slope = surface.gradients(query.points)
    bend.tell(la.probe.Answer(value, slope))
    free = controls.clone().requires_grad_()
    point = sum(math.comb(3, j) * t**j * (1 - t) ** (3 - j) * free[j] for j in range(4))
    loss = surface.read(point[None]).values[0] + 0.15 * (point**2).sum()
    loss.backward()
    assert torch.allclose(bend.curve.controls[1:-1], controls[1:-1] - free.grad[1:-1], atol=1e-12)
    assert torch.equal(bend.curve.controls[[0, -1]], controls[[0, -1]])


@pytest.mark.parametrize("rule", ["adam", "sgd"])
def test_control_points_move_by_the_published_rule_and_resume(rule):
    """Adam as Kingma and Ba print it, and Polyak's momentum, number by number; taken up again after 7 of 15 steps."""
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    gradients = torch.randn(15, 2, 3, generator=generator, dtype=torch.float64)
    settings = recipe(rule=rule, steps=15, lr=0.2)
    points, whole = ControlPoints(start, settings), start
    theta, m, v = start[1:-1].clone(), torch.zeros(2, 3).double(), torch.zeros(2, 3).double()
    for k, gradient in enumerate(gradients):
        if k == 7:
            points = ControlPoints.resumed(whole, settings, points.state())
        whole = points.move(gradient, k)
        rate = settings.rate_at(k)
        if rule == "adam":
            m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
            theta = theta - rate * (m / (1 - 0.9 ** (k + 1))) / ((v / (1 - 0.999 ** (k + 1))).sqrt() + 1e-8)
        else:
            m = 0.9 * m + gradient
            theta = theta - rate * m
        assert torch.allclose(whole[1:-1], theta, atol=1e-12) and torch.equal(whole[[0, -1]], start[[0, -1]])


def test_the_schedule_is_garipovs():
    rates = [recipe(steps=1000, lr=1.0).rate_at(step) for step in (0, 499, 700, 899, 900, 999)]
    assert rates[:2] == [1.0, 1.0] and rates[4:] == [0.01, 0.01]
    assert rates[2] == pytest.approx(1 - 0.99 / 2) and rates[3] == pytest.approx(0.01, abs=0.003)


@pytest.mark.slow
@pytest.mark.parametrize("kind, settings", [("bezier", {}), ("band", {"controls": 9})])
def test_a_path_over_the_pass_has_the_height_of_the_pass(bent_valley, kind, settings):
    surface = bent_valley(4.0, 1.0)
    a, b = ends(surface)
    path = la.connect(surface, a, b, kind=kind, lr=3e-2, steps=600, progress=False, **settings)
    # every way from well to well crosses x = 0, where the loss is at least 1; the straight line has 1 + 4
    assert path.barrier == pytest.approx(1.0, abs=2e-3)
    assert torch.equal(path.points(0.0)[0], a) and torch.equal(path.points(1.0)[0], b)
    assert path.loss[0] == pytest.approx(0, abs=1e-20) and path.meter.gradients >= 600
    middle = surface._turn(torch.tensor([[0.0], [1.0]], dtype=torch.float64))[:, 0]  # the pass, turned as the landscape
    assert (path.points(0.5)[0] - middle).norm() < 0.02
    assert len(path.history["loss"]) == 100 and path.status == "complete"


@pytest.mark.slow
def test_ways_around_a_ring_have_no_barrier(ring):
    a, b = torch.tensor([-1.0, 0.0], dtype=torch.float64), torch.tensor([0.6, 0.8], dtype=torch.float64)
    straight_line = la.connect(ring, a, b, progress=False)
    around = la.connect(ring, a, b, kind="bezier", controls=3, lr=3e-2, steps=600, progress=False)
    band = la.connect(ring, a, b, kind="band", controls=9, lr=3e-2, steps=600, progress=False)
    # the chord passes the middle at distance 1/√5: (1/5 − 1)²
    assert straight_line.barrier == pytest.approx(0.64, abs=1e-6)
    assert around.barrier < 1e-3 and band.barrier < 1e-3
    assert band.length == pytest.approx(math.pi - math.acos(0.6), rel=0.01)  # along the circle
    assert (
        straight_line.profile(np.linspace(0, 1, 101)).mean() > 0.2
        and around.profile(np.linspace(0, 1, 101)).max() < 1e-3
    )


def test_a_band_puts_pivots_where_it_is_high(ring):
    a, b = torch.tensor([-1.0, 0.0], dtype=torch.float64), torch.tensor([0.6, 0.8], dtype=torch.float64)
    band = Band(straight("band", a, b, 3), recipe(steps=40, lr=0.03), most=9)
    probe = la.Probe(ring)
    while (query := band.next_query()) is not None:
        band.tell(probe.evaluate(query))
    steps = band.curve.controls.diff(dim=0).norm(dim=1)
    assert 3 < band.curve.degree - 1 <= 9 and float(steps.max() / steps.min()) < 1.2
    assert probe.meter.values > 0  # the looks inside segments are billed


@pytest.mark.slow
def test_a_curve_through_networks_has_its_ends_exactly_and_no_barrier(mlps):
    (one, two), surface, test = mlps
    line = la.connect(surface, one, two, resamples=0, progress=False)
    path = la.connect(surface, one, two, kind="bezier", test=test, steps=300, lr=1e-2, points=15, progress=False)
    assert torch.equal(path.points(0.0)[0], surface.vector(one)) and torch.equal(
        path.points(1.0)[0], surface.vector(two)
    )
    assert path.loss[0] == line.loss[0] and path.loss[-1] == line.loss[-1]
    assert path.barrier < line.barrier / 10 and path.test.barriers["entezari"].value < 0.1 * line.barrier
    assert path.length > line.length and path.arc[-1] == pytest.approx(path.length)
    assert path.meter.gradients == 300 and path.meter.examples >= 300 * 128
    assert any("times the straight line" in says for says in path.reading())


@pytest.mark.slow
def test_a_curve_is_read_once_more_on_other_data(mlps):
    (one, two), surface, test = mlps
    path = la.connect(surface, one, two, kind="bezier", test=test, steps=30, points=7, resamples=0, progress=False)
    again = la.connect(test, one, two, kind=path.curve, points=7, resamples=0, progress=False)
    assert torch.equal(again.curve.controls, path.curve.controls) and again.meter.gradients == 0
    assert again.loss[[0, -1]] == pytest.approx(path.test.loss[[0, -1]]) and again.kind == "bezier"
    with pytest.raises(la.InputError, match="does not lead from a to b"):
        la.connect(surface, two, one, kind=path.curve, progress=False)


def _data_of(surface):
    return [(batch.inputs[0], batch.target) for batch in surface._settled.batches]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bezier", "band"])
def test_an_interrupted_training_goes_on_bit_for_bit(mlps, tmp_path, kind):
    (one, two), surface, _ = mlps
    settings = {"kind": kind, "steps": 24, "points": 5, "batch_size": 32, "controls": 4, "resamples": 0}
    whole = la.connect(surface, one, two, progress=False, **settings)

    def pull_the_plug(done, total):
        if total == 24 and done == 13:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        la.connect(surface, one, two, folder=tmp_path, progress=pull_the_plug, **settings)
    seen = []
    again = la.connect(
        surface, one, two, folder=tmp_path, progress=lambda d, n: seen.append(d) if n == 24 else None, **settings
    )
    assert seen[0] == 14  # thirteen steps were not done again
    assert torch.equal(again.curve.controls, whole.curve.controls) and np.array_equal(again.loss, whole.loss)
    with pytest.raises(la.InputError, match="another curve: its training"):
        la.connect(surface, one, two, folder=tmp_path, progress=False, **{**settings, "batch_size": 16})
    edited = la.NetworkSurface(
        one, lambda o, t: torch.nn.functional.cross_entropy(o, t).clamp(max=2), _data_of(surface)
    )
    edited.name = surface.name
    with pytest.raises(la.InputError, match=r"another curve: its surface\..*surface\.code was"):
        la.connect(edited, one, two, folder=tmp_path, progress=False, **settings)


def test_a_gradient_that_is_not_finite_stops_the_training_and_is_said():
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.ones_(model.weight)

    def loss(output, target):
        return (1 / (output.abs() > 0.2).double() * output**2).mean()

    surface = la.NetworkSurface(model, loss, (torch.ones(2, 1).double(), torch.zeros(2, 1)))
    path = la.connect(surface, torch.tensor([-1.0]), torch.tensor([1.0]), kind="chain", steps=50, progress=False)
    assert path.status == "not finite" and any("training stopped at step" in note for note in path.notes)
    assert any("not finite at" in note for note in path.notes)
    assert path.curve.controls.isfinite().all() and len(path.history["loss"]) < 50


@pytest.mark.slow
def test_batch_norm_is_re_estimated_at_every_t(cnns):
    (one, two), surface, test = cnns
    before = copy.deepcopy(one.state_dict())
    reset = la.connect(surface, one, two, test=test, points=5, tolerance=None, progress=False)
    stale = la.connect(surface, one, two, points=5, tolerance=None, statistics="stale", progress=False)
    # oracle: torch's own re-estimation of an interpolated model, with batches of equal size
    images, labels = (part[:300] for part in digits("train", images=True))
    for k, t in enumerate((0.0, 0.25, 0.5, 0.75, 1.0)):
        mixed = copy.deepcopy(one)
        mixed.load_state_dict(
            {n: torch.lerp(v, two.state_dict()[n], t) if v.is_floating_point() else v for n, v in before.items()}
        )
        with torch.no_grad():
            plain = float(nn.functional.cross_entropy(mixed(images), labels))
        assert stale.loss[k] == pytest.approx(plain, rel=1e-4)
    # Measured over the batches of the connected surface, which has to be told where batches are part of L.
    size = surface._settled.batches[0].size
    measured = la.NetworkSurface(one, "cross_entropy", (images, labels), batchnorm="recompute", batch_size=size)
    recomputed = measured.on(la.Line.between(surface, one, two))
    assert reset.loss == pytest.approx(recomputed.values(torch.from_numpy(reset.t)[:, None]).numpy(), rel=1e-4)
    assert stale.barrier > reset.barrier  # here; the lesson D5 measures it
    assert "re-estimated" in " ".join(reset.notes) and "not re-estimated" in " ".join(stale.notes)
    assert reset.meter.values == 5 * 3  # statistics, train, test
    assert all(torch.equal(v, before[n]) for n, v in one.state_dict().items())


@pytest.mark.slow
def test_re_estimation_is_what_torch_does(cnns):
    (one, _), surface, _ = cnns
    states = la.surface.StateSurface(surface, measure=True)
    measured = states.read(states.start[None]).extras["statistics"][0]
    images = digits("train", images=True)[0][:300]
    torchs = copy.deepcopy(one)
    loader = torch.utils.data.DataLoader(images[:256], batch_size=128)  # equal batches, as update_bn wants
    torch.optim.swa_utils.update_bn(loader, torchs)
    few = la.surface.StateSurface(surface, measure=True, limit=256)
    own = few.split(torch.cat([few.start[: few.parameters], few.read(few.start[None]).extras["statistics"][0]]))
    for name, value in torchs.state_dict().items():
        if value.is_floating_point():
            assert torch.allclose(own[name], value, atol=1e-6), name
    assert measured.shape == (states.dimension - states.parameters,)


@pytest.mark.slow
def test_a_curve_through_batch_norm_is_lower_than_the_line(cnns):
    (one, two), surface, test = cnns
    line = la.connect(surface, one, two, resamples=0, progress=False)
    path = la.connect(surface, one, two, kind="bezier", test=test, steps=120, lr=1e-2, points=7, progress=False)
    assert path.barrier < line.barrier / 2


@pytest.mark.slow
def test_the_plane_of_a_curve_has_its_card(mlps):
    (one, two), surface, _ = mlps
    path = la.connect(surface, one, two, kind="bezier", steps=60, lr=1e-2, points=5, resamples=0, progress=False)
    card = path.chart(surface, points=9).card(budget=120)
    assert len(str(card).splitlines()) > 5 and card.record()


@pytest.mark.slow
def test_the_plane_of_a_curve_holds_its_control_points(mlps, tmp_path):
    (one, two), surface, _ = mlps
    path = la.connect(surface, one, two, kind="bezier", steps=60, lr=1e-2, points=5, resamples=0, progress=False)
    plane = path.plane(surface)
    coords, residual = plane.frame.project(path.curve.controls)
    assert float(residual.max()) < 1e-5
    assert coords[0].tolist() == pytest.approx([0, 0], abs=1e-6) and coords[2].tolist() == pytest.approx(
        [1, 0], abs=1e-6
    )
    directions = plane.frame.directions.double()
    assert directions.norm(dim=1)[0] == pytest.approx(float(directions.norm(dim=1)[1]), rel=1e-4)
    assert abs(float(directions[0] @ directions[1])) < 1e-3 * float(directions[0] @ directions[0])
    made = path.chart(surface, points=7)
    assert made.loss.shape == (7, 7) and made.provenance["plane"]["kind"] == "between"
    assert path.plot_plane(surface, points=9).save(tmp_path / "plane.png").stat().st_size > 20_000
    line = la.connect(surface, one, two, points=3, resamples=0, progress=False)
    with pytest.raises(la.InputError, match="spans no plane"):
        line.plane(surface)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"controls": 0}, "from 1 to 1,000.*control points"),
        ({"steps": 0}, "steps=0; expected a whole number of at least 1"),
        ({"lr": 0.0}, "lr=0.0; expected a finite number above 0"),
        ({"rule": "adagrad"}, "no rule"),
    ],
)
def test_recipes_that_cannot_be_are_refused(bent_valley, settings, message):
    surface = bent_valley()
    with pytest.raises(la.InputError, match=message):
        la.connect(surface, *ends(surface), kind="bezier", progress=False, **settings)
