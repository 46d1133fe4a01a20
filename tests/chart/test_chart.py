"""Charts: cell by cell against a double loop, normalization by property, holes, interruption, and the way to disk."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import lossatlas as la
from lossatlas._errors import PlaneError
from lossatlas.chart._caption import caption
from lossatlas.surface import Frame, Reading, Surface

X = torch.randn(31, 1, 6, 6, generator=torch.Generator().manual_seed(0))
Y = torch.randint(4, (31,), generator=torch.Generator().manual_seed(1))


def cnn():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.ConvTranspose2d(3, 2, 2), nn.Flatten(), nn.Linear(50, 4)
    ).eval()


def mlp():
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, 4))


@pytest.fixture(params=[cnn, mlp], ids=["general", "chain"])
def surface(request):
    return la.NetworkSurface(request.param(), "cross_entropy", (X, Y), name="digits")


@pytest.mark.slow
def test_five_by_seven_is_a_plain_double_loop(surface):
    plane = la.Plane.random(surface, seed=3)
    chart = la.chart(surface, plane, span=((-0.5, 1.5), (-2.0, 0.3)), points=(5, 7), progress=False)
    assert chart.loss.shape == (7, 5) and chart.alpha.shape == (5,) and chart.beta.shape == (7,)
    d1, d2 = plane.frame.directions
    model = (cnn if "0.weight" in surface.layout.split(surface.theta) else mlp)()
    for j, beta in enumerate(np.linspace(-2.0, 0.3, 7)):
        for i, alpha in enumerate(np.linspace(-0.5, 1.5, 5)):
            theta = plane.frame.origin + float(alpha) * d1 + float(beta) * d2
            with torch.no_grad():
                output = torch.func.functional_call(model, surface.layout.split(theta), (X,))
                expected = float(F.cross_entropy(output, Y))
                right = float((output.argmax(1) == Y).double().mean())
            assert chart.loss[j, i] == pytest.approx(expected, rel=2e-5), (j, i)
            assert chart.accuracy[j, i] == pytest.approx(right, abs=1e-6)
    # Not symmetric: a transposed or mirrored picture would not pass.
    assert not np.allclose(chart.loss[0], chart.loss[-1]) and not np.allclose(chart.loss[:, 0], chart.loss[:, -1])


def test_an_asymmetric_landscape_lies_as_matplotlib_expects():
    surface = la.landscapes.beale()
    frame = Frame(torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64))
    chart = la.chart(surface, frame, span=2.0, points=(5, 7), progress=False)
    for j, y in enumerate(chart.beta):
        for i, x in enumerate(chart.alpha):
            assert chart.loss[j, i] == float(surface.values(torch.tensor([[x, y]])))


@pytest.mark.slow
def test_the_center_is_the_models_own_loss(surface):
    chart = la.chart(surface, la.Plane.random(surface, seed=0), points=11, progress=False)
    own = float(surface.values(surface.theta[None]))
    assert chart.center == pytest.approx(own, rel=1e-6)
    assert chart.center == pytest.approx(surface.loss_at_theta, rel=1e-6)
    assert chart.alpha[5] == 0 and chart.beta[5] == 0


def test_a_line_between_two_models_has_them_at_its_ends():
    a, b = mlp(), mlp()
    with torch.no_grad():
        b[1].weight.mul_(-1)
    surface = la.NetworkSurface(a, "cross_entropy", (X, Y))
    line = la.Line.between(surface, a, b.state_dict())
    chart = la.chart(surface, line, span=(0.0, 1.0), points=(9, 1), progress=False)
    assert chart.loss.shape == (1, 9) and chart.is_line
    for at, model in ((0, a), (-1, b)):
        assert chart.loss[0, at] == pytest.approx(float(F.cross_entropy(model(X), Y).detach()), rel=1e-6)


def test_a_plane_between_three_models_has_them_at_its_corners():
    models = [mlp() for _ in range(3)]
    for k, model in enumerate(models):
        with torch.no_grad():
            model[1].weight.mul_(1 - k / 2)
            model[3].bias.add_(k * k)
    surface = la.NetworkSurface(models[0], "cross_entropy", (X, Y))
    chart = la.chart(surface, la.Plane.between(surface, *models), span=(0.0, 1.0), points=2, progress=False)
    for (j, i), model in (((0, 0), models[0]), ((0, 1), models[1]), ((1, 0), models[2])):
        assert chart.loss[j, i] == pytest.approx(float(F.cross_entropy(model(X), Y).detach()), rel=1e-6)


# -- normalization, by its property -----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_every_filter_of_the_direction_has_its_weights_norm(seed):
    surface = la.NetworkSurface(cnn(), "cross_entropy", (X, Y))
    weights = surface.layout.split(surface.theta)
    for direction in la.Plane.random(surface, seed=seed).frame.directions:
        parts = surface.layout.split(direction)
        for block in surface.layout.blocks:
            d, w = parts[block.name], weights[block.name]
            if d.ndim <= 1:
                assert not bool(d.any()), block.name
                continue
            if block.kind == "conv-transpose":
                d, w = d.transpose(0, 1), w.transpose(0, 1)
            assert torch.allclose(d.flatten(1).norm(dim=1), w.flatten(1).norm(dim=1), rtol=1e-5), block.name
    kinds = {block.kind for block in surface.layout.blocks}
    assert {"conv", "linear", "conv-transpose", "norm", "bias"} <= kinds


def test_layers_and_none():
    surface = la.NetworkSurface(cnn(), "cross_entropy", (X, Y))
    weights = surface.layout.split(surface.theta)
    layered = surface.layout.split(la.Plane.random(surface, seed=2, normalization="layer").frame.directions[0])
    for name, d in layered.items():
        wanted = weights[name].norm() if d.ndim > 1 else torch.zeros(())
        assert torch.allclose(d.norm(), wanted, rtol=1e-5), name
    plain = la.Plane.random(surface, seed=2, normalization="none").frame.directions
    assert float(plain.std()) == pytest.approx(1.0, abs=0.1)
    assert bool((plain != 0).all())


@pytest.mark.slow
def test_filter_normalization_takes_the_scale_out_of_the_picture():
    """ReLU networks: one layer times ten, the next divided by ten is the same function and must be the same picture."""
    model, scaled = mlp(), mlp()
    with torch.no_grad():
        for module in (model[1], scaled[1]):
            module.bias.zero_()
        scaled[1].weight.mul_(10)
        scaled[3].weight.div_(10)
    charts = {}
    for normalization in ("filter", "none"):
        pair = []
        for one in (model, scaled):
            surface = la.NetworkSurface(one, "cross_entropy", (X, Y))
            plane = la.Plane.random(surface, seed=0, normalization=normalization)
            pair.append(la.chart(surface, plane, points=5, progress=False).loss)
        charts[normalization] = pair
    assert np.allclose(*charts["filter"], rtol=1e-4)
    assert not np.allclose(*charts["none"], rtol=0.1)


def test_a_zero_filter_stays_where_it_is():
    model = mlp()
    with torch.no_grad():
        model[1].weight[2].zero_()
    surface = la.NetworkSurface(model, "cross_entropy", (X, Y))
    direction = surface.layout.split(la.Plane.random(surface, seed=0).frame.directions[0])["1.weight"]
    assert not bool(direction[2].any()) and bool(direction[1].any())


def test_a_seed_is_a_plane_and_remembered():
    surface = la.NetworkSurface(mlp(), "cross_entropy", (X, Y))
    one, same, other = (la.Plane.random(surface, seed=s) for s in (4, 4, 5))
    assert torch.equal(one.frame.directions, same.frame.directions)
    assert not torch.equal(one.frame.directions, other.frame.directions)
    assert one.how["seed"] == 4 and one.how["normalization"] == "filter"
    first = surface.layout.split(one.frame.directions[0])["1.weight"]
    raw = torch.randn(first.numel(), generator=torch.Generator().manual_seed(4), dtype=torch.float64).view(first.shape)
    assert torch.allclose(first / first.norm(dim=1, keepdim=True), (raw / raw.norm(dim=1, keepdim=True)).float(), atol=1e-6)  # fmt: skip


# -- what is asked, kept and said -------------------------------------------------------------------------------------


class Holes(Surface):
    """Infinite to the right, not a number in one corner."""

    name = "holes"
    gradients_known = False

    def __init__(self):
        self.layout = la.Layout.vector(2)
        self.start = torch.zeros(2, dtype=torch.float64)

    def read(self, points):
        x, y = points.double().unbind(1)
        values = x * x + y
        values = torch.where(x > 0.6, float("inf"), values)
        return Reading(torch.where((x < -0.6) & (y < -0.6), float("nan"), values))

    def gradients(self, points, sample=None):
        raise NotImplementedError

    def products(self, point, vectors):
        raise NotImplementedError


@pytest.mark.slow
def test_losses_that_are_not_finite_are_kept_counted_and_drawn_as_holes(tmp_path):
    surface = Holes()
    frame = Frame(surface.start, torch.eye(2, dtype=torch.float64))
    chart = la.chart(surface, frame, points=5, progress=False)
    assert np.isinf(chart.loss[:, 4]).all() and np.isnan(chart.loss[0, 0])
    assert chart.holes == 6 and any("6 of 25 cells" in sentence for sentence in chart.reading())
    display = chart.plot()
    assert not np.isfinite(display.z[:, 4]).any()
    assert display.save(tmp_path / "holes.png").stat().st_size > 1000
    chart.save(tmp_path / "chart")
    again = la.load(tmp_path / "chart")
    assert np.array_equal(again.loss, chart.loss, equal_nan=True)
    json.loads((tmp_path / "chart" / "chart.json").read_text(), parse_constant=lambda name: pytest.fail(name))


def test_the_bill_counts_every_cell_once_and_the_forecast_comes_first(surface):
    said, ticks = [], []
    chart = la.chart(
        surface, la.Plane.random(surface), points=(13, 9), on_forecast=said.append, progress=lambda *t: ticks.append(t)
    )
    assert chart.meter.values == 13 * 9 and chart.meter.examples == 13 * 9 * 31
    assert chart.meter.gradients == 0 and chart.meter.surface_seconds > 0
    (forecast,) = said
    assert forecast.evaluations == 117 and forecast.examples == 117 * 31 and forecast.seconds > 0
    assert ticks[-1] == (117, 117) and [t[0] for t in ticks] == sorted(t[0] for t in ticks)
    assert chart.certificate.exact and chart.certificate.rms == 0


@pytest.mark.slow
@pytest.mark.parametrize("points", [4, 21])
def test_a_chart_saved_is_the_chart_loaded(surface, tmp_path, points):
    chart = la.chart(surface, la.Plane.random(surface), points=points, progress=False)
    assert chart.certificate.exact == (points == 4)
    again = la.load(chart.save(tmp_path / "c"))
    assert again.certificate == chart.certificate and again.certificate.strata == chart.certificate.strata
    assert again.caption() == chart.caption() and again.reading() == chart.reading()
    for name in ("alpha", "beta", "loss"):
        assert np.array_equal(getattr(chart, name), getattr(again, name))
    assert np.array_equal(chart.accuracy, again.accuracy)
    assert again.record() == chart.record()


def test_ctrl_c_passes_through_and_leaves_nothing(surface, tmp_path):
    def stop(done, total):
        if done > 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        la.chart(surface, la.Plane.random(surface), points=9, progress=stop)


def test_a_slice_is_raced_like_any_surface(surface):
    plane = la.Plane.random(surface, seed=0)
    race = la.race(surface.on(plane), ["gd"], start=(0.4, -0.3), steps=5)
    assert race.final("gd").shape == (1, 2)
    assert float(race.losses["gd"][0, -1]) < float(race.losses["gd"][0, 0])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"points": 1}, "at least 2"),
        ({"points": (5, 1)}, "at least 2"),
        ({"points": 2.5}, "at least 2"),
        ({"span": 0.0}, "width"),
        ({"span": (1.0, 1.0)}, "width"),
        ({"span": float("nan")}, "width"),
        ({"tolerance": 0.0}, "tolerance"),
        ({"tolerance": -0.01}, "tolerance"),
        ({"probes": 3}, "at least 8"),
        ({"subset": 32}, "subset=32"),
        ({"subset": 0}, "subset=0"),
        ({"span": "wide"}, "auto"),
        ({"span": "auto", "growth": 1.0}, "above 1"),
    ],
)
def test_settings_that_make_no_chart(surface, settings, words):
    with pytest.raises(la.InputError, match=words):
        la.chart(surface, la.Plane.random(surface), progress=False, **settings)


def test_planes_that_are_none():
    surface = la.NetworkSurface(mlp(), "cross_entropy", (X, Y))
    a, b = surface.theta, surface.theta + 1
    with pytest.raises(PlaneError, match="length"):
        la.Line.between(surface, a, a)
    with pytest.raises(PlaneError, match="parallel"):
        la.Plane.between(surface, a, b, surface.theta + 2)
    with pytest.raises(la.InputError, match="Did you mean 'filter'"):
        la.Plane.random(surface, normalization="filters")
    only_bias = mlp()
    for name, parameter in only_bias.named_parameters():
        parameter.requires_grad_("bias" in name)
    with pytest.raises(PlaneError, match="length"):
        la.Plane.random(la.NetworkSurface(only_bias, "cross_entropy", (X, Y)))
    with pytest.raises(la.InputError, match="accuracy"):
        _ = la.chart(la.landscapes.beale(), la.Plane.random(la.landscapes.beale()), points=2, progress=False).accuracy


@pytest.mark.slow
def test_holes_that_were_not_evaluated_are_not_called_losses_that_are_not_finite():
    class Log(torch.nn.Module):
        """Has no loss where its first weight is below -0.5."""

        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
            with torch.no_grad():
                self.net[0].weight[0, 0] = -0.3

        def forward(self, x):
            return self.net(x) + torch.log(self.net[0].weight[0, 0] + 0.5)

    g = torch.Generator().manual_seed(0)
    data = torch.randn(60, 4, generator=g), torch.randint(0, 3, (60,), generator=g)
    surface = la.NetworkSurface(Log(), "cross_entropy", data)
    plane = la.Plane.random(surface, seed=0)
    made = la.chart(surface, plane, points=41, progress=False)
    truth = la.chart(surface, plane, points=41, exact=True, progress=False)
    holes = ~np.isfinite(made.loss)
    assert 0 < made.guessed_holes == int((holes & ~made.exactly).sum()) and truth.guessed_holes == 0
    assert np.array_equal(holes[made.exactly], ~np.isfinite(truth.loss[made.exactly]))
    (said,) = (sentence for sentence in made.reading() if "holes" in sentence)
    assert (
        f"{made.holes - made.guessed_holes:,} were evaluated and are not finite, the others were not evaluated" in said
    )
    assert f"{made.guessed_holes:,} of {made.holes:,} holes were not evaluated" in caption(made)
    assert f"{truth.holes:,} of 1,681 cells are not finite and drawn as holes" in truth.reading()
    assert "not evaluated" not in caption(truth)
