"""B1: gradient descent and SGD evaluate one value and one gradient per step."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from lossatlas.demo import digits, digits_mlp
from lossatlas.lessons._lesson import Check, Ending, Lesson, Row, spent
from lossatlas.optimize import optimizer
from lossatlas.race import race
from lossatlas.surface import NetworkSurface, landscapes

CLAIM = "Gradient descent and mini-batch SGD evaluate one value and one gradient at each step, and for nothing else."
STEPS, BATCH = 40, 64


def experiment(runs: int, seed: int) -> Iterator[Row]:
    """Count every query, on a landscape and on a network, and the examples read for it."""
    yield (
        f"Gradient descent and SGD with mini-batches of {BATCH} take {STEPS} steps on the four wells and on a digits MLP, and every query "
        "and every example read is counted."
    )
    network = NetworkSurface(digits_mlp((16,), seed=seed), "cross_entropy", digits("train"), name="digits MLP")
    racers = {"gd": optimizer("gd"), "sgd": optimizer("sgd", batch_size=BATCH)}
    titles = {"gd": "gradient descent", "sgd": "SGD"}
    meters, pictures = [], {}
    for name, surface in (("four wells", landscapes.four_wells().moved(noise=0.5)), ("digits MLP", network)):
        result = race(surface, racers, steps=STEPS, seed=seed)
        pictures[name.replace(" ", "-")] = result.plot()
        for label, track in result.tracks.items():
            meter = track.meter
            meters.append(meter)
            learned = int(torch.isfinite(track.losses[0, :STEPS]).sum())
            examples = 0 if not surface.examples else (surface.examples if label == "gd" else BATCH)
            read = f", over {examples:,} of {surface.examples:,} examples" if examples else ""
            yield Check(
                f"{titles[label]} on the {name} evaluates one gradient per step, which brings its value{read}",
                f"{STEPS} steps took {meter.gradients} gradients and {meter.values} further values"
                + (f", and read {meter.examples:,} examples" if examples else ""),
                (meter.gradients, meter.values, meter.products, learned) == (STEPS, 0, 0, STEPS)
                and meter.examples == STEPS * examples,
            )
    yield Ending(
        spent(*meters),
        caveats=(
            "Backpropagation brings the value with the gradient: the two are one query, counted as one gradient.",
        ),
        pictures=pictures,
    )


LESSON = Lesson(
    "B1",
    CLAIM,
    experiment,
    depends="the method having no line search: one that searches along its step evaluates more.",
)
