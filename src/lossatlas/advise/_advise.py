"""`advise`: probe a surface, walk the tree, race the short-list, and say what it all cost."""

from __future__ import annotations

from math import isfinite
from typing import Any

import numpy as np
import torch

from lossatlas import _checks
from lossatlas._errors import InputError
from lossatlas._progress import Show, counted
from lossatlas._said import several
from lossatlas.advise import _thresholds as at
from lossatlas.advise._advice import Advice, compared
from lossatlas.advise._advise_network import advise_network
from lossatlas.advise._contest import Contest, lowest
from lossatlas.advise._fact import Fact, shown
from lossatlas.advise._look import Look, least, look
from lossatlas.advise._portfolio import Candidate, candidate
from lossatlas.advise._purse import Purse
from lossatlas.advise._start import drawn, need_box
from lossatlas.advise._tree import Leaf, Step, walk
from lossatlas.advise._walker import Walker
from lossatlas.probe import Meter, Probe
from lossatlas.surface import NetworkSurface, Surface, need_surface

# Losses that differ by no more than this share of the spread of the probe are the same.
ALIKE = 1e-9
# Racers of a short-list, the hedge besides.
MOST = 3


def advise(
    surface: Surface,
    *,
    budget: float | None = None,
    batch_size: int | None = 64,
    seed: int = 0,
    progress: Show = True,
) -> Advice:
    """Which optimizer suits a surface: a small counted probe, a decision tree, and a race that checks its advice.

    Everything is paid from one budget, counted in values: a gradient is worth three and a Hessian product six. The probe takes
    at most a tenth of it. Its facts come with 95 % intervals; a question of the tree whose threshold lies inside the interval
    is answered "cannot tell", and both branches are raced. The short-list always contains the single best algorithm for such a
    budget, as a hedge. Points of the probe are starts and first generations of the racers. The winner goes on with what is
    left, so that the advice comes with a solution.

    On a network the facts are the largest eigenvalue λ of the Hessian at its own point, λ over the median eigenvalue (stochastic
    Lanczos quadrature), and the noise scale of mini-batches. The tree orders the optimizers, and each is raced at several rates:
    gradient descent and momentum around 0.1 · 2/λ, since curvature grows while a network trains, Adam around a rate of its own.
    The better rates of each go on to twice the steps, again and again while the budget lasts, with the neighbors of the best beside
    them, and the best once more on other mini-batches; λ is measured again where the leader stands. 2/λ itself is the bound of the
    quadratic only. The rates are those for a training of `Advice.horizon` steps.

    Args:
        surface: a landscape, a function, a slice of a network, in a box; or a network.
        budget: what all of it may cost, in values of all data; never exceeded. 500 by default, 3,000 on a network.
        batch_size: on a network, examples of a mini-batch; None for all data at every step.
        seed: random seed.
        progress: True for a bar on the error stream of a terminal, False for silence, or a function of (values spent, budget).

    Returns:
        An `Advice`. On a budget too small for a probe nothing is evaluated: it says how much would do, and names what is best
        for such a budget when nothing is known.

    Raises:
        InputError: for a surface without a box, one whose loss is finite nowhere or the same everywhere, or a budget below 1.

    Source: decision trees by problem features, Kerschke et al., Evolutionary Computation 27 (2019); a hedge and a race against their
        failures on unseen problems, Cenikj et al. 2025.

    Example:
        >>> import lossatlas as la
        >>> advice = la.advise(la.landscapes.quadratic(condition=100.0), budget=300)
        >>> advice.spent <= 300, advice.winner in [one.label for one in advice.shortlist]
        (True, True)
    """
    need_surface(surface, "advise")
    usual = at.BUDGET_OF_NETWORKS if isinstance(surface, NetworkSurface) else at.BUDGET
    budget = usual if budget is None else budget
    budget, seed = (
        _checks.number("budget", budget, least=1, most=_checks.MOST_WORK, where="advise"),
        _checks.seed(seed, where="advise"),
    )
    batch_size = _checks.optional(_checks.whole, "batch_size", batch_size, where="advise", do="None takes all data.")
    if isinstance(surface, NetworkSurface):
        return advise_network(surface, budget=budget, batch_size=batch_size, seed=seed, progress=progress)
    need_box(surface, "advise")
    enough = least(surface)
    if budget < enough:
        return _prior(surface, budget, enough, seed)
    with counted("advising", int(budget), progress) as report:
        purse = Purse(Probe(surface), budget, report=report)
        hedge = hedged(surface, budget)
        ready: dict[str, Walker] = {}
        if budget >= at.HEDGES[0][0] * surface.dimension and not surface.gradients_known:
            ready["de"] = Walker(
                "de", candidate("de", "", 1.0).optimizer, surface.layout, drawn(surface, seed, 3), seed
            )
        seen = look(surface, purse, seed, ready.get("de"))
        _judge(surface, seen)
        if ready and not ready["de"].spent:
            ready.clear()
        steps, leaves = walk(seen.facts)
        shortlist = listed(leaves, hedge, 1 / seen.curvature if seen.curvature > 0 else 0.01)
        decided = all(step.decides for step in steps)
        if not decided:
            # Only evidence leads away from what is best when nothing is known.
            shortlist.sort(key=lambda one: one.label != hedge)
        valley = "valley" in seen.facts and seen.facts["valley"].low > at.VALLEY
        shortlist = roomy(shortlist, hedge, purse.left >= at.ROOM * surface.dimension)
        contest = Contest(purse, surface.layout, shortlist, hedge, seen.ranked(), seed, valley, decided, ready)
        status = "complete"
        try:
            contest.run()
        except KeyboardInterrupt:
            status = f"interrupted after {shown(purse.spent)} of {shown(budget)} values"
    return _made(surface, purse, seen, steps, leaves, hedge, contest, seed, status)


