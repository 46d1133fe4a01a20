"""Batch norm in its four modes: each against the loop a user would write, and what is said of it."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.swa_utils import update_bn

import lossatlas as la
from lossatlas._errors import DataError, ModelError, UnknownNameError
from lossatlas.surface import Sample

X = torch.randn(24, 1, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = torch.randint(3, (24,), generator=torch.Generator().manual_seed(1))
MODES = ("frozen", "interpolate", "recompute", "batch")


class Net(nn.Module):
    """Two batch norms, one of them passed twice, a dropout that must stay off, and a group norm."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 2, 2), nn.BatchNorm2d(2)
        self.second, self.group = nn.Conv2d(2, 2, 1), nn.GroupNorm(1, 2)
        self.last, self.flat_norm, self.drop = nn.Linear(32, 3), nn.BatchNorm1d(3, affine=False), nn.Dropout(0.5)

    def forward(self, x):
        x = torch.tanh(self.norm(self.first(x)))
        x = self.norm(self.group(self.second(x)))
        return self.drop(self.flat_norm(self.last(x.flatten(1))))


def trained(seed):
    """Weights and running statistics that belong together and differ from seed to seed."""
    torch.manual_seed(seed)
    model = Net().double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
        for _ in range(4):
            model(torch.randn_like(X) + seed)
    return model.eval()


def own_loss(model, batches=(X,), targets=(Y,)):
    with torch.no_grad():
        total = sum(float(F.cross_entropy(model(x), y)) * len(x) for x, y in zip(batches, targets, strict=True))
    return total / sum(map(len, batches))


def at(theta, seed=0):
    model = trained(seed)
    nn.utils.vector_to_parameters(theta.clone(), model.parameters())
    return model


def mixed(weights):
    """A model with every floating entry of the state dicts mixed, variances clamped, integers left alone."""
    model, states = trained(0), [trained(k).state_dict() for k in range(len(weights))]
    state = model.state_dict()
    for key in state:
        if state[key].is_floating_point():
            state[key] = sum(w * s[key] for w, s in zip(weights, states, strict=True))
            if key.endswith("running_var"):
                state[key] = state[key].clamp_min(0)
    model.load_state_dict(state)
    return model


def surface_in(mode, **settings):
    return la.NetworkSurface(trained(0), "cross_entropy", (X, Y), batchnorm=mode, **settings)


# -- interpolate ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_interpolated_statistics_are_exact_at_both_ends_and_in_between():
    surface, a, b = surface_in("interpolate"), trained(0), trained(1)
    line = la.Line.between(surface, a, b)
    chart = la.chart(surface, line, span=(0.0, 1.0), points=(5, 1), exact=True, progress=False)
    for t, loss in zip(chart.alpha, chart.loss[0], strict=True):
        assert loss == pytest.approx(own_loss(mixed([1 - t, t])), rel=1e-12)
    assert chart.loss[0, 0] == pytest.approx(own_loss(a)) and chart.loss[0, -1] == pytest.approx(own_loss(b))
    frozen = surface_in("frozen")
    away = la.chart(frozen, la.Line.between(frozen, a, b), span=(0.0, 1.0), points=(2, 1), exact=True, progress=False)
    assert away.loss[0, 0] == pytest.approx(own_loss(a)) and abs(away.loss[0, 1] - own_loss(b)) > 0.05
    assert surface.dimension == frozen.dimension, "statistics are no parameters"


@pytest.mark.parametrize("orthonormal", [False, True])
def test_interpolated_statistics_on_a_plane_have_all_three_models_at_their_corners(orthonormal):
    surface = surface_in("interpolate")
    plane = la.Plane.between(surface, *(trained(k) for k in range(3)), orthonormal=orthonormal)
    corners = torch.tensor(list(plane.how["points"].values()), dtype=torch.float64)
    expected = [own_loss(trained(k)) for k in range(3)]
    assert surface.on(plane).values(corners).tolist() == pytest.approx(expected, rel=1e-11)
    middle = torch.tensor([[0.2, 0.5, 0.3]], dtype=torch.float64)
    assert float(surface.on(plane).values(middle @ corners)) == pytest.approx(
        own_loss(mixed([0.2, 0.5, 0.3])), rel=1e-11
    )


