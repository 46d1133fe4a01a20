"""D3: do flat minima generalize better than sharp ones? Large batches against small ones, sharpness by several definitions."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from lossatlas.curvature import rescale, sharpness, spread
from lossatlas.demo import digits, digits_mlp
from lossatlas.lessons._lesson import Check, Lesson, Part, spent
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


def experiment(runs: int, seed: int) -> Part:
    """Train with small and large batches from the same initializations to the same loss; measure and compare."""
    inputs, labels = digits("all")
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
    return Part(
        f"{runs} times: {EXAMPLES} digits drawn to train on, the other {len(labels) - EXAMPLES:,} to test; the same 64-{WIDTH}-10 "
        f"ReLU network trained by SGD (rate {RATE}) with batches of {BATCHES['small']} and all {BATCHES['large']}, until the "
        f"training loss is {TARGET:g} or after {LIMIT:,} steps. Sharpness of the training loss by {len(MEASURES)} definitions. "
        "Paired differences with Student's 95 % intervals, Spearman correlations over all networks with Fisher's.",
        _checks(rows),
        spent(*meters),
        caveats=(
            "both batch sizes share one rate: another rate, decay or stopping rule may come out otherwise",
            f"training stopped at mean losses of {ends['small']:.4f} (small) and {ends['large']:.4f} (large), short of a minimum: "
            "Keskar's, SAM's and ASAM's measures then hold the gradient that is left, and curvature shrinks with the loss",
            "a correlation over networks of two kinds may come from what else they differ in; within one batch size: "
            + "; ".join(f"{name} {_text(three)}" for name, three in _within(rows).items()),
            "networks of one architecture on one task; nothing here says what happens across them",
        ),
        data={"networks": rows, "within_one_batch_size": _within(rows)},
    )


def _checks(rows: list[dict[str, float]]) -> tuple[Check, ...]:
    large = [row for row in rows if row["large"]]
    small = [row for row in rows if not row["large"]]
    worse = mean([100 * (a["error"] - b["error"]) for a, b in zip(large, small, strict=True)])
    errors = [row["error"] for row in rows]
    checks = [
        Check(
            "small batches make fewer test errors (mean difference, large minus small, above 0)",
            f"{worse[0]:+.2f} [{worse[1]:+.2f}, {worse[2]:+.2f}] percentage points, of "
            f"{100 * sum(errors) / len(errors):.1f} % on average",
            worse[1] > 0,
        )
    ]
    for name in ("λmax", "trace, elementwise"):
        ratio = mean([math.log(max(a[name], 1e-300) / max(b[name], 1e-300)) for a, b in zip(large, small, strict=True)])
        checks.append(
            Check(
                f"small batches end flatter by {name} (mean ratio, large to small, above 1)",
                f"{math.exp(ratio[0]):.2f} [{_exp(ratio[1])}, {_exp(ratio[2])}]",
                ratio[1] > 0,
            )
        )
    for name in MEASURES:
        three = spearman([row[name] for row in rows], errors)
        checks.append(Check(f"the test error rises with {name} (rank correlation above 0)", _text(three), three[1] > 0))
    three = spearman([row["λmax, units rescaled"] for row in rows], errors)
    checks.append(
        Check(
            "it still does with λmax when every unit was rescaled at random, the functions being the same (above 0)",
            _text(three),
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
    return f"{three[0]:+.2f} [{three[1]:+.2f}, {three[2]:+.2f}]"


def _exp(number: float) -> str:
    return f"{math.exp(number):.2f}" if abs(number) < 700 else ("∞" if number > 0 else "0")


LESSON = Lesson("D3", CLAIM, experiment, runs=20)
