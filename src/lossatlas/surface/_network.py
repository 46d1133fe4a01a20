"""The loss surface of a network: L(θ) = (1/n) Σ ℓ(f_θ(xᵢ), yᵢ) over fixed data, for any `nn.Module`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from lossatlas._errors import DataError, InputError, LossError, ModelError
from lossatlas.surface import _chain, _data, _loss, _model
from lossatlas.surface._checkpoint import read_checkpoint
from lossatlas.surface._data import Batch
from lossatlas.surface._frame import Frame
from lossatlas.surface._products import HessianProducts
from lossatlas.surface._surface import Reading, Sample, Surface
from lossatlas.surface._threads import side_by_side, workers
from lossatlas.surface._tile import Tile

THETA_BYTES = 2**28


@final
class NetworkSurface(Surface):
    """The loss surface of a model, a loss and data: L(θ) = (1/n) Σᵢ ℓ(f_θ(xᵢ), yᵢ).

    The surface takes a private copy of the model and of the data when it is made: it is fixed from then on, and the
    model that was given is never touched (parameters, buffers, modes, hooks, gradients and random states stay bit
    for bit as they were). θ holds the trainable parameters in the model's own order, tied ones once; frozen
    parameters and buffers are constants. Batches are weighted by their number of examples, sums are float64.

    Args:
        model: any module, in evaluation mode if it has dropout or batch norm.
        loss: a name (``cross_entropy``, ``nll``, ``mse``, ``l1``, ``huber``, ``bce_with_logits``; ``model`` where
            the output carries its own loss) or any callable loss(output, target) that averages over the batch.
        data: tensors (X, y), a dictionary of tensors, a `Dataset` or a `DataLoader`.
        batch_size: examples per forward pass for tensors and datasets; chosen by size if None.
        name: for tables and pictures; the model's class by default.

    Attributes:
        theta: the model's own point, shape (N,).
        loss_at_theta: L there, from the pass that checked the model.

    Raises:
        ModelError: if the loss is not a fixed function of θ, or there is nothing to vary.
        DataError: if the data do not fit the model.
        LossError: if the loss is not one finite number at θ.

    Example:
        >>> import torch, lossatlas as la
        >>> model = torch.nn.Linear(3, 1)
        >>> surface = la.NetworkSurface(model, "mse", (torch.ones(5, 3), torch.zeros(5, 1)))
        >>> surface.dimension
        4
    """

    def __init__(
        self,
        model: nn.Module,
        loss: str | _loss.LossFunction,
        data: Any,
        *,
        batch_size: int | None = None,
        name: str | None = None,
    ) -> None:
        self._model = _model.private_copy(model)
        self.layout = _model.layout_of(self._model)
        self._loss = _loss.resolve(loss)
        self.name = name or f"{type(model).__name__} with {self._loss.name}"
        parameters = dict(self._model.named_parameters())
        self.theta = self.layout.join(parameters)
        self.dtype, self.device = self.theta.dtype, self.theta.device
        self._digest = _model.digest(self._model)
        self._copies = [(self._model, _model.bind(self._model, self.layout, self.theta))]
        if batch_size is None:
            batch_size = _model.batch_size(self._model, self.device)
        self._batches = _data.load(data, self.device, batch_size)
        self.examples = sum(batch.size for batch in self._batches)
        self.start = self.theta
        self._value_tile = Tile(self._loop_values, self._vmap_values)
        self._gradient_tile = Tile(self._loop_gradients, self._vmap_gradients)
        self._products = HessianProducts(self._named_loss, self.layout, self._batches)
        self.loss_at_theta = self._check()

    def read(self, points: Tensor) -> Reading:
        """Losses at points (B, N), and ``accuracy`` where the loss is a classification loss."""
        points = self._points(points)
        with _data.untouched_randomness(self.device), torch.no_grad():
            channels = self._value_tile(points, self._tile_limit())
        return Reading(channels[0], {"accuracy": channels[1]} if self._accurate else {})

    def reader(self, frame: Frame) -> Callable[[Tensor], Reading]:
        """How to read the slice on a frame; exact structure of plain layer chains is used where there is any."""
        chain = _chain.find(self._model, self._loss, self._batches, self.layout)
        if chain is None:
            return super().reader(frame)
        fast = chain.on(frame.origin, frame.directions)
        return lambda coords: Reading(*fast(coords))

    def gradients(self, points: Tensor, sample: Sample | None = None) -> tuple[Tensor, Tensor]:
        """Losses (B,) and gradients (B, N), over all data or over one mini-batch per row.

        Row b of a sample draws ``sample.size`` examples without replacement from the seed b.
        """
        points = self._points(points)
        with _data.untouched_randomness(self.device):
            if sample is not None:
                rows = [
                    self._loop_gradients(p[None], self._draw(sample.size, int(s)))
                    for p, s in zip(points, sample.seeds, strict=True)
                ]
                values, gradients = (torch.cat(parts) for parts in zip(*rows, strict=True))
                return values, gradients
            values, gradients = self._gradient_tile(points, self._tile_limit())
            return values, gradients

    def products(self, point: Tensor, vectors: Tensor) -> Tensor:
        """Hessian products by double backward, over all data, sums in float64: `HessianProducts`.

        Raises:
            InputError: if point and vectors do not fit.
            ModelError: for a model in half precision.
            LossError: for a loss without a gradient.
            NotApplicableError: if some part of the model cannot be differentiated twice.
        """
        theta = self._points(point[None])[0]
        vectors = vectors.detach().to(self.device)
        if vectors.ndim != 2 or vectors.shape[1] != self.dimension:
            raise InputError(
                f"got vectors of shape {tuple(vectors.shape)}; expected (K, {self.dimension}), one vector per row."
            )
        with _data.untouched_randomness(self.device):
            return self._products(theta, vectors)

    def vector(self, given: Tensor | Mapping[str, Tensor] | nn.Module | str | Path) -> Tensor:
        """A point of this surface from what describes one.

        Args:
            given: a parameter vector (N,), a state dict, a module of the same architecture, or the path of a
                ``.safetensors`` or ``.pt`` checkpoint (the latter read with ``weights_only=True``).

        Returns:
            θ of shape (N,), in the surface's dtype and on its device.
        """
        if isinstance(given, str | Path):
            given = read_checkpoint(given)
        if isinstance(given, nn.Module):
            given = dict(given.named_parameters())
        if isinstance(given, Mapping):
            given = self.layout.join(given)
        if given.shape != (self.dimension,):
            raise InputError(
                f"got a vector of shape {tuple(given.shape)}; expected ({self.dimension},), one entry per parameter."
            )
        return given.detach().to(self.device, self.dtype)

    def fingerprint(self) -> dict[str, Any]:
        """Digests of model and data, and how the loss is taken."""
        return {
            **super().fingerprint(),
            "model": self._digest,
            "loss": self._loss.name,
            "data": _data.digest(self._batches),
            "examples": self.examples,
            "batches": len(self._batches),
            "device": str(self.device),
            "many_points_per_forward": self._value_tile.choice,
        }

    def _points(self, points: Tensor) -> Tensor:
        if points.ndim != 2 or points.shape[1] != self.dimension:
            raise InputError(
                f"got points of shape {tuple(points.shape)}; expected (B, {self.dimension}), one row per point."
            )
        return points.detach().to(self.device, self.dtype)

    def _tile_limit(self) -> int:
        return max(1, THETA_BYTES // (self.dimension * self.theta.element_size()))

    def _check(self) -> float:
        """Refuse a moving target: evaluate twice before anything is measured."""
        buffers = {name: value.clone() for name, value in self._model.named_buffers()}
        first = self._batches[:1]
        with _data.untouched_randomness(self.device), torch.no_grad():
            try:
                loss = self._forward(first[0], self._model)[0]
            except (RuntimeError, TypeError, ValueError, IndexError) as error:
                if isinstance(error, LossError):
                    raise
                raise DataError(
                    f"the model {self.name!r} could not be run on the data ({_data.describe(first[0])}): {error}. "
                    "Expected inputs of the shape that the model takes, and targets that fit its output and the loss."
                ) from error
            again = self._forward(first[0], self._model)[0]
            moved = [n for n, v in self._model.named_buffers() if not torch.equal(buffers[n], v)]
            if not torch.isfinite(loss):
                raise LossError(
                    f"the loss at the model's own parameters is {float(loss)}; expected a finite number. Check the "
                    "data for NaN, the loss, and that the checkpoint was loaded."
                )
            if not torch.equal(loss, again) or moved:
                reason = (
                    f"its buffers {', '.join(moved)} change when it is run"
                    if moved
                    else (f"the same parameters gave {float(loss):.9g} and then {float(again):.9g}")
                )
                raise ModelError(
                    f"the model {self.name!r} is not deterministic: {reason}; expected the same loss for the same "
                    "parameters. Call model.eval(), and remove random or batch-dependent parts from its forward."
                )
            total = float(self._loop_values(self.theta[None])[0][0])
        if total != total:
            raise LossError("the loss over all data is NaN at the model's own parameters; check the data for NaN.")
        return total

    @property
    def _accurate(self) -> bool:
        target = self._batches[0].target
        return (
            self._loss.classification
            and isinstance(target, Tensor)
            and target.ndim == 1
            and not target.is_floating_point()
        )

    def _measure(self, output: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        compared = output if self._loss.name == "model" else _loss.predictions(output)
        loss = self._loss.function(compared, batch.target)
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            shape = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
            raise LossError(
                f"the loss {self._loss.name!r} returned {shape} for a batch of {batch.size}; expected one number, the "
                "mean over the batch. Use reduction='mean' or end the loss with .mean()."
            )
        hits = loss.new_zeros(())
        if self._accurate and isinstance(compared, Tensor) and compared.ndim == 2:
            hits = (compared.argmax(1) == batch.target).to(torch.float32).mean()
        return loss.reshape(()), hits

    def _forward(self, batch: Batch, model: nn.Module) -> tuple[Tensor, Tensor]:
        return self._measure(model(*batch.inputs, **self._keywords(batch)), batch)

    def _keywords(self, batch: Batch) -> dict[str, Any]:
        if self._loss.name == "model" and batch.target is not None:
            return {**batch.keywords, "labels": batch.target}
        return batch.keywords

    def _one_loss(self, theta: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        output = functional_call(self._model, self.layout.split(theta), batch.inputs, self._keywords(batch))
        return self._measure(output, batch)

    def _named_loss(self, tensors: Mapping[str, Tensor], batch: Batch) -> Tensor:
        output = functional_call(self._model, dict(tensors), batch.inputs, self._keywords(batch))
        return self._measure(output, batch)[0]

    def _loop_values(self, points: Tensor) -> tuple[Tensor, Tensor]:
        threads = workers(len(points)) if self.device.type == "cpu" else 1
        while len(self._copies) < threads:
            model = copy.deepcopy(self._model)
            self._copies.append((model, _model.bind(model, self.layout, self.theta)))
        rows = torch.cat(side_by_side(self._worker_values, points.tensor_split(threads)), 1)
        return rows[0], rows[1]

    def _worker_values(self, worker: int, points: Tensor) -> Tensor:
        model, flat = self._copies[worker]
        rows = torch.zeros((2, len(points)), dtype=torch.float64, device=self.device)
        for b, theta in enumerate(points):
            flat.copy_(theta)
            for batch in self._batches:
                loss, hits = self._forward(batch, model)
                rows[0, b] += loss.double() * batch.size
                rows[1, b] += hits.double() * batch.size
        rows /= self.examples
        return rows

    def _vmap_values(self, points: Tensor) -> tuple[Tensor, Tensor]:
        rows = torch.zeros((2, len(points)), dtype=torch.float64, device=self.device)
        for batch in self._batches:
            loss, hits = vmap(lambda theta, batch=batch: self._one_loss(theta, batch))(points)
            rows[0] += loss.double() * batch.size
            rows[1] += hits.double() * batch.size
        rows /= self.examples
        return rows[0], rows[1]

    def _loop_gradients(self, points: Tensor, batches: tuple[Batch, ...] | None = None) -> tuple[Tensor, Tensor]:
        batches = self._batches if batches is None else batches
        examples = sum(batch.size for batch in batches)
        values = torch.zeros(len(points), dtype=torch.float64, device=self.device)
        gradients = torch.zeros(points.shape, dtype=torch.float64, device=self.device)
        for b, point in enumerate(points):
            theta = point.detach().requires_grad_()
            for batch in batches:
                loss = self._one_loss(theta, batch)[0]
                (gradient,) = torch.autograd.grad(loss, theta)
                values[b] += loss.detach().double() * batch.size
                gradients[b] += gradient.double() * batch.size
        return values / examples, (gradients / examples).to(self.dtype)

    def _vmap_gradients(self, points: Tensor) -> tuple[Tensor, Tensor]:
        values = torch.zeros(len(points), dtype=torch.float64, device=self.device)
        gradients = torch.zeros(points.shape, dtype=torch.float64, device=self.device)
        for batch in self._batches:
            both = vmap(grad_and_value(lambda theta, batch=batch: self._one_loss(theta, batch)[0]))
            gradient, loss = both(points)
            values += loss.detach().double() * batch.size
            gradients += gradient.double() * batch.size
        return values / self.examples, (gradients / self.examples).to(self.dtype)

    def _draw(self, size: int, seed: int) -> tuple[Batch, ...]:
        if not 1 <= size <= self.examples:
            raise InputError(f"got a mini-batch of {size} of {self.examples} examples; expected 1 to {self.examples}.")
        chosen = torch.randperm(self.examples, generator=torch.Generator().manual_seed(seed))[:size].sort().values
        parts, begin = [], 0
        for batch in self._batches:
            inside = chosen[(chosen >= begin) & (chosen < begin + batch.size)] - begin
            if len(inside):
                parts.append(batch.rows(inside.to(self.device)))
            begin += batch.size
        return tuple(parts)
