"""Where a chart shows the type of its numbers instead of the loss: steps that are mostly rounding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lossatlas.surface import Frame

Array = NDArray[np.float64]
# Parameters that are looked at, evenly spaced among all.
LOOKED_AT = 2**20
# A step is mostly rounding where what rounding adds to it is longer than this share of it.
MOSTLY = 0.5


def mostly_rounding(frame: Frame, dtype: torch.dtype, axes: Sequence[Array], labels: Sequence[str]) -> str:
    """A sentence where cells next to the center differ from it by rounding more than by the step; empty elsewhere.

    At a coordinate α the step is α d, and the point evaluated is θ₀ + α d rounded to the type of the parameters. The
    share ‖round(θ₀ + α d) − θ₀ − α d‖ / ‖α d‖ falls with α; where it is 1/2 is said.

    Args:
        frame: of the chart.
        dtype: of the parameters.
        axes: coordinates of the cells, by direction.
        labels: of the directions.
    """
    parts, whole = [], []
    stride = max(1, frame.origin.numel() // LOOKED_AT)
    origin = frame.origin[::stride].double()
    for axis, direction, label in zip(axes, frame.directions, labels, strict=False):
        away = np.abs(axis[axis != 0])
        row = direction[::stride].double()
        if not len(away) or not bool(row.any()):
            continue
        nearest, farthest = float(away.min()), float(away.max())
        if share(origin, row, nearest, dtype) <= MOSTLY:
            continue
        low, high = nearest, farthest
        if share(origin, row, high, dtype) > MOSTLY:
            whole.append(label)
            continue
        for _ in range(20):
            middle = (low * high) ** 0.5
            low, high = (middle, high) if share(origin, row, middle, dtype) > MOSTLY else (low, middle)
        parts.append(f"|{label}| < {high:.2g}")
    name = str(dtype).removeprefix("torch.")
    wider = "float64" if dtype == torch.float32 else "float32"
    cure = f"convert the model to {wider}, or take a larger span"
    if whole:
        return f"every step along {' and '.join(whole)} is mostly rounding of {name}: the chart shows that, not the loss; {cure}"
    if parts:
        return (
            f"steps with {' and '.join(parts)} are mostly rounding of {name}: cells that close to the center show that, "
            f"not the loss; {cure}"
        )
    return ""


def share(origin: Tensor, direction: Tensor, at: float, dtype: torch.dtype) -> float:
    """What rounding adds to a step, as a share of the step."""
    exact = origin + at * direction
    return float((exact.to(dtype).double() - exact).norm() / (at * direction).norm())
