"""From θ to (θ, s), weights with the running statistics of batch norm, which is what a private copy is evaluated at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

import torch
from torch import Tensor
from torch.func import functional_call, vjp, vmap

from lossatlas._layout import Layout
from lossatlas.surface.network._batchnorm import Collector, Statistics
from lossatlas.surface.network._copies import PREFIX, Bound, Whole, attach
from lossatlas.surface.network._data import Batch


@final
class Completion:
    """Completes θ by its statistics, and brings gradients in (θ, s) back to gradients in θ.

    Measured statistics are s(θ) = Σ_b (n_b / n) s_b(θ), one term per batch, so that ∇_θ L(θ, s(θ)) =
    ∂L/∂θ + Σ_b (n_b / n) (∂s_b/∂θ)ᵀ ∂L/∂s is summed a batch at a time.

    Args:
        statistics: of the model, in its mode.
        layout: of the points that come in.
        batches: the data.
        free: points hold their statistics already.
    """

    def __init__(self, statistics: Statistics, layout: Layout, batches: Sequence[Batch], *, free: bool) -> None:
        self._statistics, self._layout, self._batches = statistics, layout, tuple(batches)
        self._free, self._size = free, sum(batch.size for batch in batches)
        self._collectors: list[tuple[Collector, Whole]] = []

    @property
    def measures(self) -> bool:
        """Whether statistics are measured at every θ."""
        return self._statistics.recomputes and not self._free

    def ready(self, copies: Sequence[Bound]) -> None:
        """Have something to measure with beside each copy of the model, on the same θ."""
        while self.measures and len(self._collectors) < len(copies):
            whole, flat = copies[len(self._collectors)]
            collector = Collector(whole.inner, self._statistics)
            attach(collector.model, self._layout, flat)
            self._collectors.append((collector, Whole(collector.model, whole.objective, self._layout)))

    def settle(self, worker: int, flat: Tensor, theta: Tensor) -> None:
        """Move one copy of the model, by the vector that it is bound to, to θ and its statistics."""
        flat[: len(theta)].copy_(theta)
        if self._free:
            self._statistics.clamp_(flat)
        elif self.measures:
            collector, whole = self._collectors[worker]
            rows = [
                collector.measure(lambda b=batch: whole(b.fresh())).double() * self._weight(batch)  # type: ignore[misc]
                for batch in self._batches
            ]
            flat[len(theta) :].copy_(torch.stack(rows).sum(0))
        elif self._statistics.own is not None:
            flat[len(theta) :].copy_(self._statistics.own)

    def split(self, whole: Tensor) -> dict[str, Tensor]:
        """(θ, s) as tensors by name; variances that extrapolation has put below zero are zero."""
        tensors = self._statistics.layout.split(whole)
        return self._statistics.nonnegative(tensors) if self._free else tensors

    def constant(self, theta: Tensor) -> Tensor:
        """θ (N,) completed by the model's own statistics."""
        own = self._statistics.own
        return theta if own is None or self._free else torch.cat([theta, own])

    def named(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """θ by name completed by the model's own statistics; the tensors that came in are passed on themselves."""
        own = self._statistics.own
        if own is None or self._free:
            return self._statistics.nonnegative(dict(tensors)) if self._free else dict(tensors)
        blocks = self._statistics.layout.blocks[len(self._layout.blocks) :]
        parts = own.split_with_sizes([block.size for block in blocks])
        return {**tensors, **{b.name: part.reshape(b.shape) for b, part in zip(blocks, parts, strict=True)}}

    def one(self, theta: Tensor) -> Tensor:
        """θ (N,) completed, (N + S,), differentiable in θ."""
        if not self.measures:
            return self.constant(theta)
        rows = [self._measured(theta, batch).double() for batch in self._batches]
        return torch.cat([theta, torch.stack(rows).sum(0).to(theta.dtype)])

    def many(self, points: Tensor) -> Tensor:
        """Points (B, N) completed, (B, N + S)."""
        return points if self._free or self._statistics.own is None else vmap(self.one)(points)

    def back(self, theta: Tensor, gradient: Tensor) -> Tensor:
        """A gradient (N + S,) at θ completed, as one in θ alone."""
        total = gradient[: len(theta)].clone()
        if self.measures:
            leaf, outer = theta.detach().requires_grad_(), gradient[len(theta) :].to(theta.dtype)
            for batch in self._batches:
                (inner,) = torch.autograd.grad(self._measured(leaf, batch), leaf, outer)
                total += inner.double()
        return total

    def back_many(self, points: Tensor, gradients: Tensor) -> Tensor:
        """The same for rows (B, N) and (B, N + S)."""
        total = gradients[:, : points.shape[1]]
        if self.measures:
            outer = gradients[:, points.shape[1] :].to(points.dtype)
            for batch in self._batches:

                def pull(theta: Tensor, gradient: Tensor, batch: Batch = batch) -> Tensor:
                    found: Tensor = vjp(lambda t: self._measured(t, batch), theta)[1](gradient)[0]
                    return found

                total = total + vmap(pull)(points, outer).double()
        return total

    def _measured(self, theta: Tensor, batch: Batch) -> Tensor:
        collector, whole = self._collectors[0]
        tensors = prefixed(self._layout.split(theta), whole)
        return collector.measure(
            lambda: functional_call(whole, tensors, (batch.fresh(),), tie_weights=False)
        ) * self._weight(batch)

    def _weight(self, batch: Batch) -> float:
        return batch.size / self._size


def prefixed(tensors: Mapping[str, Tensor], whole: Whole) -> dict[str, Tensor]:
    """Tensors under the names that they have in a model with its objective, also where two parameters share one."""
    found = {PREFIX + name: tensor for name, tensor in tensors.items()}
    for name, twins in whole.shared.items():
        if name in tensors:
            found.update({PREFIX + twin: tensors[name] for twin in twins})
    return found
