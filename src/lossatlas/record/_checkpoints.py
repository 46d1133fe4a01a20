"""A training run from the checkpoints that it left: files, or what a trainer wrote into a folder, in order."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn, Self, final

import numpy as np
import torch
from torch import Tensor

from lossatlas import _checks, archive
from lossatlas._errors import CheckpointError, InputError, OutputError
from lossatlas.surface import Frame, holds_weights, named_as_weights

_NUMBER = re.compile(r"\d+")
# What a number in a name counts, the first of which is taken for the step.
_COUNTED = ("global_step", "step", "iter", "batch", "epoch", "checkpoint", "ckpt")


@final
@dataclass(frozen=True, eq=False)
class Checkpoints(archive.Result):
    """Checkpoints of one training run, in order; they stay on disk and are read one at a time.

    It is taken wherever a `Recording` is: by `Plane.pca`, `Plane.project` and `trajectory`. Trainers keep no losses
    in their checkpoints that could be read without running code, so that there are none.

    Attributes:
        iterates: the files and folders, in order.
        steps: (n,) the numbers in their names where these increase, else 0, 1, 2 ….
        left_out: names in the folder that carry no number, or are numbered otherwise.

    Example:
        >>> Checkpoints.of(["net-20.pt", "net-100.pt"]).steps.tolist()
        [20, 100]
    """

    iterates: tuple[Path, ...]
    steps: np.ndarray
    left_out: tuple[str, ...] = ()

    @classmethod
    def of(cls, paths: Sequence[str | Path], left_out: Sequence[str] = ()) -> Self:
        """Checkpoints that are given one by one, in the order in which they are given.

        Args:
            paths: files, or folders of one checkpoint each.
            left_out: names of what was found beside them.

        Raises:
            InputError: for none, or one that is not in a list.
        """
        if isinstance(paths, str | Path) or not isinstance(paths, Iterable):
            raise InputError(
                f"got {_checks.shown(paths)}; expected a list of files or folders of weights. Put it in a list, or give the folder "
                "of a run to Checkpoints.load."
            )
        files = tuple(archive.located(path, "a checkpoint") for path in paths)
        if not files:
            raise InputError("got no checkpoints; expected at least one file or folder of weights.")
        return cls(files, _steps([file.name for file in files]), tuple(left_out))

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """The run in a folder: its numbered folders (``checkpoint-16``, ``checkpoint-32`` …) or numbered files of weights.

        They are put in the order of their numbers, 9 before 10. A file, or a folder of one checkpoint, is a run of one
        point.

        Args:
            folder: that a trainer wrote into.

        Raises:
            CheckpointError: if there are no weights, or several numbered series.
        """
        place = archive.located(folder)
        series = _series(place)
        if series is None:
            return cls.of([place])
        found, left_out = series
        ordered: list[Path] = sorted(found, key=lambda one: _numbers(one.name))
        return cls.of(ordered, left_out)

    def save(self, folder: archive.Location) -> NoReturn:
        """None: checkpoints lie where the training left them.

        Raises:
            OutputError: always.
        """
        raise OutputError(
            f"checkpoints lie where the training left them, {self.iterates[0].name!r} first, and are not saved again; "
            "expected copies of these files. Read them with Checkpoints.load or Checkpoints.of."
        )

    @property
    def kept(self) -> tuple[int, ...]:
        """All of them."""
        return tuple(range(len(self.iterates)))

    @property
    def losses(self) -> np.ndarray:
        """(n,) NaN: none were noted."""
        return np.full(len(self.iterates), np.nan)

    @property
    def sketched(self) -> bool:
        """Never."""
        return False

    @property
    def sentence(self) -> str:
        """What there is."""
        count, beside = len(self.iterates), ", ".join(self.left_out[:4]) + " …" * (len(self.left_out) > 4)
        aside = f"; left out: {beside}" if self.left_out else ""
        return f"{count} checkpoint{'s' * (count != 1)}, {self.iterates[0].name} to {self.iterates[-1].name}{aside}."

    def check(self, model: Any) -> None:
        """Nothing: a checkpoint that does not fit is refused when it is read."""

    def require(self, count: int) -> None:
        """Refuse to make a plane of fewer than three points.

        Raises:
            InputError: saying how many there are.
        """
        if count < 3:
            names = ", ".join(str(path) for path in self.iterates)
            raise InputError(
                f"got {count} checkpoint{'s' * (count != 1)} ({names}); expected at least 3, since two points make a line. "
                "Give more checkpoints of the run, or the folder that holds them."
            )

    def directions(self, centering: Any = "final") -> NoReturn:
        """None: there are no sketches.

        Raises:
            InputError: always.
        """
        raise InputError("checkpoints have no sketches; expected a recording that was made with sketch=….")

    def seen_on(self, frame: Frame) -> tuple[Tensor, Tensor, Tensor]:
        """None: there are no sketches.

        Raises:
            InputError: always.
        """
        self.directions()
        return torch.empty(0), torch.empty(0), torch.empty(0)

    def __len__(self) -> int:
        return len(self.iterates)


def _series(place: Path) -> tuple[list[Path], list[str]] | None:
    """The numbered checkpoints in a folder and the names of the rest; None for a file or a folder of one checkpoint."""
    try:
        if not place.is_dir():
            return None
        inside = sorted(place.iterdir())
    except OSError as error:
        raise CheckpointError(
            f"the folder {str(place)!r} cannot be read: {error.strerror}; expected a folder of checkpoints. Change its "
            "permissions, or give a copy."
        ) from error
    groups: dict[str, list[Path]] = {}
    weights = [one for one in inside if _is_checkpoint(one)]
    for one in weights:
        if _NUMBER.search(one.name):
            groups.setdefault(_NUMBER.sub("#", one.name), []).append(one)
    longest = max(map(len, groups.values()), default=0)
    if longest < 2:
        return None
    most = [found for found in groups.values() if len(found) == longest]
    if len(most) > 1:
        firsts = ", ".join(f"{found[0].name} to {found[-1].name}" for found in most)
        raise CheckpointError(
            f"the folder {str(place)!r} holds {len(most)} series of {longest} checkpoints: {firsts}; expected one. Give the "
            "checkpoints of the run one by one, oldest first."
        )
    return most[0], [one.name for one in weights if one not in most[0]]


def _is_checkpoint(path: Path) -> bool:
    """A folder with weights, or a file that is named like some and is no shard of a larger one."""
    if path.is_dir():
        return holds_weights(path)
    return named_as_weights(path) and not re.search(r"\d+-of-\d+", path.name)


def _numbers(name: str) -> tuple[tuple[str, int], ...]:
    """Words and numbers by turns, so that 9 comes before 10."""
    words = _NUMBER.split(name)
    return tuple(zip(words, [*map(int, _NUMBER.findall(name)), 0], strict=True))


def _steps(names: Sequence[str]) -> np.ndarray:
    """The numbers in names that count steps, if they increase; else 0, 1, 2 …."""
    rows = [_labeled(name) for name in names]
    for position in range(max(map(len, rows))):
        label = _best(rows[0], position)
        column = [] if label is None else [value for row in rows for name, value in row if name == label]
        if len(column) == len(rows) and max(column) < 2**53 and all(a < b for a, b in pairwise(column)):
            return np.array(column, dtype=np.int64)
    return np.arange(len(names), dtype=np.int64)


def _labeled(name: str) -> list[tuple[str, int]]:
    """Each number with the word before it."""
    return [(word.lower(), int(number)) for word, number in re.findall(r"([A-Za-z_]*)[^A-Za-z0-9]*(\d+)", name)]


def _best(row: list[tuple[str, int]], position: int) -> str | None:
    """The label that is the position-th most likely to count steps."""
    labels = [label for label, _ in row]
    ranked = [label for word in _COUNTED for label in labels if word in label]
    ranked += [label for label in reversed(labels) if label not in ranked]
    unique = list(dict.fromkeys(ranked))
    return unique[position] if position < len(unique) else None
