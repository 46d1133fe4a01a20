"""Sharpness is what its definition says, keeps that definition, and is tested for what it is invariant to."""

import json
import math

import numpy as np
import pytest
import torch
from torch import nn

import lossatlas as la
from lossatlas import archive
from lossatlas.curvature import Invariance, Sharpness, rescale, sharpness, sharpness_invariance, spread
from lossatlas.demo import digits, digits_mlp, fit
from lossatlas.surface import Sample

EIGENVALUES = torch.tensor([1.0, 10.0 ** (2 / 3), 10.0 ** (4 / 3), 100.0], dtype=torch.float64)
THETA = torch.tensor([0.5, -1.0, 0.2, 0.05], dtype=torch.float64)


def _bowl():
    return la.landscapes.quadratic(condition=100.0, dimension=4)


def _loss(theta):
    return float(0.5 * (EIGENVALUES * theta * theta).sum())


@pytest.fixture(scope="module")
def net():
    x, y = digits("train")
    model = digits_mlp((8,), seed=1)
    fit(model, (x[:300], y[:300]), epochs=15, seed=1)
    return model.double(), (x[:300].double(), y[:300])


@pytest.fixture(scope="module")
def surface(net):
    model, data = net
    return la.NetworkSurface(model, "cross_entropy", data)


def test_on_a_bowl_every_measure_is_a_closed_form():
    bowl, theta = _bowl(), THETA
    g = EIGENVALUES * theta
    top, whole = sharpness(bowl, "lambda-max", point=theta), sharpness(bowl, "trace", point=theta)
    assert top.value == pytest.approx(100.0) and top.interval[0] <= 100.0 <= top.interval[1] + 1e-9
    assert whole.value == pytest.approx(float(EIGENVALUES.sum()))
    scaled = sharpness(bowl, "trace", point=theta, scaling="elementwise")
    assert scaled.value == pytest.approx(float((theta**2 * EIGENVALUES).sum()))
    step = 0.05 * g / g.norm()
    assert sharpness(bowl, "sam", point=theta).value == pytest.approx(_loss(theta + step) - _loss(theta))
    d = theta.abs() + 0.01
    step = 0.3 * d**2 * g / (d * g).norm()
    found = sharpness(bowl, "asam", point=theta, rho=0.3, eta=0.01)
    assert found.value == pytest.approx(_loss(theta + step) - _loss(theta))
    reach = 1e-2 * (theta.abs() + 1)
    corner = theta + reach * theta.sign()  # convex and separable: the farthest corner
    highest = 100 * (_loss(corner) - _loss(theta)) / (1 + _loss(theta))
    found = sharpness(bowl, "keskar", point=theta, rho=1e-2)
    assert found.value == pytest.approx(highest) and found.interval == (found.value, math.inf)
    found = sharpness(bowl, "average", point=theta, rho=0.2, samples=400)
    assert abs(found.value - 0.5 * 0.04 * float((theta**2 * EIGENVALUES).sum())) < 4 * np.std(found.draws) / 20
    assert found.interval[0] < found.value < found.interval[1]


def test_filters_have_their_own_length_and_biases_none():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)).double()
    surface = la.NetworkSurface(model, "mse", (torch.randn(6, 1, 3, 3).double(), torch.randn(6, 3).double()))
    hessian = surface.products(surface.theta, torch.eye(surface.dimension, dtype=torch.float64))
    diagonal, expected = hessian.diagonal(), 0.0
    for block in surface.layout.blocks:
        weight = surface.theta[block.span].view(block.shape)
        curved = diagonal[block.span].view(block.shape)
        if len(block.shape) > 1:
            expected += sum(float(w.square().sum() * h.sum() / w.numel()) for w, h in zip(weight, curved, strict=True))
    found = sharpness(surface, "trace", scaling="filter")
    assert found.value == pytest.approx(expected, rel=1e-9) and found.definition["biases"] == "left out"


@pytest.mark.slow
def test_biases_are_normalized_or_not_and_the_definition_says_which(surface):
    g = surface.gradients(surface.theta[None])[1][0]
    for biases in ("normalized", "plain"):
        d = surface.theta.abs()
        if biases == "plain":
            for block in surface.layout.blocks:
                if len(block.shape) == 1:
                    d[block.span] = 1.0
        ends = torch.stack([surface.theta, surface.theta + 0.5 * d**2 * g / (d * g).norm()])
        low, high = surface.values(ends).tolist()
        found = sharpness(surface, "asam", biases=biases)
        assert found.value == pytest.approx(high - low, rel=1e-9)
        assert found.definition["biases"] == biases and biases in found.sentence


