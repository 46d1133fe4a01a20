"""What an advice would take, before the probe."""

from __future__ import annotations

import time

import numpy as np
import torch

from lossatlas import _checks
from lossatlas.advise import _thresholds as at
from lossatlas.advise._advise_network import least
from lossatlas.advise._look import allowed
from lossatlas.advise._start import need_box
from lossatlas.probe import Forecast
from lossatlas.surface import NetworkSurface, Surface, need_surface

POINTS = 2


def forecast(surface: Surface, *, budget: float | None = None, batch_size: int | None = 64) -> Forecast:
    """How many values an advice takes at most, and how long, by two values that are timed for it and not counted.

    Args:
        surface: as of `advise`.
        budget: as of `advise`.
        batch_size: as of `advise`.

    Raises:
        InputError: as `advise` does.
    """
    need_surface(surface, "forecast")
    usual = at.BUDGET_OF_NETWORKS if isinstance(surface, NetworkSurface) else at.BUDGET
    budget = _checks.number("budget", usual if budget is None else budget, least=1, where="forecast")
    if isinstance(surface, NetworkSurface):
        points, size = surface.theta.detach()[None].repeat(POINTS, 1), batch_size or surface.examples
        probed = min(budget, least(surface, None if size >= surface.examples else size))
        what = "curvature and the race of rates take"
    else:
        box = need_box(surface, "forecast")
        u = torch.from_numpy(np.random.default_rng((0, 4)).random((POINTS, len(box))))
        points = (box[:, 0] + (box[:, 1] - box[:, 0]) * u).to(surface.device, surface.dtype)
        probed, what = min(budget, allowed(surface, budget)), "the probe takes"
    begin = time.perf_counter()
    surface.values(points)
    each = (time.perf_counter() - begin) / POINTS
    parts = {"probe": probed * each, "race": (budget - probed) * each}
    note = f"of {budget:,.0f} values {what} at most {probed:,.0f}; the algorithms' own time comes on top"
    return Forecast(int(budget), int(budget) * surface.examples, budget * each, POINTS, parts, notes=(note,))
