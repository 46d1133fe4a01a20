"""How far to go: the span within which the loss grows by a chosen factor."""

from __future__ import annotations

import math
from collections.abc import Generator

import numpy as np
import torch

from lossatlas._errors import InputError, PlaneError
from lossatlas.chart.sampling._field_query import FieldQuery
from lossatlas.probe import Answer, Values

GROWTH = 10.0
FIRST, DOUBLINGS, HALVINGS = 0.0625, 12, 3

Ranger = Generator[FieldQuery, Answer, tuple[tuple[float, float], ...]]


def auto_range(dimension: int, growth: float) -> Ranger:
    """Find by doubling, then halving on a logarithmic scale, where the loss has grown by a factor.

    Along each direction both half-axes are followed until both losses are at least ``growth`` times the loss at the
    center (or not finite); the span is where the nearer of them is. Growth is measured from the lowest loss seen, so that
    a center that is not the minimum does not stop it.

    Args:
        dimension: 1 or 2.
        growth: the factor, above 1.

    Returns:
        (low, high) per axis, symmetric around the origin.

    Raises:
        InputError: for a factor that is not above 1.
        PlaneError: if the loss at the center is not positive and finite, or never grows so far.
    """
    if not (math.isfinite(growth) and growth > 1):
        raise InputError(f"got growth={growth}; expected a factor above 1, such as 10.")
    center = float((yield from _losses(np.zeros((1, dimension))))[0])
    if not (math.isfinite(center) and center > 0):
        raise PlaneError(
            f"span='auto' looks for where the loss has grown {growth:g}-fold, and the loss at the center is {center:g}; "
            "expected a positive, finite one. Give the span as a number."
        )
    spans = []
    for axis in range(dimension):
        low, high, lowest = 0.0, FIRST, center
        for _ in range(DOUBLINGS):
            values = yield from _losses(_both(high, axis, dimension))
            finite = values[np.isfinite(values)]
            lowest = min(lowest, float(finite.min())) if finite.size else lowest
            if _grown(values, growth * max(lowest, 0.0)):
                break
            low, high = high, 2 * high
        else:
            raise PlaneError(
                f"span='auto' found no place where the loss has grown {growth:g}-fold along direction {axis + 1}, up "
                f"to {low:g} of its units; the surface is flat there. Give the span as a number, or a smaller growth."
            )
        for _ in range(HALVINGS):
            middle = math.sqrt(low * high) if low > 0 else high / 2
            values = yield from _losses(_both(middle, axis, dimension))
            low, high = (low, middle) if _grown(values, growth * max(lowest, 0.0)) else (middle, high)
        # Two digits: a round number on the axis, and the same plane gets the same span on every machine.
        reach = float(f"{high:.2g}")
        spans.append((-reach, reach))
    return tuple(spans)


def _both(distance: float, axis: int, dimension: int) -> np.ndarray:
    ends = np.zeros((2, dimension))
    ends[:, axis] = -distance, distance
    return ends


def _grown(values: np.ndarray, level: float) -> bool:
    return bool((~np.isfinite(values) | (values >= level)).all())


def _losses(coords: np.ndarray) -> Generator[FieldQuery, Answer, np.ndarray]:
    answer = yield FieldQuery("exact", Values(torch.from_numpy(coords)))
    return answer.values.cpu().numpy()