def test_variances_are_clamped_where_extrapolation_makes_them_negative_and_that_is_said():
    surface = surface_in("interpolate")
    line = la.Line.between(surface, trained(0), trained(1))
    variances = [
        torch.cat([v for k, v in trained(s).state_dict().items() if k.endswith("running_var")]) for s in (0, 1)
    ]
    slope = variances[1] - variances[0]
    ends = [float((-variances[0] / slope)[mask].abs().min()) for mask in (slope > 0, slope < 0)]
    assert (
        f"−{ends[0]:.3g} ≤ t ≤ {ends[1]:.3g}".replace("−", "-") in line.notes[1] and "clamped to zero" in line.notes[1]
    )
    far = [-1.5 * ends[0], 1.5 * ends[1]]
    found = surface.on(line).values(torch.tensor(far, dtype=torch.float64)[:, None])
    assert found.tolist() == pytest.approx([own_loss(mixed([1 - t, t])) for t in far], rel=1e-9)
    chart = la.chart(surface, line, span=(0.0, 1.0), points=(5, 1), exact=True, progress=False)
    assert line.notes[1] in chart.provenance["notes"] and surface.notes[0] in chart.provenance["notes"]


def test_an_interpolated_line_is_restored_with_its_statistics(tmp_path):
    surface = surface_in("interpolate")
    line = la.Line.between(surface, trained(0), trained(1))
    line.save(tmp_path)
    again = la.Line.restore(surface, tmp_path)
    ends = torch.tensor([[0.3], [1.0]], dtype=torch.float64)
    assert torch.equal(surface.on(again).values(ends), surface.on(line).values(ends))


# -- the default: interpolated where it can be, frozen elsewhere ------------------------------------------------------


def by_default(**settings):
    return la.NetworkSurface(trained(0), "cross_entropy", (X, Y), **settings)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["module", "state dict", "file", "folder", "vector for a"])
def test_both_ends_show_their_own_loss_by_default_whatever_describes_them(form, tmp_path):
    surface, a, b = by_default(), trained(0), trained(1)
    ends = {"module": (a, b), "state dict": (a.state_dict(), b.state_dict()), "vector for a": (surface.theta, b)}
    if form in ("file", "folder"):
        for name, model in (("a", a), ("b", b)):
            (tmp_path / name).mkdir()
            torch.save(model.state_dict(), tmp_path / name / "w.pt")
        ends = {"file": tuple(tmp_path / n / "w.pt" for n in "ab"), "folder": (tmp_path / "a", tmp_path / "b")}
    line = la.Line.between(surface, *ends[form])
    chart = la.chart(surface, line, span=(0.0, 1.0), points=(5, 1), exact=True, progress=False)
    for t, loss in zip(chart.alpha, chart.loss[0], strict=True):
        assert loss == pytest.approx(own_loss(mixed([1 - t, t])), rel=1e-12)
    note = "batch norm: running statistics are interpolated between a and b here, so that each model shows its own loss"
    assert line.notes[0] == note and note in chart.reading() and line.how["batchnorm"] == "interpolate"
    assert chart.batchnorm == "interpolate" and "interpolated between the models" in chart.caption()
    assert surface.batchnorm == "frozen" and "except on lines and planes between models" in surface.notes[0]


