"""Which numbers of a model's outputs are the scores of which label, where its loss is a mean cross-entropy of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from lossatlas._errors import NotApplicableError
from lossatlas.surface.network._loss import IGNORED

# Units of rounding by which two evaluations of one loss may differ: of the loss, and of a label's log-sum-exp.
ROUNDINGS, SCORES = 256, 8


@final
@dataclass(frozen=True)
class Scores:
    """One way to lay scores beside labels.

    Attributes:
        axis: of the classes in the outputs: 1 as in torch's losses, −1 as in transformers.
        shift: 1 where the scores at a position are those of the label at the next one, as in causal language models.
    """

    axis: int
    shift: int = 0

    def labels(self, target: Tensor) -> Tensor:
        """The labels (n,) that count."""
        flat = self._labels(target)
        return flat[flat != IGNORED].long()

    def __call__(self, outputs: Tensor, target: Tensor) -> Tensor:
        """The scores (n, C) of the labels that count, from outputs of one point."""
        rows = outputs.movedim(self.axis, -1)
        if self.shift:
            rows = rows[..., : -self.shift, :]
        flat = self._labels(target)
        rows = rows.reshape(-1, rows.shape[-1])
        kept = (flat != IGNORED).to(rows.device)
        return rows if bool(kept.all()) else rows[kept]

    def fits(self, outputs: Any, target: Any) -> bool:
        """Whether shapes and types allow it."""
        if not isinstance(outputs, Tensor) or not isinstance(target, Tensor):
            return False
        if outputs.ndim < 2 or not outputs.is_floating_point() or outputs.shape[self.axis] < 2:
            return False
        if target.is_floating_point() or target.is_complex() or target.dtype == torch.bool or target.ndim == 0:
            return False
        if outputs.movedim(self.axis, -1).shape[:-1] != target.shape:
            return False
        if self.shift and (target.ndim < 2 or target.shape[-1] <= self.shift):
            return False
        labels = self.labels(target)
        return len(labels) > 0 and int(labels.min()) >= 0 and int(labels.max()) < outputs.shape[self.axis]

    def _labels(self, target: Tensor) -> Tensor:
        return (target[..., self.shift :] if self.shift else target).reshape(-1)


class OtherLoss(NotApplicableError):
    """At some point a recognized loss is not what the user's code computes there."""


def refuse_other(found: Tensor, own: Tensor, scores: Tensor) -> None:
    """Hold a recognized loss of one batch against the one that the user's code computed from the same scores.

    Args:
        found: the recognized loss.
        own: the user's.
        scores: (n, C), of which the largest of each label limit how exactly either can be known; a class that is masked by
            a hugely negative score does not.

    Raises:
        OtherLoss: if they differ by more than rounding.
    """
    eps = torch.finfo(own.dtype).eps
    one, two = float(found.detach()), float(own.detach())
    size = 1 + float(scores.detach().amax(1).abs().double().mean())
    allowed = ROUNDINGS * eps * abs(two) + SCORES * eps * size
    if math.isfinite(one) != math.isfinite(two) or (math.isfinite(two) and abs(one - two) > allowed):
        raise OtherLoss(
            f"at some points the loss that the user's code computes is not the mean cross-entropy of the scores: {two:.6g}, "
            f"not {one:.6g}"
        )


WAYS = (Scores(1), Scores(-1), Scores(-1, shift=1))
