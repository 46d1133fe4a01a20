"""A5: slices mislead: saddles outnumber minima in high dimension, and random slices do not show it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from lossatlas.chart import Plane, card, chart
from lossatlas.curvature import hessian, p_saddle
from lossatlas.demo import digits, fit
from lossatlas.lessons._lesson import Check, Lesson, Part, spent
from lossatlas.probe import Meter, Probe
from lossatlas.surface import NetworkSurface
from lossatlas.surface.landscapes import field_indices

CLAIM = "Saddles outnumber minima in high dimension, and random slices do not show it."
DIMENSIONS = (2, 5, 10, 20)
EPOCHS, RATE, HIDDEN = (0, 2, 60), 1e-2, 16
# Fixed beforehand: what counts as negative, how much of it is much, and how seldom is seldom.
NEGATIVE, MUCH, SELDOM = 1e-4, 0.05, 0.01


def experiment(runs: int, seed: int) -> Part:
    """Count minima among the critical points of random fields; hold random planes of a network against its whole Hessian."""
    minima = [field_indices(n, seed=seed) for n in DIMENSIONS]
    shares = [float(found.shares[0]) for found in minima]
    errors = [float(found.errors[0]) for found in minima]
    checks = [
        Check(
            f"of the critical points of a random field fewer are minima the higher the dimension, below {SELDOM:.0%} in 10",
            "; ".join(f"N = {n}: {s:.2g} ± {e:.0g}" for n, s, e in zip(DIMENSIONS, shares, errors, strict=True)),
            all(b + 5 * e < a for a, b, e in zip(shares, shares[1:], errors[1:], strict=False))
            and shares[DIMENSIONS.index(10)] < SELDOM,
        )
    ]
    meters: list[Meter] = []
    data: list[dict[str, Any]] = []
    for epochs in EPOCHS:
        surface = _network(epochs, seed)
        probe = Probe(surface)
        matrix = hessian(surface, probe=probe)
        values = torch.linalg.eigvalsh(matrix).numpy()
        negative = float((values < -NEGATIVE * values[-1]).mean())
        exact = p_saddle(values, seed=seed)
        seen, filtered = (_seen(surface, matrix, name, runs, seed) for name in ("none", "filter"))
        plane = Plane.random(surface, seed=seed)
        made = card(surface, plane, chart(surface, plane, points=9, progress=False), seeds=0, seed=seed, progress=False)
        told = made.saddle.isotropic if made.saddle is not None else None
        meters += [probe.meter, made.meter]
        data.append(
            {
                "epochs": epochs, "loss": surface.loss_at_theta, "negative": negative, "probability": exact.value,
                "interval": list(exact.interval), "seen": seen, "filtered": filtered, "t": exact.ratio,
                "card": None if told is None else list(told),
            }
        )  # fmt: skip
        when = f"after {epochs} epochs" if epochs else "before training"
        checks.append(
            Check(
                f"{when}: at least {MUCH:.0%} of the curvatures are negative, a random plane shows it in less than {SELDOM:.0%}",
                f"{negative:.0%} below −{NEGATIVE:g} λmax; probability {exact.value:.2%} [{exact.interval[0]:.2%}, "
                f"{exact.interval[1]:.2%}] exactly, {seen} of {runs:,} planes drawn, {filtered} of {runs:,} filter-normalized",
                negative >= MUCH and exact.interval[1] < SELDOM,
            )
        )
    held = [row["card"][1] <= row["probability"] <= row["card"][2] for row in data if row["card"] is not None]
    checks.append(
        Check(
            "the card of one picture gives that probability from products alone: its intervals hold the exact one",
            f"{sum(held)} of {len(held)}: "
            + "; ".join(f"[{row['card'][1]:.2%}, {row['card'][2]:.2%}]" for row in data if row["card"] is not None),
            all(held),
        )
    )
    return Part(
        f"Kac–Rice shares of minima in random Gaussian fields; and a tanh network 64-{HIDDEN}-10 on digits before and during "
        f"training (AdamW, rate {RATE:g}), its whole Hessian, the exact probability that a random plane shows a saddle, and "
        f"{runs:,} planes really drawn.",
        tuple(checks),
        spent(*meters),
        caveats=(
            "where the network has been trained it is not at a critical point; what is counted is negative curvature",
            "before training, mean curvature is small beside its spread, and random planes do show saddles",
        ),
        data={"states": data, "minima": dict(zip(map(str, DIMENSIONS), shares, strict=True))},
    )


def _network(epochs: int, seed: int) -> NetworkSurface:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = nn.Sequential(nn.Linear(64, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 10))
    fit(model, digits("train"), epochs=epochs, lr=RATE, seed=seed)
    return NetworkSurface(model, "cross_entropy", digits("train"))


def _seen(surface: NetworkSurface, matrix: torch.Tensor, normalization: str, count: int, seed: int) -> int:
    """How many of so many random planes show a saddle: DHDᵀ with one eigenvalue below zero and one above."""
    seen = 0
    for k in range(count):
        rows = Plane.random(surface, seed=seed + k, normalization=normalization).frame.directions.double()
        seen += bool(np.linalg.det((rows @ matrix @ rows.T).numpy()) < 0)
    return seen


LESSON = Lesson("A5", CLAIM, experiment, runs=1000)
