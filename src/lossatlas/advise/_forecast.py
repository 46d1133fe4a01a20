"""What an advice would take, before the probe."""

from __future__ import annotations

import time

import numpy as np
import torch

from lossatlas import _checks
from lossatlas.advise._look import allowed
from lossatlas.advise._start import need_box
from lossatlas.probe import Forecast
from lossatlas.surface import Surface

POINTS = 2


def forecast(surface: Surface, *, budget: float = 500) -> Forecast:
    """How many values an advice takes at most, and how long, by two values that are timed for it and not counted.

    Args:
        surface: in a box.
        budget: as of `advise`.

    Raises:
        InputError: as `advise` does.
    """
    budget = _checks.number("budget", budget, least=1, where="forecast")
    box = need_box(surface, "forecast")
    u = torch.from_numpy(np.random.default_rng((0, 4)).random((POINTS, len(box))))
    begin = time.perf_counter()
    surface.values((box[:, 0] + (box[:, 1] - box[:, 0]) * u).to(surface.device, surface.dtype))
    each = (time.perf_counter() - begin) / POINTS
    probed = allowed(surface, budget)
    parts = {"probe": probed * each, "race": (budget - probed) * each}
    note = f"of {budget:,.0f} values the probe takes at most {probed:,}; the algorithms' own time comes on top"
    return Forecast(int(budget), int(budget) * surface.examples, budget * each, POINTS, parts, notes=(note,))