@pytest.mark.slow
def test_frozen_is_a_choice_and_stays_one():
    frozen, a, b = surface_in("frozen"), trained(0), trained(1)
    line = la.Line.between(frozen, a, b)
    chart = la.chart(frozen, line, span=(0.0, 1.0), points=(2, 1), exact=True, progress=False)
    stale = at(frozen.vector(b))
    assert chart.loss[0, 1] == pytest.approx(own_loss(stale)) and line.how["batchnorm"] == "frozen"
    assert "frozen at the model's own" in chart.caption()
    # A line that was made with statistics is read without them where the surface says frozen.
    moving = la.Line.between(by_default(), a, b)
    ends = torch.tensor([[1.0]], dtype=torch.float64)
    assert float(frozen.on(moving).values(ends)) == pytest.approx(own_loss(stale))
    assert float(by_default().on(moving).values(ends)) == pytest.approx(own_loss(b))


def test_a_point_without_statistics_freezes_the_whole_plane_by_default():
    surface, a, b = by_default(), trained(0), trained(1)
    plane = la.Plane.between(surface, a, b, surface.vector(trained(2)))
    assert plane.frame.statistics is None and plane.how["batchnorm"] == "frozen"
    assert plane.notes[0].endswith("frozen at the model's own here, since c came without running statistics")
    assert any(note.startswith("b holds other values") for note in plane.notes)
    corner = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    assert float(surface.on(plane).values(corner)) == pytest.approx(own_loss(at(surface.vector(b))))


@pytest.mark.slow
def test_by_default_other_planes_and_values_are_those_of_frozen_statistics():
    surface, frozen = by_default(), surface_in("frozen")
    points = surface.theta + 0.1 * torch.arange(3.0)[:, None]
    assert torch.equal(surface.values(points), frozen.values(points))
    assert surface.fingerprint() == frozen.fingerprint()
    plane = la.Plane.random(surface)
    coords = torch.tensor([[0.3, -0.2]], dtype=torch.float64)
    assert torch.equal(surface.on(plane).values(coords), frozen.on(plane).values(coords))
    assert surface.with_batchnorm(None) is surface and not surface.with_batchnorm("frozen").interpolates
    back = surface.with_batchnorm("frozen").with_batchnorm(None)
    assert back.interpolates and back.notes == surface.notes


@pytest.mark.slow
def test_a_subset_of_the_examples_moves_its_statistics_too():
    surface, a, b = by_default(), trained(0), trained(1)
    few = surface.cheaper(12)
    line = la.Line.between(surface, a, b)
    ends = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    same = surface_in("interpolate").cheaper(12)
    assert few.on(line).values(ends).tolist() == pytest.approx(same.on(line).values(ends).tolist(), rel=1e-12)
    frozen = surface_in("frozen").cheaper(12).on(line).values(ends)
    assert abs(float(frozen[1] - few.on(line).values(ends)[1])) > 0.01


def test_statistics_of_another_type_than_the_weights_stay_frozen_by_default():
    def half(seed):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Flatten(), nn.Linear(25, 3), nn.BatchNorm1d(3, affine=False)).bfloat16()
        model[2].float().running_mean.add_(seed)
        return model.eval()

    surface = la.NetworkSurface(half(0), "cross_entropy", (X.bfloat16(), Y))
    line = la.Line.between(surface, half(0), half(1))
    assert line.frame.statistics is None and line.how["batchnorm"] == "frozen"
    assert any("b holds other values than the surface for 2.running_mean" in note for note in line.notes)


@pytest.mark.slow
def test_the_ends_of_a_path_and_of_a_line_agree():
    surface, a, b = by_default(), trained(0), trained(1)
    path = la.connect(surface, a, b, statistics="stale", tolerance=None, points=5, resamples=0, progress=False)
    line = surface.on(la.Line.between(surface, a, b))
    assert path.loss.tolist() == pytest.approx(line.values(torch.tensor(path.t)[:, None]).tolist(), rel=1e-10)


