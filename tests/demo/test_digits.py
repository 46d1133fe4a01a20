"""The embedded data, the small models for them, and the training loop."""

from __future__ import annotations

import time

import pytest
import torch
from torch import nn

from lossatlas._errors import DataError, InputError, UnknownNameError
from lossatlas.demo import accuracy, digits, digits_cnn, digits_mlp, digits_transformer, fit


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(min(before, 2))
    yield
    torch.set_num_threads(before)


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_all_digits():
    x, y = digits()
    assert x.shape == (1797, 64) and x.dtype == torch.float32 and y.shape == (1797,) and y.dtype == torch.int64
    assert x.min() == 0 and x.max() == 1 and y[:3].tolist() == [0, 1, 2]


def test_the_split_is_a_stratified_partition_and_stays_the_same():
    (x, y), (a, b), (c, d) = digits(), digits("train"), digits("test")
    assert len(a) == 1437 and len(c) == 360
    rows = sorted(map(tuple, torch.cat([a, c]).tolist()))
    assert rows == sorted(map(tuple, x.tolist()))
    shares = torch.bincount(d, minlength=10) / torch.bincount(y)
    assert ((shares - 0.2).abs() < 0.01).all()
    assert torch.equal(digits("test")[0], c) and not torch.equal(digits("test", seed=1)[0], c)
    assert torch.bincount(b, minlength=10).sum() == 1437


def test_images_are_the_same_pixels():
    assert torch.equal(digits("test", images=True)[0], digits("test")[0].reshape(-1, 1, 8, 8))


def test_callers_cannot_spoil_the_data_for_each_other():
    digits()[0].zero_()
    assert digits()[0].max() == 1


def test_unknown_split():
    with pytest.raises(UnknownNameError, match="Did you mean 'train'"):
        digits("training")  # type: ignore[arg-type]


@pytest.mark.parametrize("make", [digits_mlp, digits_cnn])
def test_models_depend_on_the_seed_alone(make):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one = make(seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert same(one, make(seed=3)) and not same(one, make(seed=4))
    assert not one.training


def test_models_fit_their_inputs():
    assert digits_mlp()(digits("test")[0]).shape == (360, 10)
    assert digits_mlp((), seed=1)(digits("test")[0]).shape == (360, 10)
    assert [layer.out_features for layer in digits_mlp((5, 7)) if isinstance(layer, nn.Linear)] == [5, 7, 10]
    cnn = digits_cnn()
    assert cnn(digits("test", images=True)[0]).shape == (360, 10)
    assert any(isinstance(layer, nn.BatchNorm2d) for layer in cnn)


@pytest.mark.slow
def test_cnn_learns_the_digits_within_seconds():
    model = digits_cnn()
    fit(model, digits("test", images=True), epochs=0)  # torch imports its compiler with the first optimizer
    begun = time.process_time()
    losses = fit(model, digits("train", images=True), epochs=15)
    assert time.process_time() - begun < 30  # of two cores: 15 seconds, however busy the machine is
    assert accuracy(model, digits("test", images=True)) >= 0.97
    assert losses[-1] < 0.1 * losses[0] and len(losses) == 15


@pytest.mark.slow
def test_fit_is_reproducible_and_leaves_no_trace():
    def dropping():
        return nn.Sequential(nn.Dropout(0.3), *digits_mlp((8,)))

    data = digits("train")
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, heard = dropping(), []
    losses = fit(one, data, epochs=2, seed=1, progress=lambda epoch, loss: heard.append((epoch, loss)))
    assert torch.equal(torch.get_rng_state(), before)
    assert not one.training and all(p.grad is None for p in one.parameters())
    assert heard == [(1, losses[0]), (2, losses[1])]
    torch.manual_seed(6)
    two, three = dropping(), dropping()
    assert fit(two, data, epochs=2, seed=1) == losses and same(one, two)
    assert fit(three, data, epochs=2, seed=2) != losses


def test_first_loss_is_the_mean_over_examples():
    # With a rate of zero nothing moves, so the loss met during the epoch is the loss of the initial weights.
    model, (x, y) = digits_mlp(), digits("train")
    found = fit(model, (x, y), epochs=1, lr=0.0)
    assert found[0] == pytest.approx(nn.functional.cross_entropy(model(x), y).item(), rel=1e-5)


def test_frozen_weights_stay():
    model = digits_mlp()
    model[0].weight.requires_grad_(False)
    before = model[0].weight.clone()
    fit(model, digits("test"), epochs=1)
    assert torch.equal(model[0].weight, before)


def test_accuracy_restores_modes():
    model = digits_cnn().train()
    model[1].eval()
    modes = [module.training for module in model.modules()]
    statistics = model[4].running_mean.clone()
    x, y = digits("test", images=True)
    found = accuracy(model, (x, y))
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(model[4].running_mean, statistics)
    model.eval()
    assert found == (model(x).argmax(1) == y).double().mean().item()


def test_bad_input():
    x, y = digits("test")
    with pytest.raises(DataError, match="got 360 inputs and 359 labels"):
        accuracy(digits_mlp(), (x, y[1:]))
    with pytest.raises(DataError, match="got 0 inputs and 0 labels"):
        fit(digits_mlp(), (x[:0], y[:0]), epochs=1)
    with pytest.raises(InputError, match="batch_size=0"):
        fit(digits_mlp(), (x, y), epochs=1, batch_size=0)


@pytest.mark.parametrize(
    ("use", "part"),
    [
        (lambda data: digits_mlp(3), "sizes of the hidden layers"),
        (lambda data: digits_mlp("ab"), "sizes of the hidden layers"),
        (lambda data: digits_mlp([0]), "from 1"),
        (lambda data: digits_mlp(None), "widths=None"),
        (lambda data: digits("test", images=3), "images=3"),
        (lambda data: fit(3, data, epochs=1), "a torch module"),
        (lambda data: fit(digits_mlp((2,)), 3, epochs=1), "a pair of tensors"),
        (lambda data: fit(digits_mlp((2,)), (3, 4), epochs=1), "int, int"),
        (lambda data: fit(digits_mlp((2,)), data[:1], epochs=1), "1 parts"),
        (lambda data: fit(digits_mlp((2,)), (data[0], data[1].float()), epochs=1), r"labels.long\(\)"),
        (lambda data: fit(digits_mlp((2,)), data, epochs=1, lr="a"), "lr='a'"),
        (lambda data: fit(digits_mlp((2,)), data, epochs=1, progress=True), "progress=True"),
        (lambda data: accuracy(3, data), "a torch module"),
        (lambda data: digits_transformer(33), "a multiple of 4"),
        (lambda data: digits_transformer(8, "a"), "depth='a'"),
    ],
)
def test_what_does_not_fit_is_refused(use, part):
    with pytest.raises((InputError, DataError), match=part):
        use(digits("test"))
