"""The loss surface of a network: L(θ) = Σ wᵦℓᵦ / Σ wᵦ over fixed data, by the user's own code on any `nn.Module`."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any, final

import torch
from torch import Tensor, nn

from lossatlas import _checks, _memory
from lossatlas._errors import InputError, ModelError, NotApplicableError
from lossatlas._layout import Sample
from lossatlas._printable import printable
from lossatlas.surface import _points
from lossatlas.surface._caption import Caption
from lossatlas.surface._frame import Frame
from lossatlas.surface._points import PointLike
from lossatlas.surface._surface import Reading, Surface, joined
from lossatlas.surface._threads import steadily
from lossatlas.surface.network import _batchnorm, _bytes, _data, _fold, _identity, _loss, _model, _objective
from lossatlas.surface.network._copies import Copies, private
from lossatlas.surface.network._evaluation import Evaluation
from lossatlas.surface.network._names import Fitted
from lossatlas.surface.network._outputs import LossOfOutputs, NetworkOutputs
from lossatlas.surface.network._products import refuse_half
from lossatlas.surface.network._proof import Proofs
from lossatlas.surface.network._reference import Reference, plain_modes
from lossatlas.surface.network._scene import Scene
from lossatlas.surface.network._settle import settle
from lossatlas.surface.network._shortcut import VALUES
from lossatlas.surface.network._shortcuts import FoldedNorm
from lossatlas.surface.network.chain import Chain, LayerChain, find, sliced

# A cheap field reads one of so many examples, but not fewer than so many in all.
CHEAP, CHEAP_LEAST = 8, 32
# A θ up to so many bytes is handed out as a copy; a larger one as it is, and a change of it is noticed.
COPIED_BYTES = 2**26


@final
class NetworkSurface(Surface):
    """The loss surface of a model, a loss and data: L(θ) = Σ wᵦℓᵦ / Σ wᵦ, ℓᵦ what the user's own code returns.

    L(θ) is what the user's code gives when the user's module holds θ: that is the reference. Whatever is faster (a private
    copy, threads, one pass for several points, the layer chain, other batch cuts) is held against it on this very surface
    before it is used, and dropped with a sentence in `notes` where it differs. The model is left bit for bit as it was:
    parameters, buffers, modes, hooks, gradients, attributes and random states. θ holds the trainable parameters in the
    model's own order, tied ones once; frozen parameters and buffers are constants, as they were when the surface was
    made. The weight w is what the loss averages over: examples, labels that are not ignored, class weights, tokens.

    Args:
        model: any module, in evaluation mode if it has dropout or batch norm.
        loss: a name (``cross_entropy``, ``nll``, ``mse``, ``l1``, ``huber``, ``bce_with_logits``; ``model`` where
            the model returns its own loss), a torch loss module, or any callable loss(output, target).
        data: tensors (X, y), any nested structure of them, a `Dataset`, a `DataLoader`, a list of samples or batches.
        objective: instead of a loss, objective(model, batch) → loss, or (loss, weight), the batch in the data's own
            form; for penalties, several outputs, losses without a target.
        batch_size: examples per forward pass for tensors and datasets; chosen by size if None. A loss that is no mean
            over anything is evaluated on the whole data as one batch.
        examples: how many examples to read of an iterable without a length.
        name: for tables and pictures; the model's class by default.
        batchnorm: where the running statistics of batch norm come from at other θ than the model's own. ``frozen``:
            they stay the model's everywhere. ``interpolate``: they move with the weights on lines and planes between
            models and are frozen elsewhere. None, the default: as ``interpolate`` on a line or plane between models
            that all hold running statistics, as ``frozen`` on every other. ``recompute``: at every θ they are measured
            anew, as the mean over all batches weighted by size, and L is taken with those; a value then reads the data
            twice. ``batch``: each batch is normalized by its own, as in training; batches are fixed, so this is still one function of θ.
        shortcuts: whether anything but the reference may be used.

    Attributes:
        theta: the model's own point, shape (N,).
        loss_at_theta: L there, by the reference.
        batchnorm: the mode in which θ alone is evaluated; ``frozen`` by default.
        interpolates: whether running statistics move with the weights on lines and planes between models.
        notes: what a reader of its pictures must know: of batch norm, of the data, and which shortcuts were dropped.

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
        loss: str | _loss.LossFunction | None = None,
        data: Any = None,
        *,
        objective: _objective.ObjectiveFunction | None = None,
        batch_size: int | None = None,
        examples: int | None = None,
        name: str | None = None,
        batchnorm: str | None = None,
        shortcuts: bool = True,
    ) -> None:
        with torch.inference_mode(False), torch.enable_grad():
            self._make(model, loss, data, objective, batch_size, examples, name, batchnorm, shortcuts)

    def _make(
        self,
        model: nn.Module,
        loss: str | _loss.LossFunction | None,
        data: Any,
        objective: _objective.ObjectiveFunction | None,
        batch_size: int | None,
        examples: int | None,
        name: str | None,
        batchnorm: str | None,
        shortcuts: bool,
    ) -> None:
        _checks.optional(_checks.one_of, "batch norm mode", batchnorm, _batchnorm.MODES)
        self.interpolates = batchnorm in (None, "interpolate")
        _model.refuse_what_is_none(model, batchnorm_too=batchnorm not in ("recompute", "batch"))
        self._objective = _objective.resolve(loss, objective, model)
        if data is None:
            raise InputError("got no data; expected tensors (X, y), a Dataset or a DataLoader, as data=….")
        device = _model.device_of(model)
        if objective is not None and isinstance(data, list):
            data = deque(data)  # batches, also where they are two tensors: an objective has no pair of input and target
        batch_size = _checks.optional(_checks.whole, "batch_size", batch_size)
        self._given = _data.load(data, device, batch_size=batch_size, examples=examples)
        lazy = _model.run_lazy(model, self._objective, self._given.batches[0])
        code, read = _identity.code_with_modules(self._objective.code)
        self._codes = {
            "code": code,
            "model_code": _identity.model_code_digest(model),
        }
        self.layout = _model.layout_of(model)
        size = self.layout.dimension * next(one.element_size() for one in model.parameters() if one.requires_grad)
        what = f"a model of {self.layout.dimension:,} parameters, which a NetworkSurface holds once more"
        _memory.need(device, size, what, "la.StreamedSurface charts it without a copy.")
        self._theta = _model.flat(model, self.layout)
        self._version = self._theta._version
        _checks.optional(_checks.text, "name", name)
        self.name = printable(name or f"{type(model).__name__} with {self._objective.name}")
        self.dtype, self.device = self._theta.dtype, self._theta.device
        self._digest, self._batch_size, self._shortcuts = _model.digest(model), batch_size, shortcuts
        self._names = {n for n, _ in model.named_parameters(remove_duplicate=False)}
        self._names |= {n for n, _ in model.named_buffers(remove_duplicate=False)} | {*model.state_dict()}
        beside = _model.beside(model, read)
        self._always = (*lazy, *self._given.notes, *_model.constants_of(model, beside))
        self._adopt(Reference(model, self._objective, self.layout, self._theta, batchnorm or "frozen", beside))

    def _adopt(self, reference: Reference) -> None:
        """Take a reference in a mode of batch norm, and check that it gives one loss."""
        model, mode = reference.model, reference.mode
        self._reference, self.batchnorm = reference, mode
        self._movable: _batchnorm.Statistics | None = None
        self._moving: NetworkSurface | None = None
        self._whole: NetworkSurface | None = None
        self._drawn: tuple[int, int] | None = None
        self._statistics = _batchnorm.Statistics(model, mode, self.layout)
        reference.statistics_names = self._statistics.names
        self._statistics.fit(reference.constants)
        settled = self._settled = settle(reference, self._given, self._batch_size, self._statistics, self.name)
        self.examples, self.passes = settled.examples, 2 if self._statistics.recomputes else 1
        self.loss_at_theta = settled.loss
        own = self._statistics.own
        whole = self._theta if own is None else torch.cat([self._theta, own])
        loss = self._objective.loss
        quick = self._objective if loss is None else _objective.OutputObjective(loss, quick=True)
        uniform = _model.uniform(model, self.layout)
        copies = Copies(partial(private, reference, self._statistics, uniform), quick, self._statistics.layout, whole)
        scene = Scene(
            reference,
            copies,
            self._statistics,
            self.layout,
            settled.batches,
            settled.shares,
            settled.hit_shares,
            seconds=settled.seconds,
        )
        self._proofs = Proofs(reference, settled.small, allowed=self._shortcuts)
        self._evaluation = Evaluation(scene, self._proofs)
        sizes, before = [batch.size for batch in settled.batches], None
        if mode in ("recompute", "batch") and self._statistics.layers:
            stored = reference.in_mode("frozen").values(self._theta, settled.batches)
            before = sum(float(o.loss) * s for o, s in zip(stored, settled.shares, strict=True))
        said = self._statistics.notes(sizes, self.loss_at_theta, before, default=mode == "frozen" and self.interpolates)
        self._stated = (*said, *self._always, *settled.notes)

    @property
    def theta(self) -> Tensor:
        """The model's own point θ, shape (N,)."""
        if self._theta._version != self._version:
            raise InputError(
                f"the parameter vector of {self.name} was changed in place (surface.theta or surface.start); expected it as "
                "it was, since it is the point that the surface was made at. Work on surface.theta.clone(), and make the surface again."
            )
        return self._theta.clone() if self._theta.nbytes <= COPIED_BYTES else self._theta

    @property
    def start(self) -> Tensor:  # type: ignore[override]
        """Where optimizers start: θ, shape (N,)."""
        return self.theta

    @property
    def notes(self) -> tuple[str, ...]:  # type: ignore[override]
        """What must be known of it: of batch norm and of the data, and which shortcuts were dropped."""
        return (*self._stated, *self._proofs.dropped)

    @property
    def captions(self) -> tuple[str, ...]:
        """Those of the notes that belong under its pictures: batch norm, data that are one draw of several, what batches mean."""
        return tuple(note for note in self.notes if isinstance(note, Caption))

    @property
    def proof_examples(self) -> int:  # type: ignore[override]
        """Examples read so far to find out what the loss averages over, and to prove shortcuts."""
        return self._settled.proof_examples + self._proofs.examples

    def __str__(self) -> str:
        proven = [f"{name} ({' and '.join(queries)})" for name, queries in self._proofs.proven.items()]
        lines = [
            f"{self.name}: L(θ) of {self.dimension:,} parameters ({str(self.dtype).removeprefix('torch.')}, {self.device}), "
            f"{self._settled.sentence}",
            f"L = {self.loss_at_theta:.6g} at the model's own parameters",
            f"shortcuts proven so far: {', '.join(proven) or 'none was needed yet'}",
            *self.notes,
        ]
        return "\n".join(lines)

    def with_batchnorm(self, mode: str | None) -> NetworkSurface:
        """The same model, loss and data with the statistics of batch norm in another mode.

        Args:
            mode: ``frozen``, ``interpolate``, ``recompute`` or ``batch``; or None for the default.
        """
        _checks.optional(_checks.one_of, "batch norm mode", mode, _batchnorm.MODES)
        interpolates = mode in (None, "interpolate")
        if (mode or "frozen", interpolates) == (self.batchnorm, self.interpolates):
            return self
        twin = copy.copy(self)
        twin.made_by = self._then("with_batchnorm", mode=mode)
        twin.interpolates = interpolates
        twin._adopt(self._reference.in_mode(mode or "frozen"))
        return twin

    def memory(self, points: int) -> dict[str, int]:
        """Bytes by device that losses take at their peak, the user's own model and data included.

        A few examples are run once for it. Directions of a plane come on top, and so do gradients, which hold every activation.

        Args:
            points: that are evaluated in one go.
        """
        settled, at_once = self._settled, self._evaluation.at_once(_checks.whole("points", points, 1))
        self._proofs.examples += sum(batch.size for batch in settled.small)
        return _bytes.taken(self._reference, settled.batches, settled.small, at_once)

    @property
    def tracked(self) -> tuple[str, ...]:
        """Names of the batch norm layers that keep running statistics."""
        return self._statistics.layers

    def _moved(self) -> NetworkSurface:
        """This surface with running statistics that move along frames which hold some."""
        if self.batchnorm == "interpolate":
            return self
        if self._moving is None:
            if self._whole is None:
                self._moving = self.with_batchnorm("interpolate")
            else:
                whole = self._whole._moved()
                drawn = whole.cheaper(self.examples) if self._drawn is None else whole._part(*self._drawn)
                self._moving = drawn or whole
        return self._moving

    def _mobile(self) -> _batchnorm.Statistics | None:
        """The running statistics as coordinates; None where they cannot be some."""
        if self.batchnorm == "interpolate":
            return self._statistics
        if self.interpolates and self._movable is None and self._statistics.layers:
            with suppress(ModelError):  # weights and statistics of different types do not move together
                self._movable = _batchnorm.Statistics(self._reference.model, "interpolate", self.layout)
                self._movable.fit(self._reference.constants)
        return self._movable

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
        size = self.examples
        kept = size // CHEAP if examples is None else examples
        if examples is not None and not 1 <= kept <= size:
            raise InputError(f"got a subset of {kept} of {size} examples; expected 1 to {size}.")
        if (examples is None and kept < CHEAP_LEAST) or self.batchnorm in ("recompute", "batch"):
            return None
        twin = self._part(kept, 0)
        if twin is None:
            return None
        twin._drawn = None
        twin.made_by = self._then("cheaper", examples=examples)
        scene = twin._evaluation.scene
        cast = torch.bfloat16 if self.device.type == "cuda" and torch.cuda.is_bf16_supported() else None
        copies = self._folded_copies(scene)
        scene = replace(scene, copies=copies or scene.copies, cast=cast)
        twin._evaluation = Evaluation(scene, self._proofs, self._evaluation.alone)
        return twin

    def part(self, examples: int, seed: int = 0) -> NetworkSurface | None:
        """The same surface over some of the examples, drawn without replacement; None where that would mean another L.

        That is where batch norm takes its statistics from the data, where a loss is no mean over examples, and where examples
        have no rows.

        Args:
            examples: how many.
            seed: of the draw.

        Raises:
            InputError: for none, or more than there are.
        """
        twin = self._part(_checks.whole("examples", examples, 1, self.examples), _checks.seed(seed))
        if twin is not None:
            twin.loss_at_theta = float(twin.values(twin.theta[None])[0])
        return twin

    def _part(self, kept: int, seed: int) -> NetworkSurface | None:
        size, settled = self.examples, self._settled
        if self.batchnorm in ("recompute", "batch") or settled.averaging.kind == "batches":
            return None
        batches = _data.subset(settled.batches, kept, seed=seed)
        if batches is None:
            return None
        twin = copy.copy(self)
        twin.name = f"{self.name}, {kept} of {size} examples"
        twin.made_by = self._then("part", examples=kept, seed=seed)
        twin._whole, twin._moving, twin._drawn = self, None, (kept, seed)
        twin._settled = settled.of(batches, self._reference)
        twin.examples = kept
        scene = self._evaluation.scene
        shares = {"shares": twin._settled.shares, "hit_shares": twin._settled.hit_shares}
        scene = replace(scene, batches=batches, **shares)  # type: ignore[arg-type]
        twin._evaluation = Evaluation(scene, self._proofs, self._evaluation.alone)
        return twin

    def _then(self, method: str, **given: Any) -> tuple[Mapping[str, Any], ...]:
        """How another process makes what a method returns."""
        return (*self.made_by, {"call": method, "with": given}) if self.made_by else ()

    def _folded_copies(self, scene: Scene) -> Copies | None:
        """Copies with batch norm folded, where there is some to fold and it is proven to change nothing."""
        if self.batchnorm != "frozen" or not self._statistics.layers or not self._evaluation.copied():
            return None
        model = _fold.folded(scene.copies.first[0].inner)
        if model is None:
            return None
        copies = Copies(partial(_given, model), scene.copies.objective, self.layout, self._theta)
        return copies if self._proofs.holds(FoldedNorm(replace(scene, copies=copies)), VALUES) else None

    def along(self, frame: Frame) -> tuple[NetworkSurface, Frame]:
        """Where running statistics move with the weights: the surface over both, and the frame in it."""
        if frame.statistics is None or not self.interpolates or not self._statistics.layers:
            return self, frame
        if self.batchnorm != "interpolate":
            return self._moved().along(frame)
        scene = self._evaluation.scene
        if scene.free or not self._statistics.moves:
            return self, frame
        rows = frame.statistics.to(self.device, self.dtype)
        twin = copy.copy(self)
        twin.layout = self._statistics.layout
        twin._theta = torch.cat([self._theta, rows[0]])
        twin._version = twin._theta._version
        twin._proofs = Proofs(self._reference, self._settled.small, allowed=self._shortcuts)
        twin._evaluation = Evaluation(
            replace(scene, layout=twin.layout, free=True), twin._proofs, self._evaluation.alone
        )
        return twin, Frame(torch.cat([frame.origin, rows[0]]), torch.cat([frame.directions, rows[1:]], 1))

    def read(self, points: Tensor) -> Reading:
        """Losses at points (B, N), and ``accuracy`` where the loss is a classification loss."""
        points = self._points(points)
        with self._evaluation.alone, _plain(self.device), torch.no_grad():
            return self._reading(self._evaluation.values(points))

    def reader(self, frame: Frame, *, steady: bool = False) -> Callable[[Tensor], Reading]:
        """How to read the slice on a frame; exact structure of plain layer chains is used where it is proven.

        A steady reading takes the points one by one, side by side on threads with kernels of one thread. Either way
        no more is held than the model, the data, the frame, and a θ for each point read side by side: one per core, but
        no more than `ABREAST_BYTES`.
        """
        with self._evaluation.alone, _plain(self.device):
            chain = self._chain()
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

    def outputs(self, frame: Frame) -> NetworkOutputs | None:
        """The model's outputs on a frame and the loss as a function of them; None where it is not one.

        It is one for a loss of (output, target) that reads nothing else, and for a model's own loss that is the
        cross-entropy of scores that it returns; either is proven, and outputs are one tensor. Batch norm that is frozen
        is folded into convolutions where that is proven to change nothing.
        """
        scene = self._evaluation.scene
        if not self._shortcuts or isinstance(self._objective, _objective.FunctionObjective):
            return None
        with self._evaluation.alone, _plain(self.device):
            if not self._evaluation.copied() or self._statistics.recomputes:
                return None
            if not self._proofs.holds(LossOfOutputs(scene), VALUES):
                return None
            if self._objective.ways and self._objective.scores is None:
                return None
            copies = self._folded_copies(scene)
            evaluation = self._evaluation
            if copies is not None:
                evaluation = Evaluation(replace(scene, copies=copies), self._proofs, self._evaluation.alone)
            evaluation.ready(1)
            try:
                return NetworkOutputs(evaluation, frame, partial(_plain, self.device))
            except NotApplicableError as reason:
                # A proof reads a small batch; this was the first look at all of them.
                self._proofs.drop(LossOfOutputs.name, VALUES, str(reason))
                return None

    def _chain(self) -> Chain | None:
        """The layer chain that the model is, where it is one."""
        scene, loss = self._evaluation.scene, self._objective.loss
        if loss is None or scene.cast is not None or not self._shortcuts or not self._evaluation.copied():
            return None
        found = find(scene.copies.first[0].inner, loss, scene.batches, scene.shares, self.layout)
        return found if found is not None and self._proofs.holds(LayerChain(found), VALUES) else None

    def _steady_reader(self, frame: Frame) -> Callable[[Tensor], Reading]:
        values = self._evaluation.steady(frame)

        def read(coords: Tensor) -> Reading:
            with self._evaluation.alone, _plain(self.device):
                return self._reading(values(coords))

        return read

    def gradients(self, points: Tensor, sample: Sample | None = None) -> tuple[Tensor, Tensor]:
        """Losses (B,) and gradients (B, N), over all data or over one mini-batch per row.

        Row b of a sample draws ``sample.size`` examples without replacement from the seed b.

        Raises:
            LossError: for a loss without a gradient.
        """
        points = self._points(points)
        self._refuse_undrawable(sample)
        with self._evaluation.alone, plain_modes():
            return self._evaluation.gradients(points, sample)

    def products(self, point: Tensor, vectors: Tensor) -> Tensor:
        """Hessian products over all data, sums in float64: by double backward, else by differences of gradients.

        Differences are central, (g(θ + hv/‖v‖) − g(θ − hv/‖v‖)) ‖v‖ / 2h with h = u^⅓ (1 + ‖θ‖), u the unit of rounding.

        Raises:
            InputError: if point and vectors do not fit.
            ModelError: for a model in half precision.
            LossError: for a loss without a gradient.
        """
        try:
            return self.exact_products(point, vectors)
        except NotApplicableError as error:
            note = f"Hessian products are central differences of gradients: {error}"
            if str(error) not in self._proofs.dropped and note not in self._stated:
                self._stated = (*self._stated, note)
            return self._differences(self._point(point), self._vectors(vectors))

    def exact_products(self, point: Tensor, vectors: Tensor) -> Tensor:
        """Hessian products by double backward alone: `HessianProducts`.

        Raises:
            NotApplicableError: if some part of the model cannot be differentiated twice.
        """
        theta, vectors = self._point(point), self._vectors(vectors)
        refuse_half(self.dtype)
        with self._evaluation.alone, _plain(self.device):
            return self._evaluation.hessian_products(theta, vectors)

    def _differences(self, theta: Tensor, vectors: Tensor) -> Tensor:
        lengths = vectors.double().norm(dim=1, keepdim=True)
        unit = vectors.double() / torch.where(lengths > 0, lengths, 1.0)
        step = float(torch.finfo(self.dtype).eps ** (1 / 3)) * (1 + float(theta.double().norm()))
        ends = torch.cat([theta.double() + step * unit, theta.double() - step * unit]).to(self.dtype)
        ahead, behind = self.gradients(ends)[1].double().chunk(2)
        products: Tensor = lengths * (ahead - behind) / (2 * step)
        return products

    def sampled_products(self, point: Tensor, vectors: Tensor, sample: Sample) -> Tensor:
        """Hessian products by double backward over the examples of one mini-batch, as `gradients` draws them."""
        theta, vectors = self._point(point), self._vectors(vectors)
        self._refuse_undrawable(sample)
        if self._statistics.recomputes:
            raise NotApplicableError(
                "products over a mini-batch are not there with batchnorm='recompute', where every example's loss depends on "
                "all data; take another mode."
            )
        refuse_half(self.dtype)
        with self._evaluation.alone, _plain(self.device):
            return self._evaluation.hessian_products(theta, vectors, sample)

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
            given: a state dict, a module or a checkpoint file, as in `vector`, or the vector θ of the model itself; None
                for the model's own.
        """
        movable = self._mobile()
        if movable is None:
            return None
        if given is None:
            found = movable.own
        else:
            fitted = self.fitted(given)
            own = fitted is None and torch.equal(self.vector(given), self._theta)
            found = movable.own if own else movable.of({} if fitted is None else fitted.tensors)
        return None if found is None else found.to(self.device, self.dtype)

    def variances_positive(self, statistics: Tensor) -> list[tuple[float, float]]:
        """How far each direction of a frame can be followed, alone, before a running variance falls below zero.

        Args:
            statistics: shape (k + 1, S), as a `Frame` has them.

        Returns:
            The lowest and highest coordinate of each direction.
        """
        movable = self._mobile()
        if movable is None:
            raise InputError(
                f"the running statistics of {self.name} do not move (batchnorm={self.batchnorm!r}); expected a surface on "
                "which they do. Make it with batchnorm='interpolate'."
            )
        return movable.positive(statistics)

    def departures(self, given: PointLike, *, moving: bool | None = None) -> tuple[str, ...]:
        """Names of constants, frozen parameters and buffers, for which what describes a point holds other values.

        Its own loss is then not the one of this surface at its parameters.

        Args:
            given: a state dict, a module or a checkpoint file, as in `vector`.
            moving: whether running statistics move with the weights, and are no constants then; by default only where
                they do so everywhere.
        """
        movable = self._mobile() if moving else None
        moved = {block.name for block in (movable or self._statistics).layout.blocks}
        ours = {n: v for n, v in self._reference.constants.items() if n not in moved}
        return _points.differing(self._named(given), ours)

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
        batches = self._settled.batches
        return {
            **super().fingerprint(),
            "model": self._digest,
            "loss": self._objective.name,
            **self._codes,
            "data": _data.digest(batches),
            "examples": self.examples,
            "batches": len(batches),
            **self._statistics.record([batch.size for batch in batches]),
            "device": str(self.device),
            "loss_at_theta": self.loss_at_theta,
        }

    @property
    def model(self) -> nn.Module:
        """The user's own model, to look at."""
        return self._reference.model

    @property
    def computed_in(self) -> torch.dtype:
        """That of θ, or the type that forward passes are computed in where it is coarser."""
        cast = self._evaluation.scene.cast or self.dtype
        return max((self.dtype, cast), key=lambda kind: torch.finfo(kind).eps)

    def _points(self, points: Tensor) -> Tensor:
        _checks.tensor("points", points, self.dimension)
        return _ordinary(points.detach().to(self.device, self.dtype))

    def _point(self, point: Tensor) -> Tensor:
        return self._points(_checks.tensor("point", point)[None])[0]

    def _vectors(self, vectors: Tensor) -> Tensor:
        _checks.tensor("vectors", vectors, self.dimension)
        return _ordinary(vectors.detach().to(self.device))

    def _refuse_undrawable(self, sample: Sample | None) -> None:
        if sample is not None:
            _checks.instance("sample", sample, Sample, "a Sample, or None for all data")
        if sample is not None and not all(batch.rows_known for batch in self._settled.batches):
            raise NotApplicableError(
                f"mini-batches cannot be drawn from the data of {self.name}: its examples have no rows (graphs, or structures "
                "that cannot be cut). Use gradients over all data."
            )

    def _reading(self, rows: Tensor) -> Reading:
        return Reading(rows[0], {"accuracy": rows[1]} if self._evaluation.scene.hit_shares is not None else {})


@contextmanager
def _plain(device: torch.device) -> Iterator[None]:
    """Whatever modes the caller is in, and with its random states given back."""
    with plain_modes(), _data.untouched_randomness(device):
        yield


def _ordinary(tensor: Tensor) -> Tensor:
    """A tensor that a graph may be made of, whatever mode it was made in."""
    if not tensor.is_inference():
        return tensor
    with torch.inference_mode(False):
        return tensor.clone()


def _given(model: nn.Module) -> nn.Module:
    return model
