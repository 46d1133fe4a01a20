"""A5: slices mislead: saddles outnumber minima in high dimension, and random slices do not show it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from lossatlas.chart import Plane, card, chart
from lossatlas.curvature import hessian, p_saddle
from lossatlas.demo import digits, fit
from lossatlas.lessons._lesson import Check, Ending, Lesson, Row, spent
from lossatlas.probe import Meter, Probe
from lossatlas.surface import NetworkSurface
from lossatlas.surface.landscapes import field_indices

CLAIM = "Saddles outnumber minima in high dimension, and random slices do not show it."
DIMENSIONS = (2, 5, 10, 20)
EPOCHS, RATE, HIDDEN = (0, 2, 60), 1e-2, 16
# Fixed beforehand: what counts as negative, how much of it is much, and how seldom is seldom.
NEGATIVE, MUCH, SELDOM = 1e-4, 0.05, 0.01


def experiment(runs: int, seed: int, quick: bool = False) -> Iterator[Row]:
    """Count minima among the critical points of random fields; hold random planes of a network against its whole Hessian."""
    hidden, stages = (6, EPOCHS[:2]) if quick else (HIDDEN, EPOCHS)
    yield (
        f"The share of minima among the critical points of random Gaussian fields is computed by the formula of Kac and Rice. A tanh "
        f"network 64-{hidden}-10 on digits, before and during training (AdamW, rate {RATE:g}), has its whole Hessian computed, with the "
        f"exact probability that a random plane shows a saddle, and {runs:,} random planes are drawn."
    )
    minima = [field_indices(n, seed=seed) for n in DIMENSIONS]
    shares = [float(found.shares[0]) for found in minima]
    errors = [float(found.errors[0]) for found in minima]
    yield Check(
        "the more dimensions a random field has, the fewer of its critical points are minima (below 1 % in 10 dimensions)",
        ", ".join(f"{s:.2%} in {n}" for n, s in zip(DIMENSIONS, shares, strict=True)) + " dimensions",
        all(b + 5 * e < a for a, b, e in zip(shares, shares[1:], errors[1:], strict=False))
        and shares[DIMENSIONS.index(10)] < SELDOM,
    )
    meters: list[Meter] = []
    data: list[dict[str, Any]] = []
    for epochs in stages:
        surface = _network(epochs, seed, hidden)
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
        yield Check(
            f"{when} the network curves down in many directions (at least {MUCH:.0%} of them), and a random plane shows none of it (in "
            f"less than {SELDOM:.0%} of cases)",
            f"{negative:.0%} of the curvatures are negative; a random plane shows a saddle with a probability of {exact.value:.2%}, and "
            f"{seen} of {runs:,} that were drawn did ({filtered} of {runs:,} filter-normalized ones)",
            negative >= MUCH and exact.interval[1] < SELDOM,
        )
    held = [row["card"][1] <= row["probability"] <= row["card"][2] for row in data if row["card"] is not None]
    yield Check(
        "the card under a picture states that probability without the whole Hessian (its interval holds the exact one)",
        f"in {sum(held)} of {len(held)} states: "
        + ", ".join(f"{row['card'][1]:.2%} to {row['card'][2]:.2%}" for row in data if row["card"] is not None),
        all(held),
    )
    yield Ending(
        spent(*meters),
        caveats=(
            "A network in training is not at a critical point; what is counted is negative curvature.",
            f"Negative is what lies below −{NEGATIVE:g} of the largest curvature.",
            "Before training the mean curvature is small beside its spread, and random planes do show saddles.",
        ),
        data={"states": data, "minima": dict(zip(map(str, DIMENSIONS), shares, strict=True))},
        pictures={"shown": _picture(data, runs)},
    )


def _picture(data: list[dict[str, Any]], runs: int) -> Any:
    from lossatlas.draw import BarsDisplay

    rows: list[tuple[str, float, float, float]] = []
    for row in data:
        when = f"after {row['epochs']} epochs" if row["epochs"] else "before training"
        rows.append((f"{when}: directions that curve down", *[row["negative"]] * 3))
        rows.append((f"{when}: planes that show it", row["probability"], *row["interval"]))
    labels, middle, low, high = zip(*rows, strict=True)
    return BarsDisplay(
        labels,
        np.array(middle),
        np.array(low),
        np.array(high),
        xlabel="share, with its interval",
        title="Negative curvature of a digits network, and whether a random plane shows it",
        note="Share of all directions with negative curvature; probability that a random plane shows a saddle",
    )


def _network(epochs: int, seed: int, hidden: int) -> NetworkSurface:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = nn.Sequential(nn.Linear(64, hidden), nn.Tanh(), nn.Linear(hidden, 10))
    fit(model, digits("train"), epochs=epochs, lr=RATE, seed=seed)
    return NetworkSurface(model, "cross_entropy", digits("train"))


def _seen(surface: NetworkSurface, matrix: torch.Tensor, normalization: str, count: int, seed: int) -> int:
    """How many of so many random planes show a saddle: DHDᵀ with one eigenvalue below zero and one above."""
    seen = 0
    for k in range(count):
        rows = Plane.random(surface, seed=seed + k, normalization=normalization).frame.directions.double()
        seen += bool(np.linalg.det((rows @ matrix @ rows.T).numpy()) < 0)
    return seen


LESSON = Lesson(
    "A5",
    CLAIM,
    experiment,
    runs=1000,
    quick=200,
    depends="how large the mean curvature is beside its spread: before training it is small, and planes do show saddles.",
)