# -- recompute and batch ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_recomputed_statistics_are_torchs_own_update_bn_on_equal_batches():
    surface = surface_in("recompute", batch_size=8)
    for seed in (0, 1, 2):
        model = trained(seed)
        theta = surface.vector(model) + 0.1 * seed
        updated = at(theta, seed)
        updated.drop.p = 0.0  # update_bn would run dropout
        update_bn(list(X.split(8)), updated)
        assert float(surface.values(theta[None])) == pytest.approx(own_loss(updated.eval()), rel=1e-12)


def test_recomputed_statistics_weight_unequal_batches_by_size():
    surface = surface_in("recompute", batch_size=10)  # 10, 10 and 4 examples
    theta = surface.theta + 0.05
    model = at(theta)
    kept = {name: [] for name in ("norm", "flat_norm")}
    for name, rows in kept.items():
        model.get_submodule(name).register_forward_pre_hook(lambda _, args, rows=rows: rows.append(args[0]))
    sums = {}
    for x in X.split(10):
        for name in kept:
            kept[name].clear()
            model.get_submodule(name).train()
        model(x)
        for name, inputs in kept.items():
            for moment in ("running_mean", "running_var"):
                take = torch.mean if moment == "running_mean" else torch.var
                each = [take(i.transpose(0, 1).flatten(1), dim=1).detach() for i in inputs]
                sums[f"{name}.{moment}"] = sums.get(f"{name}.{moment}", 0) + len(x) / 24 * torch.stack(each).mean(0)
    model.eval().load_state_dict(sums, strict=False)
    assert float(surface.values(theta[None])) == pytest.approx(own_loss(model), rel=1e-12)


def test_batch_mode_is_a_forward_pass_in_training_mode():
    surface = surface_in("batch", batch_size=9)
    theta = surface.theta - 0.1
    model = at(theta)
    for module in model.modules():
        module.train(isinstance(module, nn.modules.batchnorm._BatchNorm))
    expected = own_loss(model, X.split(9), Y.split(9))
    assert float(surface.values(theta[None])) == pytest.approx(expected, rel=1e-12)
    assert surface.fingerprint()["batch_sizes"] == [9, 6] and "9 or 6 examples" in surface.notes[0]
    # A mini-batch is normalized as one batch, wherever its examples come from.
    seeds = torch.tensor([3])
    chosen = torch.randperm(24, generator=torch.Generator().manual_seed(3))[:5].sort().values
    found = surface.gradients(theta[None], Sample(5, seeds))[0]
    assert float(found) == pytest.approx(own_loss(model, (X[chosen],), (Y[chosen],)), rel=1e-12)


