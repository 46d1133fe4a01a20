"""A layer chain at one point after another, in buffers that stay in one core's cache."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from lossatlas.surface._points import factor
from lossatlas.surface.network.chain._chain import Chain
from lossatlas.surface.network.chain._score import Score, padded, places, score

# Points whose outputs are scored in one go: enough to spread the cost of calls, few enough to stay in the cache.
BLOCK = 8


@final
class Points:
    """One thread's own θ and buffers.

    Args:
        chain: what is evaluated.
        corners: origin and directions, each (N,).
        first: per batch, the first layer at each corner, (k + 1, features, columns).
    """

    def __init__(self, chain: Chain, corners: list[Tensor], first: list[Tensor]) -> None:
        self.chain, self.corners, self.first = chain, corners, first
        self.theta = torch.empty_like(corners[0])
        views = {**chain.constants, **chain.layout.split(self.theta)}
        self.weights = [(views[s.weight], views[s.bias][:, None] if s.bias is not None else None) for s in chain.steps]
        self.buffers = [
            [self.theta.new_empty(w.shape[0], padded(batch.size)) for w, _ in self.weights] for batch in chain.batches
        ]
        # The first layer along one row of a grid: all but its first coordinate, summed once.
        self.grounds = [torch.empty_like(parts[0]) for parts in first]
        self.row: list[list[float] | None] = [None] * len(first)
        self.own = [places(chain.loss, batch) for batch in chain.batches]

    def read(self, coords: Tensor) -> list[Score]:
        """Loss and accuracy over all data at points (B, k)."""
        rows = [[factor(one, self.theta.dtype) for one in row] for row in coords.tolist()]
        blocks = [rows[i : i + BLOCK] for i in range(0, len(rows), BLOCK)]
        return [pair for block in blocks for pair in self._block(block)]

    def _block(self, coords: list[list[float]]) -> list[Score]:
        totals = [[0.0, 0.0] for _ in coords]
        for k, (batch, share) in enumerate(zip(self.chain.batches, self.chain.shares, strict=True)):
            outputs = self.theta.new_empty(len(coords), self.weights[-1][0].shape[0], padded(batch.size))
            for point, output in zip(coords, outputs, strict=True):
                self._move(point)
                self._forward(k, point, output)
            for total, pair in zip(totals, score(outputs, self.chain.loss, batch, self.own[k]), strict=True):
                total[0] += pair[0] * share
                total[1] += pair[1] * batch.size / self.chain.examples
        return [(loss, hits) for loss, hits in totals]

    def _move(self, coords: list[float]) -> None:
        torch.add(self.corners[0], self.corners[1], alpha=coords[0], out=self.theta)
        for coordinate, direction in zip(coords[1:], self.corners[2:], strict=True):
            self.theta.add_(direction, alpha=coordinate)

    def _forward(self, k: int, coords: list[float], output: Tensor) -> None:
        buffers, parts, last = self.buffers[k], self.first[k], len(self.weights) - 1
        ground = parts[0]
        if len(parts) > 2:
            ground = self.grounds[k]
            if self.row[k] != coords[1:]:
                torch.add(parts[0], parts[2], alpha=coords[1], out=ground)
                self.row[k] = coords[1:]
        hidden = torch.add(ground, parts[1], alpha=coords[0], out=buffers[0] if last else output)
        hidden = self.chain.steps[0].activate(hidden)
        for i, (step, (weight, bias)) in enumerate(zip(self.chain.steps[1:], self.weights[1:], strict=True), start=1):
            out = output if i == last else buffers[i]
            hidden = torch.mm(weight, hidden, out=out) if bias is None else torch.addmm(bias, weight, hidden, out=out)
            hidden = step.activate(hidden)
        if hidden.data_ptr() != output.data_ptr():
            output.copy_(hidden)
