"""Losses and slopes of a network at many points: one after another, side by side on threads, or in one vectorized pass."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from threading import RLock
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.func import grad_and_value, vmap

from lossatlas._errors import InputError
from lossatlas.surface._frame import Frame
from lossatlas.surface._surface import THETA_BYTES, Sample
from lossatlas.surface._threads import same_algorithms, side_by_side, steadily, workers
from lossatlas.surface.network import _data, _model
from lossatlas.surface.network._data import Batch
from lossatlas.surface.network._minibatch import Minibatches, draw
from lossatlas.surface.network._objective import Objective
from lossatlas.surface.network._products import HessianProducts, refuse_constant
from lossatlas.surface.network._tile import Tile

Pair = tuple[Tensor, Tensor]
# A model whose parameters are views into the vector beside it.
Bound = tuple[nn.Module, Tensor]


@final
class Evaluation:
    """Evaluates points over all data or over mini-batches, and remembers how that is done best.

    Batches are weighted by their number of examples; sums are float64.

    Args:
        objective: the loss over one batch.
        bound: the objective's model, bound to a vector; more copies are made for threads, and kept in this list.
        alone: of another evaluation that uses the same bound models.

    Attributes:
        alone: to be held while it is used: the bound models are moved from point to point.
    """

    def __init__(self, objective: Objective, bound: list[Bound], alone: Any = None) -> None:
        self.objective, self.bound, self._batches = objective, bound, objective.batches
        self.alone = alone or RLock()
        self._examples, self._dimension = objective.examples, objective.layout.dimension
        self._device = bound[0][1].device
        self._completion = objective.completion()
        self._value_tile = Tile(self.loop_values, self.vmap_values)
        self._gradient_tile = Tile(self.loop_gradients, self.vmap_gradients)
        self.minibatches = Minibatches(self._whole, self._batches, objective.model)
        if objective.statistics.recomputes:
            # Every loss depends on all data through the statistics: one graph over all of them.
            everything = Batch(None, self._examples, False)
            self.products = HessianProducts(self._settled, objective.layout, (everything,))
        else:
            self.products = HessianProducts(self._named, objective.layout, self._batches)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "alone"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, alone=RLock())
        # A copied parameter is no view any more.
        self._completion = self.objective.completion()
        for model, flat in self.bound:
            _model.attach(model, self.objective.statistics.layout, flat)

    @property
    def choice(self) -> int:
        """Points per forward pass: 1 for one by one, 0 as long as nothing was measured."""
        return self._value_tile.choice

    def values(self, points: Tensor) -> Tensor:
        """Losses and shares of hits (2, B) at points (B, N), in whatever way is fastest."""
        return torch.stack(self._value_tile(points, self._limit(points)))

    def steady(self, frame: Frame) -> Callable[[Tensor], Tensor]:
        """A function of coordinates (B, k) on a frame: losses and shares of hits (2, B), each with bits of its own.

        Points are taken one by one, side by side on threads with kernels of one thread.
        """

        def one(worker: int, point: Tensor) -> Tensor:
            theta = self.bound[worker][1][None, : self._dimension]
            return self._worker_values(worker, frame.points(point, out=theta[: len(point)]))

        def read(coords: Tensor) -> Tensor:
            threads = self.abreast(len(coords))
            self._ready(threads)
            with same_algorithms():
                return torch.cat(steadily(one, torch.split(coords, 1), threads), 1)

        return read

    def abreast(self, points: int) -> int:
        """How many threads read so many points steadily."""
        if self._device.type != "cpu":
            return 1
        return workers(points, 1, each=self._dimension * self.bound[0][1].element_size())

    def gradients(self, points: Tensor, sample: Sample | None = None) -> Pair:
        """Losses (B,) and gradients (B, N), over all data or over one mini-batch per row."""
        if sample is not None and self.minibatches.recorded(len(points), sample.size):
            # What was recorded draws no random numbers: saving their states would take as long as a small network.
            found = self._rows(points, sample)
            assert found is not None
            return found
        with _data.untouched_randomness(self._device):
            if sample is None:
                return self._gradient_tile(points, self._limit(points))
            together = len(points) > 1 and self.minibatches.possible and not self.objective.statistics.recomputes
            return (self._rows(points, sample) if together else None) or self._one_by_one(points, sample)

    def sampled_products(self, theta: Tensor, vectors: Tensor, sample: Sample) -> Tensor:
        """Hessian products (K, N) over the examples of one mini-batch."""
        drawn = self.drawn(sample.size, int(sample.seeds[0]))
        return HessianProducts(self._named, self.objective.layout, drawn)(theta, vectors)

    def drawn(self, size: int, seed: int) -> tuple[Batch, ...]:
        """The mini-batch of a seed: its examples in batches as the data have them."""
        chosen = self._chosen(size, torch.tensor([seed]))[0]
        parts, begin = [], 0
        for batch in self._batches:
            inside = chosen[(chosen >= begin) & (chosen < begin + batch.size)] - begin
            if len(inside):
                parts.append(batch.rows(inside.to(self._device)))
            begin += batch.size
        # Normalized by itself, a mini-batch is one batch, wherever its examples come from.
        joined = _data.join(parts) if self.objective.statistics.by_batch else None
        return tuple(parts) if joined is None else (joined,)

    def loop_values(self, points: Tensor) -> Pair:
        """Losses and shares of hits, one point after another on each thread."""
        threads = workers(len(points)) if self._device.type == "cpu" else 1
        self._ready(threads)
        rows = torch.cat(side_by_side(self._worker_values, points.tensor_split(threads)), 1)
        return rows[0], rows[1]

    def vmap_values(self, points: Tensor) -> Pair:
        """Losses and shares of hits, all points in one pass."""
        rows = self._zeros(2, len(points))
        wholes = self._completion.many(points)
        for batch in self._batches:
            loss, hits = vmap(lambda whole, batch=batch: self._whole(whole, batch))(wholes)
            rows[0] += loss.double() * batch.size
            rows[1] += hits.double() * batch.size
        rows /= self._examples
        return rows[0], rows[1]

    def loop_gradients(self, points: Tensor, batches: tuple[Batch, ...] | None = None) -> Pair:
        """Losses and gradients, one point after another."""
        batches = self._batches if batches is None else batches
        examples = sum(batch.size for batch in batches)
        values, gradients = self._zeros(len(points)), self._zeros(*points.shape)
        for b, point in enumerate(points):
            with torch.no_grad():
                whole = self._completion.one(point)
            whole = whole.detach().requires_grad_()
            slope = self._zeros(*whole.shape)
            for batch in batches:
                loss = self._whole(whole, batch)[0]
                refuse_constant(loss)
                (gradient,) = torch.autograd.grad(loss, whole)
                values[b] += loss.detach().double() * batch.size
                slope += gradient.double() * batch.size
            gradients[b] = self._completion.back(point, slope)
        return values / examples, (gradients / examples).to(points.dtype)

    def vmap_gradients(self, points: Tensor) -> Pair:
        """Losses and gradients, all points in one pass."""
        values = self._zeros(len(points))
        with torch.no_grad():
            wholes = self._completion.many(points)
        slopes = self._zeros(*wholes.shape)
        for batch in self._batches:
            both = vmap(grad_and_value(lambda whole, batch=batch: self._whole(whole, batch)[0]))
            gradient, loss = both(wholes)
            values += loss.detach().double() * batch.size
            slopes += gradient.double() * batch.size
        gradients = self._completion.back_many(points, slopes)
        return values / self._examples, (gradients / self._examples).to(points.dtype)

    def _rows(self, points: Tensor, sample: Sample) -> Pair | None:
        """Rows on their own mini-batches in one pass, or None where that is not possible."""
        chosen = self._chosen(sample.size, sample.seeds)
        with torch.no_grad():
            wholes = self._completion.many(points)
        found = self.minibatches(wholes, chosen)
        if found is None:
            return None
        losses, slopes = found
        return losses.double(), self._completion.back_many(points, slopes.detach()).to(points.dtype)

    def _one_by_one(self, points: Tensor, sample: Sample) -> Pair:
        rows = [
            self.loop_gradients(p[None], self.drawn(sample.size, int(s)))
            for p, s in zip(points, sample.seeds, strict=True)
        ]
        values, gradients = (torch.cat(parts) for parts in zip(*rows, strict=True))
        return values, gradients

    def _worker_values(self, worker: int, points: Tensor) -> Tensor:
        rows = self._zeros(2, len(points))
        model, flat = self.bound[worker]
        for b, theta in enumerate(points):
            self._completion.settle(worker, flat, theta)
            for batch in self._batches:
                loss, hits = self.objective.forward(batch, model)
                rows[0, b] += loss.double() * batch.size
                rows[1, b] += hits.double() * batch.size
        rows /= self._examples
        return rows

    def _ready(self, threads: int) -> None:
        model, flat = self.bound[0]
        while len(self.bound) < threads:
            # Trainable parameters need no copy of their own: they are bound to another vector. The others are constants.
            kept = {id(p): nn.Parameter(p.data, p.requires_grad) for p in model.parameters()}
            twin = copy.deepcopy(model, kept)
            self.bound.append((twin, _model.bind(twin, self.objective.statistics.layout, flat)))
        self._completion.ready(self.bound)

    def _chosen(self, size: int, seeds: Tensor) -> Tensor:
        if not 1 <= size <= self._examples:
            raise InputError(
                f"got a mini-batch of {size} of {self._examples} examples; expected 1 to {self._examples}."
            )
        return draw(size, seeds, self._examples)

    def _whole(self, whole: Tensor, batch: Batch) -> Pair:
        return self.objective.at(self._completion.split(whole), batch)

    def _named(self, tensors: Mapping[str, Tensor], batch: Batch) -> Tensor:
        return self.objective.at(self._completion.named(tensors), batch)[0]

    def _settled(self, tensors: Mapping[str, Tensor], _: Batch) -> Tensor:
        whole = self._completion.one(torch.cat([part.reshape(-1) for part in tensors.values()]))
        shares = [self._whole(whole, batch)[0] * (batch.size / self._examples) for batch in self._batches]
        return torch.stack(shares).sum()

    def _limit(self, points: Tensor) -> int:
        """Points at once within `THETA_BYTES`."""
        return max(1, THETA_BYTES // (self._dimension * points.element_size()))

    def _zeros(self, *shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.float64, device=self._device)
