"""Drives what improves a curve through the door: progress, checkpoints, and a stop where the numbers end."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lossatlas import archive
from lossatlas._errors import OutputError
from lossatlas._progress import Show, counted
from lossatlas.connect._bend import Trainer
from lossatlas.connect._curve import Array, Curve
from lossatlas.probe import Probe, differing

KIND = "training"
EVERY = 15.0  # seconds between two checkpoints
STRETCHES = 100


@dataclass(frozen=True, eq=False)
class Trained:
    """A curve after its training.

    Attributes:
        curve: the curve.
        history: ``step`` and ``loss``, the mini-batch losses averaged over up to 100 stretches.
        status: ``complete``, or why it stopped.
    """

    curve: Curve
    history: dict[str, Array]
    status: str


def train(
    trainer: Trainer, probe: Probe, steps: int, *, folder: str | Path | None, identity: dict[str, Any], progress: Show
) -> Trained:
    """Let a trainer ask until it is done.

    Args:
        trainer: what improves the curve.
        probe: answers.
        steps: it will take, for the progress bar.
        folder: for checkpoints; a training that was interrupted there goes on where it was. None for none.
        identity: what must be the same for that, plain JSON values.
        progress: see `counted`.

    Raises:
        OutputError: if the folder holds another training, or cannot be written.
    """
    if folder is not None:
        _take_up(trainer, Path(folder), identity)
    status, saved = "complete", time.monotonic()
    with counted(f"training the {trainer.curve.kind}", steps, progress) as note:
        try:
            while (query := trainer.ask()) is not None:
                answer = probe.ask(query)
                if not bool(answer.gradients.isfinite().all()):
                    status = f"training stopped at step {trainer.step}: a gradient on the curve is not finite"
                    break
                trainer.tell(answer)
                note(trainer.step)
                if folder is not None and time.monotonic() - saved > EVERY:
                    _put_down(trainer, folder, identity)
                    saved = time.monotonic()
        finally:
            if folder is not None:
                _put_down(trainer, folder, identity)
    losses = np.array(trainer.losses, dtype=np.float64)
    parts = np.array_split(np.arange(len(losses)), min(STRETCHES, len(losses))) if len(losses) else []
    history = {
        "step": np.array([part.mean() for part in parts]),
        "loss": np.array([losses[part].mean() for part in parts]),
    }
    return Trained(trainer.curve, history, status)


def _put_down(trainer: Trainer, folder: str | Path, identity: dict[str, Any]) -> None:
    arrays = {name: tensor.detach().cpu().numpy() for name, tensor in trainer.state().items()}
    archive.save(folder, KIND, arrays, {"identity": identity, "step": trainer.step})


def _take_up(trainer: Trainer, folder: Path, identity: dict[str, Any]) -> None:
    archive.prepare(folder)
    if KIND not in archive.kinds(folder):
        return
    _, arrays, record = archive.load(folder, KIND)
    theirs = record["identity"]
    # What the surface measured may differ by rounding, settings may not.
    apart = [str(one) for one in differing(theirs.get("surface"), identity["surface"], "surface")]
    for key in {**identity, **theirs}:
        if key != "surface" and identity.get(key) != theirs.get(key):
            apart.append(f"{key} was {theirs.get(key)!r}, now {identity.get(key)!r}")
    if apart:
        shown = "; ".join(apart[:4]) + (f"; and {len(apart) - 4} more" if len(apart) > 4 else "")
        raise OutputError(
            f"the folder {str(folder)!r} holds the training of another curve: its {shown}; expected the same ends, surface "
            "(model, loss and data) and settings to go on. Choose another folder."
        )
    like = trainer.curve.controls
    state = {name: torch.from_numpy(array) for name, array in arrays.items()}
    trainer.resume({n: v.to(like.device) if v.is_floating_point() else v for n, v in state.items()})