def test_the_worst_case_of_small_batches_is_each_batchs_own(surface):
    whole = sharpness(surface, "sam")
    assert sharpness(surface, "sam", m=300, batches=3).value == pytest.approx(whole.value, rel=1e-9)
    small = sharpness(surface, "sam", m=20, batches=20, seed=4)
    assert small.value > whole.value and len(small.draws) == 20
    assert small.interval[0] < small.value < small.interval[1]
    seeds = torch.randint(0, 2**31 - 1, (20,), generator=torch.Generator().manual_seed(4))
    for seed, draw in zip(seeds[:3], small.draws, strict=False):
        one = Sample(20, seed[None])
        value, g = surface.gradients(surface.theta[None], one)
        after, _ = surface.gradients(surface.theta[None] + 0.05 * g / g.norm(), one)
        assert draw == pytest.approx(float(after - value), rel=1e-9)


def test_further_steps_only_raise_the_worst_case_and_stay_in_the_ball(surface):
    one, ten = (sharpness(surface, "sam", rho=0.3, steps=steps) for steps in (1, 10))
    assert ten.value >= one.value and one.interval == (one.value, one.value) and math.isinf(ten.interval[1])
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(200, surface.dimension, generator=generator, dtype=torch.float64)
    around = surface.values(surface.theta + 0.3 * z / z.norm(dim=1, keepdim=True)) - surface.loss_at_theta
    assert ten.value > float(around.max())
    # On a bowl the worst point of a ball about the center lies along the sharpest direction.
    start = torch.tensor([1e-3, 1e-3, 1e-3, 1e-3], dtype=torch.float64)
    found = sharpness(_bowl(), "sam", point=start, rho=1.0, steps=20)
    assert found.value == pytest.approx(50.0, rel=0.02) and found.value <= 50.0 + 0.2


@pytest.mark.parametrize("kind", ["sam", "asam"])
@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_ascents_go_on_by_half_the_radius_and_stay_in_the_ball(kind, steps):
    """Step by step as `worst` has it: ρ first, then ρ/2 along the gradient there, halved where that does not rise."""
    bowl, theta, rho = _bowl(), torch.tensor([0.3, -0.2, 0.4, 0.001], dtype=torch.float64), 0.2
    d = theta.abs() if kind == "asam" else torch.ones(4, dtype=torch.float64)
    z, best, length, moved = torch.zeros(4, dtype=torch.float64), -math.inf, rho, []
    for _ in range(steps):
        pull = d * EIGENVALUES * (theta + d * z)
        trial = z + length * pull / pull.norm()
        trial = trial * min(1.0, rho / float(trial.norm()))
        moved.append(_loss(theta + d * trial) > best)
        if moved[-1]:
            z, best, length = trial, _loss(theta + d * trial), rho / 2
        else:
            length /= 2
    found = sharpness(bowl, kind, point=theta, rho=rho, steps=steps)
    assert found.value == pytest.approx(best - _loss(theta), rel=1e-12)
    if steps == 2:
        full = z * 0
        for _ in range(2):
            pull = d * EIGENVALUES * (theta + d * full)
            full = full + rho * pull / pull.norm()
            full = full * min(1.0, rho / float(full.norm()))
        assert _loss(theta + d * full) != pytest.approx(best, rel=1e-6), "full steps end elsewhere"


def test_keskars_ascent_beats_random_points_of_its_box(surface):
    found = sharpness(surface, "keskar", restarts=1)
    generator = torch.Generator().manual_seed(1)
    u = 2 * torch.rand(300, surface.dimension, generator=generator, dtype=torch.float64) - 1
    around = surface.values(surface.theta + 1e-3 * (surface.theta.abs() + 1) * u)
    base = surface.loss_at_theta
    assert found.value > 100 * float(around.max() - base) / (1 + base) > 0
    in_few = sharpness(surface, "keskar", subspace=10)
    assert in_few.definition["subspace"] == 10 and in_few.value > 0


@pytest.mark.slow
def test_the_average_covers_its_truth_as_often_as_it_says():
    """Of 100 intervals at 95 % at least 88 hold the closed form (false alarm 0.2 %)."""
    truth = 0.5 * 0.01 * float((THETA**2 * EIGENVALUES).sum())
    held = 0
    for seed in range(100):
        low, high = sharpness(_bowl(), "average", point=THETA, seed=seed, samples=64).interval
        held += low <= truth <= high
    assert held >= 88


@pytest.mark.slow
def test_the_table_of_rescalings_comes_out_as_published(net):
    """Survey section 3.5: curvature changes, the filter trace survives layers only, the elementwise one everything."""
    model, data = net
    before = [p.clone() for p in model.parameters()]
    measures = [
        {"kind": "lambda-max"},
        {"kind": "trace", "relative": 0.2},
        {"kind": "trace", "scaling": "filter", "relative": 0.2},
        {"kind": "trace", "scaling": "elementwise", "relative": 0.2},
        {"kind": "keskar"},
        {"kind": "sam"},
        {"kind": "asam"},
        {"kind": "asam", "biases": "plain"},
        {"kind": "average", "samples": 16},
        {"kind": "average", "scaling": "none", "samples": 16},
    ]
    found = sharpness_invariance(model, "cross_entropy", data, measures=measures)
    assert list(found.invariant_to.values()) == [
        "none", "none", "layer-wise", "both", "none", "none", "both", "none", "both", "none",
    ]  # fmt: skip
    assert found.gaps[0] == 0 and found.gaps.max() < 1e-13
    for k, one in enumerate((model, rescale(model, 5.0), rescale(model, spread(model)))):
        surface = la.NetworkSurface(one, "cross_entropy", data)
        h = surface.products(surface.theta, torch.eye(surface.dimension, dtype=torch.float64)).numpy()
        assert found.values[0, k] == pytest.approx(np.linalg.eigvalsh(h)[-1], rel=1e-4)
        truth = float(surface.theta.numpy() ** 2 @ np.diag(h))
        assert found.values[3, k] == pytest.approx(truth, rel=0.4)  # its interval is ±20 % at 95 %: false alarm 1e-4
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    record = json.loads(json.dumps(found.record()["measures"][0][0]["definition"], allow_nan=False))
    assert record["formula"] == "λmax of D H D" and "Cohen" in record["source"]
    assert "neuron-wise" in found._repr_html_() and len(found.table().rows) == len(measures)


