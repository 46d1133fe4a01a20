"""Normalizations of directions: how far one unit on an axis moves each filter of the network.

Li et al. 2018, "Visualizing the Loss Landscape of Neural Nets", section 4: networks with ReLU or batch norm do not
change when a filter is scaled up and the next one down, so a picture means something only if each filter of the
direction is scaled to the filter that it moves.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lossatlas.chart.planes._policy import LI, Ignore, Rule, rule
from lossatlas.surface import Layout

Array = NDArray[np.float64]
EPSILON = 1e-10
# Entries converted to float64 at a time.
CHUNK = 2**20

UNITS = {
    "filter": "relative to filter norms",
    "layer": "relative to layer norms",
    "weight": "relative to each weight",
    "dfilter": "unit length in each filter",
    "dlayer": "unit length in each layer",
    "none": "standard deviations per weight",
}


def unit_of(normalization: str) -> str:
    """What one unit on an axis means, for its label."""
    if normalization in LI:
        kind = normalization.partition("-")[2] or "filter"
        return f"{UNITS[kind]}, as Li et al. 2018"
    return UNITS[normalization]


def normalize(
    direction: Tensor, theta: Tensor, layout: Layout, normalization: str, *, ignore: Ignore | None = None
) -> Tensor:
    """Scale a direction block by block to the weights it moves.

    With d_ij the part of the direction in filter j of block i, θ_ij the weights there:

    * ``filter``: d_ij ← d_ij ‖θ_ij‖ / ‖d_ij‖. What a filter is in each kind of block, `policy` says.
    * ``layer``: the same with whole tensors, d_i ← d_i ‖θ_i‖ / ‖d_i‖.
    * ``weight``: d ← d ⊙ θ. The only one of these whose pictures do not change when single neurons of a ReLU network
      are rescaled, as their weights are spread over the rows of the next layer.
    * ``dfilter``, ``dlayer``: d_ij ← d_ij / ‖d_ij‖, d_i ← d_i / ‖d_i‖, whatever the weights.
    * ``none``: as it is.
    * ``li2018`` and ``li2018-layer``, ``-weight``, ``-dfilter``, ``-dlayer``: as the reference implementation of the
      paper does it. Filters are slices along the first axis of every tensor, transposed convolutions too; the norm
      that is divided by is ‖d_ij‖ + 10⁻¹⁰ for filters; with ``ignore="nothing"`` a block of at most one axis gets the
      weights themselves as its direction.

    What is held is zero, and so is the direction of a filter that is itself zero. Norms are float64 and summed in an
    order that does not depend on the number of threads.

    Args:
        direction: shape (N,).
        theta: shape (N,), the weights.
        layout: the blocks of both.
        normalization: a name from above.
        ignore: ``biasbn`` holds vectors, scalars and norms, ``nothing`` moves them too (each as one filter); by default
            ``biasbn``, but ``nothing`` for ``none``.

    Returns:
        The scaled direction, a new tensor.

    Raises:
        UnknownNameError: for another name.
    """
    scaled = torch.empty_like(direction)
    for block in layout.blocks:
        part = direction[block.span].detach().to("cpu", torch.float64, copy=True).numpy()
        scale(part, theta[block.span], rule(block, normalization, ignore), normalization)
        scaled[block.span] = torch.from_numpy(part).to(scaled.device, scaled.dtype)
    return scaled


def scale(part: Array, weight: Tensor, how: Rule, normalization: str) -> None:
    """Scale one block of a direction by its rule, in place.

    Args:
        part: (size,) float64, overwritten.
        weight: (size,) of θ, any type; converted some rows at a time.
        how: the rule.
        normalization: its name.
    """
    if how.action == "drawn":
        return
    if how.action == "held":
        part[:] = 0
        return
    if how.action == "weights" or normalization.endswith("weight"):
        own = weight.detach().cpu().double().numpy()
        part[:] = own if how.action == "weights" else part * own
        return
    shaped, weights = part.reshape(how.view), weight.detach().reshape(how.view)
    spans = _spans(how.view)
    sizes = _norms((shaped[span] for span in spans), how, spans)
    if normalization.endswith(("dfilter", "dlayer")):
        wanted = np.ones_like(sizes)
    else:
        wanted = _norms((weights[span].cpu().double().numpy() for span in spans), how, spans)
    if normalization in ("li2018", "li2018-dfilter"):
        factors = wanted / (sizes + EPSILON)
    else:
        factors = np.divide(wanted, sizes, out=np.zeros_like(sizes), where=sizes > 0)
    for span in spans:
        shaped[span] *= factors[span] if 0 in how.kept else factors


def _norms(parts: Iterable[Array], how: Rule, spans: list[Any]) -> Array:
    """Of each filter, from a block that comes some rows at a time."""
    shape = tuple(n if axis in how.kept else 1 for axis, n in enumerate(how.view))
    squares = np.zeros(shape)
    for part, span in zip(parts, spans, strict=True):
        found = np.add.reduce(np.square(part), axis=how.summed, keepdims=True)
        squares[span if 0 in how.kept else ...] += found
    norms: Array = np.sqrt(squares)
    return norms


def _spans(view: tuple[int, ...]) -> list[Any]:
    """Slices of the first axis that hold about `CHUNK` entries each."""
    if not view:
        return [...]
    rows = max(1, CHUNK // max(1, math.prod(view[1:])))
    return [slice(begin, begin + rows) for begin in range(0, view[0], rows)]
