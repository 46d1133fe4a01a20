"""Directions that have to be asked for: along the gradient, and the worst one within a radius."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from lossatlas import _checks
from lossatlas._errors import PlaneError
from lossatlas.chart.planes._directions import along, drawn
from lossatlas.chart.planes._policy import Ignore
from lossatlas.probe import Gradients, Probe
from lossatlas.surface import Surface, inner


def uphill(
    surface: Surface, origin: Tensor, *, normalization: str, ignore: Ignore | None
) -> tuple[Tensor, dict[str, Any]]:
    """One unit along the gradient at a point, for one billed gradient.

    Raises:
        PlaneError: if there is no gradient to follow.
    """
    probe = Probe(surface)
    answer = probe.ask(Gradients(origin[None]))
    slope = answer.gradients[0]
    size = float(inner(slope[None], slope[None]).sqrt())
    if not (math.isfinite(size) and size > 0):
        raise PlaneError(
            f"the gradient at the origin has length {size}; expected a finite length above zero. Where it vanishes "
            "there is no uphill: take the Hessian's directions instead."
        )
    direction = along(slope, origin, surface.layout, normalization=normalization, ignore=ignore)
    return direction, {
        "loss": float(answer.values[0]),
        "gradient_norm": size,
        "normalization": normalization,
        "gradients": probe.meter.gradients,
    }


def worst(
    surface: Surface,
    origin: Tensor,
    *,
    radius: float,
    steps: int,
    seed: int,
    normalization: str,
    ignore: Ignore | None,
) -> tuple[Tensor, dict[str, Any]]:
    """The direction in which the loss is highest at a radius, as far as a few ascent steps find it.

    The unit ball is that of the normalization: every filter at most as long as the weights' (``filter``), or the whole
    direction (``none``). On it the linear part of L at θ + d is greatest along the normalized gradient there, so each
    step takes d ← r · u(∇L(θ + d)), u being that normalization; the d with the highest loss is kept. The first step is
    the sharpness of Foret et al. 2021, equation 2, for the Euclidean ball.
    """
    radius, steps = _checks.number("radius", radius, above=0), _checks.whole("steps", steps)
    probe = Probe(surface)
    settings: dict[str, Any] = {"normalization": normalization, "ignore": ignore}
    answer = probe.ask(Gradients(origin[None]))
    own, slope = float(answer.values[0]), answer.gradients[0]
    unit = along(slope, origin, surface.layout, **settings)
    if not bool(torch.isfinite(unit).all()) or not bool(unit.any()):
        # A critical point has no uphill; a random direction is left to start from.
        (noise,) = drawn(origin, surface.layout, 1, seed=seed, **settings)
        unit = along(noise, origin, surface.layout, **settings)
    found, losses = unit, []
    for _ in range(steps):
        answer = probe.ask(Gradients((origin + radius * unit)[None]))
        loss = float(answer.values[0])
        losses.append(loss)
        if math.isnan(loss):
            break
        if loss >= max(losses):
            found = unit
        slope = answer.gradients[0]
        if not bool(torch.isfinite(slope).all()) or not bool(slope.any()):
            break
        unit = along(slope, origin, surface.layout, **settings)
    return found, {
        "radius": radius,
        "steps": steps,
        "normalization": normalization,
        "loss": own,
        "losses": losses,
        "gradients": probe.meter.gradients,
    }