def hedged(surface: Surface, budget: float) -> str:
    """Label of the single best algorithm for such a budget."""
    if surface.gradients_known:
        return at.HEDGE_OF_GRADIENTS
    classes = at.HEDGES if surface.dimension <= at.PLANE else at.HEDGES_BEYOND
    return next(label for most, label in classes if budget / surface.dimension < most)


def listed(leaves: list[Leaf], hedge: str, lr: float) -> list[Candidate]:
    """The short-list: what the leaves name, the first of each first, and the hedge."""
    labels: dict[str, str] = {}
    for place in range(max(len(leaf.races) for leaf in leaves)):
        for leaf in leaves:
            if place < len(leaf.races):
                labels.setdefault(leaf.races[place], f"{leaf.name}: {leaf.says}")
    chosen = dict(list(labels.items())[:MOST])
    chosen.setdefault(hedge, "the hedge: the single best for such a budget")
    return [candidate(label, why, lr) for label, why in chosen.items()]


def roomy(shortlist: list[Candidate], hedge: str, room: bool) -> list[Candidate]:
    """What of a short-list can be raced: populations where there is room for one, and of several the hedge, else the first."""
    populations = [one.label for one in shortlist if one.kind == "population"]
    kept = (hedge if hedge in populations else populations[0]) if room and populations else None
    return [one for one in shortlist if one.kind != "population" or one.label == kept]


def _judge(surface: Surface, seen: Look) -> None:
    """Refuse what no advice can be given on."""
    finite = seen.values[torch.isfinite(seen.values)]
    if not len(finite):
        raise InputError(
            f"advise got {surface.name}, whose loss is finite at none of {several(len(seen.values), 'point')} of its box; expected a "
            "surface that can be evaluated there. Give another box."
        )
    if len(finite) > 1 and bool((finite == finite[0]).all()):
        raise InputError(
            f"advise got {surface.name}, whose loss is {float(finite[0]):.6g} at all of {several(len(finite), 'point')} of its box; "
            "expected one that varies. Give another box, or a larger budget for more points."
        )


def _prior(surface: Surface, budget: float, enough: int, seed: int) -> Advice:
    hedge = hedged(surface, budget)
    status = (
        f"a budget of {shown(budget)} values is too small for a probe in {several(surface.dimension, 'dimension')}: {enough:,} would do. "
        f"Nothing was evaluated; {hedge} is the best known for such a budget"
    )
    none = np.empty(0)
    return Advice(
        surface.name, budget, (), (), {}, (candidate(hedge, "the single best for such a budget", 0.01),), hedge, (), {}, "not raced", 0.0,
        torch.empty(0, dtype=surface.dtype), float("inf"), none, none, np.empty((0, surface.dimension)), {}, Meter(),
        _provenance(surface, seed), status,
    )  # fmt: skip


def _provenance(surface: Surface, seed: int) -> dict[str, Any]:
    return {"surface": surface.fingerprint(), "seed": seed, "thresholds": at.digest()}


def _made(
    surface: Surface,
    purse: Purse,
    seen: Look,
    steps: list[Step],
    leaves: list[Leaf],
    hedge: str,
    contest: Contest,
    seed: int,
    status: str,
) -> Advice:
    finite = seen.values[torch.isfinite(seen.values)].double()
    spread = float(finite.max() - finite.min())
    noise = seen.facts.get("noise", Fact("noise", "", 0.0)).value * spread
    noise = max(2 * noise if isfinite(noise) else 0.0, ALIKE * spread)
    reached = lowest(contest.legs, contest.shortlist, noise)
    point = purse.best if purse.best is not None else torch.empty(0, dtype=surface.dtype)
    return Advice(
        title=surface.name,
        budget=purse.budget,
        facts=tuple(seen.facts.values()),
        steps=tuple(steps),
        leaves={leaf.name: leaf.says for leaf in leaves},
        shortlist=tuple(contest.shortlist),
        hedge=hedge,
        legs=tuple(contest.legs),
        lowest=reached,
        outcome=compared(contest.shortlist[0].label, reached, contest.raced(), noise),
        noise=noise,
        point=point,
        loss=purse.loss,
        seen=np.array(purse.seen),
        costs=np.array(purse.costs),
        design=seen.points.double().cpu().numpy(),
        forecast={"values": purse.budget, "seconds": purse.budget * seen.facts["price"].value},
        meter=purse.probe.meter,
        provenance=_provenance(surface, seed),
        status=status,
    )
