"""Exact structure of plain layer chains on a plane: the first layer is affine in the coordinates.

With θ = θ₀ + αd₁ + βd₂ the first linear layer gives W(α,β)x + b(α,β) = A₀ + αA₁ + βA₂, three matrices that are
computed once for the whole picture. The rest of the chain runs feature-major (features × examples) in buffers that
are reused: several small points at a time, or one, so that every intermediate stays in a core's cache.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor

from lossatlas.surface import _forks
from lossatlas.surface._threads import side_by_side, workers
from lossatlas.surface.network._data import Batch
from lossatlas.surface.network.chain._blocks import Blocks, together
from lossatlas.surface.network.chain._chain import Chain, Step
from lossatlas.surface.network.chain._points import Points
from lossatlas.surface.network.chain._score import Score, padded

# Weights times examples times points, below which a query stays on its thread: some milliseconds of arithmetic.
HANDED_OVER = 2**29
# Fewer points at a time than this are not worth it where each core has its own.
FEW = 8

SliceRead = Callable[[Tensor], tuple[Tensor, dict[str, Tensor]]]


def sliced(chain: Chain, origin: Tensor, directions: Tensor, *, steady: bool = False) -> SliceRead:
    """How to read the losses of a chain at coordinates (B, k) on a frame.

    Args:
        chain: what is evaluated.
        origin: (N,).
        directions: (k, N).
        steady: whether the bits of a loss must not depend on the points beside it.
    """
    zero = {name: torch.zeros_like(value) for name, value in chain.constants.items()}
    corners = [origin, *directions]
    blocks = [
        {**(chain.constants if k == 0 else zero), **chain.layout.split(corner)} for k, corner in enumerate(corners)
    ]
    first = [torch.stack([_affine(chain.steps[0], block, batch) for block in blocks]) for batch in chain.batches]
    size = 1 if steady else together(chain, origin.element_size())
    kept: dict[bool, list[Points | Blocks]] = {}
    one_at_a_time = _forks.lock()

    def hands(several: bool, threads: int) -> list[Points | Blocks]:
        """Something to read with for each thread."""
        # Steady readings come from several threads at a time: nothing is kept for them.
        found = [] if steady else kept.setdefault(several, [])
        while len(found) < threads:
            made = Blocks(chain, origin, directions, first, size) if several else Points(chain, corners, first)
            found.append(made)
        return found

    def scores(coords: Tensor) -> list[Score]:
        threads = _threads(chain, len(coords), origin)
        # Points of some size that share the cores are taken one by one: the caches do not hold more.
        ready = hands(size >= (FEW if threads > 1 else 2), threads)

        def part(worker: int, some: Tensor) -> list[Score]:
            with torch.inference_mode():
                return ready[worker].read(some)

        return [pair for pairs in side_by_side(part, coords.tensor_split(threads)) for pair in pairs]

    def read(coords: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        with nullcontext() if steady else one_at_a_time:
            found = scores(coords)
        table = torch.tensor(found, dtype=torch.float64).reshape(-1, 2)
        return table[:, 0], ({"accuracy": table[:, 1]} if chain.loss.classification else {})

    return read


def _threads(chain: Chain, points: int, origin: Tensor) -> int:
    """Few small points are not worth handing over to threads."""
    if points * chain.examples * origin.numel() < HANDED_OVER:
        return 1
    return workers(points, each=origin.numel() * origin.element_size())


def _affine(step: Step, block: dict[str, Tensor], batch: Batch) -> Tensor:
    x = batch.inputs[0].reshape(batch.size, -1)
    # Columns in multiples of eight suit the matrix kernels; the last example fills up and is not scored.
    x = torch.cat([x, x[-1:].expand(padded(batch.size) - batch.size, -1)])
    out: Tensor = block[step.weight] @ x.t()
    if step.bias is not None:
        out += block[step.bias][:, None]
    return out.contiguous()
