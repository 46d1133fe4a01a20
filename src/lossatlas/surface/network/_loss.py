"""Losses: a name or any callable loss(output, target), held as one record that says how batches are averaged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lossatlas._errors import LossError, UnknownNameError

LossFunction = Callable[[Any, Any], Tensor]


@dataclass(frozen=True)
class Loss:
    """A loss over a batch.

    Attributes:
        name: for tables.
        function: loss(output, target), the mean over the batch.
        classification: whether an accuracy comes with it: outputs (B, C) against class numbers (B,).
    """

    name: str
    function: LossFunction
    classification: bool


def cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy, as `torch.nn.functional.cross_entropy` defines it.

    For few classes and many examples the class axis is laid out last in memory first: the log-softmax then runs
    over examples in one vectorized sweep, several times faster on a CPU and equal to rounding.
    """
    narrow = output.ndim == 2 and target.ndim == 1 and not target.is_floating_point()
    if not narrow or output.shape[1] > 64 or output.device.type != "cpu" or output.requires_grad:
        return F.cross_entropy(output, target)
    logs = torch.log_softmax(output.t().contiguous(), 0)
    picked = logs.gather(0, target.clamp_min(0)[None])[0]
    kept = target != -100
    return -torch.where(kept, picked, 0.0).sum() / kept.sum()


def model_loss(output: Any, target: Any) -> Tensor:
    """The loss that the model computed itself (its output's ``loss``), as transformer libraries do."""
    if not isinstance(getattr(output, "loss", None), Tensor):
        raise LossError(
            f"the loss 'model' needs an output with a loss of its own, got {type(output).__name__}; expected, for "
            "example, a transformer given its labels. Name a loss such as cross_entropy instead."
        )
    found: Tensor = output.loss
    return found


NAMED: dict[str, Loss] = {
    "cross_entropy": Loss("cross_entropy", cross_entropy, True),
    "nll": Loss("nll", F.nll_loss, True),
    "mse": Loss("mse", F.mse_loss, False),
    "l1": Loss("l1", F.l1_loss, False),
    "huber": Loss("huber", F.huber_loss, False),
    "bce_with_logits": Loss("bce_with_logits", F.binary_cross_entropy_with_logits, False),
    "model": Loss("model", model_loss, False),
}


def resolve(loss: str | LossFunction) -> Loss:
    """A loss by name, or any callable that gives the mean over a batch.

    Raises:
        UnknownNameError: for a name that is not there; the nearest is suggested.
        LossError: for something that is neither, or a torch loss that does not average.
    """
    if isinstance(loss, str):
        if loss.replace("-", "_") not in NAMED:
            raise UnknownNameError("loss", loss, NAMED)
        return NAMED[loss.replace("-", "_")]
    if not callable(loss):
        raise LossError(
            f"got a loss of type {type(loss).__name__}; expected a name ({', '.join(NAMED)}) or a callable "
            "loss(output, target)."
        )
    reduction = getattr(loss, "reduction", "mean")
    if isinstance(loss, nn.Module) and reduction != "mean":
        raise LossError(
            f"got {type(loss).__name__}(reduction={reduction!r}); expected reduction='mean', since the surface is "
            "the mean over all examples and batches are weighted by their size. Use reduction='mean'."
        )
    name = getattr(loss, "__name__", type(loss).__name__)
    classification = isinstance(loss, nn.CrossEntropyLoss | nn.NLLLoss) or loss in (
        F.cross_entropy,
        F.nll_loss,
    )
    return Loss(name, loss, classification)


def predictions(output: Any) -> Any:
    """The tensor that a loss compares: the output itself, or its ``logits`` (transformer outputs)."""
    logits = getattr(output, "logits", None)
    return logits if isinstance(logits, Tensor) else output
