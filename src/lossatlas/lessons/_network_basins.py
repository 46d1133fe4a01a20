"""Small digits networks, the bottom that descent leads to from a point, and when a run counts as having left its basin.

A basin is where full-batch gradient descent leads. A run has left its own if, once both its start and its end have
descended, the straight line between them rises by more than `LEFT` above the chord.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lossatlas.connect import barrier
from lossatlas.demo import digits, digits_mlp
from lossatlas.optimize import Optimizer, optimizer
from lossatlas.probe import Meter, Probe, Values
from lossatlas.race import Runner, network_race
from lossatlas.surface import NetworkSurface

# Fixed before the first run; the rate is that of D3. A hundredth of the loss of guessing is a barrier; smaller ones may come
# from the curvature of one valley.
EXAMPLES, RATE, SETTLING = 100, 0.5, 1000
LEFT, POINTS = 0.01 * math.log(10), 25
# Points evaluated at once.
AT_ONCE = 4096

Array = NDArray[np.float64]


def ground(width: int, seed: int = 0) -> NetworkSurface:
    """The training loss of a digits MLP 64-width-10 on a few digits, in float64.

    Args:
        width: of the hidden layer.
        seed: of the weights at the surface's own point.
    """
    x, y = digits("train")
    return NetworkSurface(
        digits_mlp((width,), seed=seed).double(),
        "cross_entropy",
        (x[:EXAMPLES].double(), y[:EXAMPLES]),
        name=f"digits MLP of width {width}",
    )


def initial(surface: NetworkSurface, width: int, seeds: range) -> Tensor:
    """Initial weights from several seeds, (runs, N)."""
    return torch.stack([surface.vector(digits_mlp((width,), seed=seed)) for seed in seeds])


def trained(
    surface: NetworkSurface,
    points: Tensor,
    rule: Optimizer,
    *,
    steps: int,
    batch_size: int | None = None,
    seed: int = 0,
) -> Runner:
    """Runs of a rule from points (runs, N), at the cost of that many gradients of a mini-batch each, of all examples for None.

    Full batches are mini-batches of all examples: how those are evaluated does not depend on timing, so that the same call
    gives the same bits.
    """
    made = network_race(
        surface, {"it": rule}, batch_size=batch_size or surface.examples, steps=steps, runs=len(points), starts=points, checks=1, ends=0,
        seed=seed,
        progress=False,
    )  # fmt: skip
    return made.runners["it"]


def settled(surface: NetworkSurface, points: Tensor, steps: int | None = None) -> Runner:
    """Where full-batch gradient descent leads from points (runs, N)."""
    return trained(surface, points, optimizer("gd", lr=RATE), steps=steps or SETTLING)


def dead(points: Tensor, width: int) -> list[int]:
    """How many hidden units of each network (runs, N) answer to no example: no gradient reaches their weights."""
    x, _ = digits("train")
    weights = points[:, : 64 * width].reshape(-1, width, 64)
    biases = points[:, 64 * width : 65 * width]
    alive = (torch.einsum("nx,rhx->rnh", x[:EXAMPLES].to(points), weights) + biases[:, None] > 0).any(1)
    return [int(row.sum()) for row in ~alive]


def heights(surface: NetworkSurface, ones: Tensor, others: Tensor) -> tuple[Array, Meter]:
    """The barrier on the straight line between each pair of points (runs, N), (runs,), and the meter.

    max over t of L(t) − [(1 − t) L(0) + t L(1)], read at `POINTS` values of t (Entezari et al. 2022).
    """
    probe = Probe(surface)
    t = torch.linspace(0, 1, POINTS, dtype=ones.dtype)
    lines = ((1 - t)[:, None] * ones[:, None] + t[:, None] * others[:, None]).flatten(0, 1)
    losses = torch.cat([probe.evaluate(Values(part)).values for part in torch.split(lines, AT_ONCE)])
    profiles = losses.reshape(-1, POINTS).cpu().double().numpy()
    return np.array([barrier("entezari", t.double().numpy(), profile).value for profile in profiles]), probe.meter
