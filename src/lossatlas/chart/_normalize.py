"""Normalizations of directions: how far one unit on an axis moves each filter of the network.

Li et al. 2018, "Visualizing the Loss Landscape of Neural Nets", section 4: networks with ReLU or batch norm do not
change when a filter is scaled up and the next one down, so a picture means something only if each filter of the
direction is scaled to the filter that it moves.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lossatlas._errors import UnknownNameError
from lossatlas.surface import Block, Layout

NORMALIZATIONS = ("filter", "layer", "none")

# Where a filter lies in a weight: transposed convolutions hold their output channels on axis 1.
_FILTER_AXIS = {"conv-transpose": 1}


def normalize(direction: Tensor, theta: Tensor, layout: Layout, normalization: str) -> Tensor:
    """Scale a direction block by block to the weights it moves.

    ``filter``: d_ij ← d_ij ‖θ_ij‖ / ‖d_ij‖ for each filter j of each weight i, the slices along the output axis (the
    rows of a linear weight, the output channels of a convolution); ``layer``: the same with whole tensors; ``none``:
    as drawn. With ``filter`` and ``layer``, blocks of at most one axis (biases, gains and shifts of norms) are zero,
    and so is the direction of a filter that is itself zero. A surface without weights (a landscape) is left as drawn.

    Args:
        direction: shape (N,).
        theta: shape (N,), the weights.
        layout: the blocks of both.
        normalization: ``filter``, ``layer`` or ``none``.

    Returns:
        The scaled direction, a new tensor.

    Raises:
        UnknownNameError: for another name.
    """
    if normalization not in NORMALIZATIONS:
        raise UnknownNameError("normalization", normalization, NORMALIZATIONS)
    scaled = direction.clone()
    if normalization == "none":
        return scaled
    for block in layout.blocks:
        if block.kind == "vector":
            continue
        part = scaled[block.span].view(block.shape)
        if len(block.shape) <= 1:
            part.zero_()
            continue
        part.mul_(_factors(part, theta[block.span].view(block.shape), block, normalization))
    return scaled


def _factors(part: Tensor, weight: Tensor, block: Block, normalization: str) -> Tensor:
    if normalization == "layer":
        axes = tuple(range(part.ndim))
    else:
        kept = _FILTER_AXIS.get(block.kind, 0)
        axes = tuple(axis for axis in range(part.ndim) if axis != kept)
    # Norms in float64: the property ‖d‖ = ‖θ‖ then holds to the rounding of the weights' own type.
    sizes = torch.linalg.vector_norm(part.double(), dim=axes, keepdim=True)
    wanted = torch.linalg.vector_norm(weight.double(), dim=axes, keepdim=True)
    return torch.where(sizes > 0, wanted / sizes, 0.0).to(part.dtype)
