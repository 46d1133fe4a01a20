"""What workers cost and gain: overhead of a batch, a slow forward, and the chart of a ResNet-20 by one worker and by two.

python bench/engines.py, with both cores to itself. Prints one line per figure.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn

import lossatlas as la
from lossatlas.probe import Pool, Probe, Values
from lossatlas.probe.engine import _workers

sys.path.insert(0, str(Path(__file__).parent))
from resnet import resnet


class Slow(nn.Module):
    """A forward that takes 0.6 s and no core."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(0.6)
        return self.layer(x)


def plain(point: Tensor) -> Tensor:
    return (point**2).sum()


def ready(pool: Pool, surface: la.Surface, points: Tensor) -> Probe:
    """A probe whose workers have built the surface."""
    probe = Probe(surface, engine=pool)
    while not all(len(slot.jobs) for slot in pool._slots.values()):
        probe.evaluate(Values(points))
    return probe


def overhead() -> None:
    surface = la.Function(plain, box=[(-1, 1), (-1, 1)])
    points = torch.rand(400, 2, dtype=torch.float64)
    _workers.WORTH = _workers.QUICK = 0.0
    _workers.BATCH_SECONDS = 1e-9  # one row a batch
    with Pool(1) as pool:
        probe = ready(pool, surface, points[:20])
        begin, busy = time.perf_counter(), pool.worker_seconds
        probe.evaluate(Values(points))
        took = time.perf_counter() - begin - (pool.worker_seconds - busy)
    _workers.WORTH, _workers.QUICK, _workers.BATCH_SECONDS = 0.02, 1.0, 0.25
    print(f"overhead per batch: {1000 * took / len(points):.2f} ms", flush=True)


def slow_forward() -> None:
    torch.manual_seed(0)
    surface = la.NetworkSurface(Slow(), "cross_entropy", (torch.randn(16, 4), torch.randint(0, 3, (16,))))
    sliced = surface.on(la.Plane.random(surface), steady=True)
    axis = torch.linspace(-1, 1, 7, dtype=torch.float64)
    with Pool(8) as pool:
        probe = ready(pool, sliced, torch.cartesian_prod(axis, axis)[:17] / 3)
        begin = time.perf_counter()
        probe.evaluate(Values(torch.cartesian_prod(axis, axis)))
        print(f"49 points of 0.6 s by 8 workers, once they are there: {time.perf_counter() - begin:.2f} s", flush=True)


def network() -> None:
    images = torch.randn(64, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    surface = la.NetworkSurface(resnet(20).eval(), "cross_entropy", (images, torch.arange(64) % 10))
    sliced = surface.on(la.Plane.random(surface), steady=True)
    points = torch.rand(40, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    took = {}
    for count in (1, 2, 1, 2):
        with Pool(count) as pool:
            probe = ready(pool, sliced, points[:6])
            begin = time.perf_counter()
            probe.evaluate(Values(points))
            took.setdefault(count, []).append(time.perf_counter() - begin)
    best = {count: min(seconds) for count, seconds in took.items()}
    print(
        f"40 points of a ResNet-20: {best[1]:.2f} s by 1 worker, {best[2]:.2f} s by 2, {best[1] / best[2]:.2f} times as fast"
    )


if __name__ == "__main__":
    overhead()
    slow_forward()
    network()
