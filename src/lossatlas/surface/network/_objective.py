"""The loss of a network over one batch, at one point: by a bound copy of the model, or as a function of tensors."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lossatlas._errors import LossError
from lossatlas.surface._layout import Layout
from lossatlas.surface.network import _loss
from lossatlas.surface.network._batchnorm import Statistics
from lossatlas.surface.network._completion import Completion
from lossatlas.surface.network._data import Batch


@final
@dataclass(frozen=True)
class Objective:
    """ℓ over one batch of fixed data, with the share of hits where the loss is one of classification.

    Args:
        model: private, run as it is or with tensors in the place of its own.
        loss: resolved.
        batches: the data.
        layout: of the points.
        statistics: of the model's batch norm, in their mode.
        free: whether points hold running statistics as coordinates of their own.
        cast: the type that forward passes are computed in, where it is not the model's own.
    """

    model: nn.Module
    loss: _loss.Loss
    batches: tuple[Batch, ...]
    layout: Layout
    statistics: Statistics
    free: bool = False
    cast: torch.dtype | None = None

    @property
    def examples(self) -> int:
        """How many there are in all batches."""
        return sum(batch.size for batch in self.batches)

    @property
    def accurate(self) -> bool:
        """Whether outputs are right or wrong."""
        target = self.batches[0].target
        return (
            self.loss.classification
            and isinstance(target, Tensor)
            and target.ndim == 1
            and not target.is_floating_point()
        )

    def completion(self) -> Completion:
        """What completes θ by the statistics that the model is run with."""
        return Completion(self.statistics, self.layout, self.batches, self.keywords, free=self.free)

    def keywords(self, batch: Batch) -> dict[str, Any]:
        """What the model is called with beside a batch's inputs."""
        if self.loss.name == "model" and batch.target is not None:
            return {**batch.keywords, "labels": batch.target}
        return batch.keywords

    def forward(self, batch: Batch, model: nn.Module) -> tuple[Tensor, Tensor]:
        """Mean loss and share of hits of a model as it is."""
        with self._precision():
            return self.measure(model(*batch.inputs, **self.keywords(batch)), batch)

    def at(self, tensors: Mapping[str, Tensor], batch: Batch) -> tuple[Tensor, Tensor]:
        """The same of the model with other tensors by name."""
        with self._precision():
            return self.measure(functional_call(self.model, dict(tensors), batch.inputs, self.keywords(batch)), batch)

    def measure(self, output: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        """The same of an output.

        Raises:
            LossError: if the loss is not one number.
        """
        compared = output if self.loss.name == "model" else _loss.predictions(output)
        loss = self.loss.function(compared, batch.target)
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            shape = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
            raise LossError(
                f"the loss {self.loss.name!r} returned {shape} for a batch of {batch.size}; expected one number, the "
                "mean over the batch. Use reduction='mean' or end the loss with .mean()."
            )
        hits = loss.new_zeros(())
        if self.accurate and isinstance(compared, Tensor) and compared.ndim == 2:
            hits = (compared.argmax(1) == batch.target).to(torch.float32).mean()
        return loss.reshape(()), hits

    def _precision(self) -> AbstractContextManager[Any]:
        device = self.model_device.type
        return nullcontext() if self.cast is None else torch.autocast(device, dtype=self.cast)

    @property
    def model_device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device
