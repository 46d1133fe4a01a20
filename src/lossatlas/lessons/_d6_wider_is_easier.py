"""D6: wider networks are easier: a ladder of widths with final losses, barriers, curvature and perfect runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from lossatlas._statistics import mean_interval
from lossatlas.connect import align, barriers, connect
from lossatlas.curvature import extremes
from lossatlas.lessons._lesson import Check, Lesson, Part, spent
from lossatlas.lessons._trained_networks import Trained, trained_mlps
from lossatlas.probe import Meter, Probe, Values
from lossatlas.race import wilson

CLAIM = (
    "Wider networks are easier: they end lower, more runs fit all training data, the ground is less curved where they end, and "
    "less of a barrier lies between two of them."
)
WIDTHS, CURVED = (16, 64, 256), 5


def experiment(runs: int, seed: int, widths: tuple[int, ...] | None = None) -> Part:
    """The same training at every width; then what it led to."""
    widths = widths or WIDTHS
    meters: list[Meter] = []
    rungs = {width: _rung(trained_mlps(width, 2 * runs, seed), meters) for width in widths}
    low, high = widths[0], widths[-1]

    def falls(what: str, text: str) -> Check:
        """Whether something is lower at the widest than at the narrowest, runs of the same seeds side by side."""
        values = {width: np.array(rung[what]) for width, rung in rungs.items()}
        ratio = np.log(values[low]) - np.log(values[high])
        ends = mean_interval(ratio)
        return Check(
            f"{text} lower at width {high} than at {low} (interval of the factor above 1)",
            ", ".join(f"{width}: {found.mean():.3g}" for width, found in values.items())
            + f"; {np.exp(ratio.mean()):.3g} times ({np.exp(ends[0]):.3g} to {np.exp(ends[1]):.3g})",
            ends[0] > 0,
        )

    perfect = {width: sum(error == 0 for error in rung["train_error"]) for width, rung in rungs.items()}
    shares = {width: wilson(count, 2 * runs) for width, count in perfect.items()}
    checks = (
        falls("loss", "the final training loss is"),
        Check(
            f"more runs reach zero training error at width {high} than at {low} (intervals apart)",
            ", ".join(
                f"{width}: {count} of {2 * runs} ({shares[width][0]:.0%} to {shares[width][1]:.0%})"
                for width, count in perfect.items()
            ),
            shares[high][0] > shares[low][1],
        ),
        falls("curvature", "the largest curvature at the end is"),
        falls("straight", "the barrier of the straight line is"),
        falls("matched", "the barrier after alignment is"),
    )
    return Part(
        f"Digits MLPs with two hidden layers of width {', '.join(map(str, widths))}, {2 * runs} seeds each, the same training for "
        f"all; largest Hessian eigenvalue of {min(CURVED, 2 * runs)} of them, barriers of {runs} disjoint pairs.",
        checks,
        spent(*meters),
        caveats=(
            "the same number of epochs and the same rate for all widths: a narrow network might go lower with others",
            "curvature is not invariant to rescaling units (lesson on sharpness), and small losses have small curvature",
            "test errors are in the data: "
            + ", ".join(f"{w}: {np.mean(r['test_error']):.1%}" for w, r in rungs.items()),
            "intervals are Student's over runs or pairs; training the networks is not in the cost",
        ),
        data={str(width): rung for width, rung in rungs.items()},
    )


def _rung(nets: Trained, meters: list[Meter]) -> dict[str, Any]:
    points = torch.stack([nets.train.vector(state) for state in nets.states])
    probes = Probe(nets.train), Probe(nets.test)
    train, test = (probe.evaluate(Values(points)) for probe in probes)
    curved = [
        extremes(nets.train, k=1, point=point, ends="largest", probe=probes[0], progress=False)
        for point in points[:CURVED]
    ]
    straight, matched = [], []
    for a, b in nets.pairs:
        one, two = nets.states[a], nets.states[b]
        found = align(nets.train, one, two, seed=nets.seeds[a])
        straight.append(connect(nets.train, one, two, resamples=0, progress=False))
        matched.append(connect(nets.train, one, found.permuted, resamples=0, progress=False))
        meters += [found.meter, straight[-1].meter, matched[-1].meter]
    meters += [probe.meter for probe in probes]
    return {
        "loss": train.values.tolist(),
        "train_error": _errors(train.extras["accuracy"]),
        "test_error": _errors(test.extras["accuracy"]),
        "curvature": [float(found.largest.values[0]) for found in curved],
        "straight": barriers(straight).values.tolist(),
        "matched": barriers(matched).values.tolist(),
    }


def _errors(accuracy: torch.Tensor) -> list[float]:
    """Shares that are wrong; a mean of float32 hits may miss 1 by rounding."""
    return [0.0 if abs(1 - value) < 1e-6 else 1 - value for value in accuracy.tolist()]


LESSON = Lesson("D6", CLAIM, experiment, runs=5)
