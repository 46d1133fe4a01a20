"""What the sampler of outputs sees while it chooses nodes, and what it brings back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from lossatlas.chart.sampling._fill import Channels
from lossatlas.chart.sampling._strata import LOOSER, Certified, Row

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@final
@dataclass(eq=False)
class Reconstruction:
    """What the sampler brings back.

    Attributes:
        loss: (ny, nx).
        extras: further channels of that shape.
        exactly: (ny, nx), cells that were evaluated themselves.
        error: (ny, nx), the size of error to expect of each cell, in units of the loss.
        doubtful: (ny, nx), cells whose expected error exceeds a contour step.
        certificate: what the held-out cells say.
        samples: (n, k), coordinates that were evaluated.
        held_out: (m, k), those of them that were held out.
        exponent: of the spline that the nodes chose.
        reason: why the sampler stopped before its tolerance, or an empty sentence.
        rounded: how many of the points were evaluated in half precision.
    """

    loss: Array
    extras: Channels
    exactly: Mask
    error: Array
    doubtful: Mask
    certificate: Certified
    samples: Array
    held_out: Array
    exponent: int
    reason: str
    rounded: int = 0


@final
@dataclass(eq=False)
class Look:
    """The field as far as the losses at the nodes show it.

    Attributes:
        loss: (m,) at the candidates.
        scale: (m,), error in the metric of the picture per unit of the power function.
        expected: (m,), their product: the error to expect.
        close: (m,), which candidates are near the minimum or a center.
        free: (m,), which may still be evaluated.
        rows: what the held-out cells say, once there are any.
    """

    loss: Array
    scale: Array
    expected: Array
    close: Mask
    free: Mask
    rows: tuple[Row, Row] | None

    def within(self, tolerance: float, margin: float, floor: tuple[float, float] = (0.0, 0.0)) -> bool:
        """Whether the 95th percentiles of the errors of interpolated cells are within a share of what is allowed.

        Args:
            tolerance: near the minimum.
            margin: the share.
            floor: errors near the center and away from it that are allowed in any case.
        """
        if self.rows is not None:
            inside, whole = (row.p95 for row in self.rows)
        else:
            parts = (self.expected[self.close & self.free], self.expected[self.free])
            inside, whole = (float(np.quantile(part, 0.95)) if part.size else 0.0 for part in parts)
        near, away = floor
        return inside <= max(margin * tolerance, near) and whole <= max(margin * LOOSER * tolerance, near, away)
