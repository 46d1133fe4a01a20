"""The shape of a path: straight as it is, or trained to stay low; and what makes two trainings the same one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lossatlas._errors import InputError, NotApplicableError
from lossatlas._progress import Show
from lossatlas.connect._band import Band
from lossatlas.connect._bend import Bend, Recipe, Trainer
from lossatlas.connect._curve import Array, Curve, Kind, straight
from lossatlas.connect._ends import End
from lossatlas.connect._train import train
from lossatlas.probe import Meter, Probe
from lossatlas.surface import NetworkSurface, Surface

# A band begins with so many pivots.
PIVOTS = 3


@dataclass(frozen=True, eq=False)
class Shape:
    """A path before it is read.

    Attributes:
        curve: the path.
        history: of its training.
        status: ``complete``, or why the training stopped.
        meters: what the training asked for.
    """

    curve: Curve
    history: dict[str, Array] = field(default_factory=dict)
    status: str = "complete"
    meters: tuple[Meter, ...] = ()


def trained(
    surface: Surface,
    ends: tuple[End, End],
    kind: Kind,
    bends: int,
    recipe: Recipe,
    *,
    folder: str | Path | None,
    progress: Show,
) -> Shape:
    """A curve that was trained to stay low.

    In training each mini-batch is normalized by itself where there is batch norm: the statistics that fit a point of
    the curve are not known yet.

    Raises:
        NotApplicableError: on a surface without gradients.
    """
    recipe.check()
    if not surface.gradients_known:
        raise NotApplicableError(f"{surface.name} answers no gradients, which training a curve needs. Use kind='line'.")
    normed = len(ends[0].statistics) > 0 and isinstance(surface, NetworkSurface)
    if normed and recipe.batch == 1:
        raise InputError(
            "got batch=1 for a network with batch norm, which cannot normalize one example by itself; give more."
        )
    probe = Probe(surface.with_batchnorm("batch") if normed and isinstance(surface, NetworkSurface) else surface)
    a, b = (end.theta for end in ends)
    begin = straight(kind, a, b, min(bends, PIVOTS) if kind == "band" else bends)
    trainer: Trainer = Band(begin, recipe, bends) if kind == "band" else Bend(begin, recipe)
    found = train(
        trainer,
        probe,
        recipe.steps,
        folder=folder,
        identity=identity(surface, ends, kind, bends, recipe),
        progress=progress,
    )
    return Shape(found.curve, found.history, found.status, (probe.meter,))


def identity(surface: Surface, ends: tuple[End, End], kind: str, bends: int, recipe: Recipe | None) -> dict[str, Any]:
    """What a path is of: two runs that share it go the same way."""
    return {
        "surface": surface.fingerprint(),
        "kind": kind,
        "bends": bends,
        "ends": [_digest(point.state) for point in ends],
        "training": None if recipe is None else recipe.record(),
    }


def _digest(point: Tensor) -> str:
    return hashlib.sha256(point.cpu().contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()[:16]
