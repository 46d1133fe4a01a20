"""Fast ensembles: the published schedule, a hand-written loop of torch with the same batches, and averages by hand."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import lossatlas as la
from lossatlas.connect import cyclical_rate
from lossatlas.surface.network._minibatch import draw

Q = {"progress": False}


def network(seed=0, out=3):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, out)).double()


def data(seed=1, n=50):
    torch.manual_seed(seed)
    return torch.randn(n, 4, dtype=torch.float64), torch.arange(n) % 3


def test_the_schedule_is_the_published_one_at_its_quarter_points():
    # t = 1/4, 1/2, 3/4 and 1 of a cycle of eight steps: the mean of both rates, the low one, their mean, the high one.
    for cycle in (0, 8, 80):
        found = [cyclical_rate(cycle + step, 8, 0.4, 0.1) for step in (2, 4, 6, 8)]
        assert found == pytest.approx([0.25, 0.1, 0.25, 0.4])
        assert [cyclical_rate(cycle + i, 8, 0.4, 0.1, "sawtooth") for i in (2, 4, 6, 8)] == pytest.approx(
            [0.325, 0.25, 0.175, 0.1]
        )
    assert {cyclical_rate(i, 8, 0.4, 0.1, "constant") for i in range(1, 20)} == {0.4}


def by_hand(x, y, rates, taken, seed, size, momentum, decay):
    model, snapshots = network(), []
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=momentum, weight_decay=decay)
    for step, rate in enumerate(rates, start=1):
        number = int(np.random.default_rng([seed, step]).integers(2**62))
        (chosen,) = draw(size, torch.tensor([number]), len(x))
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        F.cross_entropy(model(x[chosen]), y[chosen]).backward()
        optimizer.step()
        if step in taken:
            snapshots.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
    return snapshots


@pytest.mark.slow
def test_snapshots_are_those_of_a_loop_of_torch_and_averages_are_those_by_hand():
    (x, y), held_out = data(), data(seed=2, n=20)
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    surface, test = (
        la.NetworkSurface(model, "cross_entropy", (x, y)),
        la.NetworkSurface(model, "cross_entropy", held_out),
    )
    found = la.fast_ensemble(
        surface,
        cycles=3,
        steps=6,
        lr=(0.5, 0.05),
        momentum=0.8,
        weight_decay=0.01,
        batch_size=16,
        test=test,
        seed=4,
        **Q,
    )
    # The lowest rate is in the middle of each cycle of six, and nothing comes after the last snapshot.
    assert found.taken.tolist() == [3, 9, 15] and len(found.rates) == 15
    high, low = 0.5, 0.05
    up = [low + (high - low) * k / 3 for k in range(4)]
    cycle = [up[2], up[1], up[0], up[1], up[2], up[3]]
    assert found.rates.tolist() == pytest.approx([*cycle, *cycle, *cycle[:3]])
    truth = by_hand(x, y, found.rates.tolist(), {3, 9, 15}, 4, 16, 0.8, 0.01)
    assert list(found.snapshots) == ["snapshot 1", "snapshot 2", "snapshot 3"]
    for state, own in zip(found.snapshots.values(), truth, strict=True):
        assert all(torch.allclose(state[name], own[name], rtol=1e-10, atol=1e-12) for name in own)
    # Averages: of probabilities, and of weights.
    for name, (inputs, labels) in (("train", (x, y)), ("test", held_out)):
        outputs = []
        for own in truth:
            single = network()
            single.load_state_dict(own)
            outputs.append(single(inputs).detach().softmax(1))
        mean = sum(outputs) / 3
        assert found["averaged predictions"].loss[name] == pytest.approx(
            -float(mean[range(len(labels)), labels].log().mean())
        )
        assert found["averaged predictions"].error[name] == pytest.approx(
            float((mean.argmax(1) != labels).double().mean())
        )
        low, high = found["averaged predictions"].intervals["loss"][name]
        assert low < found["averaged predictions"].loss[name] < high
        first = -float(outputs[0][range(len(labels)), labels].log().mean())
        assert found["snapshot 1"].loss[name] == pytest.approx(first)
    naive = la.merge(surface, list(found.snapshots.values()), **Q)["naive"]
    assert found["averaged weights"].loss["train"] == pytest.approx(naive.loss["train"])
    mean_weight = sum(own["0.weight"] for own in truth) / 3
    assert torch.allclose(found.states["averaged weights"]["0.weight"], mean_weight)
    # Everything was counted, and the model is as it was: 15 gradients; four networks read on both data, three for predictions.
    assert found.meter.gradients == 15 and found.meter.values == 2 * (4 + 3)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    single = np.mean([found[name].loss["test"] for name in found.snapshots])
    assert found.gain == pytest.approx(single - found["averaged predictions"].loss["test"]) and found.gain >= 0
    barriers = la.barriers(surface, found.snapshots, points=5, resamples=0, **Q)
    assert barriers.names == tuple(found.snapshots)


@pytest.mark.slow
def test_the_other_schedules_take_snapshots_at_the_end_of_each_cycle(tmp_path):
    surface = la.NetworkSurface(network(), "cross_entropy", data())
    saw = la.fast_ensemble(surface, cycles=2, steps=5, lr=(0.5, 0.1), schedule="sawtooth", batch_size=20, **Q)
    assert saw.taken.tolist() == [5, 10] and saw.rates[4] == pytest.approx(0.1) and saw.rates[5] == pytest.approx(0.42)
    flat = la.fast_ensemble(surface, cycles=2, steps=5, lr=0.2, schedule="constant", batch_size=20, **Q)
    assert set(flat.rates) == {0.2} and flat.taken.tolist() == [5, 10]
    flat.save(tmp_path)
    loaded = la.load(tmp_path)
    assert loaded.sentence == flat.sentence and "2 snapshots of 10 steps (constant)" in flat.sentence
    assert torch.equal(loaded.states["averaged weights"]["2.bias"], flat.states["averaged weights"]["2.bias"])
    assert "averaged predictions" in str(flat.table())
    usual = la.fast_ensemble(surface, cycles=1, batch_size=20, **Q)
    assert usual.provenance["steps"] == 10 and usual.taken.tolist() == [5]  # four epochs of 50 in batches of 20


@pytest.mark.slow
def test_of_other_losses_the_outputs_are_averaged_and_bits_are_probabilities():
    x, _ = data()
    for loss, target, rule in (
        ("mse", torch.randn(50, 2).double(), "outputs"),
        ("bce_with_logits", (x[:, :2] > 0).double(), "probabilities"),
    ):
        surface = la.NetworkSurface(network(out=2), loss, (x, target))
        found = la.fast_ensemble(surface, cycles=2, steps=4, batch_size=50, **Q)
        outputs = []
        for state in found.snapshots.values():
            single = network(out=2)
            single.load_state_dict(state)
            outputs.append(single(x).detach())
        if loss == "mse":
            truth = F.mse_loss((outputs[0] + outputs[1]) / 2, target)
        else:
            truth = F.binary_cross_entropy((outputs[0].sigmoid() + outputs[1].sigmoid()) / 2, target)
        assert found.prediction == rule and found["averaged predictions"].loss["train"] == pytest.approx(float(truth))
        assert found["averaged predictions"].error == {}
    whole = la.NetworkSurface(
        network(), objective=lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]), data=data()
    )
    bare = la.fast_ensemble(whole, cycles=2, steps=4, **Q)
    assert math.isnan(bare.gain) and [row.name for row in bare.rows][-1] == "averaged weights"


@pytest.mark.slow
def test_batch_norm_is_re_estimated(cnns):
    (one, _), surface, _ = cnns
    found = la.fast_ensemble(surface, one, cycles=2, steps=4, lr=(0.01, 1e-3), batch_size=64, **Q)
    state = found.states["averaged weights"]
    again = la.merge(surface, list(found.snapshots.values()), **Q).states["permuted + reset"]
    assert "1.running_mean" in state or any(name.endswith("running_mean") for name in state)
    for name in state:
        if name.endswith("running_mean"):
            assert torch.allclose(state[name], again[name], atol=1e-4), name
    with pytest.raises(la.InputError, match="batch_size=1"):
        la.fast_ensemble(surface, one, batch_size=1, **Q)


def test_a_training_that_ends_early_keeps_its_snapshots():
    surface = la.NetworkSurface(network(), "cross_entropy", data())

    def stop(done, _):
        if done == 5:
            raise KeyboardInterrupt

    part = la.fast_ensemble(surface, cycles=3, steps=4, batch_size=20, progress=stop)
    assert part.status == "interrupted" and part.taken.tolist() == [2] and len(part.rates) == 5
    with pytest.raises(KeyboardInterrupt):
        la.fast_ensemble(surface, cycles=3, steps=40, batch_size=20, progress=stop)
    wild = la.NetworkSurface(network(out=1), "mse", (data()[0], torch.zeros(50, 1).double()))
    with pytest.raises(la.LossError, match="before the first snapshot, at a learning rate of"):
        la.fast_ensemble(wild, lr=(1e30, 1e29), cycles=2, steps=40, **Q)


@pytest.mark.parametrize(
    "settings, says",
    [
        ({"cycles": 0}, "cycles=0"),
        ({"steps": 5}, "expected an even number"),
        ({"steps": 1}, "steps=1"),
        ({"lr": 0.1}, "lr=0.1; expected a pair"),
        ({"lr": (0.1, 0.2)}, "expected the high rate first"),
        ({"lr": (0.1, 0)}, "lr=0"),
        ({"lr": (0.1, 0.01), "schedule": "constant"}, "one number"),
        ({"schedule": "cosine"}, "schedule"),
        ({"momentum": 1}, "momentum=1"),
        ({"weight_decay": -1}, "weight_decay=-1"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"seed": -1}, "seed=-1"),
        ({"cycles": 9999, "steps": 10**6}, "expected fewer than"),
        ({"start": [1.0]}, "start"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, says):
    surface = la.NetworkSurface(network(), "cross_entropy", data())
    with pytest.raises(la.LossAtlasError) as refusal:
        la.fast_ensemble(surface, **settings, **Q)
    assert says in str(refusal.value)
    other = la.NetworkSurface(network(out=5), "cross_entropy", data())
    with pytest.raises(la.InputError, match="other parameters"):
        la.fast_ensemble(surface, test=other, **Q)
    with pytest.raises(la.NotApplicableError, match="no network"):
        la.fast_ensemble(la.landscapes.himmelblau())
