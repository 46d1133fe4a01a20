"""One model of one shape on its way into one folder: what is staged, sketched, thinned and written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from lossatlas._errors import InputError, OutputError
from lossatlas.record import _folder
from lossatlas.record._folder import Row
from lossatlas.record._image import Image
from lossatlas.record._sketch import Sketch
from lossatlas.record._store import Store
from lossatlas.record._thinning import Thinning
from lossatlas.record._training_loop import Watched
from lossatlas.record._writer import Writer

Notes = dict[str, list[tuple[int, float]]]


@final
class Track:
    """Writes the points of one model; a model that changes its shape goes on in another track.

    Args:
        folder: where to.
        model: bare of wrappers.
        writer: the thread that writes.
        keep: whole points at most, or None for all.
        sketch: numbers of a sketch, or None.
        seed: of the sketch.
        pack: whether small points go into one file.
    """

    def __init__(
        self,
        folder: Path,
        model: nn.Module,
        writer: Writer,
        *,
        keep: int | None,
        sketch: int | None,
        seed: int,
        pack: bool = False,
    ) -> None:
        self.folder, self.model = folder, model
        self.watched = Watched(model)
        self._sketch = None if sketch is None else Sketch(self.watched.layout.dimension, sketch, seed)
        self._keep, self._writer = keep, writer
        self._image: Image | None = None
        self._store = Store(folder, pack=pack)
        self._thinning = Thinning(keep)
        self.rows = 0
        self._recorded: int | None = None
        self._whole: int | None = None

    @property
    def memory(self) -> int:
        """Bytes held now, beyond the model's own."""
        staged = len(self._image.content) if self._image else 0
        return staged + (self._sketch.bytes + 8 * self._sketch.size if self._sketch else 0)

    def manifest(self, settings: dict[str, Any]) -> dict[str, Any]:
        """What is recorded and how.

        Args:
            settings: of the recorder.
        """
        blocks = [
            {**vars(block), "dtype": str(self.watched.dtypes[block.name]).removeprefix("torch.")}
            for block in self.watched.layout.blocks
        ]
        return {
            "format": _folder.FORMAT,
            "version": _folder.VERSION,
            "model": type(self.model).__name__,
            "blocks": blocks,
            "frozen": self.watched.frozen,
            "keep": self._keep,
            "sketch": None if self._sketch is None else {"size": self._sketch.size, "seed": self._sketch.seed},
            "torch": torch.__version__,
            **settings,
        }

    def earlier(self) -> list[Row]:
        """Rows that the folder holds from a run before this one."""
        rows, _ = _folder.journal(self.folder)
        return _folder.sound(self.folder, rows, sketched=self._sketch is not None)

    def recognized(self, rows: list[Row]) -> int:
        """The recorded step whose point is the model's own, bit for bit.

        Raises:
            InputError: if it is none of them.
        """
        now = {name: tensor.cpu() for name, tensor in self.watched.parameters().items()}
        for row in reversed(rows):
            if _folder.has_point(self.folder, row) and all(
                torch.equal(value, now[name]) for name, value in _folder.point(self.folder, row, now)
            ):
                return row.step
        raise InputError(
            f"the folder {str(self.folder)!r} holds a run up to step {rows[-1].step}, and nothing tells at which step this "
            "one goes on: the optimizer counts no steps, and the model is at none of the recorded points. Give start=…, "
            "or the recorder's own state_dict() of the checkpoint to load_state_dict()."
        )

    def go_on(self, rows: list[Row], step: int) -> bool:
        """Drop rows beyond the step that the run is at; whether that step is recorded already."""
        rows = [row for row in rows if row.step <= step]
        _folder.rewrite(self.folder, rows)
        self.rows = len(rows)
        kept = [(k, r.step) for k, r in enumerate(rows) if _folder.has_point(self.folder, r)]
        self._thinning = Thinning(self._keep, rows[-1].stride if rows else 1, kept)
        self._recorded = rows[-1].step if rows else None
        self._whole = kept[-1][1] if kept else None
        return self._recorded == step

    def first(self) -> dict[str, Tensor] | None:
        """The whole point before the first step, if it was recorded."""
        found = [row for row in self.earlier()[:1] if row.step == 0 and _folder.has_point(self.folder, row)]
        return dict(_folder.point(self.folder, found[0], self.watched.dtypes)) if found else None

    def differs(self, step: int) -> bool:
        """Whether the model is not, bit for bit, at a whole point that is written under this step."""
        if self._whole != step or self._image is None:
            return True
        now = {**self.watched.parameters(), **self.watched.buffers()}
        self._writer.wait()
        return not self._image.fits(now) or any(
            not torch.equal(self._image.tensors[name], tensor.cpu()) for name, tensor in now.items()
        )

    def record(self, step: int, seconds: float, notes: Callable[[], Notes], *, whole: bool = False) -> None:
        """Write a row of where the run is now; once more under the same step, if it is to be whole.

        Args:
            step: of the run.
            seconds: since it began.
            notes: takes what was noted since the row before.
            whole: whether the point is kept in any case.

        Raises:
            Changed: if the model has changed its shape.
            OutputError: if what was to be written before could not be.
        """
        self._writer.wait()
        if self._writer.failure:
            raise OutputError(self._writer.failure)
        again = self._recorded == step
        parameters = self.watched.parameters()
        folded = self._sketch(parameters.values()) if self._sketch else None
        point, dropped = self._thinning.take(self.rows - again, step, last=whole)
        staged = self._staged(parameters) if point else None
        row = Row(step, seconds, point, self._thinning.stride, notes())
        if self._store.quick(staged):
            self._store.write(row, staged, folded, dropped)
        else:
            self._writer.run(lambda: self._store.write(row, staged, folded, dropped))
        self.rows += not again
        self._recorded = step
        self._whole = step if point else self._whole

    def end(self, line: dict[str, Any]) -> None:
        """Write the last line.

        Raises:
            OutputError: if it cannot be written.
        """
        self._writer.wait()
        self._store.end(line)

    def _staged(self, parameters: dict[str, Tensor]) -> Image:
        """The point copied to the CPU, into what held the one before."""
        tensors = {**parameters, **self.watched.buffers()}
        if self._image is None or not self._image.fits(tensors):
            self._image = Image(tensors)
        self._image.fill(tensors)
        return self._image
