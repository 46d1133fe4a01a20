"""Where a chart shows the type of its numbers instead of the loss: steps that are mostly rounding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lossatlas.surface import Frame, Moving, Surface

Array = NDArray[np.float64]
# Parameters that are looked at.
LOOKED_AT = 2**16
# A step is mostly rounding where what rounding adds to it is longer than this share of it.
MOSTLY = 0.5
# The coordinate is looked for between the farthest cell and so many times less than its rounding; halvings of the ratio.
LESS, LOOKS, NARROWED = 2.0**-6, 5, 16
# Types in which this is said of every chart, since ordinary spans come near it.
HALF = (torch.bfloat16, torch.float16)


@final
@dataclass(frozen=True)
class Resolved:
    """From which coordinate on a chart shows the loss.

    At a coordinate α the step is α d, and the parameters that are used are θ₀ + α d rounded to their type. The share
    ‖round(θ₀ + α d) − round(θ₀) − α d‖ / ‖α d‖ falls with α.

    Attributes:
        at: by direction, the coordinate at which that share is 1/2: of shorter steps rounding is more than half. Infinite
            where it is more even in the farthest cell, 0 where it never is.
        nearest: by direction, the smallest coordinate of a cell beside the center.
        dtype: the coarsest type that losses are computed in.
    """

    at: tuple[float, ...]
    nearest: tuple[float, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, surface: Surface, frame: Frame, axes: Sequence[Array]) -> Resolved:
        """Find the coordinates, on an even share of the parameters.

        Args:
            surface: that is charted.
            frame: on what.
            axes: coordinates of the cells, by direction.
        """
        some = list(surface.moving(frame, LOOKED_AT))
        k = frame.dimension
        away = [np.abs(axis[axis != 0]) for axis in axes[:k]]
        nearest = tuple(float(one.min()) if len(one) else math.inf for one in away)
        at = tuple(_half(some, row, float(one.max()) if len(one) else 0.0) for row, one in enumerate(away))
        return cls(at, nearest, surface.computed_in)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the coordinates."""
        return ("α", "β")[: len(self.at)]

    @property
    def apart(self) -> Array:
        """By direction, a step after which most parameters are rounded anew."""
        rounding = torch.finfo(self.dtype).eps
        return np.array([2 * at or rounding * near for at, near in zip(self.at, self.nearest, strict=True)])

    @property
    def type(self) -> str:
        """The type in words."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def caption(self) -> bool:
        """Whether it belongs under the picture: always in half precision, else where cells are that close."""
        return self.dtype in HALF or any(near < at for near, at in zip(self.nearest, self.at, strict=True))

    @property
    def sentence(self) -> str:
        """What must be known of it; empty where every step is seen."""
        wider = "float64" if self.dtype == torch.float32 else "float32"
        cure = f"convert the model to {wider}, or take a larger span"
        whole = [label for label, at in zip(self.labels, self.at, strict=True) if math.isinf(at)]
        if whole:
            return f"every step along {' and '.join(whole)} is mostly rounding of {self.type}: the chart shows that, not the loss; {cure}"
        parts = [
            (f"|{name}| < {at:.2g}", near < at)
            for name, at, near in zip(self.labels, self.at, self.nearest, strict=True)
            if at
        ]
        if not parts:
            return ""
        text = f"steps with {' and '.join(part for part, _ in parts)} are mostly rounding of {self.type}"
        if any(inside for _, inside in parts):
            return f"{text}: cells that close to the center show that, not the loss; {cure}"
        return f"{text}; no cell but the center is that close"

    def record(self) -> dict[str, Any]:
        """For the provenance: by direction, the coordinate; null where it is infinite."""
        return {
            "dtype": self.type,
            "mostly_rounding_below": {
                label: at if math.isfinite(at) else None for label, at in zip(self.labels, self.at, strict=True)
            },
        }


def _half(some: Sequence[Moving], row: int, farthest: float) -> float:
    """The coordinate at which half of a step is rounding."""
    if farthest == 0 or not any(bool(one.directions[row].any()) for one in some):
        return 0.0
    if share(some, row, farthest) > MOSTLY:
        return math.inf
    high, low = farthest, farthest * torch.finfo(some[0].dtype).eps
    for _ in range(LOOKS):
        low *= LESS
        if share(some, row, low) > MOSTLY:
            break
    else:
        return 0.0
    for _ in range(NARROWED):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if share(some, row, middle) > MOSTLY else (low, middle)
    return high


def share(some: Sequence[Moving], row: int, at: float) -> float:
    """What rounding adds to a step, as a share of the step."""
    added = stepped = 0.0
    for one in some:
        step = at * one.directions[row].double()
        own = one.origin.double()
        moved = _rounded(own + step, one.dtype) - _rounded(own, one.dtype)
        added += float((moved - step).square().sum())
        stepped += float(step.square().sum())
    # A step whose square is 0 in float64 is far below anything a network can take.
    return math.sqrt(added / stepped) if stepped else 1.0


def _rounded(numbers: Tensor, dtype: torch.dtype) -> Tensor:
    return numbers.to(dtype).double()
