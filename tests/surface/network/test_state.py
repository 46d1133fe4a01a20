"""The surface over parameters and running statistics: losses by example, outputs, taps, and what it refuses."""

import copy

import pytest
import torch
from torch import nn

import lossatlas as la
from lossatlas.demo import digits, digits_cnn, digits_mlp
from lossatlas.surface import StateSurface


@pytest.fixture(scope="module")
def surface():
    torch.manual_seed(0)
    model = digits_cnn()
    for module in model:
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return la.NetworkSurface(
        model, "cross_entropy", tuple(part[:70] for part in digits("test", images=True)), batch_size=32
    )


@pytest.mark.slow
def test_its_own_point_is_the_networks_and_a_state_dict_goes_there_and_back(surface):
    states = StateSurface(surface)
    assert states.parameters == surface.dimension and states.dimension == surface.dimension + 2 * (16 + 32)
    told = states.read(states.start[None])
    assert float(told.values[0]) == pytest.approx(surface.loss_at_theta, rel=1e-6) and "accuracy" in told.extras
    moved = torch.rand_like(states.start) + 0.5
    other = digits_cnn(seed=3)
    other.load_state_dict(states.split(moved))  # whole: constants and counters too
    assert torch.equal(states.join(other.state_dict()), moved)
    x, y = (part[:70] for part in digits("test", images=True))
    with torch.no_grad():
        loss = float(nn.functional.cross_entropy(other(x), y))
    assert float(states.values(moved[None])[0]) == pytest.approx(loss, rel=1e-5)
    assert float(states.values(states.start[None])[0]) == pytest.approx(
        surface.loss_at_theta, rel=1e-6
    )  # nothing sticks
    left_out = {n: v for n, v in other.state_dict().items() if "running" not in n}
    assert torch.equal(states.join(left_out)[states.parameters :], states.start[states.parameters :])


def test_details_add_up_to_the_loss(surface):
    states = StateSurface(surface, examples=True, outputs=True, taps=["0", "8"])
    points = torch.stack([states.start, states.start + 0.01 * torch.randn_like(states.start)])
    told = states.read(points)
    assert told.extras["losses"].shape == (2, 70) and told.extras["tap/0"].shape == (2, 70, 16, 8, 8)
    assert torch.allclose(told.extras["losses"].mean(1), told.values, rtol=1e-5)
    assert torch.allclose(told.extras["right"].mean(1), told.extras["accuracy"])
    assert torch.equal(told.extras["outputs"], told.extras["tap/8"])
    few = StateSurface(surface, outputs=True, limit=40)
    assert few.examples == 40
    assert torch.allclose(few.read(points).extras["outputs"], told.extras["outputs"][:, :40], atol=1e-5)


@pytest.mark.parametrize(
    "loss, per_example",
    [
        ("cross_entropy", True),
        (nn.CrossEntropyLoss(), True),
        (lambda output, target: nn.functional.cross_entropy(output, target) + 1.0, True),
        (nn.CrossEntropyLoss(weight=torch.arange(1.0, 11.0)), False),
        (lambda output, target: nn.functional.cross_entropy(output, target) ** 2, False),
    ],
)
def test_losses_by_example_are_told_or_refused(loss, per_example):
    x, y = (part[:30] for part in digits("test"))
    base = la.NetworkSurface(digits_mlp((6,)), loss, (x, y))
    states = StateSurface(base, examples=True)
    if per_example:
        told = states.read(states.start[None])
        assert float(told.extras["losses"].mean()) == pytest.approx(float(told.values[0]), rel=1e-5)
        return
    with pytest.raises(la.NotApplicableError, match="not the plain mean"):
        states.read(states.start[None])
    other = {n: v + 0.1 for n, v in digits_mlp((6,)).state_dict().items()}
    path = la.connect(base, base.theta, other, points=3, progress=False)  # the profile itself is there
    assert path.interval is None and "not the plain mean" in " ".join(path.notes) and path.train.low is None


@pytest.mark.slow
def test_measured_statistics_are_those_of_every_mode(surface):
    states = StateSurface(surface, measure=True)
    measured = states.read(states.start[None])
    batchwise = surface.with_batchnorm("batch")
    assert float(measured.values[0]) == pytest.approx(batchwise.loss_at_theta, rel=1e-5)
    point = torch.cat([surface.theta, measured.extras["statistics"][0]])
    recomputed = surface.with_batchnorm("recompute").loss_at_theta
    assert float(StateSurface(surface).values(point[None])[0]) == pytest.approx(recomputed, rel=1e-5)
    for mode in ("interpolate", "recompute", "batch"):
        same = StateSurface(surface.with_batchnorm(mode))
        assert float(same.values(states.start[None])[0]) == pytest.approx(surface.loss_at_theta, rel=1e-6)


def test_the_users_model_and_the_base_are_left_alone(surface):
    before = copy.deepcopy(surface.model.state_dict())
    random = torch.get_rng_state()
    StateSurface(surface, measure=True, taps=["0"]).read(torch.randn(2, StateSurface(surface).dimension).abs())
    assert all(torch.equal(v, before[n]) for n, v in surface.model.state_dict().items())
    torch.set_rng_state(random)
    StateSurface(surface).read(StateSurface(surface).start[None])
    assert torch.equal(torch.get_rng_state(), random)


def test_what_it_does_not_answer_is_refused(surface):
    states = StateSurface(surface)
    with pytest.raises(la.InputError, match=r"expected \(B, "):
        states.read(surface.theta[None])
    with pytest.raises(la.InputError, match="no module 'nowhere'"):
        StateSurface(surface, taps=["nowhere"])
    with pytest.raises(la.InputError, match="at least 1"):
        StateSurface(surface, limit=0)
    with pytest.raises(la.NotApplicableError, match="values only"):
        la.Probe(states).evaluate(la.probe.Gradients(states.start[None]))
    assert states.fingerprint()["statistics"] == 96
