"""D3: do flat minima generalize better than sharp ones? Large batches against small ones, sharpness by several definitions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from lossatlas.curvature import rescale, sharpness, spread
from lossatlas.demo import digits, digits_mlp
from lossatlas.lessons._lesson import Check, Ending, Lesson, Row, spent
from lossatlas.lessons._statistics import mean, spearman
from lossatlas.probe import Meter
from lossatlas.surface import NetworkSurface

CLAIM = (
    "Flat minima generalize better than sharp ones: small batches end in flatter minima, make fewer test errors, and over all "
    "networks the test error rises with the sharpness."
)
WIDTH, EXAMPLES, RATE, TARGET, LIMIT, EVERY = 32, 300, 0.5, 0.01, 4000, 25
BATCHES = {"small": 10, "large": 300}
MEASURES: dict[str, dict[str, Any]] = {
    "λmax": {"kind": "lambda-max"},
    "trace": {"kind": "trace", "relative": 0.2},
    "trace, filters": {"kind": "trace", "relative": 0.2, "scaling": "filter"},
    "trace, elementwise": {"kind": "trace", "relative": 0.2, "scaling": "elementwise"},
    "Keskar": {"kind": "keskar"},
    "SAM": {"kind": "sam"},
    "ASAM": {"kind": "asam"},
    "average, elementwise": {"kind": "average", "samples": 32},
}


def experiment(runs: int, seed: int) -> Iterator[Row]:
    """Train with small and large batches from the same initializations to the same loss; measure and compare."""
    inputs, labels = digits("all")
    yield (
        f"{runs} times, {EXAMPLES} digits are drawn to train on and the other {len(labels) - EXAMPLES:,} to test. The same 64-{WIDTH}-10 "
        f"ReLU network is trained by SGD (learning rate {RATE}) with batches of {BATCHES['small']} and with all {BATCHES['large']}, "
        f"until the training loss is {TARGET:g} or for {LIMIT:,} steps, and its sharpness is measured by {len(MEASURES)} definitions. "
        "Differences are paired, with Student's 95 % intervals; correlations are Spearman's, over all networks."
    )
    rows: list[dict[str, float]] = []
    meters: list[Meter] = []
    for run in range(seed, seed + runs):
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(run))
        train, test = order[:EXAMPLES], order[EXAMPLES:]
        data = inputs[train], labels[train]
        for name, size in BATCHES.items():
            model = digits_mlp((WIDTH,), seed=run)
            steps, loss = _train(model, data, size, run)
            meters.append(Meter(gradients=steps, examples=steps * size))
            row: dict[str, float] = {"run": run, "large": float(name == "large"), "loss": loss, "steps": steps}
            with torch.no_grad():
                row["error"] = float((model(inputs[test]).argmax(1) != labels[test]).double().mean())
            surface = NetworkSurface(model, "cross_entropy", data)
            for measure, settings in MEASURES.items():
                found = sharpness(surface, seed=run, progress=False, **settings)
                row[measure] = found.value
                meters.append(found.meter)
            other = NetworkSurface(rescale(model, spread(model, seed=run)), "cross_entropy", data)
            found = sharpness(other, "lambda-max", seed=run, progress=False)
            row["λmax, units rescaled"] = found.value
            meters.append(found.meter)
            rows.append(row)
    ends = {name: mean([row["loss"] for row in rows if row["large"] == (name == "large")])[0] for name in BATCHES}
    yield from _checks(rows)
    yield Ending(
        spent(*meters),
        caveats=(
            "Both batch sizes share one rate: another rate, decay or stopping rule may come out otherwise.",
            f"Training stopped at mean losses of {ends['small']:.4f} (small) and {ends['large']:.4f} (large), short of a minimum: "
            "Keskar's, SAM's and ASAM's measures then hold the gradient that is left, and curvature shrinks with the loss.",
            "A correlation over networks of two kinds may come from what else they differ in; within one batch size: "
            + "; ".join(f"{name} {_text(three)}" for name, three in _within(rows).items())
            + ".",
            "These are networks of one architecture on one task; nothing here says what happens across them.",
        ),
        data={"networks": rows, "within_one_batch_size": _within(rows)},
        pictures={"correlations": _picture(rows)},
    )


def _picture(rows: list[dict[str, float]]) -> Any:
    from lossatlas.draw import BarsDisplay

    errors = [row["error"] for row in rows]
    names = [*MEASURES, "λmax, units rescaled"]
    three = np.array([spearman([row[name] for row in rows], errors) for name in names])
    return BarsDisplay(
        names,
        *three.T,
        xlabel="rank correlation with the test error, 95 % intervals",
        title="Does the test error rise with the sharpness? It depends on which",
        note=f"{len(rows)} digits networks trained with small and large batches; rescaled units leave the function as it is",
        words=[f"{value:+.2f} [{low:+.2f}, {high:+.2f}]" for value, low, high in three],
    )


def _checks(rows: list[dict[str, float]]) -> tuple[Check, ...]:
    large = [row for row in rows if row["large"]]
    small = [row for row in rows if not row["large"]]
    worse = mean([100 * (a["error"] - b["error"]) for a, b in zip(large, small, strict=True)])
    errors = [row["error"] for row in rows]
    checks = [
        Check(
            "small batches make fewer test errors (mean difference to large ones, interval above 0)",
            f"large batches make {worse[0]:+.2f} percentage points more ({worse[1]:+.2f} to {worse[2]:+.2f}), of "
            f"{100 * sum(errors) / len(errors):.1f} % on average",
            worse[1] > 0,
        )
    ]
    for name in ("λmax", "trace, elementwise"):
        ratio = mean([math.log(max(a[name], 1e-300) / max(b[name], 1e-300)) for a, b in zip(large, small, strict=True)])
        checks.append(
            Check(
                f"small batches end in flatter minima, by {name} (mean ratio of large to small, interval above 1)",
                f"large batches end {math.exp(ratio[0]):.2f} times as sharp ({_exp(ratio[1])} to {_exp(ratio[2])})",
                ratio[1] > 0,
            )
        )
    for name in MEASURES:
        three = spearman([row[name] for row in rows], errors)
        checks.append(
            Check(
                f"the test error rises with the sharpness, by {name} (interval above 0)",
                f"rank correlation {_text(three)}",
                three[1] > 0,
            )
        )
    three = spearman([row["λmax, units rescaled"] for row in rows], errors)
    checks.append(
        Check(
            "it still does, by λmax, when every unit is rescaled at random, which changes no function (interval above 0)",
            f"rank correlation {_text(three)}",
            three[1] > 0,
        )
    )
    return tuple(checks)


def _within(rows: list[dict[str, float]]) -> dict[str, tuple[float, float, float]]:
    """Correlations with the means of both batch sizes taken out."""

    def centered(key: str) -> list[float]:
        middles = {
            kind: sum(row[key] for row in rows if row["large"] == kind)
            / max(1, sum(row["large"] == kind for row in rows))
            for kind in (0.0, 1.0)
        }
        return [row[key] - middles[row["large"]] for row in rows]

    return {name: spearman(centered(name), centered("error")) for name in MEASURES}


def _train(model: nn.Module, data: tuple[Tensor, Tensor], size: int, seed: int) -> tuple[int, float]:
    """Plain SGD until the loss over all training data is at the target; steps taken, and that loss."""
    inputs, labels = data
    generator = torch.Generator().manual_seed(seed)
    parameters = list(model.parameters())
    order = torch.randperm(len(labels), generator=generator)
    place, loss = 0, math.inf
    for step in range(1, LIMIT + 1):
        if place + size > len(labels):
            order, place = torch.randperm(len(labels), generator=generator), 0
        batch = order[place : place + size]
        place += size
        slopes = torch.autograd.grad(functional.cross_entropy(model(inputs[batch]), labels[batch]), parameters)
        with torch.no_grad():
            for parameter, slope in zip(parameters, slopes, strict=True):
                parameter.sub_(slope, alpha=RATE)
            if step % EVERY == 0:
                loss = float(functional.cross_entropy(model(inputs), labels))
                if loss <= TARGET:
                    return step, loss
    return LIMIT, loss


def _text(three: tuple[float, float, float]) -> str:
    return f"{three[0]:+.2f} ({three[1]:+.2f} to {three[2]:+.2f})"


def _exp(number: float) -> str:
    return f"{math.exp(number):.2f}" if abs(number) < 700 else ("∞" if number > 0 else "0")


LESSON = Lesson(
    "D3",
    CLAIM,
    experiment,
    runs=20,
    quick=3,
    depends="the definition of sharpness, the stopping rule and the learning rate: the literature disagrees for the same reasons.",
)
