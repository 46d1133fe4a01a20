"""A run of a race walked again, to tell where it made its queries and what it drew: the record keeps only their losses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lossatlas.optimize import Streams
from lossatlas.probe import Gradients, Meter, Probe, Products, Request, count
from lossatlas.race._race import Race

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Replay:
    """What one run did, query by query.

    Attributes:
        points: (Q, N + 1) where it made a query, and at which of its steps.
        counts: (T + 1, 3) losses, gradients and products by the time the loss at each position was known.
        drawn: (D,) random numbers that it drew, in order.
    """

    points: Array
    counts: NDArray[np.int64]
    drawn: Array


def replay(race: Race, label: str, run: int = 0) -> Replay:
    """Walk one run again, evaluating what it evaluated; its streams make it the same run.

    Args:
        race: on a surface that is at hand.
        label: of the racer.
        run: which of its runs.
    """
    track, surface = race.tracks[label], race.surface
    tape: list[torch.Tensor] = []
    streams = Streams(race.seed, [run], salt=label, tape=tape)
    walk = track.optimizer.walk(track.start[run : run + 1], surface.layout, streams)
    probe, meter = Probe(surface), Meter(runs=1)
    places, total = track.positions.shape[1], int(track.meter.per_run[run])
    points: list[Array] = []
    spent, counts = np.zeros(3, dtype=np.int64), np.zeros((places, 3), dtype=np.int64)
    try:
        query = next(walk)
        for step in range(places - 1):
            if spent.sum() >= total:
                break
            (answer,) = probe.answer([Request(query, meter)])
            if answer is None:
                break
            kind = 2 if isinstance(query, Products) else 1 if isinstance(query, Gradients) else 0
            spent[kind] += count(query)
            counts[step:] = spent
            where = query.points.reshape(-1, query.points.shape[-1]).double().cpu().numpy()
            points.append(np.column_stack([where, np.full(len(where), step)]))
            query = walk.send(answer)
    except StopIteration:
        pass
    flat = [one.reshape(-1).double().cpu().numpy() for one in tape]
    return Replay(
        np.concatenate(points) if points else np.empty((0, surface.dimension + 1)),
        counts,
        np.concatenate(flat) if flat else np.empty(0),
    )
