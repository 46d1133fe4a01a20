"""Loss and accuracy of a block of points from their outputs, feature-major (points, classes, examples)."""

from __future__ import annotations

import torch
from torch import Tensor

from lossatlas.surface.network._data import Batch
from lossatlas.surface.network._loss import Loss

Score = tuple[float, float]


def padded(examples: int) -> int:
    """Columns for so many examples: multiples of eight suit the matrix kernels."""
    return -(-examples // 8) * 8


def places(loss: Loss, batch: Batch) -> Tensor | None:
    """Where each example's own class stands in flattened outputs; None where the loss does not need it."""
    if loss.plain != "cross_entropy":
        return None
    own: Tensor = batch.target * padded(batch.size) + torch.arange(batch.size)
    return own


def score(outputs: Tensor, loss: Loss, batch: Batch, own: Tensor | None) -> list[Score]:
    """Mean loss and share of hits of each point.

    Args:
        outputs: (points, classes, columns), of which the first ones are examples.
        loss: of a batch.
        batch: the examples.
        own: from `places`.
    """
    rows = [output.t()[: batch.size] for output in outputs]
    if own is None:
        counted = loss.classification
        return [(float(loss.function(r, batch.target)), _share(r, batch.target) if counted else 0.0) for r in rows]
    logs = torch.log_softmax(outputs, 1).flatten(1).index_select(1, own)
    losses = logs.mean(1, dtype=torch.float64).tolist()
    # The first of tied classes is the prediction, as of argmax, which takes ten times as long along this axis.
    hits = torch.count_nonzero(outputs.max(1).indices[:, : batch.size] == batch.target, 1).tolist()
    return [(-value, hit / batch.size) for value, hit in zip(losses, hits, strict=True)]


def _share(rows: Tensor, target: Tensor) -> float:
    return int(torch.count_nonzero(rows.contiguous().argmax(1) == target)) / len(target)
