"""What the proofs of shortcuts take of a default chart of the digits CNN, from a surface not yet made to its chart."""

from __future__ import annotations

import statistics
import time
from typing import Any

from chart_interpolated import ROUNDS, _cnn

import lossatlas as la
from lossatlas.surface.network._proof import Proofs


def measure() -> list[str]:
    """Seconds inside every proof, over seconds of the whole."""
    model, data = _cnn()
    prove = Proofs._prove
    spent: list[float] = []

    def timed(self: Proofs, *given: Any) -> bool:
        begin = time.perf_counter()
        found = prove(self, *given)
        spent.append(time.perf_counter() - begin)
        return found

    Proofs._prove = timed  # type: ignore[method-assign]
    proofs, charts, settled = [], [], []
    try:
        for _ in range(ROUNDS + 1):
            spent.clear()
            begin = time.perf_counter()
            surface = la.NetworkSurface(model, "cross_entropy", data)
            settled.append(time.perf_counter() - begin)
            plane = la.Plane.random(surface, seed=0, normalization="filter")
            la.chart(surface, plane, points=51, progress=False)
            charts.append(time.perf_counter() - begin)
            proofs.append(sum(spent))
    finally:
        Proofs._prove = prove  # type: ignore[method-assign]
    shares = [a / b for a, b in zip(proofs[1:], charts[1:], strict=True)]
    made = statistics.median(settled[1:])
    return [
        "proofs of shortcuts (first column) in a default 51×51 chart of the digits CNN (second)",
        f"{statistics.median(proofs[1:]):.4f}",
        f"{statistics.median(charts[1:]):.3f}",
        f"{100 * statistics.median(shares):.1f} % ({100 * min(shares):.1f} to {100 * max(shares):.1f})",
        "< 5 %",
        f"{made:.3f} s more to make the surface, where the loss is split and read twice",
    ]
