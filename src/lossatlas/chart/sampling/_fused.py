"""Cross-entropy and squared error of many cells at once, from numbers that are stored at nodes in the form they need.

Both losses depend on the outputs through differences alone: z_c − z_target of the other classes, or the residuals. These
are linear in the outputs, so they may be interpolated in their place, and are formed once per node instead of once per
cell.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from lossatlas.chart.sampling._outputs import Fused

# Interpolated numbers held at a time by each thread: few enough to stay in a processor's cache.
BLOCK = 2**17
# Examples that are summed in their own type.
EXAMPLES = 128
IGNORED = -100
# exp of this is finite in float32 even where a million classes are summed.
HIGH = 70.0
# exp of less is no normal number any more, and takes processors up to forty times as long.
LOW = {torch.float32: -80.0, torch.float64: -700.0}


@final
class CrossEntropy:
    """Summed cross-entropy and accuracy of one batch.

    With gaps d_c = z_c − z_target of the other classes, ℓ = log(1 + Σ exp d_c), which is exact for losses far below the
    rounding of log-softmax; where a gap is large, with t = max(0, max d), ℓ = t + log1p(Σ exp(d − t) + expm1(−t)).

    Args:
        target: classes (n,); those that are ``IGNORED`` do not count.
        classes: how many there are.
    """

    def __init__(self, target: Tensor, classes: int) -> None:
        self.classes, self.keep = classes, target != IGNORED
        self.whole = bool(self.keep.all())
        self.target = torch.where(self.keep, target, 0)
        self.others = (self.target + torch.arange(1, classes, device=target.device)[:, None]) % classes
        self.weight = float(self.keep.sum())

    def prepare(self, outputs: Tensor) -> Tensor:
        """From outputs (n, n_b, C) to (n, C, n_b): the gaps, and in the last row the outputs of the targets."""
        given = _wide(outputs).transpose(1, 2)
        found = torch.empty_like(given, memory_format=torch.contiguous_format)
        own = found[:, -1:]
        torch.gather(given, 1, self.target.expand(len(given), 1, -1), out=own)
        torch.sub(given.gather(1, self.others.expand(len(given), -1, -1)), own, out=found[:, :-1])
        return found

    def restore(self, prepared: Tensor) -> Tensor:
        """The outputs again."""
        own, found = prepared[:, -1:], torch.empty_like(prepared)
        index = torch.cat([self.others, self.target[None]]).expand(len(prepared), -1, -1)
        found.scatter_(1, index, torch.cat([prepared[:, :-1] + own, own], 1))
        return found.transpose(1, 2).contiguous()

    def spans(self) -> list[slice]:
        """Shares of the examples: a sum of few losses loses nothing in their own type."""
        return [slice(begin, begin + EXAMPLES) for begin in range(0, len(self.target), EXAMPLES)]

    def losses(self, weights: Tensor | None, prepared: Tensor, span: slice) -> tuple[Tensor, Tensor]:
        """Sums of losses over a share of the examples, (m,) in float64, and how many are predicted right, (m,).

        Args:
            weights: (m, n), or None for the nodes themselves.
            prepared: (n, C, n_b).
            span: the share.
        """
        gaps, own, others = prepared[:, :-1, span], self.target[span], self.others[:, span]
        if not self.whole:
            keep = self.keep[span]
            gaps, own, others = gaps[:, :, keep], own[keep], others[:, keep]
        nodes = gaps.flatten(1)
        cells = len(nodes) if weights is None else len(weights)
        if self.classes == 1:
            return torch.zeros(cells, dtype=torch.float64), torch.full((cells,), len(own))
        size = max(1, BLOCK // max(1, nodes.shape[1]))
        loss = torch.empty(cells, dtype=torch.float64)
        hits = torch.empty(cells, dtype=torch.int64)
        room = nodes.new_empty(min(size, cells), nodes.shape[1])
        for begin in range(0, cells, size):
            rows = slice(begin, begin + size)
            if weights is None:
                block = room[: len(nodes[rows])].copy_(nodes[rows])
            else:
                block = torch.mm(weights[rows], nodes, out=room[: len(weights[rows])])
            loss[rows], hits[rows] = _scored(block.view(-1, *gaps.shape[1:]), own, others)
        return loss, hits


def _scored(gaps: Tensor, own: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Sums of losses and numbers of right predictions, (m,), from gaps (m, C − 1, n), which are overwritten."""
    top = gaps.amax(1)
    right = top < 0
    if bool((top == 0).any()):
        # Of equal scores the first class is the prediction, as of argmax.
        right |= (top == 0) & ~((gaps == 0) & (others < own)).any(1)
    low = LOW[gaps.dtype]
    if not top.numel():
        losses = top
    elif float(top.max()) < HIGH:
        losses = gaps.clamp_min_(low).exp_().sum(1).log1p_()
    else:
        top.clamp_min_(0)
        apart = gaps.sub_(top[:, None]).clamp_min_(low)
        losses = apart.exp_().sum(1).add_(torch.expm1(-top)).log1p_().add_(top)
    return losses.sum(1).double(), right.sum(1)


@final
class Squares:
    """Summed squared errors of one batch.

    Args:
        target: (n, …).
    """

    def __init__(self, target: Tensor) -> None:
        self.target, self.weight = target, float(target.numel())

    def prepare(self, outputs: Tensor) -> Tensor:
        """Residuals in place of outputs, (n, n_b, …)."""
        return _wide(outputs) - self.target

    def restore(self, prepared: Tensor) -> Tensor:
        """The outputs again."""
        return prepared + self.target

    def spans(self) -> list[slice]:
        """Shares of the numbers of a node."""
        step = 8 * EXAMPLES
        return [slice(begin, begin + step) for begin in range(0, self.target.numel(), step)]

    def losses(self, weights: Tensor | None, prepared: Tensor, span: slice) -> tuple[Tensor, None]:
        """Sums of squares over a share, (m,) in float64; nothing beside them."""
        columns = prepared.flatten(1)[:, span]
        cells = len(columns) if weights is None else len(weights)
        loss = torch.empty(cells, dtype=torch.float64)
        size = max(1, BLOCK // max(1, columns.shape[1]))
        for begin in range(0, cells, size):
            rows = slice(begin, begin + size)
            block = columns[rows] if weights is None else weights[rows] @ columns
            loss[rows] = block.square().sum(1, dtype=torch.float64)
        return loss, None


Kernel = CrossEntropy | Squares


def kernel_for(fused: Fused | None, target: Tensor | None, shape: tuple[int, ...]) -> Kernel | None:
    """What computes the loss of a batch whose outputs have a shape (n_b, …), or None where only its own loss can."""
    if target is None or 0 in shape:
        return None
    if fused == "cross_entropy" and len(shape) == 2 and target.ndim == 1:
        return CrossEntropy(target.cpu(), shape[1])
    if fused == "mse" and tuple(target.shape) == tuple(shape):
        return Squares(target.cpu())
    return None


def _wide(outputs: Tensor) -> Tensor:
    """Numbers of half precision as float32: what is multiplied many times over."""
    return outputs.float() if outputs.element_size() < 4 else outputs
