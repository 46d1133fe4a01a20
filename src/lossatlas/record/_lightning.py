"""The recorder as a Lightning callback."""

from __future__ import annotations

from pathlib import Path
from typing import Any, final

import lightning.pytorch as lightning
from torch import Tensor

from lossatlas.record._recorder import Recorder


@final
class LightningRecorder(lightning.Callback):
    """Records the module that a trainer fits. Made by `lightning_recorder`.

    Args:
        folder: where to.
        settings: of the `Recorder`.

    Attributes:
        recorder: while a trainer fits, and after; None before.
    """

    def __init__(self, folder: str | Path, **settings: Any) -> None:
        self.recorder: Recorder | None = None
        self._folder, self._settings = folder, settings
        self._resumed: dict[str, Any] | None = None

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Begin to listen, now that there are optimizers."""
        settings = {"log": list(trainer.loggers) or None, **self._settings}
        self.recorder = Recorder(pl_module, trainer.optimizers, self._folder, **settings)
        if self._resumed is not None:
            self.recorder.load_state_dict(self._resumed)

    def on_before_backward(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, loss: Tensor
    ) -> None:
        """Note the loss as it was before the trainer divided it among accumulated batches."""
        if self.recorder is not None:
            self.recorder.note(loss=loss.detach() * trainer.accumulate_grad_batches)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Write where it ended."""
        if self.recorder is not None:
            self.recorder.close()

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        """Write where it broke off."""
        if self.recorder is not None:
            self.recorder.__exit__(type(exception), exception, None)

    def state_dict(self) -> dict[str, Any]:
        """The step counter, for the trainer's checkpoint."""
        return {} if self.recorder is None else self.recorder.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the step counter from the trainer's checkpoint."""
        self._resumed = state_dict or None
