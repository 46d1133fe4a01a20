"""The direction of the gradient, uphill."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from lossatlas._errors import PlaneError
from lossatlas.chart.directions._direction import Direction, Drawn, along, length_of
from lossatlas.chart.planes._policy import Ignore
from lossatlas.probe import Gradients, Probe
from lossatlas.surface import Surface, inner


@final
@dataclass(frozen=True)
class Gradient(Direction):
    """One unit along the gradient at the origin, uphill; it costs one counted gradient.

    Args:
        normalization: ``none`` for unit length; or as in `normalize`.
        ignore: what is not moved, as in `normalize`.
    """

    normalization: str = "none"
    ignore: Ignore | None = None

    kind: ClassVar[str] = "gradient"

    def draw(self, surface: Surface, origin: Tensor) -> Drawn:
        """The direction, normalized.

        Raises:
            PlaneError: if there is no gradient to follow.
        """
        probe = Probe(surface)
        answer = probe.evaluate(Gradients(origin[None]))
        gradient = answer.gradients[0]
        size = float(inner(gradient[None], gradient[None]).sqrt())
        if not (math.isfinite(size) and size > 0):
            raise PlaneError(
                f"the gradient at the origin has length {size}; expected a finite length above zero. Where it vanishes "
                "there is no uphill: take the Hessian's directions instead."
            )
        row = along(gradient, origin, surface, normalization=self.normalization, ignore=self.ignore)
        record = {
            "loss": float(answer.values[0]),
            "gradient_norm": size,
            "normalization": self.normalization,
            "gradients": probe.meter.gradients,
        }
        return Drawn(row, record, "uphill along the gradient", unit=length_of(surface, self.normalization))
