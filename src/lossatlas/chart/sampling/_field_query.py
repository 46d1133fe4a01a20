"""What samplers of charts hand out and bring back."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from lossatlas.chart.sampling._certificate import Certificate
from lossatlas.probe import Answer, Values

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


class FieldQuery(NamedTuple):
    """A query and the field it goes to: ``exact`` or ``cheap``."""

    to: str
    query: Values


@final
@dataclass(eq=False)
class Survey:
    """What a sampler brought back.

    Attributes:
        loss: (ny, nx), or (1, nx) on a line.
        extras: further channels of that shape.
        exactly: (ny, nx), which cells hold the surface's own answer.
        error: (ny, nx), the size of error to expect of each cell; 0 where it is the surface's own.
        certificate: how far the others may be off.
        samples: (n, k) coordinates evaluated on the exact field.
        cheaply: (n, k) coordinates evaluated on the cheap field.
        sampler: what was done, in words.
        doubtful: (ny, nx), cells whose expected error exceeds a contour step; None where that is not known.
        held_out: (m, k) coordinates of the cells that measure the error, which are among the samples.
    """

    loss: Array
    extras: dict[str, Array]
    exactly: Mask
    error: Array
    certificate: Certificate
    samples: Array
    cheaply: Array
    sampler: str
    doubtful: Mask | None = None
    held_out: Array = field(default_factory=lambda: np.zeros((0, 2)))


SurveyWalk = Generator[FieldQuery, Answer, Survey]
