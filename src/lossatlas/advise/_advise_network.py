"""The advice for a network: which optimizer at which learning rate, from its curvature, its noise, and a counted race of rates."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil, inf, isfinite
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lossatlas import _statistics
from lossatlas._progress import Show, counted
from lossatlas.advise import _thresholds as at
from lossatlas.advise._advice import Advice, compared
from lossatlas.advise._contest import Leg
from lossatlas.advise._fact import Fact, shown
from lossatlas.advise._portfolio import Candidate
from lossatlas.advise._purse import Purse
from lossatlas.advise._tree import NETWORK, Leaf, Step, walk
from lossatlas.advise._walker import Walker
from lossatlas.curvature import Hessian, noise_of, over_length
from lossatlas.optimize import MiniBatches, Optimizer, optimizer
from lossatlas.probe import Exchange, Meter, Probe, Values
from lossatlas.surface import NetworkSurface

# Random vectors and steps of the quadrature, products that the operator is proven with, and those of the second look.
VECTORS, STEPS, PROOF, AGAIN = 2, 12, 4, 12
# Optimizers that are raced, with the hedge.
RULES = 3
# Mini-batches that the noise is measured on.
BATCHES = 16


@dataclass(eq=False)
class _Racing:
    """One optimizer at one rate."""

    candidate: Candidate
    name: str
    lr: float
    walker: Walker
    loss: float = inf
    legs: list[Leg] = field(default_factory=list)


def advise_network(
    surface: NetworkSurface, *, budget: float, batch_size: int | None, seed: int, progress: Show
) -> Advice:
    """See `advise`."""
    size = None if batch_size is None or batch_size >= surface.examples else batch_size
    enough = least(surface, size)
    if budget < enough:
        return _prior(surface, budget, enough, seed)
    with counted("advising", int(budget), progress) as report:
        purse = Purse(Probe(surface), budget, report=report)
        theta = surface.theta.detach().clone()
        facts = _facts(surface, purse, theta, size, seed)
        expected = {"values": budget, "seconds": budget * purse.probe.meter.surface_seconds / purse.spent}
        steps, leaves = walk(facts, NETWORK)
        racing = _field(surface, theta, leaves, facts["sharpness"].value, size, seed)
        status = "complete"
        try:
            leader = _race(surface, purse, theta, racing, size, seed)
            _again(surface, purse, leader, facts, seed)
            _move(purse, leader, "rest", inf)
        except KeyboardInterrupt:
            status = f"interrupted after {shown(purse.spent)} of {shown(budget)} values"
    return _made(surface, purse, facts, expected, steps, leaves, racing, theta, size, seed, status)


def least(surface: NetworkSurface, size: int | None) -> int:
    """What the probe and the race of rates take."""
    rates = Exchange()
    products = (VECTORS * STEPS + PROOF + AGAIN + PROOF) * rates.product
    each = rates.gradient * (1.0 if size is None else size / surface.examples)
    noise = 0.0 if size is None else rates.gradient + BATCHES * each
    heats = (len(at.RATES) + len(at.BETWEEN) + at.GO_ON) * RULES
    return ceil(products + noise + heats * (at.RACED * each + 1) + 1)


def _facts(surface: NetworkSurface, purse: Purse, theta: Tensor, size: int | None, seed: int) -> dict[str, Fact]:
    found: dict[str, Fact] = {}

    def say(name: str, what: str, value: float, low: float, high: float, cost: float = 0.0) -> None:
        found[name] = Fact(name, what, value, low, high, cost)

    n = surface.dimension
    say("dimension", "parameters", n, n, n)
    before = purse.spent
    operator = purse.measured(lambda: Hessian(surface, theta, probe=purse.probe))
    spectrum = purse.measured(
        lambda: operator.spectrum(probes=VECTORS, steps=STEPS, seed=seed, dense=False, progress=False)
    )
    tops = np.nanmax(np.abs(spectrum.nodes), axis=1)
    top = float(tops.max())
    say(
        "sharpness",
        "largest eigenvalue of the Hessian in size (a lower bound, from below)",
        top,
        float(tops.min()),
        inf if len(tops) < 2 else top + float(np.ptp(tops)),
        purse.spent - before,
    )
    ratios = [_condition(nodes, weights) for nodes, weights in zip(spectrum.nodes, spectrum.weights, strict=True)]
    say("condition", "largest over median eigenvalue in size", float(np.median(ratios)), min(ratios), max(ratios))
    bound = 2 / top if top > 0 else inf
    say(
        "bound",
        "2/λ, above which gradient descent on the quadratic there diverges",
        bound,
        2 / found["sharpness"].high,
        bound,
    )
    if size is not None:
        before = purse.spent
        value, low, high = _noise_scale(purse, theta, size, surface.examples, seed)
        say(
            "noise",
            f"noise scale tr Σ/|G|² over the batch of {size}",
            value / size,
            low / size,
            high / size,
            purse.spent - before,
        )
    else:
        say("noise", "noise scale over the batch, which is all data", 0.0, 0.0, 0.0)
    return found


def _condition(nodes: Any, weights: Any) -> float:
    """Largest over median size of the eigenvalues, of one vector's quadrature."""
    size = np.abs(np.nan_to_num(nodes))
    order = np.argsort(size)
    share = np.cumsum(weights[order]) / weights.sum()
    median = float(size[order][np.searchsorted(share, 0.5)])
    return float(size.max() / max(median, 1e-12 * size.max())) if size.max() > 0 else 1.0


