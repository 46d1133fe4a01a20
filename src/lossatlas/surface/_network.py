"""The loss surface of a network: L(θ) = (1/n) Σ ℓ(f_θ(xᵢ), yᵢ) over fixed data, for any `nn.Module`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from lossatlas._errors import DataError, InputError, LossError, NotApplicableError
from lossatlas.surface import _batchnorm, _chain, _data, _determinism, _fold, _loss, _model, _points
from lossatlas.surface._completion import Completion
from lossatlas.surface._data import Batch
from lossatlas.surface._frame import Frame
from lossatlas.surface._minibatch import Minibatches, draw
from lossatlas.surface._points import PointLike
from lossatlas.surface._products import HessianProducts
from lossatlas.surface._subset import subset
from lossatlas.surface._surface import THETA_BYTES, Reading, Sample, Surface, joined
from lossatlas.surface._threads import same_algorithms, side_by_side, steadily, workers
from lossatlas.surface._tile import Tile

# A cheap field reads one of so many examples, but not fewer than so many in all.
CHEAP, CHEAP_LEAST = 8, 32


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
        batchnorm: where the running statistics of batch norm come from at other θ than the model's own. ``frozen``:
            they stay the model's. ``interpolate``: they move with the weights on lines and planes between models and
            are frozen elsewhere. ``recompute``: at every θ they are measured anew, as the mean over all batches
            weighted by size, and L is taken with those; a value then reads the data twice. ``batch``: each batch is
            normalized by its own, as in training; batches are fixed, so this is still one function of θ.

    Attributes:
        theta: the model's own point, shape (N,).
        loss_at_theta: L there, from the pass that checked the model.
        batchnorm: the mode.
        notes: what a reader of its pictures must know of batch norm, in sentences.

    Raises:
        ModelError: if the loss is not a fixed function of θ, or there is nothing to vary.
        DataError: if the data do not fit the model.
        LossError: if the loss is not one finite number at θ.

    Source:
        Modes: Li et al. 2018 (frozen, and states interpolated); Garipov et al. 2018 and Izmailov et al. 2018, section
        3.2 (recomputed).

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
        batchnorm: str = "frozen",
    ) -> None:
        own_batches = batchnorm in ("recompute", "batch")
        mine = _model.private_copy(model, batchnorm_too=not own_batches)
        self.layout = _model.layout_of(mine)
        self._loss = _loss.resolve(loss)
        self.name = name or f"{type(model).__name__} with {self._loss.name}"
        self.theta = self.start = self.layout.join(dict(mine.named_parameters()))
        self.dtype, self.device = self.theta.dtype, self.theta.device
        self._digest = _model.digest(mine)
        self._names = {n for n, _ in mine.named_parameters(remove_duplicate=False)}
        self._names |= {n for n, _ in mine.named_buffers(remove_duplicate=False)} | {*mine.state_dict()}
        if batch_size is None:
            batch_size = _model.batch_size(mine, self.device)
        self._batches = _data.load(data, self.device, batch_size)
        self._size = sum(batch.size for batch in self._batches)
        # Whether θ holds the running statistics as coordinates of their own: only within `along`.
        self._free = False
        # The type that forward passes are computed in, where it is not the model's own.
        self._cast: torch.dtype | None = None
        self._adopt(mine, batchnorm)

    def _adopt(self, model: nn.Module, batchnorm: str) -> None:
        """Take a private model in a mode of batch norm, and check that it gives one loss."""
        needed = batchnorm in ("recompute", "batch") and _batchnorm.tracked(model)
        stored = copy.deepcopy(model).eval() if needed else None
        self._model, self.batchnorm = model, batchnorm
        self._statistics = _batchnorm.Statistics(model, batchnorm, self.layout)
        own = self._statistics.own
        whole = self.theta if own is None else torch.cat([self.theta, own])
        self._copies = [(model, _model.bind(model, self._statistics.layout, whole))]
        self.examples, self.passes = self._size, 2 if self._statistics.recomputes else 1
        self._open()
        self.loss_at_theta = self._check()
        sizes, before = [batch.size for batch in self._batches], None
        if stored is not None:
            with _data.untouched_randomness(self.device), torch.no_grad():
                before = sum(float(self._forward(b, stored)[0]) * b.size for b in self._batches) / self._size
        self.notes = self._statistics.notes(sizes, self.loss_at_theta, before)

    def _open(self) -> None:
        """What evaluates this surface, and remembers how it does that best."""
        self._completion = Completion(self._statistics, self.layout, self._batches, self._keywords, free=self._free)
        self._value_tile = Tile(self._loop_values, self._vmap_values)
        self._gradient_tile = Tile(self._loop_gradients, self._vmap_gradients)
        self._products = HessianProducts(self._named_loss, self.layout, self._batches)
        self._minibatches = Minibatches(self._one_loss, self._batches, self._model)
        if self._statistics.recomputes:
            # Every loss depends on all data through the statistics: one graph over all of them.
            everything = Batch((), {}, None, self._size)
            self._products = HessianProducts(self._settled_loss, self.layout, (everything,))

    def with_batchnorm(self, mode: str) -> NetworkSurface:
        """The same model, loss and data with the statistics of batch norm in another mode.

        Args:
            mode: ``frozen``, ``interpolate``, ``recompute`` or ``batch``.
        """
        if mode == self.batchnorm:
            return self
        twin, model = copy.copy(self), copy.deepcopy(self._model)
        self._statistics.restore(model)
        _model.bind(model, self.layout, self.theta)
        twin._adopt(model, mode)
        return twin

    def cheaper(self, examples: int | None = None) -> NetworkSurface | None:
        """The same surface over a fixed subset of the examples; None where that would save little or mean another L.

        The same examples are read at every θ (common random numbers). Batch norm with frozen statistics is folded into
        the convolutions, and a GPU that computes in bfloat16 does; none of it is exact, so what is made of it is to be
        held against this surface.

        Args:
            examples: how many to read; an eighth of all by default.

        Raises:
            InputError: for more examples than there are.
        """
        kept = self._size // CHEAP if examples is None else examples
        if not 1 <= kept <= self._size and examples is not None:
            raise InputError(f"got a subset of {kept} of {self._size} examples; expected 1 to {self._size}.")
        if (examples is None and kept < CHEAP_LEAST) or self.batchnorm in ("recompute", "batch"):
            return None
        twin = copy.copy(self)
        twin.name = f"{self.name}, {kept} of {self._size} examples"
        twin._batches = subset(self._batches, kept, seed=0)
        twin._size = twin.examples = kept
        model = _fold.folded(self._model) if self.batchnorm == "frozen" else None
        if model is not None:
            twin._model, twin._copies = model, [(model, _model.bind(model, self.layout, self.theta))]
        if self.device.type == "cuda" and torch.cuda.is_bf16_supported():
            twin._cast = torch.bfloat16
        twin._open()
        return twin

    def along(self, frame: Frame) -> tuple[NetworkSurface, Frame]:
        """Where running statistics move with the weights: the surface over both, and the frame in it."""
        moving = self.batchnorm == "interpolate" and self._statistics.moves and not self._free
        if frame.statistics is None or not moving:
            return self, frame
        rows = frame.statistics.to(self.device, self.dtype)
        twin = copy.copy(self)
        twin.layout, twin._free = self._statistics.layout, True
        twin.theta = twin.start = torch.cat([self.theta, rows[0]])
        twin._open()
        return twin, Frame(torch.cat([frame.origin, rows[0]]), torch.cat([frame.directions, rows[1:]], 1))

    def read(self, points: Tensor) -> Reading:
        """Losses at points (B, N), and ``accuracy`` where the loss is a classification loss."""
        points = self._points(points)
        with _data.untouched_randomness(self.device), torch.no_grad():
            return self._reading(torch.stack(self._value_tile(points, self._tile_limit())))

    def reader(self, frame: Frame, *, steady: bool = False) -> Callable[[Tensor], Reading]:
        """How to read the slice on a frame; exact structure of plain layer chains is used where there is any.

        A steady reading takes the points one by one, side by side on threads with kernels of one thread. Either way
        no more is held than the model, the data, the frame, and a θ for each point read side by side: one per core, but
        no more than `ABREAST_BYTES`.
        """
        chain = _chain.find(self._model, self._loss, self._batches, self.layout)
        if chain is None:
            return self._steady_reader(frame) if steady else super().reader(frame)
        if not steady:
            fast = chain.on(frame.origin, frame.directions)
            return lambda coords: Reading(*fast(coords))
        # What is computed once for all points has to be steady as well.
        (sure,) = steadily(lambda _, links: links.on(frame.origin, frame.directions), [chain], 1)

        def read(coords: Tensor) -> Reading:
            threads = self._abreast(len(coords))
            return joined(steadily(lambda _, part: Reading(*sure(part)), coords.tensor_split(threads), threads))

        return read

    def _steady_reader(self, frame: Frame) -> Callable[[Tensor], Reading]:
        def one(worker: int, point: Tensor) -> Tensor:
            theta = self._copies[worker][1][None, : self.dimension]
            return self._worker_values(worker, frame.points(point, out=theta[: len(point)]))

        def read(coords: Tensor) -> Reading:
            threads = self._abreast(len(coords))
            self._ready(threads)
            with _data.untouched_randomness(self.device), same_algorithms():
                return self._reading(torch.cat(steadily(one, torch.split(coords, 1), threads), 1))

        return read

    def _abreast(self, points: int) -> int:
        if self.device.type != "cpu":
            return 1
        return workers(points, 1, each=self.dimension * self.theta.element_size())

    def gradients(self, points: Tensor, sample: Sample | None = None) -> tuple[Tensor, Tensor]:
        """Losses (B,) and gradients (B, N), over all data or over one mini-batch per row.

        Row b of a sample draws ``sample.size`` examples without replacement from the seed b.
        """
        points = self._points(points)
        if sample is not None and len(points) > 1 and self._minibatches.possible and not self._statistics.recomputes:
            found = self._side_by_side(points, sample)
            if found is not None:
                return found
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

    def sampled_products(self, point: Tensor, vectors: Tensor, sample: Sample) -> Tensor:
        """Hessian products by double backward over the examples of one mini-batch, as `gradients` draws them."""
        theta, vectors = self._points(point[None])[0], self._points(vectors)
        if self._statistics.recomputes:
            raise NotApplicableError(
                "products over a mini-batch are not there with batchnorm='recompute', where every example's loss depends on "
                "all data; take another mode."
            )
        with _data.untouched_randomness(self.device):
            return HessianProducts(self._named_loss, self.layout, self._draw(sample.size, int(sample.seeds[0])))(
                theta, vectors
            )

    def vector(self, given: PointLike) -> Tensor:
        """A point of this surface from what describes one.

        Args:
            given: a parameter vector (N,), a state dict, a module of the same architecture, or the path of a
                ``.safetensors`` or ``.pt`` checkpoint (the latter read with ``weights_only=True``).

        Returns:
            θ of shape (N,), in the surface's dtype and on its device.

        Raises:
            CheckpointError: naming the keys that are missing, unexpected or of another shape.
            InputError: for a vector of another length.
        """
        theta = _points.point_of(given, self.layout, self._names, self.name)
        return theta.to(self.device, self.dtype)

    def statistics(self, given: PointLike | None = None) -> Tensor | None:
        """The running statistics (S,) of what describes a point; None where they are no coordinates, or it has none.

        Args:
            given: a state dict, a module or a checkpoint file, as in `vector`; None for the model's own.
        """
        if self.batchnorm != "interpolate":
            return None
        found = self._statistics.own if given is None else self._statistics.of(_points.tensors_of(given))
        return None if found is None else found.to(self.device, self.dtype)

    def variances_positive(self, statistics: Tensor) -> list[tuple[float, float]]:
        """How far each direction of a frame can be followed, alone, before a running variance falls below zero.

        Args:
            statistics: shape (k + 1, S), as a `Frame` has them.

        Returns:
            The lowest and highest coordinate of each direction.
        """
        return self._statistics.positive(statistics)

    def departures(self, given: PointLike) -> tuple[str, ...]:
        """Names of constants, frozen parameters and buffers, for which what describes a point holds other values.

        Its own loss is then not the one of this surface at its parameters.

        Args:
            given: a state dict, a module or a checkpoint file, as in `vector`.
        """
        ours = {**dict(self._model.named_parameters()), **dict(self._model.named_buffers())}
        moved = {block.name for block in self._statistics.layout.blocks}
        return _points.differing(_points.tensors_of(given), {n: v for n, v in ours.items() if n not in moved})

    def fingerprint(self) -> dict[str, Any]:
        """Digests of model and data, and how the loss is taken."""
        return {
            **super().fingerprint(),
            "model": self._digest,
            "loss": self._loss.name,
            "data": _data.digest(self._batches),
            "examples": self._size,
            "batches": len(self._batches),
            **self._statistics.record([batch.size for batch in self._batches]),
            "device": str(self.device),
            # Code that changes while all weights stay shows here only.
            "loss_at_theta": self.loss_at_theta,
        }

    @property
    def points_per_forward(self) -> int:
        """What was found to be fastest on this machine so far: 1 for one by one, 0 as long as nothing was measured."""
        return self._value_tile.choice

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
            _determinism.check(self._model, loss, lambda: self._forward(first[0], self._model)[0], self.name)
            total = self._own_loss()
        if total != total:
            raise LossError("the loss over all data is NaN at the model's own parameters; check the data for NaN.")
        return total

    def _own_loss(self) -> float:
        try:
            return float(self._loop_values(self.theta[None])[0][0])
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise DataError(
                f"batch norm cannot normalize a batch by itself that holds one value per channel, and the batches hold "
                f"{sorted({batch.size for batch in self._batches})} examples; expected at least two in each for "
                f"batchnorm={self.batchnorm!r}. Choose a batch_size that leaves no single example over."
            ) from error

    def _reading(self, rows: Tensor) -> Reading:
        return Reading(rows[0], {"accuracy": rows[1]} if self._accurate else {})

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
        with self._precision():
            return self._measure(model(*batch.inputs, **self._keywords(batch)), batch)

    def _precision(self) -> AbstractContextManager[Any]:
        return nullcontext() if self._cast is None else torch.autocast(self.device.type, dtype=self._cast)

    def _keywords(self, batch: Batch) -> dict[str, Any]:
        if self._loss.name == "model" and batch.target is not None:
            return {**batch.keywords, "labels": batch.target}
        return batch.keywords

    def _one_loss(self, whole: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        return self._loss_at(self._completion.split(whole), batch)

    def _loss_at(self, tensors: dict[str, Tensor], batch: Batch) -> tuple[Tensor, Tensor]:
        with self._precision():
            return self._measure(functional_call(self._model, tensors, batch.inputs, self._keywords(batch)), batch)

    def _named_loss(self, tensors: Mapping[str, Tensor], batch: Batch) -> Tensor:
        return self._loss_at(self._completion.named(tensors), batch)[0]

    def _settled_loss(self, tensors: Mapping[str, Tensor], _: Batch) -> Tensor:
        whole = self._completion.one(torch.cat([part.reshape(-1) for part in tensors.values()]))
        return torch.stack([self._one_loss(whole, b)[0] * (b.size / self._size) for b in self._batches]).sum()

    def _loop_values(self, points: Tensor) -> tuple[Tensor, Tensor]:
        threads = workers(len(points)) if self.device.type == "cpu" else 1
        self._ready(threads)
        rows = torch.cat(side_by_side(self._worker_values, points.tensor_split(threads)), 1)
        return rows[0], rows[1]

    def _ready(self, threads: int) -> None:
        whole = self._statistics.layout
        while len(self._copies) < threads:
            # Trainable parameters need no copy of their own: they are bound to another vector. The others are constants.
            kept = {id(p): nn.Parameter(p.data, p.requires_grad) for p in self._model.parameters()}
            model = copy.deepcopy(self._model, kept)
            self._copies.append((model, _model.bind(model, whole, self._copies[0][1])))
        self._completion.ready(self._copies)

    def _worker_values(self, worker: int, points: Tensor) -> Tensor:
        rows = torch.zeros((2, len(points)), dtype=torch.float64, device=self.device)
        for b, theta in enumerate(points):
            model, flat = self._copies[worker]
            self._completion.settle(worker, flat, theta)
            for batch in self._batches:
                loss, hits = self._forward(batch, model)
                rows[0, b] += loss.double() * batch.size
                rows[1, b] += hits.double() * batch.size
        rows /= self._size
        return rows

    def _vmap_values(self, points: Tensor) -> tuple[Tensor, Tensor]:
        rows = torch.zeros((2, len(points)), dtype=torch.float64, device=self.device)
        wholes = self._completion.many(points)
        for batch in self._batches:
            loss, hits = vmap(lambda theta, batch=batch: self._one_loss(theta, batch))(wholes)
            rows[0] += loss.double() * batch.size
            rows[1] += hits.double() * batch.size
        rows /= self._size
        return rows[0], rows[1]

    def _loop_gradients(self, points: Tensor, batches: tuple[Batch, ...] | None = None) -> tuple[Tensor, Tensor]:
        batches = self._batches if batches is None else batches
        examples = sum(batch.size for batch in batches)
        values = torch.zeros(len(points), dtype=torch.float64, device=self.device)
        gradients = torch.zeros(points.shape, dtype=torch.float64, device=self.device)
        for b, point in enumerate(points):
            with torch.no_grad():
                whole = self._completion.one(point)
            whole = whole.detach().requires_grad_()
            slope = torch.zeros(whole.shape, dtype=torch.float64, device=self.device)
            for batch in batches:
                loss = self._one_loss(whole, batch)[0]
                (gradient,) = torch.autograd.grad(loss, whole)
                values[b] += loss.detach().double() * batch.size
                slope += gradient.double() * batch.size
            gradients[b] = self._completion.back(point, slope)
        return values / examples, (gradients / examples).to(self.dtype)

    def _vmap_gradients(self, points: Tensor) -> tuple[Tensor, Tensor]:
        values = torch.zeros(len(points), dtype=torch.float64, device=self.device)
        with torch.no_grad():
            wholes = self._completion.many(points)
        slopes = torch.zeros(wholes.shape, dtype=torch.float64, device=self.device)
        for batch in self._batches:
            both = vmap(grad_and_value(lambda theta, batch=batch: self._one_loss(theta, batch)[0]))
            gradient, loss = both(wholes)
            values += loss.detach().double() * batch.size
            slopes += gradient.double() * batch.size
        gradients = self._completion.back_many(points, slopes)
        return values / self._size, (gradients / self._size).to(self.dtype)

    def _side_by_side(self, points: Tensor, sample: Sample) -> tuple[Tensor, Tensor] | None:
        """Rows on their own mini-batches in one pass, or None where that is not possible."""
        chosen = self._chosen(sample.size, sample.seeds)
        with torch.no_grad():
            wholes = self._completion.many(points)
        found = self._minibatches(wholes, chosen)
        if found is None:
            return None
        losses, slopes = found
        return losses.double(), self._completion.back_many(points, slopes.detach()).to(self.dtype)

    def _chosen(self, size: int, seeds: Tensor) -> Tensor:
        if not 1 <= size <= self._size:
            raise InputError(f"got a mini-batch of {size} of {self._size} examples; expected 1 to {self._size}.")
        return draw(size, seeds, self._size)

    def _draw(self, size: int, seed: int) -> tuple[Batch, ...]:
        chosen = self._chosen(size, torch.tensor([seed]))[0]
        parts, begin = [], 0
        for batch in self._batches:
            inside = chosen[(chosen >= begin) & (chosen < begin + batch.size)] - begin
            if len(inside):
                parts.append(batch.rows(inside.to(self.device)))
            begin += batch.size
        # Normalized by itself, a mini-batch is one batch, wherever its examples come from.
        return (_data.join(parts),) if self.batchnorm == "batch" and self._statistics.layers else tuple(parts)
