"""The advice for a network: which optimizer at which learning rate, from its curvature, its noise, and a counted race of rates."""

from __future__ import annotations

from math import ceil, inf, isfinite
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lossatlas import _statistics
from lossatlas._progress import Show, counted
from lossatlas.advise import _thresholds as at
from lossatlas.advise._advice import Advice, compared
from lossatlas.advise._fact import Fact, shown
from lossatlas.advise._portfolio import Candidate
from lossatlas.advise._purse import Purse
from lossatlas.advise._race_rates import SETTINGS, Racing, Rates
from lossatlas.advise._tree import NETWORK, Leaf, Step, walk
from lossatlas.curvature import Hessian, noise_of, over_length
from lossatlas.optimize import optimizer
from lossatlas.probe import Exchange, Meter, Probe
from lossatlas.surface import NetworkSurface

# Random vectors and steps of the quadrature, products that the operator is proven with, and those of the second look.
VECTORS, STEPS, PROOF, AGAIN = 2, 12, 4, 12
# Optimizers that are raced, with the hedge.
RULES = 3
# Mini-batches that the noise is measured on.
BATCHES = 16


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
        rates = Rates(surface, purse, theta, size, seed, (AGAIN + PROOF) * Exchange().product)
        _enter(rates, leaves, facts["sharpness"].value)
        status = "complete"
        try:
            leader = rates.run()
            _again(surface, purse, leader, facts, seed)
            rates.finish(leader)
        except KeyboardInterrupt:
            status = f"interrupted after {shown(purse.spent)} of {shown(budget)} values"
    return _made(surface, purse, facts, expected, steps, leaves, rates, status)


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


def _enter(rates: Rates, leaves: list[Leaf], top: float) -> None:
    """Every optimizer of the leaves at its center and at other rates around it."""
    names: dict[str, str] = {}
    for leaf in leaves:
        for name in leaf.races:
            names.setdefault(name, f"{leaf.name}: {leaf.says}")
    names.setdefault(at.HEDGE_OF_NETWORKS, "the hedge: the single best where nothing is known")
    for name, why in names.items():
        adam = name == "adam"
        center = at.ADAM_RATE if adam else at.RATE_SHARE * 2 / top if top > 0 else 0.1
        for factor in at.ADAM_RATES if adam else at.RATES:
            rates.enter(name, center * factor, why)


def _again(surface: NetworkSurface, purse: Purse, leader: Racing, facts: dict[str, Fact], seed: int) -> None:
    """The largest eigenvalue where the leader stands: curvature grows while a network trains."""
    if purse.left < (AGAIN + PROOF) * Exchange().product or not isfinite(leader.loss):
        return
    before, here = purse.spent, leader.walker.stands
    operator = purse.measured(lambda: Hessian(surface, here, probe=purse.probe))
    spectrum = purse.measured(lambda: operator.spectrum(probes=1, steps=AGAIN, seed=seed, dense=False, progress=False))
    top = float(np.nanmax(np.abs(spectrum.nodes)))
    what = f"largest eigenvalue in size after {leader.steps} steps of {leader.candidate.label}, over that at the start"
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
    return {
        "surface": surface.fingerprint(),
        "seed": seed,
        "batch_size": size,
        "thresholds": at.digest(),
        "race": SETTINGS,
    }


def _made(
    surface: NetworkSurface,
    purse: Purse,
    facts: dict[str, Fact],
    expected: dict[str, float],
    steps: list[Step],
    leaves: list[Leaf],
    rates: Rates,
    status: str,
) -> Advice:
    racing = rates.racing
    names = list(dict.fromkeys(one.name for one in racing))
    # Every optimizer speaks by its best rate.
    spoken = {name: rates.best(name) for name in names}
    order = sorted(racing, key=lambda one: (names.index(one.name), one is not spoken[one.name], one.loss))
    compared_last = {one.candidate.label: one.score for one in rates.last}
    noise = at.ALIKE_NETWORKS * abs(min(compared_last.values(), default=0.0))
    reached = {one.candidate.label: one.score for one in spoken.values() if one.candidate.label in compared_last}
    return Advice(
        title=surface.name,
        budget=purse.budget,
        facts=tuple(facts.values()),
        steps=tuple(steps),
        leaves={leaf.name: leaf.says for leaf in leaves},
        shortlist=tuple(one.candidate for one in order),
        hedge=spoken[at.HEDGE_OF_NETWORKS].candidate.label,
        legs=tuple(sorted((leg for one in racing for leg in one.legs), key=lambda leg: leg.begin)),
        lowest=compared_last,
        outcome=compared(
            order[0].candidate.label, reached, {one.candidate.label for one in spoken.values() if one.legs}, noise
        ),
        noise=noise,
        point=rates.theta if purse.best is None else purse.best,
        loss=purse.loss,
        seen=np.array(purse.seen),
        costs=np.array(purse.costs),
        design=np.empty((0, 0)),
        forecast=expected,
        meter=purse.probe.meter,
        provenance=_provenance(surface, rates.seed, rates.size),
        status=status,
        rates={name: one.lr for name, one in spoken.items()},
        horizon=rates.steps,
    )
