"""Samplers: what decides which points of a slice are asked. So far the full grid."""

from __future__ import annotations

from collections.abc import Callable, Generator

import numpy as np
import torch
from torch import Tensor

from lossatlas.probe import Answer, Values


def full_grid(
    alpha: np.ndarray, beta: np.ndarray | None, chunk: Callable[[], int]
) -> Generator[Values, Answer, dict[str, np.ndarray]]:
    """Ask for every cell, row by row.

    Args:
        alpha: (nx,) coordinates along direction 1.
        beta: (ny,) along direction 2, or None on a line.
        chunk: how many points to ask for next.

    Returns:
        Channels by name, (ny, nx), ``loss`` among them.
    """
    coords = grid(alpha, beta)
    parts: dict[str, list[Tensor]] = {"loss": []}
    done = 0
    while done < len(coords):
        query = Values(coords[done : done + chunk()])
        answer = yield query
        done += len(query.points)
        parts["loss"].append(answer.values)
        for name, channel in answer.extras.items():
            parts.setdefault(name, []).append(channel)
    shape = (1 if beta is None else len(beta), len(alpha))
    return {name: torch.cat(found).cpu().numpy().reshape(shape) for name, found in parts.items()}


def grid(alpha: np.ndarray, beta: np.ndarray | None) -> Tensor:
    """Coordinates of all cells, (ny·nx, k), alpha running fastest."""
    x = torch.from_numpy(alpha)
    if beta is None:
        return x[:, None]
    y = torch.from_numpy(beta)
    return torch.stack([x.repeat(len(y)), y.repeat_interleave(len(x))], 1)