@pytest.mark.slow
def test_the_self_test_is_saved_and_refuses_what_makes_no_sense(net, tmp_path):
    model, data = net
    found = sharpness_invariance(model, "cross_entropy", data, measures=[{"kind": "sam"}])
    _, arrays, record = archive.load(found.save(tmp_path))
    assert arrays["values"].shape == (1, 3) and record["invariant_to"] == {"sam": "none"}
    again = Invariance.restore(arrays, record)
    assert again.record() == found.record() and np.array_equal(again.values, found.values)
    for settings in ({"factor": 1.0}, {"ratio": 0.5}, {"tolerance": 0.0}):
        with pytest.raises(la.InputError, match="expected"):
            sharpness_invariance(model, "cross_entropy", data, **settings)
    with pytest.raises(la.InputError, match="homogeneous"):
        tanh = nn.Sequential(nn.Linear(64, 4), nn.Tanh(), nn.Linear(4, 10)).double()
        sharpness_invariance(tanh, "cross_entropy", data)


@pytest.mark.slow
def test_balancing_makes_any_measure_the_same_for_rescaled_networks(net):
    model, data = net
    other = rescale(model, spread(model, seed=5))
    values = []
    for one in (la.balance(model), la.balance(other)):
        surface = la.NetworkSurface(one, "cross_entropy", data)
        values.append([sharpness(surface, kind).value for kind in ("lambda-max", "sam")])
    assert np.allclose(*values, rtol=1e-6)


def test_a_measure_keeps_its_whole_definition(surface, tmp_path):
    found = sharpness(surface, "asam", rho=0.2, m=50, batches=4, eta=0.01, biases="plain", steps=2, seed=9)
    d = found.definition
    expected = {
        "rho": 0.2,
        "norm": "2",
        "m": 50,
        "sub_batches": 4,
        "eta": 0.01,
        "biases": "plain",
        "steps": 2,
        "examples": 300,
    }
    assert expected.items() <= d.items() and "max" in d["formula"]
    _, arrays, record = archive.load(found.save(tmp_path))
    assert record["definition"] == d and len(arrays["draws"]) == 4 and record["provenance"]["seed"] == 9
    assert la.load(tmp_path).record() == found.record()
    again = Sharpness.restore(arrays, record)
    assert again.record() == found.record() and np.array_equal(again.draws, found.draws)
    assert found.meter.gradients == 12 and found.meter.examples > 0
    assert "m = 50 in 4 sub-batches" in found._repr_html_()


@pytest.mark.parametrize(
    ("kind", "settings", "part"),
    [
        ("sharp", {}, "kind of sharpness"),
        ("sam", {"rho": 0.0}, "rho"),
        ("lambda-max", {"rho": 0.1}, "no radius"),
        ("asam", {"scaling": "none"}, "its own is"),
        ("average", {"scaling": "filters"}, "filter"),
        ("asam", {"biases": "yes"}, "normalized"),
        ("asam", {"eta": -1.0}, "eta"),
        ("trace", {"m": 10}, "m=10"),
        ("sam", {"m": 0}, "1 to 300"),
        ("sam", {"m": 10, "batches": 1}, "batches"),
        ("sam", {"steps": 0}, "steps"),
        ("average", {"samples": 1}, "samples"),
        ("keskar", {"subspace": 10**6}, "subspace"),
        ("keskar", {"restarts": -1}, "restarts"),
    ],
)
def test_settings_that_do_not_fit_are_refused(surface, kind, settings, part):
    with pytest.raises(la.InputError, match=part):
        sharpness(surface, kind, **settings)


def test_sub_batches_of_a_landscape_and_losses_out_of_range_are_refused():
    with pytest.raises(la.InputError, match="on a network"):
        sharpness(_bowl(), "sam", m=1)
    shifted = la.landscapes.deep_wells()
    with pytest.raises(la.InputError, match="above −1"):
        sharpness(shifted, "keskar", point=shifted.wells[0].minimum)
    with pytest.raises(la.InputError, match="smaller"):
        sharpness(la.landscapes.rosenbrock(), "average", rho=1e200)
