"""The loss surface of a network: L(θ) = (1/n) Σ ℓ(f_θ(xᵢ), yᵢ) over fixed data, for any `nn.Module`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, final

import torch
from torch import Tensor, nn

from lossatlas._errors import DataError, InputError, LossError, NotApplicableError
from lossatlas.surface import _points
from lossatlas.surface._frame import Frame
from lossatlas.surface._points import PointLike
from lossatlas.surface._subset import subset
from lossatlas.surface._surface import Reading, Sample, Surface, joined
from lossatlas.surface._threads import steadily
from lossatlas.surface.network import _batchnorm, _data, _determinism, _fold, _loss, _model
from lossatlas.surface.network._evaluation import Evaluation
from lossatlas.surface.network._names import Fitted
from lossatlas.surface.network._objective import Objective
from lossatlas.surface.network.chain import find, sliced

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
        self._adopt(mine, batchnorm)

    def _adopt(self, model: nn.Module, batchnorm: str) -> None:
        """Take a private model in a mode of batch norm, and check that it gives one loss."""
        needed = batchnorm in ("recompute", "batch") and _batchnorm.tracked(model)
        stored = copy.deepcopy(model).eval() if needed else None
        self._model, self.batchnorm = model, batchnorm
        self._statistics = _batchnorm.Statistics(model, batchnorm, self.layout)
        own = self._statistics.own
        whole = self.theta if own is None else torch.cat([self.theta, own])
        bound = [(model, _model.bind(model, self._statistics.layout, whole))]
        self.examples, self.passes = self._size, 2 if self._statistics.recomputes else 1
        self._objective = Objective(model, self._loss, self._batches, self.layout, self._statistics)
        self._evaluation = Evaluation(self._objective, bound)
        self.loss_at_theta = self._check()
        sizes, before = [batch.size for batch in self._batches], None
        if stored is not None:
            with _data.untouched_randomness(self.device), torch.no_grad():
                forward = self._objective.forward
                before = sum(float(forward(b, stored)[0]) * b.size for b in self._batches) / self._size
        self.notes = self._statistics.notes(sizes, self.loss_at_theta, before)

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
        model, bound = _fold.folded(self._model) if self.batchnorm == "frozen" else None, self._evaluation.bound
        if model is not None:
            twin._model, bound = model, [(model, _model.bind(model, self.layout, self.theta))]
        cast = torch.bfloat16 if self.device.type == "cuda" and torch.cuda.is_bf16_supported() else None
        twin._objective = replace(self._objective, model=twin._model, batches=twin._batches, cast=cast)
        twin._evaluation = Evaluation(twin._objective, bound, self._evaluation.alone)
        return twin

    def along(self, frame: Frame) -> tuple[NetworkSurface, Frame]:
        """Where running statistics move with the weights: the surface over both, and the frame in it."""
        moving = self.batchnorm == "interpolate" and self._statistics.moves and not self._objective.free
        if frame.statistics is None or not moving:
            return self, frame
        rows = frame.statistics.to(self.device, self.dtype)
        twin = copy.copy(self)
        twin.layout = self._statistics.layout
        twin.theta = twin.start = torch.cat([self.theta, rows[0]])
        twin._objective = replace(self._objective, layout=twin.layout, free=True)
        twin._evaluation = Evaluation(twin._objective, self._evaluation.bound, self._evaluation.alone)
        return twin, Frame(torch.cat([frame.origin, rows[0]]), torch.cat([frame.directions, rows[1:]], 1))

    def read(self, points: Tensor) -> Reading:
        """Losses at points (B, N), and ``accuracy`` where the loss is a classification loss."""
        points = self._points(points)
        with self._evaluation.alone, _data.untouched_randomness(self.device), torch.no_grad():
            return self._reading(self._evaluation.values(points))

    def reader(self, frame: Frame, *, steady: bool = False) -> Callable[[Tensor], Reading]:
        """How to read the slice on a frame; exact structure of plain layer chains is used where there is any.

        A steady reading takes the points one by one, side by side on threads with kernels of one thread. Either way
        no more is held than the model, the data, the frame, and a θ for each point read side by side: one per core, but
        no more than `ABREAST_BYTES`.
        """
        chain = find(self._model, self._loss, self._batches, self.layout)
        if chain is None:
            return self._steady_reader(frame) if steady else super().reader(frame)
        if not steady:
            fast = sliced(chain, frame.origin, frame.directions)
            return lambda coords: Reading(*fast(coords))
        # What is computed once for all points has to be steady as well.
        (sure,) = steadily(lambda _, links: sliced(links, frame.origin, frame.directions, steady=True), [chain], 1)

        def read(coords: Tensor) -> Reading:
            threads = self._evaluation.abreast(len(coords))
            return joined(steadily(lambda _, part: Reading(*sure(part)), coords.tensor_split(threads), threads))

        return read

    def _steady_reader(self, frame: Frame) -> Callable[[Tensor], Reading]:
        values = self._evaluation.steady(frame)

        def read(coords: Tensor) -> Reading:
            with self._evaluation.alone, _data.untouched_randomness(self.device):
                return self._reading(values(coords))

        return read

    def gradients(self, points: Tensor, sample: Sample | None = None) -> tuple[Tensor, Tensor]:
        """Losses (B,) and gradients (B, N), over all data or over one mini-batch per row.

        Row b of a sample draws ``sample.size`` examples without replacement from the seed b.
        """
        points = self._points(points)
        with self._evaluation.alone:
            return self._evaluation.gradients(points, sample)

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
        with self._evaluation.alone, _data.untouched_randomness(self.device):
            return self._evaluation.products(theta, vectors)

    def sampled_products(self, point: Tensor, vectors: Tensor, sample: Sample) -> Tensor:
        """Hessian products by double backward over the examples of one mini-batch, as `gradients` draws them."""
        theta, vectors = self._points(point[None])[0], self._points(vectors)
        if self._statistics.recomputes:
            raise NotApplicableError(
                "products over a mini-batch are not there with batchnorm='recompute', where every example's loss depends on "
                "all data; take another mode."
            )
        with self._evaluation.alone, _data.untouched_randomness(self.device):
            return self._evaluation.sampled_products(theta, vectors, sample)

    def vector(self, given: PointLike) -> Tensor:
        """A point of this surface from what describes one.

        Args:
            given: a tensor, array or list of N numbers, a state dict, a module of the same architecture, plain or
                wrapped, or the path of a checkpoint, a file or a folder. Prefixes of names are seen and left out.

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
        found = self._statistics.own if given is None else self._statistics.of(self._named(given))
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
        return _points.differing(self._named(given), {n: v for n, v in ours.items() if n not in moved})

    def fitted(self, given: PointLike) -> Fitted | None:
        """The tensors of what describes a point under this network's names, and what was done to them in one sentence.

        Args:
            given: as in `vector`; None comes back for a bare vector.

        Raises:
            CheckpointError: as `vector`.
        """
        return _points.fitted(given, self.layout, self._names, self.name)

    def _named(self, given: PointLike) -> Mapping[str, Tensor]:
        found = self.fitted(given)
        return {} if found is None else found.tensors

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
        return self._evaluation.choice

    def _points(self, points: Tensor) -> Tensor:
        if points.ndim != 2 or points.shape[1] != self.dimension:
            raise InputError(
                f"got points of shape {tuple(points.shape)}; expected (B, {self.dimension}), one row per point."
            )
        return points.detach().to(self.device, self.dtype)

    def _check(self) -> float:
        """Refuse a moving target: evaluate twice before anything is measured."""
        first = self._batches[:1]
        with _data.untouched_randomness(self.device), torch.no_grad():
            try:
                loss = self._objective.forward(first[0], self._model)[0]
            except (RuntimeError, TypeError, ValueError, IndexError) as error:
                if isinstance(error, LossError):
                    raise
                raise DataError(
                    f"the model {self.name!r} could not be run on the data ({_data.describe(first[0])}): {error}. "
                    "Expected inputs of the shape that the model takes, and targets that fit its output and the loss."
                ) from error
            again = lambda: self._objective.forward(first[0], self._model)[0]  # noqa: E731
            _determinism.check(self._model, loss, again, self.name)
            # The first batch's loss is all there is to know where nothing else goes into it.
            alone = len(self._batches) == 1 and not self._statistics.moves
            total = float(loss.double()) if alone else self._own_loss()
        if total != total:
            raise LossError("the loss over all data is NaN at the model's own parameters; check the data for NaN.")
        return total

    def _own_loss(self) -> float:
        try:
            return float(self._evaluation.loop_values(self.theta[None])[0][0])
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise DataError(
                f"batch norm cannot normalize a batch by itself that holds one value per channel, and the batches hold "
                f"{sorted({batch.size for batch in self._batches})} examples; expected at least two in each for "
                f"batchnorm={self.batchnorm!r}. Choose a batch_size that leaves no single example over."
            ) from error

    def _reading(self, rows: Tensor) -> Reading:
        return Reading(rows[0], {"accuracy": rows[1]} if self._objective.accurate else {})