# -- slopes and curvature in every mode -------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_slopes_and_products_are_those_of_the_values_in_every_mode(mode):
    """Through the statistics too: central differences of values and of slopes, and the vectorized way beside the loop."""
    surface = surface_in(mode, batch_size=9)
    generator = torch.Generator().manual_seed(2)
    theta = surface.theta + 0.05 * torch.randn(surface.dimension, generator=generator, dtype=torch.float64)
    v = torch.randn(surface.dimension, generator=generator, dtype=torch.float64)
    h = 1e-5
    values, slopes = surface.gradients(torch.stack([theta - h * v, theta, theta + h * v]))
    assert values.tolist() == pytest.approx(surface.values(torch.stack([theta - h * v, theta, theta + h * v])).tolist())
    assert float(slopes[1] @ v) == pytest.approx(float(values[2] - values[0]) / (2 * h), rel=1e-6)
    product = surface.products(theta, torch.stack([v, -2 * v]))
    torch.testing.assert_close(product[0], (slopes[2] - slopes[0]).double() / (2 * h), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(product[1], -2 * product[0])
    points = theta + 0.01 * torch.arange(4.0)[:, None]
    for loop, together in (
        (surface._evaluation.loop_values, surface._evaluation.vmap_values),
        (surface._evaluation.loop_gradients, surface._evaluation.vmap_gradients),
    ):
        for one, other in zip(loop(points), together(points), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
def test_slopes_on_an_interpolated_line_go_through_the_statistics():
    surface = surface_in("interpolate")
    sliced = surface.on(la.Line.between(surface, trained(0), trained(1)))
    t, h = torch.tensor([[0.4]], dtype=torch.float64), 1e-5
    low, mid, high = (sliced.values(t + k * h).item() for k in (-1, 0, 1))
    value, slope = sliced.gradients(t)
    assert value.item() == pytest.approx(mid) and slope.item() == pytest.approx((high - low) / (2 * h), rel=1e-6)
    h = 1e-3
    low, mid, high = (sliced.values(t + k * h).item() for k in (-1, 0, 1))
    curvature = sliced.products(t[0], torch.ones(1, 1, dtype=torch.float64)).item()
    assert curvature == pytest.approx((high - 2 * mid + low) / h**2, rel=1e-4)


# -- the user's model, and what is said -------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_the_model_is_left_as_it_was(mode):
    model = trained(0)
    if mode in ("recompute", "batch"):
        model.norm.train()  # its mode does not matter there
    before = copy.deepcopy(model.state_dict())
    surface = la.NetworkSurface(model, "cross_entropy", (X, Y), batchnorm=mode)
    la.chart(surface, la.Plane.random(surface), points=3, exact=True, progress=False)
    surface.gradients(surface.theta[None])
    surface.products(surface.theta, surface.theta[None])
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert model.norm.training == (mode in ("recompute", "batch")) and not model.training
    assert "forward" not in model.norm.__dict__ and model.norm.running_mean is not None
    assert not model.norm._forward_pre_hooks


@pytest.mark.slow
def test_modes_are_changed_without_loading_anything_again():
    made = {mode: surface_in(mode) for mode in MODES}
    theta = made["frozen"].theta[None] + 0.1
    for start in MODES:
        for mode in MODES:
            twin = made[start].with_batchnorm(mode)
            assert twin.batchnorm == mode and twin.notes == made[mode].notes
            assert float(twin.values(theta)) == pytest.approx(float(made[mode].values(theta)), rel=1e-12)
            assert twin.fingerprint() == made[mode].fingerprint()
    assert len({round(float(s.values(theta)), 9) for s in made.values()}) == 3, "away from lines two are alike"


@pytest.mark.slow
def test_each_mode_is_on_record_and_says_its_sentence():
    loss, stored = surface_in("recompute").loss_at_theta, surface_in("frozen").loss_at_theta
    words = {
        "frozen": "batch norm ran on frozen statistics: 2 batch norm layers",
        "interpolate": "move with the weights on lines and planes between models",
        "recompute": f"over all 24 examples; at the model's own parameters the loss is then {loss:.5g}, with its stored "
        f"statistics {stored:.5g}",
        "batch": "2 batch norm layers normalized each batch of 24 examples by itself",
    }
    for mode in MODES:
        surface = surface_in(mode)
        assert surface.fingerprint()["batchnorm"] == mode and len(surface.notes) == 1
        assert words[mode] in surface.notes[0]
        chart = la.chart(surface, la.Plane.random(surface), points=3, exact=True, progress=False)
        assert surface.notes[0] in chart.reading()
    again = surface_in("recompute")
    chart = la.chart(again, la.Plane.random(again), points=3, exact=True, progress=False)
    assert again.examples == 24 and chart.meter.examples == 9 * 48, "a value reads the data twice, and is billed so"


@pytest.mark.slow
def test_networks_without_batch_norm_need_no_mode():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(25, 4), nn.LayerNorm(4), nn.Linear(4, 3)).double()
    losses = set()
    for mode in MODES:
        surface = la.NetworkSurface(model, "cross_entropy", (X, Y), batchnorm=mode)
        assert surface.notes == () and "batchnorm" not in surface.fingerprint()
        losses.add(float(surface.values(surface.theta[None] + 0.1)))
        assert la.Line.between(surface, model, surface.theta + 1).notes == ()
    assert len(losses) == 1


def test_layers_without_statistics_of_their_own_are_told_apart():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(25, 3), nn.BatchNorm1d(3, track_running_stats=False)).double().eval()
    note, batches = la.NetworkSurface(model, "cross_entropy", (X, Y)).notes
    assert note.startswith("1 batch norms keep no statistics") and "24" in note
    assert "the batches are part of the surface" in batches


