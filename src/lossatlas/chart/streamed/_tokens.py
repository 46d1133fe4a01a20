"""The loss of a language model, a mean over tokens: never of all logits at once where the last layer is a plain one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

IGNORED = -100
# Logits that are in memory at a time, in float32.
LOGITS = 2**23


def targets_of(batch: dict[str, Any]) -> Tensor:
    """The token that follows each position (rows, length − 1), −100 where none is judged."""
    labels: Tensor = batch["labels"] if batch.get("labels") is not None else batch["input_ids"].clone()
    mask = batch.get("attention_mask")
    if batch.get("labels") is None and mask is not None:
        labels = labels.masked_fill(mask == 0, IGNORED)
    return labels[:, 1:]


@dataclass
class Judged:
    """Sums over tokens, or over the rows of a batch.

    Attributes:
        loss: Σ −log p of the right tokens; of rows, their mean loss times their number.
        right: tokens that were the most probable.
        count: what the sums are over.
    """

    loss: float = 0.0
    right: float = 0.0
    count: int = 0

    @property
    def mean(self) -> float:
        """The loss."""
        return self.loss / self.count if self.count else float("nan")

    def add(self, other: Judged) -> None:
        """Both together."""
        self.loss, self.right, self.count = self.loss + other.loss, self.right + other.right, self.count + other.count


class Running:
    """log Σ exp z over the vocabulary, a few rows of the last layer at a time, with the right token's z and the largest."""

    def __init__(self, targets: Tensor) -> None:
        self.where = (targets != IGNORED).reshape(-1)
        self.targets = targets.reshape(-1)[self.where]
        n, device = len(self.targets), targets.device
        self.top = torch.full((n,), -torch.inf, dtype=torch.float64, device=device)
        self.total = torch.zeros(n, dtype=torch.float64, device=device)
        self.right = torch.zeros(n, dtype=torch.float64, device=device)
        self.best = torch.zeros(n, dtype=torch.long, device=device)

    def see(self, logits: Tensor, begin: int) -> None:
        """Logits (n, rows) of the tokens from `begin` on in the vocabulary."""
        logits = logits if logits.dtype == torch.float64 else logits.float()
        high, at = logits.max(1)
        top = torch.maximum(self.top, high)
        safe = torch.where(torch.isfinite(top), top, 0.0)
        here = (logits - safe[:, None].to(logits)).exp().sum(1, dtype=torch.float64)
        self.total = self.total * (self.top - safe).exp() + here
        self.best = torch.where(high > self.top, at + begin, self.best)
        self.top = top
        inside = (self.targets >= begin) & (self.targets < begin + logits.shape[1])
        index = (self.targets - begin).clamp(0, logits.shape[1] - 1)
        self.right = torch.where(inside, logits.gather(1, index[:, None])[:, 0].double(), self.right)

    def judged(self) -> Judged:
        """The sums."""
        loss = self.total.log() + self.top - self.right
        right = (self.best == self.targets).sum()
        return Judged(float(loss.sum()), float(right), len(self.targets))


def from_logits(logits: Tensor, targets: Tensor) -> Judged:
    """The same from logits (rows, length, vocabulary) that are there, some tokens at a time."""
    found, step = Judged(), max(1, LOGITS // logits.shape[-1])
    for row, aims in zip(logits[:, :-1], targets, strict=True):
        for part, aim in zip(torch.split(row, step), torch.split(aims, step), strict=True):
            running = Running(aim)
            running.see(part[running.where], 0)
            found.add(running.judged())
    return found
