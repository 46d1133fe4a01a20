"""Normalizations of directions: how far one unit on an axis moves each filter of the network.

Li et al. 2018, "Visualizing the Loss Landscape of Neural Nets", section 4: networks with ReLU or batch norm do not
change when a filter is scaled up and the next one down, so a picture means something only if each filter of the
direction is scaled to the filter that it moves.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lossatlas.chart._policy import LI, Ignore, Rule, rule
from lossatlas.surface import Block, Layout

Array = NDArray[np.float64]
EPSILON = 1e-10

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
        part = direction[block.span].detach().cpu().double().numpy()
        moved = scaled_block(part, weights(theta, block), rule(block, normalization, ignore), normalization)
        scaled[block.span] = torch.from_numpy(moved).to(scaled.device, scaled.dtype)
    return scaled


def weights(theta: Tensor, block: Block) -> Array:
    """One block of θ in float64, on the CPU."""
    found: Array = theta[block.span].detach().cpu().double().numpy()
    return found


def scaled_block(part: Array, weight: Array, how: Rule, normalization: str) -> Array:
    """One block of a direction, flat, scaled by its rule."""
    if how.action == "held":
        return np.zeros_like(part)
    if how.action == "weights":
        return weight.copy()
    if how.action == "drawn":
        return part.copy()
    if normalization.endswith("weight"):
        return part * weight
    shaped = part.reshape(how.view)
    sizes = _norms(shaped, how.summed)
    if normalization.endswith(("dfilter", "dlayer")):
        wanted: Any = 1.0
    else:
        wanted = _norms(weight.reshape(how.view), how.summed)
    if normalization in ("li2018", "li2018-dfilter"):
        factors = wanted / (sizes + EPSILON)
    else:
        factors = np.divide(wanted, sizes, out=np.zeros_like(sizes), where=sizes > 0)
    moved: Array = (shaped * factors).reshape(-1)
    return moved


def _norms(values: Array, axes: tuple[int, ...]) -> Array:
    found: Array = np.sqrt(np.add.reduce(np.square(values), axis=axes, keepdims=True))
    return found