@pytest.mark.slow
def test_ends_that_do_not_show_their_own_loss_are_named():
    surface, a, b = surface_in("frozen"), trained(0), trained(1)
    frozen, note = la.Line.between(surface, a, b).notes
    assert frozen == "batch norm: running statistics are frozen at the model's own here"
    assert note.startswith("b holds other values than the surface for norm.running_mean, norm.running_var and 2 more")
    assert "batch norm mode interpolate or recompute (batchnorm=…, --batchnorm …)" in note
    assert la.Line.between(surface, a, surface.vector(b)).notes == (frozen,)
    assert la.Line.between(surface_in("recompute"), a, b).notes == ()
    moving = surface_in("interpolate")
    assert any("b came without running statistics" in n for n in la.Line.between(moving, a, moving.vector(b)).notes)
    a.first.requires_grad_(False)
    half = la.NetworkSurface(a, "cross_entropy", (X, Y), batchnorm="interpolate")
    assert any("for first.weight, first.bias" in n for n in la.Line.between(half, a, b).notes)


# -- refused ----------------------------------------------------------------------------------------------------------


def test_what_batch_norm_cannot_do():
    with pytest.raises(UnknownNameError, match="Did you mean 'recompute'"):
        surface_in("recomputed")
    for mode in ("recompute", "batch"):
        with pytest.raises(DataError, match=r"\[1, 23\] examples"):
            surface_in(mode, batch_size=23)
        model = trained(0).train()
        with pytest.raises(ModelError, match="Dropout"):
            la.NetworkSurface(model, "cross_entropy", (X, Y), batchnorm=mode)
    model = trained(0)
    model.norm.train()
    for mode in ("frozen", "interpolate"):
        with pytest.raises(ModelError, match="BatchNorm2d"):
            la.NetworkSurface(model, "cross_entropy", (X, Y), batchnorm=mode)
    mixed_types = trained(0)
    mixed_types.flat_norm.float()
    with pytest.raises(ModelError, match="one type"):
        la.NetworkSurface(mixed_types, "cross_entropy", (X, Y), batchnorm="recompute")


@pytest.mark.slow
def test_float32_and_threads_give_the_same_to_rounding():
    model = trained(0).float()
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            surface = la.NetworkSurface(model, "cross_entropy", (X.float(), Y), batchnorm="recompute", batch_size=8)
            points = surface.theta + 0.05 * torch.arange(12.0)[:, None]
            found.append(surface.values(points).numpy())
    finally:
        torch.set_num_threads(before)
    assert np.allclose(*found, rtol=1e-5)


def test_notes_that_change_a_picture_are_under_it_and_others_in_the_record_alone():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).eval()

    def loss(output, target):  # reads the model itself, so that no copy of it will do
        return F.cross_entropy(output, target) + model[0].weight.square().sum()

    surface = la.NetworkSurface(model, loss, (torch.randn(12, 3), torch.arange(12) % 2))
    chart = la.chart(surface, la.Line.random(surface), points=9, exact=True, progress=False)
    dropped = next(note for note in surface.notes if note.startswith("a private copy of the model is not used"))
    assert surface.captions == surface.notes[:1] and "frozen" in surface.captions[0]
    assert dropped in chart.provenance["notes"] and dropped in chart.provenance["asides"] and dropped in str(surface)
    assert dropped not in " ".join(chart.reading()) and "private copy" not in chart.caption()
    assert chart.caption().count("atch norm") == 1 and "frozen at the model's own" in chart.caption()
