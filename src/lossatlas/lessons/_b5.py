"""B5: AdamW decays weights apart from the gradient; Adam with L2 does not."""

from __future__ import annotations

import torch

from lossatlas.lessons._b5_network import network
from lossatlas.lessons._lesson import Check, Evidence, Lesson, bill
from lossatlas.lessons._part import joined
from lossatlas.optimize import TorchOptimizer, optimizer
from lossatlas.probe import Probe, Products
from lossatlas.race import race
from lossatlas.surface import landscapes

CLAIM = "AdamW decays the weights apart from the gradient; Adam with an L2 penalty does not, and ends elsewhere."
STEPS, RATE, DECAY, CONDITION = 6000, 0.003, 0.1, 1000.0


def experiment(runs: int, seed: int) -> Evidence:
    """A badly scaled bowl, where the penalty's minimizer is known in closed form; then a digits network."""
    return joined(_bowl(seed), network(runs, seed), runs)


def _bowl(seed: int) -> Evidence:
    surface = landscapes.quadratic(condition=CONDITION).moved(shift=(2.0, 2.0))
    coupled = TorchOptimizer(torch.optim.Adam, lr=RATE, weight_decay=DECAY)
    racers = {"adam": optimizer("adam", lr=RATE), "adam + L2": coupled}
    racers |= {"adamw": optimizer("adamw", lr=RATE, weight_decay=DECAY)}
    result = race(surface, racers, steps=STEPS, seed=seed)
    minimum = surface.wells[0].minimum
    probe = Probe(surface)
    products = probe.ask(Products(minimum[None], torch.eye(2, dtype=torch.float64)[None])).products
    hessian = products[0]
    penalized = torch.linalg.solve(hessian + DECAY * torch.eye(2, dtype=torch.float64), hessian @ minimum)
    ends = {label: result.final(label)[0] for label in racers}
    close = 0.02
    l2 = float((ends["adam + L2"] - penalized).norm())
    apart = float((ends["adamw"] - penalized).norm())
    shrink = {label: (1 - end / minimum).tolist() for label, end in ends.items()}
    checks = (
        Check(
            "Adam without decay ends in the minimum",
            f"{float((ends['adam'] - minimum).norm()):.2g} away",
            float((ends["adam"] - minimum).norm()) < close,
        ),
        Check(
            "Adam with L2 ends at the minimizer of L + λ|θ|²/2",
            f"{l2:.2g} from it",
            l2 < close,
        ),
        Check(
            "AdamW ends elsewhere (farther from that point than the tolerance)",
            f"{apart:.3g} from it; shrunk by {shrink['adamw'][0]:.2%} and {shrink['adamw'][1]:.2%}, "
            f"with L2 by {shrink['adam + L2'][0]:.2%} and {shrink['adam + L2'][1]:.2%}",
            apart > 5 * close,
        ),
    )
    return Evidence(
        "B5",
        CLAIM,
        f"Quadratic of condition {CONDITION:g} with its minimum at (2, 2), {STEPS} steps at rate {RATE}, decay {DECAY}.",
        checks,
        bill(probe.meter, *result.meter.values()),
        caveats=("the pull of AdamW depends on the rate's schedule; here the rate is constant",),
        seed=seed,
        data={"ends": {label: end.tolist() for label, end in ends.items()}, "penalized": penalized.tolist()},
    )


LESSON = Lesson("B5", CLAIM, experiment, runs=8)