def _noise_scale(purse: Purse, theta: Tensor, size: int, examples: int, seed: int) -> tuple[float, float, float]:
    """B = tr Σ / |G|² with its interval over mini-batches: see `lossatlas.noise_scale`."""
    draws, length = noise_of(lambda query: purse.pay(query).gradients[0], theta, size, examples, BATCHES, seed)
    mean, _, half = _statistics.mean(draws)
    value, (low, high) = over_length(mean, half, length)
    return value, low, high


def _field(
    surface: NetworkSurface, theta: Tensor, leaves: list[Leaf], top: float, size: int | None, seed: int
) -> list[_Racing]:
    """Every optimizer of the leaves at its center and at other rates around it."""
    names: dict[str, str] = {}
    for leaf in leaves:
        for name in leaf.races:
            names.setdefault(name, f"{leaf.name}: {leaf.says}")
    names.setdefault(at.HEDGE_OF_NETWORKS, "the hedge: the single best where nothing is known")
    racing = []
    for name, why in names.items():
        adam = name == "adam"
        center = at.ADAM_RATE if adam else at.RATE_SHARE * 2 / top if top > 0 else 0.1
        for factor in at.ADAM_RATES if adam else at.RATES:
            racing.append(_entered(surface, theta, name, center * factor, why, size, seed))
    return racing


def _entered(
    surface: NetworkSurface, theta: Tensor, name: str, lr: float, why: str, size: int | None, seed: int
) -> _Racing:
    one: Optimizer = optimizer(name, lr=lr)
    moved = one if size is None else MiniBatches(one, size)
    # One stream for all: every racer sees the same mini-batches.
    return _Racing(
        Candidate(f"{name} {lr:.3g}", one, why=why), name, lr, Walker("", moved, surface.layout, theta, seed)
    )


def _race(
    surface: NetworkSurface, purse: Purse, theta: Tensor, racing: list[_Racing], size: int | None, seed: int
) -> _Racing:
    """Every rate for a while, then those between; the better two of each optimizer for as long again, then those around the two."""
    for one in racing:
        _move(purse, one, "heat", at.RACED)
    names = list(dict.fromkeys(one.name for one in racing))
    for name in names:
        best = _ranked(racing, name)[0]
        for factor in at.BETWEEN:
            near = _entered(surface, theta, name, best.lr * factor, best.candidate.why, size, seed)
            racing.append(near)
            _move(purse, near, "between", at.RACED)
    for name in names:
        for one in _ranked(racing, name)[: at.GO_ON]:
            _move(purse, one, "second heat", at.RACED)
    second_look = (AGAIN + PROOF) * Exchange().product
    for name in sorted(names, key=lambda name: _ranked(racing, name)[0].loss):
        better = _ranked(racing, name)[: at.GO_ON]
        # Of two that are neighbors, what lies between them comes up twice.
        rates = {f"{one.lr * factor:.6g}": one.lr * factor for one in better for factor in at.FINER}
        for lr in rates.values():
            near = _entered(surface, theta, name, lr, better[0].candidate.why, size, seed)
            price = 0.0 if near.walker.query is None else purse.price(near.walker.query)
            if purse.left - second_look < 2 * at.RACED * price + 1:
                break
            racing.append(near)
            _move(purse, near, "finer", 2 * at.RACED)
    return min(racing, key=lambda one: one.loss)


def _ranked(racing: list[_Racing], name: str) -> list[_Racing]:
    """The rates of one optimizer, the lowest loss first."""
    return sorted((one for one in racing if one.name == name), key=lambda one: one.loss)


