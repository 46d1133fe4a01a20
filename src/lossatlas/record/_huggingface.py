"""The recorder as a Transformers callback."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, final

from transformers import TrainerCallback

from lossatlas._printable import printable
from lossatlas.record._logs import Target
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
        self._reports: _Reports | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin to listen, at the trainer's own step."""
        # The handler that calls is the only way from a callback to the trainer's loggers.
        handler = sys._getframe(1).f_locals.get("self")
        self._reports = _Reports(args, state, control, getattr(handler, "callbacks", ()))
        settings = {"start": state.global_step, **self._settings}
        settings.setdefault("log", self._reports.targets or None)
        self.recorder = Recorder(kwargs["model"], kwargs["optimizer"], self._folder, **settings)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Hand on what was measured, now that the trainer has counted the step too."""
        if self._reports is not None:
            self._reports.hand_on()

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Note the loss that the trainer logs."""
        logs = kwargs.get("logs") or {}
        if self.recorder is not None and "loss" in logs:
            self.recorder.note(loss=float(logs["loss"]))

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write where it ended."""
        if self.recorder is not None:
            self.recorder.close()


class _Reports:
    """The trainer's own loggers: what they are told is what they would be told by the trainer.

    Args:
        args: of the trainer.
        state: of the trainer, which counts steps.
        control: of the trainer.
        callbacks: of the trainer, among them those that report.
    """

    def __init__(self, args: Any, state: Any, control: Any, callbacks: Iterable[Any]) -> None:
        self._told = args, state, control
        self._waiting: list[tuple[Any, dict[str, float]]] = []
        reporting = [one for one in callbacks if type(one).__module__.startswith("transformers.integrations")]
        self.targets = [
            Target(type(one).__name__, partial(self._wait, one), _figures(one))
            for one in reporting
            if type(one).on_log is not TrainerCallback.on_log
        ]

    def _wait(self, callback: Any, step: int, values: dict[str, float]) -> None:
        self._waiting.append((callback, values))

    def hand_on(self) -> None:
        """Tell them what is waiting."""
        waiting, self._waiting = self._waiting, []
        for callback, values in waiting:
            try:
                callback.on_log(*self._told, logs=dict(values), model=None)
            except Exception as error:  # what the trainer itself logs is the trainer's affair
                print(
                    printable(f"lossatlas: {type(callback).__name__} raised {type(error).__name__}: {error}"),
                    file=sys.stderr,
                )


def _figures(callback: Any) -> Any:
    """How a reporting callback's place takes figures, where it does; its writer is closed before ours is."""
    kind = type(callback).__name__
    if kind == "TensorBoardCallback":

        def add(step: int, name: str, figure: Any) -> None:
            from torch.utils.tensorboard import SummaryWriter

            with SummaryWriter(callback.logging_dir) as writer:
                writer.add_figure(name, figure, step, close=False)

        return add
    if kind == "WandbCallback":
        import wandb

        return lambda step, name, figure: wandb.run and wandb.run.log({name: wandb.Image(figure)})
    if kind == "MLflowCallback":
        import mlflow

        run = mlflow.active_run()
        if run is not None:
            client = mlflow.MlflowClient()
            return lambda step, name, figure: client.log_figure(run.info.run_id, figure, f"{name}-{step}.png")
    return None
