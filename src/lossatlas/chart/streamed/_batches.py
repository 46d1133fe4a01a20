"""Batches of a streamed model: what it is called with, what it gives back, and how much of the loss each stands for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from lossatlas._errors import DataError, ModelError
from lossatlas.chart.streamed._tokens import IGNORED, Judged, from_logits, targets_of
from lossatlas.surface import LossFunction, seeded, tensor_digest

TOKENS, MODEL = "tokens", "model"
# Tokens of a sequence that a proof reads.
FEW = 64


class Batches:
    """The data of a streamed surface, and its loss on them.

    Args:
        data: a batch, or several.
        loss: ``model``, ``tokens``, or a function of (output, target).

    Attributes:
        each: dictionaries of arguments, or pairs (input, target).
        rows: of all batches together.
        weight: of a batch in the mean over all of them, where its loss is one number; its rows, until something else is known.

    Raises:
        DataError: for what are no batches, or no token that is judged.
    """

    def __init__(self, data: Any, loss: str | LossFunction) -> None:
        self.loss = loss
        one = isinstance(data, Mapping | tuple) or not isinstance(data, Iterable) or getattr(data, "ndim", 1) == 0
        # A loader that shuffles gives one order always, and draws from nobody's generator.
        with seeded(0, data):
            given = [data] if one else list(data)
        if not given:
            raise DataError("got no batches; expected at least one.")
        self.each: list[Any] = []
        for batch in given:
            pair = isinstance(batch, list | tuple) and len(batch) == 2
            if not (pair if callable(loss) else isinstance(batch, Mapping)):
                what = "pairs (input, target)" if callable(loss) else "dictionaries of the model's arguments"
                raise DataError(f"got a batch of type {type(batch).__name__}; expected {what}, as the loss wants them.")
            if loss == TOKENS and not isinstance(batch.get("input_ids"), Tensor):
                raise DataError(
                    f"got a batch with {', '.join(map(str, batch)) or 'nothing'}; expected input_ids among them."
                )
            self.each.append(tuple(batch) if callable(loss) else dict(batch))
        self.rows = sum(map(rows_of, self.each))
        self.weight: Callable[[Any], int] = rows_of
        if loss == TOKENS and not any(bool((targets_of(batch) != IGNORED).any()) for batch in self.each):
            raise DataError(
                "got no token that has one before it and is not masked; expected some that can be predicted."
            )

    def arguments(self, batch: Any, device: torch.device) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What the model is called with, on its device; it need not judge what we judge."""
        if isinstance(batch, dict):
            kept = {key: value for key, value in batch.items() if not (self.loss == TOKENS and key == "labels")}
            return (), {key: _on(device, value) for key, value in kept.items()}
        inputs = batch[0] if isinstance(batch[0], tuple) else (batch[0],)
        return tuple(_on(device, value) for value in inputs), {}

    def judged(self, result: Any, batch: Any) -> Judged:
        """The loss of a result, as a sum with its weight: tokens, or rows of the batch."""
        if self.loss == TOKENS:
            logits = logits_of(result)
            return from_logits(logits, targets_of(batch).to(logits.device))
        count = self.weight(batch)
        if callable(self.loss):
            place = next((one.device for one in _tensors(result)), None)
            target = batch[1] if place is None else _on(place, batch[1])
            return self._weighted(self.loss(result, target), count)
        return self._weighted(_loss_of(result), count)

    @staticmethod
    def _weighted(loss: Any, count: int) -> Judged:
        # A mean over nothing is no number, and no part of the mean over all.
        return Judged(float(loss) * count, 0.0, count) if count else Judged()

    def first(self) -> Any:
        """A part of the first batch that a proof can do with: one row where all parts have as many, of tokens the first few."""
        batch = self.each[0]
        if not isinstance(batch, dict):
            return batch
        if {len(value) if isinstance(value, Tensor) and value.ndim else 0 for value in batch.values()} != {
            rows_of(batch)
        }:
            return batch
        judged = (targets_of(batch) != IGNORED).any(1).int() if self.loss == TOKENS else torch.ones(1)
        k = int(judged.argmax())
        few = {key: value[k : k + 1, :FEW] if value.ndim == 2 else value[k : k + 1] for key, value in batch.items()}
        enough = self.loss == TOKENS and bool((targets_of(few) != IGNORED).any())
        return few if enough else {key: value[k : k + 1] for key, value in batch.items()}

    def digest(self) -> str:
        """Of all their numbers."""
        sha = hashlib.sha256()
        for batch in self.each:
            for key, value in sorted((batch if isinstance(batch, dict) else dict(enumerate(batch))).items(), key=str):
                parts = list(_tensors(value)) or [value]
                told = [tensor_digest(part) if isinstance(part, Tensor) else repr(part) for part in parts]
                sha.update(f"{key} {told}".encode())
        return sha.hexdigest()[:16]


def rows_of(batch: Any) -> int:
    """Rows of a batch: the length of its first tensor that has one."""
    return next((len(value) for value in _tensors(batch) if value.ndim), 1)


def logits_of(result: Any) -> Tensor:
    """The logits (rows, length, vocabulary) in what a model gave.

    Raises:
        ModelError: if there are none.
    """
    found = result.get("logits") if isinstance(result, Mapping) else getattr(result, "logits", result)
    if not isinstance(found, Tensor) or found.ndim != 3:
        raise ModelError(f"got an output of type {type(result).__name__}; expected logits (rows, length, vocabulary).")
    return found


def _loss_of(result: Any) -> Tensor:
    found = result.get("loss") if isinstance(result, Mapping) else getattr(result, "loss", result)
    if not isinstance(found, Tensor) or found.numel() != 1:
        raise ModelError(
            f"got an output of type {type(result).__name__} without a loss of one number; expected one. Give labels, or a loss."
        )
    return found


def _tensors(value: Any) -> Iterable[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _tensors(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)


def _on(device: torch.device, value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, Mapping):
        return {key: _on(device, part) for key, part in value.items()}
    return type(value)(_on(device, part) for part in value) if type(value) in (list, tuple) else value
