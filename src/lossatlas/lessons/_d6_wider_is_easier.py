"""D6: wider networks are easier: a ladder of widths with final losses, barriers, curvature and perfect runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from lossatlas._statistics import mean_interval
from lossatlas.connect import align, barriers, connect
from lossatlas.curvature import extremes
from lossatlas.lessons._lesson import Check, Ending, Lesson, Row, spent
from lossatlas.lessons._trained_networks import Trained, trained_mlps
from lossatlas.probe import Meter, Probe, Values
from lossatlas.race import wilson

CLAIM = (
    "Wider networks are easier: they end lower, more runs fit all training data, the ground is less curved where they end, and "
    "less of a barrier lies between two of them."
)
WIDTHS, CURVED = (16, 64, 256), 5
QUICK_WIDTHS = (16, 64)


def experiment(runs: int, seed: int, widths: tuple[int, ...] | None = None, quick: bool = False) -> Iterator[Row]:
    """The same training at every width; then what it led to."""
    widths = widths or (QUICK_WIDTHS if quick else WIDTHS)
    yield (
        f"Digits MLPs with two hidden layers of width {', '.join(map(str, widths))} are trained alike, {2 * runs} seeds each. Then their "
        f"losses, the largest curvature of {min(CURVED, 2 * runs)} of them, and the barriers between {runs} pairs are compared."
    )
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
            ", ".join(f"{found.mean():.2g} at width {width}" for width, found in values.items())
            + f", a factor of {np.exp(ratio.mean()):.3g} ({np.exp(ends[0]):.3g} to {np.exp(ends[1]):.3g})",
            ends[0] > 0,
        )

    perfect = {width: sum(error == 0 for error in rung["train_error"]) for width, rung in rungs.items()}
    shares = {width: wilson(count, 2 * runs) for width, count in perfect.items()}
    yield falls("loss", "the final training loss is")
    yield Check(
        f"more trainings fit all of their data at width {high} than at {low} (95 % intervals apart)",
        ", ".join(
            f"{count} of {2 * runs} at width {width} ({shares[width][0]:.0%} to {shares[width][1]:.0%})"
            for width, count in perfect.items()
        ),
        shares[high][0] > shares[low][1],
    )
    yield falls("curvature", "the largest curvature at the end is")
    yield falls("straight", "the barrier on the straight line between two networks is")
    yield falls("matched", "that barrier, with units aligned, is")
    yield Ending(
        spent(*meters),
        caveats=(
            "All widths have the same number of epochs and the same rate: a narrow network might go lower with others.",
            "Curvature is not invariant to rescaling units (D3), and small losses have small curvature.",
            "Mean test errors: "
            + ", ".join(f"{np.mean(r['test_error']):.1%} at width {w}" for w, r in rungs.items())
            + ".",
            "Intervals are Student's over runs or pairs; training the networks is not in the cost.",
        ),
        data={str(width): rung for width, rung in rungs.items()},
        pictures={
            "loss": _picture(rungs, "loss", "training loss at the end"),
            "barrier": _picture(rungs, "straight", "barrier"),
        },
    )


def _picture(rungs: dict[int, dict[str, Any]], what: str, ylabel: str) -> Any:
    from lossatlas.draw import LadderDisplay

    return LadderDisplay(
        np.array(list(rungs), dtype=float),
        {ylabel: np.array([rung[what] for rung in rungs.values()])},
        xlabel="width of the hidden layers",
        ylabel=ylabel,
        title="Wider networks are easier: digits MLPs, trained alike",
        note="Circles are single trainings, or pairs of them for barriers; the line is their mean",
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


LESSON = Lesson(
    "D6",
    CLAIM,
    experiment,
    runs=5,
    quick=3,
    depends="one rate and one number of epochs for all widths, and on data that the wide networks can fit.",
)
