"""Methods that work on one run at a time (a surrogate, a library), walked side by side in lockstep."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from lossatlas.optimize._optimizer import Walk, known
from lossatlas.probe import At, Values

Mind: TypeAlias = Generator[np.ndarray, float, None]


def side_by_side(minds: Sequence[Mind], start: Tensor, *, stands_at_best: bool) -> Walk:
    """One point of every method per query; one that has ended makes no more.

    Args:
        minds: one per run; each yields a point (N,) and is sent its loss.
        start: (runs, N), for shape, type and device.
        stands_at_best: record the best point as where a run stands, and not the point that it evaluates.
    """
    points, live = start.clone(), torch.ones(len(start), dtype=torch.bool, device=start.device)
    best, lowest = start, torch.full((len(start),), float("inf"), dtype=torch.float64, device=start.device)
    sent: list[float] | None = None
    while True:
        fresh = points.clone()
        for b, mind in enumerate(minds):
            if bool(live[b]):
                try:
                    point = next(mind) if sent is None else mind.send(sent[b])
                    fresh[b] = torch.from_numpy(np.asarray(point, dtype=np.float64)).to(start)
                except StopIteration:
                    live = live.clone()
                    live[b] = False
        points = fresh
        if not bool(live.any()):
            return
        known_there = lowest if sent is not None else torch.full_like(lowest, float("nan"))
        at = At(best, known_there) if stands_at_best else None
        values = known((yield Values(points, at=at, active=live)).values)
        better = live & (values < lowest)
        best, lowest = torch.where(better[:, None], points, best), torch.where(better, values, lowest)
        sent = values.tolist()
