"""Learned permutations: against a loop of plain torch, planted ones, and the barrier that matching by weights leaves."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

import lossatlas as la
from lossatlas.connect.symmetry._specification import Specification
from lossatlas.demo import digits, digits_mlp
from lossatlas.surface import StateSurface

Q = {"progress": False}


def small(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()


def data():
    torch.manual_seed(9)
    return torch.randn(40, 4, dtype=torch.float64), torch.arange(40) % 3


def reordered(state, order):
    order = list(order)
    return {
        "0.weight": state["0.weight"][order], "0.bias": state["0.bias"][order],
        "2.weight": state["2.weight"][:, order], "2.bias": state["2.bias"],
    }  # fmt: skip


def units(state):
    """One row for each hidden unit: all that carries it."""
    return torch.cat([state["0.weight"], state["0.bias"][:, None], state["2.weight"].T], 1).detach()


def by_hand(one, two, x, y, steps, lr):
    """The estimator as it is written down: θ̃ + stop(π(b) − θ̃), autograd, and π found among all 120 permutations."""
    free = {name: tensor.clone().requires_grad_() for name, tensor in one.items() if name != "2.bias"}
    optimizer = torch.optim.Adam(free.values(), lr=lr)
    model, seen = small(0), {}
    for _ in range(steps):
        worth = (units(free) @ units(two).T).tolist()
        order = max(itertools.permutations(range(5)), key=lambda p: sum(worth[i][j] for i, j in enumerate(p)))
        moved = reordered(two, order)
        through = {n: free[n] + (t - free[n]).detach() if n in free else t for n, t in moved.items()}
        middle = {n: (one[n] + through[n]) / 2 for n in one}
        loss = F.cross_entropy(functional_call(model, middle, (x,)), y)
        seen[order] = loss.item()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return seen


def test_the_steps_are_those_of_a_loop_of_plain_torch():
    x, y = data()
    one, two = small(3), small(4)
    surface = la.NetworkSurface(one, "cross_entropy", (x, y))
    before = {name: tensor.clone() for name, tensor in one.state_dict().items()}
    found = la.align(surface, one, two, method="straight-through", steps=40, lr=0.05, restarts=1, **Q)
    seen = by_hand(before, two.state_dict(), x, y, 40, 0.05)
    assert found.provenance["tried"] == len(seen) > 3
    best = min(seen, key=seen.get)
    (order,) = found.permutations.values()
    assert tuple(order.tolist()) == best
    assert found.midpoint["straight-through"] == pytest.approx(seen[best], rel=1e-12)
    # The first matching is that of the weights themselves, and all gradients were counted.
    assert found.midpoint["weights"] == pytest.approx(next(iter(seen.values())), rel=1e-12)
    assert found.midpoint["straight-through"] < found.midpoint["weights"]
    assert found.meter.gradients == 40 and found.method == "straight-through"
    assert "by learning" in " ".join(found.reading())
    assert all(torch.equal(tensor, before[name]) for name, tensor in one.state_dict().items())
    # The objective is that of a, not of the free copy.
    moved = reordered(two.state_dict(), best)
    inner = sum(float((before[n] * moved[n]).sum()) for n in ("0.weight", "0.bias", "2.weight"))
    assert found.objective == pytest.approx(inner, rel=1e-9)


@pytest.mark.slow
def test_planted_permutations_are_recovered():
    part = tuple(part[:200] for part in digits("test"))
    for seed in range(6):
        widths = [(12, 12), (32, 16), (24,)][seed % 3]
        surface = la.NetworkSurface(digits_mlp(widths, seed=seed), "cross_entropy", part)
        states = StateSurface(surface)
        found = Specification.traced(states)
        planted = found.permuted(states.split(states.start), found.random(torch.Generator().manual_seed(seed)))
        back = la.align(surface, surface.theta, planted, method="straight-through", steps=5, restarts=1, seed=seed, **Q)
        assert torch.equal(surface.vector(back.permuted), surface.theta)
        assert back.midpoint["straight-through"] == pytest.approx(surface.loss_at_theta, rel=1e-5)


@pytest.mark.slow
def test_the_barrier_is_lower_than_that_of_matching_by_weights(mlps, tmp_path):
    """On these two networks 0.162 by weights, 0.141 by learning."""
    (one, two), surface, _ = mlps
    heights = {}
    for method in ("weights", "straight-through"):
        found = la.align(surface, one, two, method=method, **Q)
        path = la.connect(surface, one, found.permuted, resamples=0, **Q)
        heights[method] = path.barrier
        if method == "straight-through":
            assert found.midpoint["straight-through"] < found.midpoint["weights"]
            assert float(path.loss.max()) >= found.midpoint["straight-through"] - 1e-6
    assert heights["straight-through"] < heights["weights"]
    again = la.align(surface, one, two, method="straight-through", **Q)
    assert all(torch.equal(order, found.permutations[name]) for name, order in again.permutations.items())
    found.save(tmp_path)
    loaded = la.load(tmp_path / "alignment.json")
    assert loaded.midpoint == found.midpoint and loaded.learning == found.learning


@pytest.mark.slow
def test_batch_norm_is_re_estimated_at_the_midpoint(cnns):
    (one, two), surface, _ = cnns
    found = la.align(surface, one, two, method="straight-through", steps=8, batch_size=100, restarts=1, **Q)
    assert found.midpoint["straight-through"] <= found.midpoint["weights"]
    path = la.connect(
        surface, one, la.align(surface, one, two, restarts=1, **Q).permuted, resamples=0, points=3, tolerance=None, **Q
    )
    assert float(path.loss[path.t == 0.5][0]) == pytest.approx(found.midpoint["weights"], rel=1e-5)
    with pytest.raises(la.InputError, match="batch_size=1 for a network with batch norm"):
        la.align(surface, one, two, method="straight-through", batch_size=1, **Q)


def rooted(output, target):
    return F.cross_entropy(output, target) + (0 * output).abs().sqrt().sum()


def test_a_gradient_that_is_not_finite_ends_it_where_it_began():
    surface = la.NetworkSurface(small(3), rooted, data())
    found = la.align(surface, surface.theta, small(4), method="straight-through", steps=5, **Q)
    assert found.provenance["status"] == "stopped at step 1: a gradient at the midpoint is not finite"
    assert found.midpoint["straight-through"] == found.midpoint["weights"] and found.provenance["step"] == 0
    assert "none was lower than where it began; stopped at step 1" in found.learning


@pytest.mark.parametrize(
    "settings, says",
    [
        ({"method": "straight"}, "straight-through"),
        ({"steps": 0}, "steps=0"),
        ({"steps": 1.5}, "steps=1.5"),
        ({"lr": 0}, "lr=0"),
        ({"lr": "fast"}, "lr='fast'"),
        ({"batch_size": 0}, "batch_size=0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, says):
    surface = la.NetworkSurface(small(3), "cross_entropy", data())
    with pytest.raises(la.LossAtlasError) as refusal:
        la.align(surface, surface.theta, small(4), **{"method": "straight-through", **settings}, **Q)
    assert says in str(refusal.value)
