"""Losses of many cells from outputs at nodes: interpolate, score, and hold only a block of either at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lossatlas.chart.sampling._outputs import LIMIT, Scorer

Array = NDArray[np.float64]
Channels = dict[str, Array]

# Interpolated outputs held at a time by the fused losses: few enough to stay in a processor's cache.
BLOCK = 2**18
EXAMPLES = 128
IGNORED = -100


@final
class Filler:
    """Interpolates outputs and applies the loss.

    Args:
        scorer: the loss.
        limit: bytes that interpolated outputs may take at a time.
    """

    def __init__(self, scorer: Scorer, limit: int = LIMIT) -> None:
        self.scorer, self.limit = scorer, limit

    def losses(self, weights: Array, outputs: list[Tensor], cut: int | None = None) -> tuple[Array, Channels]:
        """Losses at cells, L = Σ_b Σ_i wᵢ ℓᵢ / Σ_b Σ_i wᵢ of interpolated outputs.

        Args:
            weights: (m, n), from values at nodes to values at cells.
            outputs: by batch, (n, n_b, ...).
            cut: use about this many examples only, spread evenly: a cheap look at the field's shape. Losses that are
                not fused are cut to whole batches.

        Returns:
            Losses (m,) in float64, and the further channels, each (m,).
        """
        total, weight = np.zeros(len(weights)), np.zeros(len(weights))
        channels: Channels = {}
        rows = 0
        for batch in self._batches(cut):
            part = outputs[batch]
            matrix = torch.from_numpy(weights).to(part.device, part.dtype)
            step = None if cut is None else max(1, self.scorer.examples // max(1, cut))
            summed, mass, extras = self._batch(batch, matrix, part, step)
            total += summed
            weight += mass
            rows += len(part[0])
            for name, values in extras.items():
                channels[name] = channels.get(name, 0.0) + len(part[0]) * values
        with np.errstate(invalid="ignore", divide="ignore"):
            return total / weight, {name: values / rows for name, values in channels.items()}

    def _batches(self, cut: int | None) -> Iterator[int]:
        sizes = [shape[0] for shape in self.scorer.shapes]
        if cut is None or self.scorer.fused is not None:
            yield from range(len(sizes))
            return
        step = max(1, len(sizes) * (sum(sizes) // len(sizes)) // max(1, cut))
        yield from range(0, len(sizes), step)

    def _batch(
        self, batch: int, matrix: Tensor, outputs: Tensor, step: int | None
    ) -> tuple[Array, Array | float, Channels]:
        if self.scorer.fused is not None:
            target = self.scorer.targets[batch][::step]
            part = outputs[:, ::step]
            if self.scorer.fused == "cross_entropy" and part.ndim == 3 and target.ndim == 1:
                return _cross_entropy(matrix, part, target)
            if self.scorer.fused == "mse" and part.shape[1:] == target.shape:
                return _squares(matrix, part, target)
        return self._scored(batch, matrix, outputs)

    def _scored(self, batch: int, matrix: Tensor, part: Tensor) -> tuple[Array, Array | float, Channels]:
        flat = part.flatten(1)
        # The loss itself may hold as much as its input two or three times.
        many = max(1, self.limit // (4 * flat.shape[1] * flat.element_size()))
        sums: list[Tensor] = []
        masses: list[Tensor] = []
        extras: dict[str, list[Tensor]] = {}
        for rows in torch.split(matrix, many):
            summed, mass, found = self.scorer.score(batch, (rows @ flat).view(-1, *part.shape[1:]))
            sums.append(summed.double())
            masses.append(torch.as_tensor(mass, dtype=torch.float64, device=summed.device).expand(len(rows)))
            for name, values in found.items():
                extras.setdefault(name, []).append(values.double())
        return (
            _numpy(torch.cat(sums)),
            _numpy(torch.cat(masses)),
            {name: _numpy(torch.cat(values)) for name, values in extras.items()},
        )


def _cross_entropy(matrix: Tensor, part: Tensor, target: Tensor) -> tuple[Array, float, Channels]:
    """Summed cross-entropy, how many examples count, and the accuracy.

    With d_c = z_c − z_target of the other classes, interpolated by themselves, ℓ = log(1 + Σ exp d_c). With
    t = max(0, max d) that is t + log1p(Σ exp(d − t) + expm1(−t)), exact for losses far below the rounding of log-softmax.
    """
    keep = target != IGNORED
    if not bool(keep.all()):
        part, target = part[:, keep], target[keep]
    count, classes = part.shape[1], part.shape[2]
    loss = torch.zeros(len(matrix), dtype=torch.float64, device=matrix.device)
    hits = torch.zeros(len(matrix), dtype=torch.int64, device=matrix.device)
    if classes == 1:
        hits += count
    others = (target[:, None] + torch.arange(1, classes, device=target.device)) % classes
    for begin in range(0, count if classes > 1 else 0, EXAMPLES):
        span = slice(begin, begin + EXAMPLES)
        own, rest = target[span], others[span].T
        nodes = part[:, span].transpose(1, 2)
        index = rest.expand(len(part), -1, -1)
        apart = nodes.gather(1, index) - nodes.gather(1, own.expand(len(part), 1, -1))
        flat = apart.flatten(1)
        size = max(1, BLOCK // flat.shape[1])
        for first in range(0, len(matrix), size):
            cells = slice(first, first + size)
            gaps = (matrix[cells] @ flat).view(-1, *apart.shape[1:])
            top = gaps.amax(1)
            right = top < 0
            if bool((top == 0).any()):
                # Of equal scores the first class is the prediction, as of argmax.
                right |= (top == 0) & ~((gaps == 0) & (rest < own)).any(1)
            hits[cells] += right.sum(1)
            top.clamp_min_(0)
            summed = gaps.sub_(top[:, None]).exp_().sum(1)
            losses = summed.add_(torch.expm1(-top)).log1p_().add_(top)
            # A block of so few examples loses nothing in their own type, and sums several times faster.
            loss[cells] += losses.sum(1)
    return _numpy(loss), float(count), {"accuracy": _numpy(hits.double() / max(1, count))}


def _squares(matrix: Tensor, part: Tensor, target: Tensor) -> tuple[Array, float, Channels]:
    """Summed squared errors, and how many numbers they are of: residuals are interpolated and squared."""
    apart = (part - target).flatten(1)
    loss = torch.zeros(len(matrix), dtype=torch.float64, device=matrix.device)
    for columns in torch.split(apart, EXAMPLES * 16, 1):
        size = max(1, BLOCK // columns.shape[1])
        for first in range(0, len(matrix), size):
            cells = slice(first, first + size)
            loss[cells] += (matrix[cells] @ columns).square_().sum(1, dtype=torch.float64)
    return _numpy(loss), float(apart.shape[1]), {}


def _numpy(tensor: Tensor) -> Array:
    found: Array = tensor.double().cpu().numpy()
    return found
