"""Permutations that are learned: gradients of the loss at the midpoint pass straight through the matching."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lossatlas._errors import InputError
from lossatlas._layout import Sample
from lossatlas.connect._endpoints import End
from lossatlas.connect._readout import Readout
from lossatlas.connect.symmetry._match import Match, Weights, by_weights
from lossatlas.connect.symmetry._specification import Permutations
from lossatlas.probe import Gradients, Meter, Probe
from lossatlas.surface import NetworkSurface, StateSurface

# Permutations of the lowest mini-batch losses that are evaluated on all data.
KEPT = 8


@dataclass(frozen=True, eq=False)
class Learned:
    """What came of it.

    Attributes:
        match: the permutations of the lowest loss at the midpoint on all data, those it began with among them.
        midpoint: that loss by ``weights``, where it began, and by ``straight-through``.
        step: the one that found them; 0 where nothing was lower than where it began.
        tried: different permutations on the way.
        status: ``complete``, or where a gradient was not finite.
        meters: of what was evaluated.
    """

    match: Match
    midpoint: dict[str, float]
    step: int
    tried: int
    status: str
    meters: tuple[Meter, ...]


def learned(
    surface: NetworkSurface,
    ends: tuple[End, End],
    weights: Weights,
    begin: Match,
    generator: torch.Generator,
    *,
    steps: int,
    lr: float,
    batch_size: int,
    seed: int,
    report: Callable[[int], None],
) -> Learned:
    """Learn permutations that make the loss low at the midpoint, L(½ (θ_a + π(θ_b))).

    A free copy θ̃ of a's weights is trained. In every step it is matched with b by weights, π = argmax ⟨θ̃, π(θ_b)⟩, from the
    permutations of the step before; the gradient at the midpoint with π(θ_b) is taken for that at θ̃ and moves it by Adam.

    Args:
        surface: of the network; its loss and data are used.
        ends: a and b.
        weights: of both, as they are compared.
        begin: a matching by weights.
        generator: of the order of the groups.
        steps: mini-batches, one gradient each.
        lr: learning rate of θ̃.
        batch_size: examples in each.
        seed: of the mini-batches.
        report: is told how many steps are done.

    Source:
        Ainsworth, Hayase and Srinivasa: Git Re-Basin, ICLR 2023, section 3.3; where θ̃ begins, and that the best permutations
        are kept, as in their code, which takes SGD.
    """
    first, second = ends
    states = StateSurface(surface)
    one, two, named = states.split(first.state), states.split(second.state), weights.specification
    normed = len(first.statistics) > 0
    if normed and batch_size == 1:
        raise InputError(
            "got batch_size=1 for a network with batch norm, which cannot normalize one example by itself; give more."
        )
    probe = Probe(surface.with_batchnorm("batch") if normed else surface)

    def midpoint(orders: Permutations) -> Tensor:
        moved = states.join(named.permuted(two, orders))[: states.parameters]
        return torch.lerp(first.theta, moved.to(first.theta), 0.5)

    parameters = {name: one[name].detach().clone() for name in weights.a}
    # A copy of the weights that are compared: of a's, which move.
    moving = Weights(named, parameters, two, set(weights.a))
    optimizer = torch.optim.Adam(list(parameters.values()), lr=lr)
    orders, status = begin.permutations, "complete"
    seen: dict[bytes, tuple[float, int, Permutations]] = {}
    for step in range(1, steps + 1):
        moving.a = {name: tensor.to("cpu", moving.dtype) for name, tensor in parameters.items()}
        orders = by_weights(moving, orders, generator).permutations
        drawn = int(np.random.default_rng([seed, step]).integers(2**62))
        sample = Sample(batch_size, torch.tensor([drawn])) if 0 < batch_size < surface.examples else None
        answer = probe.evaluate(Gradients(midpoint(orders)[None], sample))
        loss = float(answer.values[0])
        if not bool(answer.gradients.isfinite().all()):
            status = f"stopped at step {step}: a gradient at the midpoint is not finite"
            break
        key = b"".join(order.numpy().tobytes() for order in orders.values())
        if key not in seen or loss < seen[key][0]:
            seen[key] = loss, step, orders
        for block in surface.layout.blocks:
            if block.name in parameters:
                # ∂ midpoint / ∂ π(θ_b) is ½, which passes straight through to θ̃.
                part = answer.gradients[0, block.span].reshape(block.shape) / 2
                parameters[block.name].grad = part.to(parameters[block.name])
        optimizer.step()
        report(step)
    best = sorted(seen.values(), key=lambda each: each[:2])[:KEPT]
    candidates = [(0, begin.permutations), *((step, orders) for _, step, orders in best)]
    readout = Readout(surface, None, ends, "reset")
    t = np.full(len(candidates), 0.5)
    losses = readout.read(t, torch.stack([midpoint(orders) for _, orders in candidates]))[0].loss
    losses = np.where(np.isnan(losses), np.inf, losses)
    # Of equal losses the first, where it began.
    place = int(losses.argmin())
    step, orders = candidates[place]
    found = Match(orders, weights.inner(named.permuted(weights.b, orders)), begin.sweeps)
    told = {"weights": float(losses[0]), "straight-through": float(losses[place])}
    return Learned(found, told, step, len(seen), status, (probe.meter, *readout.meters))
