"""Cross-entropy of many classes from two numbers for each label, where whole outputs take too much memory.

ℓ = log(1 + exp(−m)) with the margin m = z_y − log Σ_{c≠y} exp z_c. Margins vary over a plane about as smoothly as the
outputs do, which ℓ, or z_y beside the log-sum-exp of all classes, does not: ℓ is their difference, and interpolating
both would interpolate the loss. A prediction is right where z_y − max_{c≠y} z_c, the second number, is positive.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lossatlas.chart.sampling._outputs import Fused, Scored, node_bytes, nodes_within, width
from lossatlas.surface import refuse_other

Array = NDArray[np.float64]
# Bytes of classes that are reduced at a time.
BLOCK = 2**25


@final
class Margins:
    """Of a network's outputs, what its cross-entropy needs.

    Args:
        source: outputs whose loss is the mean cross-entropy of scores; see `NetworkOutputs`.
        room: bytes that whole outputs may take while they are reduced.

    Attributes:
        shapes: by batch, (labels that count, 2).
        examples: labels that count.
    """

    fused: Fused | None = None

    def __init__(self, source: Any, room: int) -> None:
        self._source, self._room = source, room
        self.dtype = torch.promote_types(source.dtype, torch.float32)
        self._labels = [source.scores.labels(labels) for labels in source.compared]
        self._at_once = max(1, room // max(1, 2 * node_bytes(source.shapes, source.dtype.itemsize)))
        self.shapes: Sequence[tuple[int, ...]] = [(len(labels), 2) for labels in self._labels]
        self.examples = sum(len(labels) for labels in self._labels)
        self.targets: list[Tensor] = []
        self.made_by = (*source.made_by, {"make": f"{__name__}:Margins", "with": {"room": room}})
        self.accurate, self.compared = source.accurate, self._labels

    def halved(self, *, known: bool = False) -> Margins | None:
        """The same margins, of outputs in half precision; see `NetworkOutputs.halved`."""
        source = self._source.halved(known=known)
        return None if source is None else Margins(source, self._room)

    def read(self, coords: Array) -> list[Tensor]:
        """By batch, margins and gaps to the best other class (P, n_b, 2) at coordinates (P, k).

        Raises:
            OtherLoss: where the user's loss of the outputs is not what the margins give.
        """
        found = [torch.empty(len(coords), *shape, dtype=self.dtype) for shape in self.shapes]
        for begin in range(0, len(coords), self._at_once):
            rows = slice(begin, begin + self._at_once)
            for batch, part in enumerate(self._source.read(coords[rows])):
                for k, outputs in enumerate(part):
                    scores = self._source.scores(outputs, self._source.compared[batch])
                    found[batch][begin + k] = margins(scores, self._labels[batch])
                    made, own = (
                        self.score(batch, found[batch][begin + k, None])[0],
                        self._source.score(batch, outputs[None])[0],
                    )
                    refuse_other(made.to(self.dtype), own.to(self.dtype), scores)
        return found

    def score(self, batch: int, outputs: Tensor) -> Scored:
        """Loss × share of one batch at P points, from margins (P, n_b, 2); see `NetworkOutputs.score`."""
        margin, gap = outputs[..., 0].double(), outputs[..., 1]
        share, hit_share = self._source.shares(batch)
        losses = torch.logaddexp(-margin, torch.zeros_like(margin)).mean(1) * share
        if not self.accurate:
            return losses, 1.0 / len(self.shapes), {}
        right = (gap > 0).double().mean(1) * (hit_share * self.examples / self.shapes[batch][0])
        return losses, 1.0 / len(self.shapes), {"accuracy": right}


def margins(scores: Tensor, labels: Tensor) -> Tensor:
    """Of scores (n, C) and labels (n,): z_y less the log-sum-exp of the others, and less their maximum, (n, 2).

    Of equal scores the first class is the prediction, as of argmax.
    """
    found = scores.new_empty(len(scores), 2, dtype=torch.promote_types(scores.dtype, torch.float32))
    step = max(1, BLOCK // max(1, scores.shape[1] * found.element_size()))
    for begin in range(0, len(scores), step):
        rows = slice(begin, begin + step)
        block, label = scores[rows].to(found.dtype, copy=True), labels[rows].to(scores.device)[:, None]
        own = block.gather(1, label)
        block.scatter_(1, label, -torch.inf)
        top, best = block.max(1, keepdim=True)
        found[rows, :1] = own - block.logsumexp(1, keepdim=True)
        lost = (own == top) & (best < label)
        found[rows, 1:] = torch.where(lost, -torch.finfo(found.dtype).tiny, torch.where(own == top, 1e-30, own - top))
    return found


def stored(source: Any, memory: int, least: int, *, whole: bool = False) -> tuple[Any, str]:
    """What is stored at nodes: outputs, margins where outputs take too much, or nothing, and why it is not outputs.

    Args:
        source: outputs, or None.
        memory: bytes for all nodes.
        least: nodes that a chart needs.
        whole: whether whole outputs are needed.
    """
    if source is None or nodes_within(source.shapes, memory, width(source)) >= least:
        return source, ""
    size = node_bytes(source.shapes, width(source))
    enough = 2 * least * size
    said = f"the outputs of one point take {_mebi(size)}, and the limit of {_mebi(memory)} leaves room for too few"
    if not whole and source.scores is not None:
        margins = Margins(source, memory)
        if nodes_within(margins.shapes, memory, width(margins)) >= least:
            return margins, f"margins of labels are interpolated instead of outputs: {said}; memory={enough} would do"
    return None, f"losses are interpolated instead of outputs: {said}; memory={enough} would do"


def _mebi(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB" if size >= 2**24 else f"{size / 2**20:.3g} MiB"
