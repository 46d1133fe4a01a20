"""Losses of many cells from outputs at nodes: interpolate, score, and hold only a block of either at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lossatlas.chart.sampling._fused import kernel_for
from lossatlas.chart.sampling._outputs import LIMIT, Scorer
from lossatlas.surface import steadily

Array = NDArray[np.float64]
Channels = dict[str, Array]
Scores = tuple[Array, Array | float, Channels]


@final
class Filler:
    """Interpolates outputs and applies the loss.

    Outputs at nodes are first brought into the form that the loss needs, by `prepare`; what is linear in the outputs may
    be interpolated in their place.

    Args:
        scorer: the loss.
        limit: bytes that interpolated outputs may take at a time.
    """

    def __init__(self, scorer: Scorer, limit: int = LIMIT) -> None:
        self.scorer, self.limit = scorer, limit
        self._kernels = [
            kernel_for(scorer.fused, scorer.targets[batch] if scorer.fused else None, tuple(shape))
            for batch, shape in enumerate(scorer.shapes)
        ]

    def prepare(self, outputs: list[Tensor]) -> list[Tensor]:
        """By batch, what is kept of outputs (n, n_b, …): as many numbers."""
        return [
            part if kernel is None else kernel.prepare(part)
            for kernel, part in zip(self._kernels, outputs, strict=True)
        ]

    def restore(self, prepared: list[Tensor]) -> list[Tensor]:
        """By batch, outputs (n, n_b, …) from what is kept of them, up to rounding."""
        return [
            part if kernel is None else kernel.restore(part)
            for kernel, part in zip(self._kernels, prepared, strict=True)
        ]

    def losses(self, weights: Array | None, prepared: list[Tensor]) -> tuple[Array, Channels]:
        """Losses at cells, L = Σ_b Σ_i wᵢ ℓᵢ / Σ_b Σ_i wᵢ of interpolated outputs.

        Args:
            weights: (m, n), from values at nodes to values at cells; None for the nodes themselves.
            prepared: by batch, what is kept of outputs at n nodes.

        Returns:
            Losses (m,) in float64, and the further channels, each (m,).
        """
        cells = len(prepared[0]) if weights is None else len(weights)
        total, weight = np.zeros(cells), np.zeros(cells)
        channels: Channels = {}
        rows = sum(shape[0] for shape in self.scorer.shapes)
        cast: dict[torch.dtype, Tensor | None] = {}
        for part in prepared:
            cast[part.dtype] = None if weights is None else torch.from_numpy(weights).to(part.dtype)
        for batch, (summed, mass, extras) in enumerate(self._batches(cast, prepared)):
            total += summed
            weight += mass
            for name, values in extras.items():
                channels[name] = channels.get(name, 0.0) + self.scorer.shapes[batch][0] * values
        with np.errstate(invalid="ignore", divide="ignore"):
            return total / weight, {name: values / rows for name, values in channels.items()}

    def _batches(self, cast: dict[torch.dtype, Tensor | None], prepared: list[Tensor]) -> Iterator[Scores]:
        """By batch, the sum of its losses, its weight and its further channels."""
        shares = [(batch, span) for batch, kernel in enumerate(self._kernels) if kernel for span in kernel.spans()]

        def one(_: int, share: tuple[int, slice]) -> tuple[Tensor, Tensor | None]:
            kernel, part = self._kernels[share[0]], prepared[share[0]]
            assert kernel is not None
            return kernel.losses(cast[part.dtype], part, share[1])

        # Threads inside each small kernel would wait for one another more than they work.
        found = iter(steadily(one, shares, torch.get_num_threads()) if shares else ())
        for batch, (kernel, part) in enumerate(zip(self._kernels, prepared, strict=True)):
            if kernel is None:
                yield self._scored(batch, cast[part.dtype], part)
                continue
            parts = [next(found) for _ in kernel.spans()]
            hits = [right for _, right in parts if right is not None]
            accuracy = {"accuracy": _sum(hits) / max(1.0, kernel.weight)} if hits and self.scorer.accurate else {}
            yield _sum([loss for loss, _ in parts]), kernel.weight, accuracy

    def _scored(self, batch: int, matrix: Tensor | None, part: Tensor) -> Scores:
        flat = part.flatten(1)
        # The loss itself may hold as much as its input two or three times.
        many = max(1, self.limit // (4 * max(1, flat.shape[1]) * flat.element_size()))
        sums: list[Tensor] = []
        masses: list[Tensor] = []
        extras: dict[str, list[Tensor]] = {}
        for begin in range(0, len(flat if matrix is None else matrix), many):
            block = flat[begin : begin + many] if matrix is None else matrix[begin : begin + many] @ flat
            summed, mass, found = self.scorer.score(batch, block.view(-1, *part.shape[1:]))
            sums.append(summed.double())
            masses.append(torch.as_tensor(mass, dtype=torch.float64, device=summed.device).expand(len(block)))
            for name, values in found.items():
                extras.setdefault(name, []).append(values.double())
        return (
            _numpy(torch.cat(sums)),
            _numpy(torch.cat(masses)),
            {name: _numpy(torch.cat(values)) for name, values in extras.items()},
        )


def _sum(parts: list[Tensor]) -> Array:
    found = _numpy(parts[0])
    for part in parts[1:]:
        found += _numpy(part)
    return found


def _numpy(tensor: Tensor) -> Array:
    found: Array = tensor.double().cpu().numpy()
    return found
