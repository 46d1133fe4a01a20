"""Our gradient rules against torch.optim, step by step."""

import math
import zlib

import pytest
import torch

import lossatlas as la
from lossatlas.optimize import Streams

STEPS = 500
RULES = {
    "gd": (la.optimizer("gd", lr=0.002), lambda p: torch.optim.SGD(p, lr=0.002)),
    "momentum": (
        la.optimizer("momentum", lr=0.001, momentum=0.9),
        lambda p: torch.optim.SGD(p, lr=0.001, momentum=0.9),
    ),
    "nesterov": (
        la.optimizer("nesterov", lr=0.001, momentum=0.9),
        lambda p: torch.optim.SGD(p, lr=0.001, momentum=0.9, nesterov=True),
    ),
    "rmsprop": (
        la.optimizer("rmsprop", lr=0.01, alpha=0.97),
        lambda p: torch.optim.RMSprop(p, lr=0.01, alpha=0.97),
    ),
    "adam": (
        la.optimizer("adam", lr=0.02, betas=(0.85, 0.99)),
        lambda p: torch.optim.Adam(p, lr=0.02, betas=(0.85, 0.99)),
    ),
    "adamw": (
        la.optimizer("adamw", lr=0.02, weight_decay=0.1),
        lambda p: torch.optim.AdamW(p, lr=0.02, weight_decay=0.1),
    ),
}
GROUNDS = {
    "four-wells": la.landscapes.four_wells(),
    "himmelblau": la.landscapes.himmelblau().moved(shift=(0.3, -0.2), rotation=0.4),
    "quadratic": la.landscapes.quadratic(condition=50.0, dimension=5, rotation=0.7),
}


@pytest.mark.parametrize("ground", GROUNDS)
@pytest.mark.parametrize("rule", RULES)
def test_every_step_equals_torch(rule, ground):
    ours, make = RULES[rule]
    surface = GROUNDS[ground]
    race = la.race(surface, [ours], steps=STEPS)
    path = race.tracks[ours.name].positions[0]
    theta = surface.start.clone().requires_grad_()
    optimizer = make([theta])
    for t in range(STEPS):
        assert torch.allclose(path[t], theta.detach(), rtol=0, atol=1e-12), t
        # The same slopes to both: the rule is compared, not two ways to round a gradient.
        theta.grad = surface.gradients(theta.detach()[None])[1][0]
        optimizer.step()
    assert torch.allclose(path[STEPS], theta.detach(), rtol=0, atol=1e-12)


@pytest.mark.slow
def test_adam_with_decay_in_the_gradient_is_another_rule():
    """AdamW's decay is decoupled: adding it to the gradient instead leads elsewhere."""
    surface = la.landscapes.quadratic(condition=1000.0)
    end = la.race(surface, [la.optimizer("adamw", lr=0.02, weight_decay=0.1)], steps=100).final("adamw")[0]
    theta = surface.start.clone().requires_grad_()
    coupled = torch.optim.Adam([theta], lr=0.02, weight_decay=0.1)
    for _ in range(100):
        coupled.zero_grad()
        surface.read(theta[None]).values[0].backward()
        coupled.step()
    assert float((end - theta.detach()).norm()) > 1e-3


@pytest.mark.slow
def test_annealing_equals_the_textbook_loop():
    """Kirkpatrick's rule written out for one run, with the same random numbers."""
    surface = la.landscapes.four_wells()
    optimizer = la.optimizer("annealing", temperature=2.0, cooling=0.98, step=0.7)
    steps, seed = 200, 5
    race = la.race(surface, {"sa": optimizer}, steps=steps, seed=seed)
    rng = Streams(seed, 1, salt=zlib.crc32(b"sa"))
    theta = surface.start.clone()
    value, temperature = float(surface.values(theta[None])[0]), 2.0
    best = value
    for t in range(1, steps):
        assert torch.equal(race.tracks["sa"].positions[0, t], theta)
        neighbor = (theta + 0.7 * rng.normal(2)[0]).clamp(-4.5, 4.5)
        found = float(surface.values(neighbor[None])[0])
        chance = float(rng.uniform()[0])
        best = min(best, found)
        if found < value or chance < math.exp((value - found) / temperature):
            theta, value = neighbor, found
        temperature *= 0.98
    assert float(race.tracks["sa"].loss[0]) == best


@pytest.mark.slow
def test_a_restart_is_the_inner_rule_started_again():
    surface = la.landscapes.four_wells()
    restart = la.optimizer("restart", restarts=3)
    race = la.race(surface, [restart], steps=40, seed=3)
    path = race.tracks["restart"].positions[0]
    assert path.shape == (120, 2)
    assert torch.equal(path[0], surface.start)
    for k in range(3):
        alone = la.race(surface, ["gd"], start=path[40 * k], steps=40)
        assert torch.equal(path[40 * k : 40 * k + 40], alone.tracks["gd"].positions[0, :40])
