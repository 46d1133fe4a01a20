"""Rescaled units leave the function as it is, and one gauge is the same whatever rescaling came before."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import lossatlas as la
from lossatlas.curvature import balance, joints, rescale, spread


def _mlp(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(5, 7), nn.ReLU(), nn.Sequential(nn.Linear(7, 6), nn.LeakyReLU(0.2)), nn.Dropout(0.5), nn.Linear(6, 3)
    ).double().eval()  # fmt: skip


def _cnn():
    torch.manual_seed(1)
    return (
        nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(4, 5, 3, padding=1, bias=False),
            nn.PReLU(5),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(20, 3),
            nn.Softmax(1),
        )
        .double()
        .eval()
    )


NETS = {"mlp": (_mlp, (11, 5)), "cnn": (_cnn, (6, 2, 8, 8))}


@pytest.fixture(params=NETS)
def net(request):
    make, shape = NETS[request.param]
    return make(), torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def _norms(model):
    """Weight norms into and out of every hidden unit, the slow way: one unit after the other."""
    pairs = []
    for joint in joints(model):
        before, after = (model.get_submodule(name).weight.detach() for name in (joint.before, joint.after))
        width = after.shape[1] // joint.units
        for i in range(joint.units):
            into = float(before[i].norm())
            out = float(after[:, i * width : (i + 1) * width].norm())
            pairs.append((into, out))
    return pairs


def test_a_rescaled_network_is_the_same_function_with_other_weights(net):
    model, x = net
    before = copy.deepcopy(model.state_dict())
    for other in (rescale(model, spread(model, seed=3)), rescale(model, 5.0)):
        assert torch.allclose(other(x), model(x), rtol=1e-12, atol=1e-13)
        assert not torch.allclose(other[0].weight, model[0].weight)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())


def test_balanced_units_read_and_are_read_with_equal_norms(net):
    model, x = net
    assert max(abs(a / b - 1) for a, b in _norms(model)) > 0.1
    even = balance(model)
    assert max(abs(a / b - 1) for a, b in _norms(even)) < 1e-10
    assert torch.allclose(even(x), model(x), rtol=1e-11, atol=1e-12)


def test_the_gauge_forgets_every_rescaling(net):
    model, _ = net
    one = balance(model)
    for seed in range(3):
        two = balance(rescale(model, spread(model, seed=seed, ratio=20.0)))
        assert all(
            torch.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in zip(one.parameters(), two.parameters(), strict=True)
        )


def test_a_dead_unit_stays_and_the_others_are_balanced():
    model = _mlp()
    with torch.no_grad():
        model[0].weight[2] = 0.0
        model[4].weight[:, 1] = 0.0
    even = balance(model)
    x = torch.randn(9, 5, dtype=torch.float64)
    assert torch.allclose(even(x), model(x), rtol=1e-11, atol=1e-12)
    alive = [(a, b) for a, b in _norms(even) if a > 0 and b > 0]
    assert len(alive) == 11 and max(abs(a / b - 1) for a, b in alive) < 1e-9
    assert all(bool(torch.isfinite(p).all()) for p in even.parameters())


class _Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 3)

    def forward(self, x):
        return self.inner(x)


TIED = nn.Linear(4, 4)
REFUSED = {
    "homogeneous": nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)),
    "running statistics": nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2)
    ),
    "used twice": nn.Sequential(nn.Linear(4, 4), nn.ReLU(), TIED, nn.ReLU(), TIED),
    "at least two": nn.Sequential(nn.Linear(3, 2)),
    "not known": nn.Sequential(nn.Linear(3, 3), nn.ReLU(), _Own()),
    "no activation": nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)),
    "groups": nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU(), nn.Conv2d(2, 2, 1, groups=2)),
    "parametrization": nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Linear(3, 4)), nn.ReLU(), nn.Linear(4, 2)
    ),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_units_that_cannot_be_rescaled_are_refused_with_the_reason(reason):
    with pytest.raises(la.InputError, match=reason):
        balance(REFUSED[reason])


def test_what_comes_before_the_first_and_after_the_last_layer_does_not_matter():
    model = nn.Sequential(
        nn.BatchNorm1d(3), nn.Tanh(), nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2), nn.Sigmoid()
    ).eval()  # fmt: skip
    x = torch.randn(4, 3)
    assert torch.allclose(balance(model)(x), model(x), atol=1e-6)


@pytest.mark.parametrize("factors", [[1.0], [0.0, 1.0], [1.0, -2.0], [torch.ones(3), 1.0], [float("nan"), 1.0]])
def test_factors_that_do_not_fit_are_refused(factors):
    with pytest.raises(la.InputError, match=r"expected|factors"):
        rescale(_mlp(), factors)


def test_numbers_of_numpy_are_numbers():
    model = _mlp()
    for five in (np.float64(5), np.float32(5), np.int64(5)):
        for ours, theirs in zip(rescale(model, five).parameters(), rescale(model, 5.0).parameters(), strict=True):
            assert torch.equal(ours, theirs)
    assert all(torch.equal(a, b) for a, b in zip(spread(model, seed=np.int64(3)), spread(model, seed=3), strict=True))
    for settings in ({"seed": 1.5}, {"seed": True}, {"ratio": 1.0}, {"ratio": float("nan")}):
        with pytest.raises(la.InputError, match="expected"):
            spread(model, **settings)


def test_something_that_is_no_module_is_refused():
    with pytest.raises(la.InputError, match=r"torch\.nn\.Module"):
        balance("weights")
