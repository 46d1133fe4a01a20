"""Networks as surfaces: the loss of the user's own loop, whatever the form of model, loss and data; and the refusals."""

import copy
import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import lossatlas as la
from lossatlas._errors import DataError, LossError, ModelError
from lossatlas.surface import Frame, Sample

X = torch.randn(23, 6, generator=torch.Generator().manual_seed(0))
Y = torch.randint(3, (23,), generator=torch.Generator().manual_seed(1))


def number(tensor):
    return float(tensor.detach())


def mlp(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))


class Residual(nn.Module):
    """Not a chain: a skip connection, batch norm, and a buffer."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.norm = nn.Linear(6, 6), nn.Linear(6, 3), nn.BatchNorm1d(6)

    def forward(self, x):
        return self.second(torch.tanh(self.norm(self.first(x))) + x)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens):
        return self.head(self.embed(tokens).mean(1))


class Named(Dataset):
    """Examples as dictionaries."""

    def __len__(self):
        return len(X)

    def __getitem__(self, i):
        return {"x": X[i], "labels": Y[i]}


class Keyword(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = mlp()

    def forward(self, x):
        return self.inner(x)


def test_the_loss_is_the_users_own_loop():
    model = Residual().eval()
    surface = la.NetworkSurface(model, "cross_entropy", (X, Y))
    own = number(F.cross_entropy(model(X), Y))
    assert float(surface.values(surface.theta[None])) == pytest.approx(own, rel=1e-6)
    assert surface.loss_at_theta == pytest.approx(own, rel=1e-6)
    for seed in range(5):
        theta = torch.randn(surface.dimension, generator=torch.Generator().manual_seed(seed))
        moved = copy.deepcopy(model)
        nn.utils.vector_to_parameters(theta, moved.parameters())
        expected = F.cross_entropy(moved(X), Y)
        expected.backward()
        slope = torch.cat([p.grad.reshape(-1) for p in moved.parameters()])
        value, gradient = surface.gradients(theta[None])
        assert float(surface.values(theta[None])) == pytest.approx(number(expected), rel=1e-5)
        assert float(value) == pytest.approx(number(expected), rel=1e-5)
        assert torch.allclose(gradient[0], slope, rtol=1e-4, atol=1e-6)


FORMS = {
    "tensors": lambda: (X, Y),
    "arrays": lambda: (X.numpy(), Y.numpy()),
    "list": lambda: [X, Y],
    "dataset": lambda: TensorDataset(X, Y),
    "loader": lambda: DataLoader(TensorDataset(X, Y), batch_size=7),
    "shuffled loader": lambda: DataLoader(TensorDataset(X, Y), batch_size=7, shuffle=True),
    "list of pairs": lambda: [(X[i : i + 5], Y[i : i + 5]) for i in range(0, 23, 5)],
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_data_gives_the_same_surface(form):
    surface = la.NetworkSurface(mlp(), "cross_entropy", FORMS[form]())
    assert surface.examples == 23
    assert surface.loss_at_theta == pytest.approx(number(F.cross_entropy(mlp()(X), Y)), rel=1e-6)


@pytest.mark.parametrize(
    "data", [{"x": X, "labels": Y}, Named(), DataLoader(Named(), batch_size=4)], ids=["dict", "dataset", "loader"]
)
def test_batches_as_dictionaries_reach_the_model_by_keyword(data):
    surface = la.NetworkSurface(Keyword(), "cross_entropy", data)
    assert surface.loss_at_theta == pytest.approx(number(F.cross_entropy(mlp()(X), Y)), rel=1e-6)


LOSSES = {
    "name": "cross_entropy",
    "hyphen": "cross-entropy",
    "module": nn.CrossEntropyLoss(),
    "function": F.cross_entropy,
    "lambda": lambda output, target: F.cross_entropy(output, target),
    "smoothed": nn.CrossEntropyLoss(label_smoothing=0.1),
}


@pytest.mark.parametrize("kind", LOSSES)
def test_every_form_of_loss(kind):
    surface = la.NetworkSurface(mlp(), LOSSES[kind], (X, Y))
    smoothing = 0.1 if kind == "smoothed" else 0.0
    expected = number(F.cross_entropy(mlp()(X), Y, label_smoothing=smoothing))
    assert surface.loss_at_theta == pytest.approx(expected, rel=1e-6)
    assert ("accuracy" in surface.read(surface.theta[None]).extras) == (kind != "lambda")


def test_uneven_batches_are_weighted_by_their_size():
    whole = la.NetworkSurface(mlp(), "cross_entropy", (X, Y))
    parts = la.NetworkSurface(mlp(), "cross_entropy", (X, Y), batch_size=10)
    points = whole.theta + 0.3 * torch.randn(4, whole.dimension)
    assert torch.allclose(whole.values(points), parts.values(points), rtol=1e-6)
    assert torch.allclose(whole.gradients(points)[1], parts.gradients(points)[1], rtol=1e-4, atol=1e-6)


def test_accuracy_is_the_share_of_right_answers():
    model = mlp()
    surface = la.NetworkSurface(model, "cross_entropy", (X, Y), batch_size=9)
    assert float(surface.read(surface.theta[None]).extras["accuracy"]) == pytest.approx(
        float((model(X).argmax(1) == Y).double().mean())
    )


def _everything(model):
    """All that could be changed about a model and the world around it."""
    return {
        "state": {k: v.clone() for k, v in model.state_dict().items()},
        "grads": {k: None if p.grad is None else p.grad.clone() for k, p in model.named_parameters()},
        "modes": {k: m.training for k, m in model.named_modules()},
        "hooks": {k: (len(m._forward_hooks), len(m._forward_pre_hooks)) for k, m in model.named_modules()},
        "flags": {k: p.requires_grad for k, p in model.named_parameters()},
        "ids": {k: id(p) for k, p in model.named_parameters()},
        "random": (torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()),  # noqa: NPY002
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "threads": torch.get_num_threads(),
        "grad mode": torch.is_grad_enabled(),
    }


def _same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    if isinstance(a, tuple):
        return all(_same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b)
    return a == b


@pytest.mark.slow
@pytest.mark.parametrize("make", [mlp, lambda: Residual().eval()], ids=["chain", "general"])
def test_the_users_model_is_left_bit_for_bit_as_it_was(make):
    model = make()
    model(X).sum().backward()
    model[0].register_forward_hook(lambda *_: None) if isinstance(model, nn.Sequential) else None
    next(model.parameters()).requires_grad_(False)
    before = _everything(model)
    surface = la.NetworkSurface(model, "cross_entropy", DataLoader(TensorDataset(X, Y), batch_size=5, shuffle=True))
    la.chart(surface, la.Plane.random(surface, seed=1), points=(5, 4), progress=False)
    la.race(surface.on(la.Plane.random(surface, seed=2)), ["gd", "annealing"], steps=4)
    surface.products(surface.theta, surface.theta[None])
    surface.gradients(surface.theta[None], Sample(5, torch.tensor([3])))
    assert _same(before, _everything(model))


def test_the_surface_is_fixed_even_if_model_and_data_change_afterwards():
    model, x = mlp(), X.clone()
    surface = la.NetworkSurface(model, "cross_entropy", (x, Y))
    before = surface.values(surface.theta[None])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    x.zero_()
    assert torch.equal(before, surface.values(surface.theta[None]))


def test_frozen_parameters_are_constants():
    model = mlp()
    model[0].weight.requires_grad_(False)
    surface = la.NetworkSurface(model, "cross_entropy", (X, Y))
    assert surface.dimension == 5 + 15 + 3
    assert [block.name for block in surface.layout.blocks] == ["0.bias", "2.weight", "2.bias"]
    plane = la.Plane.random(surface, seed=0)
    chart = la.chart(surface, plane, points=3, progress=False)
    assert chart.loss[1, 1] == pytest.approx(surface.loss_at_theta, rel=1e-6)


def test_a_tied_weight_counts_and_moves_once():
    tokens, targets = torch.randint(7, (9, 3)), torch.randint(7, (9,))
    model = Tied()
    surface = la.NetworkSurface(model, "cross_entropy", (tokens, targets))
    assert surface.dimension == 28
    (block,) = surface.layout.blocks
    assert {block.name, *block.aliases} == {"embed.weight", "head.weight"}
    step = torch.randn(28)
    moved = copy.deepcopy(model)
    with torch.no_grad():
        moved.embed.weight += step.view(7, 4)
    assert float(surface.values((surface.theta + step)[None])) == pytest.approx(
        number(F.cross_entropy(moved(tokens), targets)), rel=1e-6
    )
    slope = torch.autograd.grad(F.cross_entropy(moved(tokens), targets), moved.embed.weight)[0].reshape(-1)
    assert torch.allclose(surface.gradients((surface.theta + step)[None])[1][0], slope, rtol=1e-4, atol=1e-6)


def test_a_mini_batch_is_fixed_by_its_seed_and_averages_to_the_whole():
    surface = la.NetworkSurface(mlp(), "cross_entropy", (X, Y), batch_size=8)
    theta = surface.theta[None]
    one = surface.gradients(theta, Sample(6, torch.tensor([5])))[1]
    assert torch.equal(one, surface.gradients(theta, Sample(6, torch.tensor([5])))[1])
    assert not torch.equal(one, surface.gradients(theta, Sample(6, torch.tensor([6])))[1])
    everything = surface.gradients(theta, Sample(23, torch.tensor([1])))[1]
    assert torch.allclose(everything, surface.gradients(theta)[1], rtol=1e-4, atol=1e-6)
    many = surface.gradients(theta.repeat(3000, 1), Sample(6, torch.arange(3000)))[1]
    spread = many.std(0) / 3000**0.5
    assert bool(((many.mean(0) - surface.gradients(theta)[1][0]).abs() < 5 * spread + 1e-6).all())


def test_products_are_the_full_hessian_of_a_double_network():
    model = mlp().double()
    surface = la.NetworkSurface(model, "cross_entropy", (X.double(), Y))

    def loss(theta):
        return F.cross_entropy(torch.func.functional_call(model, surface.layout.split(theta), (X.double(),)), Y)

    hessian = torch.autograd.functional.hessian(loss, surface.theta)
    vectors = torch.eye(surface.dimension, dtype=torch.float64)
    assert torch.allclose(surface.products(surface.theta, vectors), hessian, rtol=1e-8, atol=1e-10)


@pytest.mark.slow
def test_many_points_at_once_are_the_points_one_by_one():
    surface = la.NetworkSurface(Residual().eval(), "cross_entropy", (X, Y))
    points = surface.theta + 0.5 * torch.randn(150, surface.dimension, generator=torch.Generator().manual_seed(3))
    together = surface.values(points)  # enough of them that the width is measured
    alone = torch.cat([surface.values(point[None]) for point in points])
    assert torch.allclose(together, alone, rtol=1e-5)
    assert surface._evaluation.choice >= 1
    assert surface.values(points[:0]).shape == (0,)


CHAINS = {
    "plain": lambda: mlp(),
    "flattened": lambda: nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3, bias=False)),
    "one layer": lambda: nn.Sequential(nn.Linear(6, 3)),
    "nested": lambda: nn.Sequential(nn.Sequential(nn.Linear(6, 8), nn.GELU()), nn.Dropout(0.5), nn.Linear(8, 3)).eval(),
}


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
@pytest.mark.parametrize("chain", CHAINS)
def test_the_fast_way_through_a_chain_is_the_plain_way(chain, loss):
    torch.manual_seed(4)
    model = CHAINS[chain]()
    target = Y if loss == "cross_entropy" else torch.randn(23, 3)
    surface = la.NetworkSurface(model, loss, (X, target), batch_size=9)
    plane = la.Plane.random(surface, seed=1)
    coords = torch.randn(40, 2, generator=torch.Generator().manual_seed(2)).double()
    fast = surface.reader(plane.frame)(coords)
    slow = surface.read(plane.frame.points(coords))
    assert torch.allclose(fast.values, slow.values, rtol=2e-6, atol=1e-7)
    assert fast.extras.keys() == slow.extras.keys()
    for name in fast.extras:
        assert torch.allclose(fast.extras[name], slow.extras[name].double(), atol=1e-6)
    assert torch.equal(surface.reader(plane.frame)(coords[:5]).values, fast.values[:5])


def test_ties_between_classes_count_as_argmax_counts_them():
    model = nn.Sequential(nn.Linear(6, 3))
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].bias.zero_()
    surface = la.NetworkSurface(model, "cross_entropy", (X, Y))
    frame = Frame(surface.theta, torch.randn(2, surface.dimension, generator=torch.Generator().manual_seed(0)))
    zero = surface.reader(frame)(torch.zeros(1, 2).double())
    assert float(zero.extras["accuracy"]) == pytest.approx(float((Y == 0).double().mean()))


# -- refusals: each says what was given, what was expected and what to do ---------------------------------------------


class _Noisy(nn.Module):
    def forward(self, x):
        return x * torch.rand(())


def _noisy():
    model = nn.Sequential()
    for name, module in (("calm", mlp()), ("noise", _Noisy()), ("after", nn.Tanh())):
        model.add_module(name, module)
    return model


REFUSALS = {
    "dropout in training mode": (lambda: (nn.Sequential(nn.Dropout(0.5), mlp()), "cross_entropy", (X, Y)), ModelError, "eval"),
    "batch norm in training mode": (lambda: (Residual(), "cross_entropy", (X, Y)), ModelError, "BatchNorm1d"),
    "random forward": (lambda: (_noisy(), "cross_entropy", (X, Y)), ModelError, r"not deterministic.*is noise \(_Noisy\)"),
    "a class": (lambda: (Residual, "cross_entropy", (X, Y)), ModelError, "instance"),
    "no parameters": (lambda: (nn.Flatten(), "mse", (X, X)), ModelError, "no trainable parameters"),
    "vector loss": (lambda: (mlp(), lambda o, t: F.cross_entropy(o, t, reduction="none"), (X, Y)), LossError, "one number"),
    "NaN loss": (lambda: (mlp(), lambda o, t: o.sum() * float("nan"), (X, Y)), LossError, "finite"),
    "NaN data": (lambda: (mlp(), "cross_entropy", (X * float("nan"), Y)), LossError, "nan"),
    "unknown loss": (lambda: (mlp(), "cross_entrpy", (X, Y)), la.InputError, "cross_entropy"),
    "number as loss": (lambda: (mlp(), 3, (X, Y)), LossError, "callable"),
    "wrong width": (lambda: (mlp(), "cross_entropy", (X[:, :4], Y)), DataError, r"\(23, 4\)"),
    "unequal lengths": (lambda: (mlp(), "cross_entropy", (X, Y[:5])), DataError, "different numbers"),
    "empty tensors": (lambda: (mlp(), "cross_entropy", (X[:0], Y[:0])), DataError, "0 examples"),
    "empty loader": (lambda: (mlp(), "cross_entropy", DataLoader(TensorDataset(X[:0], Y[:0]))), DataError, "no examples"),
    "empty list": (lambda: (mlp(), "cross_entropy", []), DataError, "no examples"),
    "a number as data": (lambda: (mlp(), "cross_entropy", 5), DataError, "expected"),
    "batch of nothing": (lambda: (mlp(), "cross_entropy", [X]), DataError, "Expected"),
    "batch size 0": (lambda: (mlp(), "cross_entropy", (X, Y), 0), la.InputError, "batch_size"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals_are_one_paragraph_that_helps(case):
    make, kind, words = REFUSALS[case]
    model, loss, data, *size = make()
    with pytest.raises(kind, match=words) as refusal:
        la.NetworkSurface(model, loss, data, **({"batch_size": size[0]} if size else {}))
    message = str(refusal.value)
    assert "\n" not in message.strip() and len(message) < 900
    assert isinstance(refusal.value, ValueError)


def test_a_model_that_keeps_state_is_refused():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = mlp()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x):
            self.calls += 1
            return self.inner(x)

    with pytest.raises(ModelError, match="calls"):
        la.NetworkSurface(Counting(), "cross_entropy", (X, Y))


@pytest.mark.slow
@pytest.mark.parametrize("activation", [nn.ReLU(), nn.Softsign()], ids=["chain", "no chain"])
def test_a_slice_may_be_read_from_several_threads(activation):
    torch.manual_seed(0)
    data = (torch.randn(40, 5), torch.randint(0, 3, (40,)))
    surface = la.NetworkSurface(nn.Sequential(nn.Linear(5, 7), activation, nn.Linear(7, 3)), "cross_entropy", data)
    plane = surface.on(la.Plane.random(surface, seed=0))
    coords = [torch.rand(12, 2, dtype=torch.float64) for _ in range(8)]
    expected = [plane.values(part) for part in coords]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(plane.values, coords * 10))
    for values, true in zip(found, expected * 10, strict=True):
        assert torch.equal(values, true)


@pytest.mark.parametrize("mode", ["frozen", "interpolate", "recompute", "batch"])
def test_a_copy_of_a_surface_moves_with_its_own_parameters(mode):
    torch.manual_seed(0)
    data = (torch.randn(40, 5), torch.randint(0, 3, (40,)))
    model = nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7), nn.ReLU(), nn.Linear(7, 3)).eval()
    surface = la.NetworkSurface(model, "cross_entropy", data, batchnorm=mode)
    points = surface.theta + 0.1 * torch.randn(3, surface.dimension)
    expected, slopes = surface.values(points), surface.gradients(points)[1]
    again = copy.deepcopy(surface)
    assert torch.equal(again.values(points), expected) and torch.equal(again.gradients(points)[1], slopes)
    assert torch.equal(again.values(surface.theta[None]), surface.values(surface.theta[None]))
    assert torch.equal(surface.values(points), expected)
