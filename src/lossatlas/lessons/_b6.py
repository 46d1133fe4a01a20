"""B6: Lion uses the sign of momentum and holds less than Adam."""

from __future__ import annotations

import torch

from lossatlas.lessons._b6_network import network
from lossatlas.lessons._lesson import Check, Evidence, Lesson, bill
from lossatlas.lessons._part import joined
from lossatlas.optimize import optimizer
from lossatlas.race import race
from lossatlas.surface import landscapes

CLAIM = "Lion steps by the sign of its momentum and holds less state than Adam, a quarter of it."
DIMENSION, STEPS, RATE = 1000, 60, 0.01


def experiment(runs: int, seed: int) -> Evidence:
    """Bytes in reach of both frames beyond θ itself, and the lengths of Lion's steps; on a bowl, then on networks."""
    return joined(_bowl(seed), network(runs, seed), runs)


def _bowl(seed: int) -> Evidence:
    surface = landscapes.quadratic(condition=100.0, dimension=DIMENSION)
    racers = {"lion": optimizer("lion", lr=RATE), "adam": optimizer("adam", lr=RATE)}
    result = race(surface, racers, steps=STEPS, seed=seed)
    theta = 8 * DIMENSION
    state = {label: track.memory[-1][1] - theta for label, track in result.tracks.items()}
    steps = result.trajectories["lion"][0].diff(dim=0).abs()
    same = bool(((steps - RATE).abs() < 1e-12).all())
    ratio = state["lion"] / state["adam"]
    checks = (
        Check(
            "every coordinate of every step of Lion is ±η",
            f"{float(steps.min()):.6g} to {float(torch.max(steps)):.6g} at η = {RATE}",
            same,
        ),
        Check(
            "Lion holds less state than Adam",
            f"{state['lion'] / theta:.3g} numbers per parameter against {state['adam'] / theta:.3g}",
            ratio < 1,
        ),
        Check("it holds a quarter", f"{ratio:.3g} of Adam's", abs(ratio - 0.25) < 0.05),
    )
    return Evidence(
        "B6",
        CLAIM,
        f"A quadratic of {DIMENSION:,} parameters, {STEPS} steps; state is what the frame holds beyond θ.",
        checks,
        bill(*result.meter.values()),
        caveats=(
            "the note's factor of four does not follow from one buffer against two: what is measured is reported",
        ),
        seed=seed,
    )


LESSON = Lesson("B6", CLAIM, experiment, runs=5)
