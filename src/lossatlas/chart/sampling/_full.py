"""The sampler that evaluates every cell: what `exact=True` means."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from lossatlas.chart.sampling._certificate import Certificate, breadth
from lossatlas.chart.sampling._field_query import FieldQuery, Survey, SurveyWalk
from lossatlas.chart.sampling._grid import Grid
from lossatlas.probe import Values


def full_grid(grid: Grid, chunk: Callable[[str], int]) -> SurveyWalk:
    """Evaluate every cell, row by row.

    Args:
        grid: the cells.
        chunk: how many points to evaluate next.
    """
    coords = grid.coords()
    parts: dict[str, list[np.ndarray]] = {}
    done = 0
    while done < len(coords):
        query = Values(torch.from_numpy(coords[done : done + chunk("exact")]))
        answer = yield FieldQuery("exact", query)
        done += len(query.points)
        for name, channel in {"loss": answer.values, **answer.extras}.items():
            parts.setdefault(name, []).append(channel.cpu().numpy())
    channels = {name: np.concatenate(found).reshape(grid.shape) for name, found in parts.items()}
    loss = channels.pop("loss")
    everywhere = np.ones(grid.shape, dtype=bool)
    none = np.zeros((0, grid.dimension))
    certificate = Certificate(range=breadth(loss))
    return Survey(
        loss, channels, everywhere, np.zeros(grid.shape), certificate, coords, none, "full grid", held_out=none
    )
