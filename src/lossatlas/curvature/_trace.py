"""The trace of the Hessian from random vectors, with a confidence interval that decides when to stop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from scipy.stats import t as student
from torch import Tensor

from lossatlas._errors import UnknownNameError
from lossatlas.curvature._operator import Operator
from lossatlas.probe import Probe
from lossatlas.surface import Surface

FLOOR, ROWS = 32, 8


@dataclass(frozen=True, eq=False)
class Estimate:
    """A number with its interval.

    Attributes:
        value: the estimate.
        interval: confidence interval of it.
        error: standard error.
        products: Hessian products behind it.
        samples: random vectors behind it.
        sentence: what it would take to know it better.
        frobenius: of a trace, ‖H‖_F² from the same products.
    """

    value: float
    interval: tuple[float, float]
    error: float
    products: int
    samples: int
    sentence: str
    frobenius: Estimate | None
    meter: dict[str, Any]
    provenance: dict[str, Any]
    status: str = "converged"


def trace(
    surface: Surface,
    *,
    point: Tensor | None = None,
    method: Literal["hutchinson", "hutch++"] = "hutchinson",
    relative: float = 0.05,
    confidence: float = 0.95,
    limit: int = 1000,
    seed: int = 0,
    scaling: Tensor | None = None,
    blocks: str | Sequence[str] | None = None,
    probe: Probe | None = None,
) -> Estimate:
    """The trace of the Hessian, tr H = E vᵀHv over random signs v.

    Args:
        surface: any surface that knows gradients.
        point: where, shape (N,); the model's own point on a network, else the surface's start.
        method: ``hutchinson``, or ``hutch++``.
        relative: stop once the interval reaches this share of the value to both sides.
        confidence: of the interval.
        limit: random vectors at most.
        seed: of the random vectors.
        scaling: D of shape (N,), for D H D.
        blocks: names of layout blocks to restrict H to.
        probe: the door to ask at; a new one by default.
    """
    if method not in ("hutchinson", "hutch++"):
        raise UnknownNameError("estimator of the trace", method, ("hutchinson", "hutch++"))
    operator = Operator(surface, point, probe=probe, scaling=scaling, blocks=blocks)
    generator = torch.Generator().manual_seed(seed)
    forms, squares = torch.empty(0, dtype=torch.float64), torch.empty(0, dtype=torch.float64)
    while True:
        signs = torch.randint(0, 2, (ROWS, operator.dimension), generator=generator).double() * 2 - 1
        products = operator.apply(signs).cpu()
        forms = torch.cat([forms, (signs * products).sum(1)])
        squares = torch.cat([squares, products.square().sum(1)])
        mean, half, error = _interval(forms, confidence)
        enough = half <= relative * abs(mean)
        if len(forms) >= FLOOR and (enough or len(forms) >= limit):
            break
    square, square_half, square_error = _interval(squares, confidence)
    done, bill = operator.applied, operator.bill()
    record = operator.provenance(method=method, relative=relative, confidence=confidence, limit=limit, seed=seed)
    size = Estimate(
        square, (square - square_half, square + square_half), square_error, done, len(forms), "", None, bill, record
    )
    return Estimate(mean, (mean - half, mean + half), error, done, len(forms), "", size, bill, record)


def _interval(samples: Tensor, confidence: float) -> tuple[float, float, float]:
    error = float(samples.std()) / math.sqrt(len(samples))
    return float(samples.mean()), float(student.ppf(0.5 + confidence / 2, len(samples) - 1)) * error, error
