"""A small layer chain at several points at once: one call of a kernel for all of them, so that calls do not cost most."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor

from lossatlas.surface.network.chain._chain import Chain
from lossatlas.surface.network.chain._score import Score, places, score

# Bytes of one layer of all points together, and points at most: more would not be held by the caches.
LAYER_BYTES, MOST = 2**21, 16
# Bytes of all points' θ together.
THETA_BYTES = 2**23


def together(chain: Chain, each: int) -> int:
    """How many points of a chain are best taken at once; below 2 none are.

    Args:
        chain: what is evaluated.
        each: bytes of a number.
    """
    features = max(_rows(chain, step.weight) for step in chain.steps)
    columns = max(batch.size for batch in chain.batches)
    return min(MOST, LAYER_BYTES // (features * columns * each), THETA_BYTES // (chain.layout.dimension * each))


@final
class Blocks:
    """Buffers for a block of points.

    Args:
        chain: what is evaluated.
        origin: (N,).
        directions: (k, N).
        first: per batch, the first layer (features, columns) at each corner, (k + 1, features, columns).
        size: points at once.
    """

    def __init__(self, chain: Chain, origin: Tensor, directions: Tensor, first: list[Tensor], size: int) -> None:
        self.chain, self.origin, self.directions, self.first, self.size = chain, origin, directions, first, size
        self.theta = origin.new_empty(size, len(origin))
        self.own = [places(chain.loss, batch) for batch in chain.batches]
        rows = [_rows(chain, step.weight) for step in chain.steps]
        self.buffers = [[origin.new_empty(size, r, parts.shape[2]) for r in rows] for parts in first]

    def read(self, coords: Tensor) -> list[Score]:
        """Loss and accuracy over all data at points (B, k)."""
        return [pair for block in torch.split(coords, self.size) for pair in self._block(block)]

    def _block(self, coords: Tensor) -> list[Score]:
        count = len(coords)
        moves = coords.to(self.origin.dtype)
        theta = torch.addmm(self.origin, moves, self.directions, out=self.theta[:count])
        tensors = self.chain.layout.split(theta)
        corners = torch.cat([moves.new_ones(count, 1), moves], 1)
        totals = [[0.0, 0.0] for _ in range(count)]
        every = zip(self.chain.batches, self.chain.shares, self.own, self.first, self.buffers, strict=True)
        for batch, share, own, parts, buffers in every:
            hidden = torch.mm(corners, parts.flatten(1), out=buffers[0][:count].flatten(1)).view(-1, *parts.shape[1:])
            hidden = self.chain.steps[0].activate(hidden)
            for step, buffer in zip(self.chain.steps[1:], buffers[1:], strict=True):
                weight = self._of(tensors, step.weight, count)
                if step.bias is None:
                    hidden = torch.bmm(weight, hidden, out=buffer[:count])
                else:
                    bias = self._of(tensors, step.bias, count)[..., None]
                    hidden = torch.baddbmm(bias, weight, hidden, out=buffer[:count])
                hidden = step.activate(hidden)
            for total, pair in zip(totals, score(hidden, self.chain.loss, batch, own), strict=True):
                total[0] += pair[0] * share
                total[1] += pair[1] * batch.size / self.chain.examples
        return [(loss, hits) for loss, hits in totals]

    def _of(self, tensors: dict[str, Tensor], name: str, count: int) -> Tensor:
        """A parameter at each of so many points, (count, …)."""
        if name in tensors:
            return tensors[name]
        return self.chain.constants[name].expand(count, *self.chain.constants[name].shape)


def _rows(chain: Chain, name: str) -> int:
    shapes = {block.name: block.shape for block in chain.layout.blocks}
    return math.prod((shapes.get(name) or tuple(chain.constants[name].shape))[:1])
