"""A direction of the user's own, as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

from torch import Tensor

from lossatlas.chart.directions._direction import Direction, Drawn
from lossatlas.chart.planes._normalize import normalize, unit_of
from lossatlas.chart.planes._policy import Ignore, resolved
from lossatlas.surface import PointLike, Surface, as_direction


@final
@dataclass(frozen=True, eq=False)
class Given(Direction):
    """A direction that is known already.

    Args:
        direction: whatever describes one: a vector (tensor, array, list), or a tensor for each parameter by name.
        normalization: ``none`` to take it as it is; or as in `normalize`.
        ignore: what is not moved, as in `normalize`.
    """

    direction: PointLike
    normalization: str = "none"
    ignore: Ignore | None = None

    kind: ClassVar[str] = "of"

    def draw(self, surface: Surface, origin: Tensor) -> Drawn:
        """The direction in the order of θ, normalized.

        Raises:
            InputError: if it is none, is not finite, or does not fit, naming the keys.
        """
        row = as_direction(surface, self.direction, zero=True).to(
            surface.dtype
        )  # zero: refused where the frame is made
        row = normalize(row, origin, surface.layout, self.normalization, ignore=self.ignore)
        record = {"normalization": self.normalization, "ignore": resolved(self.normalization, self.ignore)}
        unit = "" if self.normalization == "none" else unit_of(self.normalization)
        return Drawn(row, record, "given direction", unit=unit)

    @classmethod
    def together(
        cls, several: Sequence[Given], surface: Surface, origin: Tensor
    ) -> tuple[list[Drawn], dict[str, Any]] | None:
        """Several of one normalization have one record."""
        drawn = [one.draw(surface, origin) for one in several]
        if len(drawn) > 1:
            drawn = [replace(one, label=f"{one.label} {k + 1}") for k, one in enumerate(drawn)]
        same = all(one.record == drawn[0].record for one in drawn)
        return (drawn, drawn[0].record) if same else None
