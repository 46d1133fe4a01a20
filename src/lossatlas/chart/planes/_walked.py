"""What charts need of a recorded run, wherever it was recorded: points in files, or sketches of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from torch import Tensor

from lossatlas.record import Checkpoints, Recording
from lossatlas.surface import Frame


class Walked(Protocol):
    """A run that lies in files (`lossatlas.Recording`, `lossatlas.Checkpoints`)."""

    @property
    def iterates(self) -> tuple[Any, ...]:
        """Files or state dicts of the whole points, in order."""
        ...

    @property
    def steps(self) -> np.ndarray:
        """All recorded steps, (n,)."""
        ...

    @property
    def losses(self) -> np.ndarray:
        """What was noted as their loss, (n,), NaN where nothing was."""
        ...

    @property
    def kept(self) -> tuple[int, ...]:
        """Rows whose whole point is there."""
        ...

    @property
    def sketched(self) -> bool:
        """Whether every row has a sketch."""
        ...

    def check(self, model: Any) -> None:
        """Refuse a surface of another model."""
        ...

    def require(self, count: int) -> None:
        """Refuse to make a plane of so few points."""
        ...

    def directions(self, centering: Any = "final") -> tuple[Tensor, Tensor, dict[str, Any]]:
        """Origin, directions and record of the plane nearest to the components of sketched points."""
        ...

    def seen_on(self, frame: Frame) -> tuple[Tensor, Tensor, Tensor]:
        """Coordinates, relative residuals and distances of all sketched points."""
        ...


def walked(given: object) -> Walked | None:
    """A run that lies in files: a recording, its folder, a folder of checkpoints or a list of them; None for anything else.

    Raises:
        CheckpointError: for a folder that holds no run, or several.
    """
    if isinstance(given, str | Path):
        return Recording.load(given) if _recorded(given) else Checkpoints.load(given)
    if isinstance(given, list | tuple) and given and all(isinstance(one, str | Path) for one in given):
        return walked(given[0]) if len(given) == 1 else Checkpoints.of(given)
    return cast(Walked, given) if hasattr(type(given), "seen_on") else None


def _recorded(folder: str | Path) -> bool:
    try:
        return Recording.is_in(folder)
    except (OSError, ValueError):
        return False  # no name of a file: said where checkpoints are read
