"""The recorder as a Transformers callback."""

from __future__ import annotations

from pathlib import Path
from typing import Any, final

from transformers import TrainerCallback

from lossatlas.record._recorder import Recorder


@final
class HuggingFaceRecorder(TrainerCallback):  # type: ignore[misc, unused-ignore]
    """Records the model that a trainer trains. Made by `hf_recorder`.

    Args:
        folder: where to.
        settings: of the `Recorder`.

    Attributes:
        recorder: while a trainer trains, and after; None before.
    """

    def __init__(self, folder: str | Path, **settings: Any) -> None:
        self.recorder: Recorder | None = None
        self._folder, self._settings = folder, settings

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin to listen, at the trainer's own step."""
        settings = {"start": state.global_step, **self._settings}
        self.recorder = Recorder(kwargs["model"], kwargs["optimizer"], self._folder, **settings)

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Note the loss that the trainer logs."""
        logs = kwargs.get("logs") or {}
        if self.recorder is not None and "loss" in logs:
            self.recorder.note(loss=float(logs["loss"]))

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write where it ended."""
        if self.recorder is not None:
            self.recorder.close()
