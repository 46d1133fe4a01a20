"""A walk in coordinates and losses of ordinary size, whatever those of the surface are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from lossatlas._layout import Layout
from lossatlas.optimize._optimizer import Walk, units, within
from lossatlas.probe import Answer, At, Gradients

# Powers of two that losses and gradients may be of before they are rescaled.
ORDINARY = 256


def rescaled(walk: Callable[[Tensor, Layout], Walk], start: Tensor, layout: Layout) -> Walk:
    """A walk of gradients in `units` of the box, and in losses whose first gradient is of ordinary size.

    Coordinates u = θ / unit, losses fL with one power of two f for each run: 1 unless the loss or a gradient where it begins lies
    beyond 2^±256. Where both are 1 no bit changes.

    Args:
        walk: what begins it, of a start and a layout.
        start: (runs, N).
        layout: of θ.
    """
    unit = units(layout, start)
    box = None if layout.box is None else layout.box / unit.to(layout.box)[:, None]
    inner = walk(start / unit, replace(layout, box=box))
    factor: Tensor | None = None

    def out(at: At) -> At:
        known = at.values if factor is None else at.values / factor.to(at.values)
        return At(within(at.theta * unit, layout), known)

    try:
        query = next(inner)
        while True:
            assert isinstance(query, Gradients)
            points = within(query.points * unit, layout)
            answer = yield replace(query, points=points, at=None if query.at is None else out(query.at))
            gradients = answer.gradients * unit
            if factor is None:
                factor = _factor(answer.values, gradients)
            told = Answer(
                answer.values * factor.to(answer.values),
                gradients * factor.to(gradients)[:, None],
                answered=answer.answered,
                sound=answer.sound,
            )
            query = inner.send(told)
    except StopIteration as end:
        return out(end.value) if isinstance(end.value, At) else end.value


def _factor(values: Tensor, gradients: Tensor) -> Tensor:
    size = torch.maximum(values.double().abs(), gradients.double().abs().amax(1)).nan_to_num(0.0, 0.0, 0.0)
    power = torch.frexp(size)[1]
    return torch.ldexp(torch.ones_like(size), torch.where(power.abs() > ORDINARY, -power, 0))
