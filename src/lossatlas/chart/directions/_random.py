"""Random Gaussian directions, scaled to the weights (Li et al. 2018, section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from lossatlas import _checks
from lossatlas.chart.directions._direction import Direction, Drawn
from lossatlas.chart.planes._normalize import scale, unit_of
from lossatlas.chart.planes._policy import LI, Ignore, moved, resolved, rule, rules_of
from lossatlas.surface import Layout, Surface


@final
@dataclass(frozen=True)
class Random(Direction):
    """A random Gaussian direction, scaled to the weights block by block (Li et al. 2018, section 4).

    Drawn in float64, one tensor per parameter in the model's order; for the normalizations of Li et al. in float32 as
    their reference draws them, so that ``torch.manual_seed(seed)`` there gives these directions. It is made block by block:
    nothing of size N but the result is held.

    Args:
        seed: of the direction; the same on every machine with this torch.
        normalization: as in `normalize`.
        ignore: what is not moved, as in `normalize`.
        index: which of the directions that this seed gives one after the other: 0 and 1 are those of ``Plane.random``.
    """

    seed: int = 0
    normalization: str = "filter"
    ignore: Ignore | None = None
    index: int = 0

    kind: ClassVar[str] = "random"

    def draw(self, surface: Surface, origin: Tensor) -> Drawn:
        """The direction of the seed."""
        index = _checks.whole("index", self.index, 0, 10_000)
        label = f"random direction {index + 1}, seed {self.seed}"
        return replace(self._drawn(surface, origin, index + 1)[index], label=label)

    @classmethod
    def together(
        cls, several: Sequence[Random], surface: Surface, origin: Tensor
    ) -> tuple[list[Drawn], dict[str, Any]] | None:
        """The first directions of one seed, drawn once."""
        first = several[0]
        if any(one != replace(first, index=k) for k, one in enumerate(several)):
            return None
        drawn = first._drawn(surface, origin, len(several))
        return drawn, {name: part for name, part in drawn[0].record.items() if name != "index"}

    def _drawn(self, surface: Surface, origin: Tensor, count: int) -> list[Drawn]:
        seed = _checks.seed(self.seed)
        record = {
            "seed": seed,
            "normalization": self.normalization,
            "ignore": resolved(self.normalization, self.ignore),
            "moved": moved(rules_of(surface.layout, self.normalization, self.ignore)),
        }
        rows = gaussian(origin, surface.layout, count, seed=seed, normalization=self.normalization, ignore=self.ignore)
        unit = unit_of(self.normalization)
        return [
            Drawn(
                row,
                record | {"index": k},
                f"random direction, seed {seed}" if count == 1 else f"direction {k + 1}",
                unit=unit,
            )
            for k, row in enumerate(rows)
        ]


def gaussian(
    origin: Tensor, layout: Layout, count: int, *, seed: int, normalization: str, ignore: Ignore | None
) -> Tensor:
    """Gaussian directions (count, N), one after the other from one stream, scaled to the weights."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.empty(count, layout.dimension, dtype=origin.dtype, device=origin.device)
    kind = torch.float32 if normalization in LI else torch.float64
    for row in rows:
        for block in layout.blocks:
            part = torch.randn(block.size, generator=generator, dtype=kind).double()
            scale(part.numpy(), origin[block.span], rule(block, normalization, ignore), normalization)
            row[block.span] = part.to(row)
    return rows
