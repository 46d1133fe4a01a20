"""B1: gradient descent and SGD evaluate one value and one gradient per step."""

from __future__ import annotations

import torch

from lossatlas.demo import digits, digits_mlp
from lossatlas.lessons._lesson import Check, Lesson, Part, spent
from lossatlas.optimize import optimizer
from lossatlas.race import race
from lossatlas.surface import NetworkSurface, landscapes

CLAIM = "Gradient descent and mini-batch SGD evaluate one value and one gradient at each step, and for nothing else."
STEPS, BATCH = 40, 64


def experiment(runs: int, seed: int) -> Part:
    """Count every query, on a landscape and on a network, and the examples read for it."""
    network = NetworkSurface(digits_mlp((16,), seed=seed), "cross_entropy", digits("train"))
    racers = {"gd": optimizer("gd"), "sgd": optimizer("sgd", batch_size=BATCH)}
    checks, meters = [], []
    for name, surface in (("four wells", landscapes.four_wells().moved(noise=0.5)), ("digits MLP", network)):
        result = race(surface, racers, steps=STEPS, seed=seed)
        for label, track in result.tracks.items():
            meter = track.meter
            meters.append(meter)
            learned = int(torch.isfinite(track.losses[0, :STEPS]).sum())
            examples = 0 if not surface.examples else (surface.examples if label == "gd" else BATCH)
            checks.append(
                Check(
                    f"{label} on the {name}: one gradient a step, its value with it, {examples:,} examples each",
                    f"{meter.gradients} gradients, {meter.values} further values, {learned} values learned, "
                    f"{meter.examples:,} examples in {STEPS} steps",
                    (meter.gradients, meter.values, meter.products, learned) == (STEPS, 0, 0, STEPS)
                    and meter.examples == STEPS * examples,
                )
            )
    caveat = "reverse mode brings the value with the gradient: the two are one query, counted as one gradient"
    what = f"{STEPS} steps of each; every query is counted. The network has {network.dimension:,} parameters."
    return Part(what, tuple(checks), spent(*meters), caveats=(caveat,))


LESSON = Lesson("B1", CLAIM, experiment)