def _move(purse: Purse, one: _Racing, part: str, gradients: float) -> None:
    """So many gradients, then the loss over all data where it stands."""
    begin, before = purse.spent, min([purse.loss, one.loss])
    query = one.walker.query
    if query is None:
        return
    one.walker.run(purse, min(purse.budget - 1, begin + gradients * purse.price(query)))
    stands = Values(one.walker.stands[None])
    if purse.spent == begin or not purse.affords(stands):
        return
    # A rate that diverges is no better for the points that it met on the way.
    diverged = one.walker.ended == "diverged"
    loss = inf if diverged else float(purse.pay(stands).values[0])
    one.loss = loss if isfinite(loss) else inf
    one.legs.append(Leg(one.candidate.label, part, begin, purse.spent, before, one.loss, one.walker.ended))


def _again(surface: NetworkSurface, purse: Purse, leader: _Racing, facts: dict[str, Fact], seed: int) -> None:
    """The largest eigenvalue where the leader stands: curvature grows while a network trains."""
    if purse.left < (AGAIN + PROOF) * Exchange().product or not isfinite(leader.loss):
        return
    before, here = purse.spent, leader.walker.stands
    operator = purse.measured(lambda: Hessian(surface, here, probe=purse.probe))
    spectrum = purse.measured(lambda: operator.spectrum(probes=1, steps=AGAIN, seed=seed, dense=False, progress=False))
    top = float(np.nanmax(np.abs(spectrum.nodes)))
    steps = 2 * at.RACED
    what = f"largest eigenvalue in size after {steps} steps of {leader.candidate.label}, over that at the start"
    first = facts["sharpness"]
    low, high = (top / end if end > 0 else inf for end in (first.high, first.low))
    facts["growth"] = Fact(
        "growth", what, top / first.value if first.value > 0 else inf, low, high, purse.spent - before
    )
    what = f"{leader.candidate.label}: its rate over 2/λ there"
    facts["edge"] = Fact("edge", what, leader.lr * top / 2, leader.lr * top / 2, inf)


def _prior(surface: NetworkSurface, budget: float, enough: int, seed: int) -> Advice:
    name = at.HEDGE_OF_NETWORKS
    status = (
        f"a budget of {shown(budget)} values over all data is too small for curvature and a race of rates: {enough:,} would do. "
        f"Nothing was evaluated; {name} at {at.ADAM_RATE:g} is the best known where nothing is measured"
    )
    one = Candidate(
        f"{name} {at.ADAM_RATE:.3g}", optimizer(name, lr=at.ADAM_RATE), why="the single best for such a budget"
    )
    none = np.empty(0)
    return Advice(
        surface.name, budget, (), (), {}, (one,), one.label, (), {}, "not raced", 0.0, torch.empty(0, dtype=surface.dtype), inf, none,
        none, np.empty((0, 0)), {}, Meter(), _provenance(surface, seed, None), status, {name: at.ADAM_RATE},
    )  # fmt: skip


def _provenance(surface: NetworkSurface, seed: int, size: int | None) -> dict[str, Any]:
    return {"surface": surface.fingerprint(), "seed": seed, "batch_size": size, "thresholds": at.digest()}


def _made(
    surface: NetworkSurface,
    purse: Purse,
    facts: dict[str, Fact],
    expected: dict[str, float],
    steps: list[Step],
    leaves: list[Leaf],
    racing: list[_Racing],
    theta: Tensor,
    size: int | None,
    seed: int,
    status: str,
) -> Advice:
    lowest = {one.candidate.label: one.loss for one in racing if isfinite(one.loss)}
    names = list(dict.fromkeys(one.name for one in racing))
    order = sorted(racing, key=lambda one: (names.index(one.name), one.loss))
    legs = sorted((leg for one in racing for leg in one.legs), key=lambda leg: leg.begin)
    noise = at.ALIKE_NETWORKS * abs(min(lowest.values(), default=0.0))
    hedge = next(one.candidate.label for one in order if one.name == at.HEDGE_OF_NETWORKS)
    # Every optimizer speaks by its best rate.
    spoken = {one.name: one for one in reversed(order)}
    reached = {spoken[name].candidate.label: spoken[name].loss for name in names if isfinite(spoken[name].loss)}
    return Advice(
        title=surface.name,
        budget=purse.budget,
        facts=tuple(facts.values()),
        steps=tuple(steps),
        leaves={leaf.name: leaf.says for leaf in leaves},
        shortlist=tuple(one.candidate for one in order),
        hedge=hedge,
        legs=tuple(legs),
        lowest=lowest,
        outcome=compared(
            order[0].candidate.label, reached, {one.candidate.label for one in spoken.values() if one.legs}, noise
        ),
        noise=noise,
        point=theta if purse.best is None else purse.best,
        loss=purse.loss,
        seen=np.array(purse.seen),
        costs=np.array(purse.costs),
        design=np.empty((0, 0)),
        forecast=expected,
        meter=purse.probe.meter,
        provenance=_provenance(surface, seed, size),
        status=status,
        rates={name: spoken[name].lr for name in names},
    )
