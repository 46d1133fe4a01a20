"""Where a recorder's rows and points go: files that are whole or not there, and on the disk itself before long."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, final

from torch import Tensor

from lossatlas import archive
from lossatlas.record import _folder
from lossatlas.record._folder import Row
from lossatlas.record._image import Image

# A process that is killed loses nothing that was written. Waiting for the disk guards against a loss of power as well;
# it disturbs a training loop more than the writing does, and is done this often. What is between, the system writes down
# within half a minute; a file that it did not get to is no point when the recording is read.
SETTLED_EVERY = 1.0
# Bytes of a point that the page cache takes in less time than two threads need to change places.
SMALL = 2**20


@final
class Store:
    """Writes a recording. Used by one thread at a time.

    Args:
        folder: of the recording.
        pack: whether small points go into one file.
    """

    def __init__(self, folder: Path, *, pack: bool = False) -> None:
        self._folder, self._pack = folder, pack
        self._settled = time.monotonic()
        self._unsettled: list[Path] = []

    def write(self, row: Row, point: Image | None, sketch: Tensor | None, dropped: Sequence[int]) -> None:
        """Write what a recorded step consists of, its row last.

        Args:
            row: the line of the journal.
            point: the whole point, if it is kept.
            sketch: of the point, if it is sketched.
            dropped: steps whose points make room for it.

        Raises:
            OutputError: if something cannot be written.
        """
        settled, self._unsettled = self._due, []
        if point is not None and self._pack and len(point.content) <= SMALL:
            row = replace(row, packed=_folder.pack(self._folder, row.step, point.content, settled=settled))
            if not settled:
                self._unsettled.append(self._folder / _folder.PACK)
        elif point is not None:
            self._put(_folder.point_file(self._folder, row.step), point, settled)
        if sketch is not None:
            image = Image({"sketch": sketch})
            image.fill({"sketch": sketch})
            self._put(_folder.sketch_file(self._folder, row.step), image, settled)
        _folder.append(self._folder, row, settled=settled)
        for step in dropped:
            _folder.point_file(self._folder, step).unlink(missing_ok=True)
        if settled:
            self._settled = time.monotonic()

    def quick(self, point: Image | None) -> bool:
        """Whether a row is written faster than it is handed over to another thread."""
        return not self._due and (point is None or len(point.content) <= SMALL)

    @property
    def _due(self) -> bool:
        return time.monotonic() - self._settled > SETTLED_EVERY

    def end(self, line: dict[str, Any]) -> None:
        """Write the last line, once the last point is on the disk itself.

        Raises:
            OutputError: if it cannot be written.
        """
        for path in dict.fromkeys(self._unsettled):
            archive.settle(path)
        _folder.append(self._folder, line)

    def _put(self, path: Path, image: Image, settled: bool) -> None:
        archive.commit([(path, image.content)], settled=settled)
        if not settled:
            self._unsettled.append(path)
