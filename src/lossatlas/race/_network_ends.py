"""Where training runs ended: how sharp it is there, how far apart the ends are, and what lies between them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lossatlas.curvature import extremes
from lossatlas.probe import Probe, Values
from lossatlas.race._network_result import Ends, Runner
from lossatlas.surface import NetworkSurface

Array = NDArray[np.float64]
# Points between two ends, and Hessian products per end at most.
BETWEEN, PRODUCTS = 9, 30


def ends_of(surface: NetworkSurface, referee: Probe, runners: Mapping[str, Runner], each: int, seed: int) -> Ends:
    """Compare the first ends of every optimizer that are finite.

    Args:
        surface: the training loss.
        referee: its meter counts it.
        runners: by name.
        each: ends per optimizer.
        seed: of the starting vectors for eigenvalues.
    """
    names, runs, points = [], [], []
    for name, runner in runners.items():
        sound = [k for k in range(len(runner.final)) if bool(torch.isfinite(runner.final[k]).all())]
        sound = [k for k in sound if np.isfinite(runner.loss[k, -1])][:each]
        names += [name] * len(sound)
        runs += sound
        points += [runner.final[k] for k in sound]
    if not points:
        empty = np.empty(0)
        return Ends((), (), empty, empty, empty, np.empty((0, 0)), np.empty((0, 0)))
    finals = torch.stack(points)
    sharp = [
        extremes(
            surface,
            1,
            point=point,
            seed=seed,
            tolerance=1e-2,
            limit=PRODUCTS,
            ends="largest",
            probe=referee,
            progress=False,
        ).largest
        for point in finals
    ]
    return Ends(
        tuple(names),
        tuple(runs),
        referee.evaluate(Values(finals)).values.cpu().numpy(),
        np.array([float(one.values[0]) for one in sharp]),
        np.array([float(one.residuals[0]) for one in sharp]),
        torch.cdist(finals.double(), finals.double()).cpu().numpy(),
        barriers(referee, finals),
    )


def barriers(referee: Probe, ends: Tensor) -> Array:
    """The barrier on the straight line between every two points (n, N), (n, n)."""
    n = len(ends)
    t = torch.linspace(0, 1, BETWEEN + 2, dtype=ends.dtype, device=ends.device)[1:-1, None]
    values = referee.evaluate(Values(ends)).values.cpu()
    found, weights = np.zeros((n, n)), t[:, 0].double().cpu()
    for a in range(n):
        for b in range(a + 1, n):
            line = referee.evaluate(Values((1 - t) * ends[a] + t * ends[b])).values.cpu()
            above = line - ((1 - weights) * values[a] + weights * values[b])
            found[a, b] = found[b, a] = max(0.0, float(above.max()))
    return found
