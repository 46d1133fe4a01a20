"""Training a curve to stay low: progress, checkpoints, a stop where the numbers end, and what makes two trainings the same."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lossatlas import archive
from lossatlas._errors import InputError, NotApplicableError, OutputError
from lossatlas._progress import Show, counted
from lossatlas.connect._band import Band
from lossatlas.connect._curve import Array, Curve, Kind, straight
from lossatlas.connect._curve_trainer import CurveTrainer, Recipe, Trainer
from lossatlas.connect._endpoints import End
from lossatlas.probe import Meter, Probe, differing
from lossatlas.surface import NetworkSurface, Surface, tensor_digest

KIND = "training"
EVERY = 15.0  # seconds between two checkpoints
STRETCHES = 100
# A band begins with so many pivots.
PIVOTS = 3


@dataclass(frozen=True, eq=False)
class Trained:
    """A curve after its training, or a straight one without any.

    Attributes:
        curve: the curve.
        history: ``step`` and ``loss``, the mini-batch losses averaged over up to 100 stretches.
        status: ``complete``, or why it stopped.
        meters: what the training evaluated.
    """

    curve: Curve
    history: dict[str, Array] = field(default_factory=dict)
    status: str = "complete"
    meters: tuple[Meter, ...] = ()


def trained(
    surface: Surface,
    ends: tuple[End, End],
    kind: Kind,
    controls: int,
    recipe: Recipe,
    *,
    folder: str | Path | None,
    progress: Show,
) -> Trained:
    """A curve that was trained to stay low.

    In training each mini-batch is normalized by itself where there is batch norm: the statistics that fit a point of
    the curve are not known yet.

    Raises:
        NotApplicableError: on a surface without gradients.
    """
    if not surface.gradients_known:
        raise NotApplicableError(
            f"{surface.name} provides no gradients, which training a curve needs. Use kind='line'."
        )
    normed = len(ends[0].statistics) > 0 and isinstance(surface, NetworkSurface)
    if normed and recipe.batch_size == 1:
        raise InputError(
            "got batch_size=1 for a network with batch norm, which cannot normalize one example by itself; give more."
        )
    probe = Probe(surface.with_batchnorm("batch") if normed and isinstance(surface, NetworkSurface) else surface)
    a, b = (end.theta for end in ends)
    begin = straight(kind, a, b, min(controls, PIVOTS) if kind == "band" else controls)
    trainer: Trainer = Band(begin, recipe, controls) if kind == "band" else CurveTrainer(begin, recipe)
    same = identity(surface, ends, kind, controls, recipe)
    history, status = train(trainer, probe, recipe.steps, folder=folder, identity=same, progress=progress)
    return Trained(trainer.curve, history, status, (probe.meter,))


def identity(
    surface: Surface, ends: tuple[End, End], kind: str, controls: int, recipe: Recipe | None
) -> dict[str, Any]:
    """What a path is of: two runs that share it go the same way."""
    return {
        "surface": surface.fingerprint(),
        "kind": kind,
        "controls": controls,
        "ends": [tensor_digest(point.state) for point in ends],
        "training": None if recipe is None else recipe.record(),
    }


def train(
    trainer: Trainer, probe: Probe, steps: int, *, folder: str | Path | None, identity: dict[str, Any], progress: Show
) -> tuple[dict[str, Array], str]:
    """Let a trainer yield queries until it is done.

    Args:
        trainer: what improves the curve.
        probe: answers.
        steps: it will take, for the progress bar.
        folder: for checkpoints; a training that was interrupted there resumes. None for none.
        identity: what must be the same for that, plain JSON values.
        progress: see `counted`.

    Returns:
        The history and the status, see `Trained`.

    Raises:
        OutputError: if the folder holds another training, or cannot be written.
    """
    if folder is not None:
        _take_up(trainer, Path(folder), identity)
    status, saved = "complete", time.monotonic()
    with counted(f"training the {trainer.curve.kind}", steps, progress) as note:
        try:
            while (query := trainer.next_query()) is not None:
                answer = probe.evaluate(query)
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
    return history, status


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
