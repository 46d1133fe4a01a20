"""A surface of which only a record is left: its name, its box and its wells, but no losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, final

import torch
from torch import Tensor

from lossatlas._errors import NotApplicableError
from lossatlas._layout import Block, Layout, Sample
from lossatlas.surface._surface import Reading, Surface, Well


@final
class Remembered(Surface):
    """What a saved result knows of the surface it was made on; where losses are queried, it says how to give the surface.

    Args:
        record: as `remember` made it.
    """

    def __init__(self, record: Mapping[str, Any]) -> None:
        self._fingerprint = dict(record["fingerprint"])
        self.name = str(self._fingerprint["surface"])
        box = record["box"]
        blocks = tuple(Block(name, tuple(shape), kind, offset) for name, shape, kind, offset in record["blocks"])
        self.layout = Layout(blocks, None if box is None else torch.tensor(box, dtype=torch.float64))
        self.gradients_known = bool(record["gradients_known"])  # type: ignore[misc]
        self.wells = tuple(
            Well(
                well["name"],
                torch.tensor(well["center"], dtype=torch.float64),
                well["depth"],
                torch.tensor(well["minimum"], dtype=torch.float64),
                well["value"],
            )
            for well in record["wells"]
        )

    def fingerprint(self) -> dict[str, Any]:
        """That of the surface itself."""
        return dict(self._fingerprint)

    def read(self, points: Tensor) -> Reading:
        """Not answered."""
        self._refuse()

    def gradients(self, points: Tensor, sample: Sample | None = None) -> tuple[Tensor, Tensor]:
        """Not answered."""
        self._refuse()

    def products(self, point: Tensor, vectors: Tensor) -> Tensor:
        """Not answered."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise NotApplicableError(
            f"this result was loaded from files, and {self.name!r} was not saved with it; what needs its losses needs the "
            "surface: give it as lossatlas.load(folder, surface=…)."
        )


def remember(surface: Surface) -> dict[str, Any]:
    """What a result keeps of its surface, plain JSON values."""
    blocks: Sequence[Block] = surface.layout.blocks
    return {
        "fingerprint": surface.fingerprint(),
        "box": None if surface.box is None else surface.box.tolist(),
        "blocks": [[block.name, list(block.shape), block.kind, block.offset] for block in blocks],
        "gradients_known": surface.gradients_known,
        "wells": [
            {
                "name": well.name,
                "center": well.center.tolist(),
                "depth": well.depth,
                "minimum": well.minimum.tolist(),
                "value": well.value,
            }
            for well in surface.wells
        ],
    }
