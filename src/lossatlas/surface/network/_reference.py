"""The reference: θ is written into the user's own module, the user's code is called, everything is put back bit for bit.

It defines L. It needs no copy of the model, and is the one evaluation that is always right: closures over the model, hooks,
recomputation in the backward pass, several devices and types. It evaluates one point at a time, on one thread.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from lossatlas._errors import ModelError, NotApplicableError
from lossatlas._layout import Block, Layout
from lossatlas.surface import _forks
from lossatlas.surface.network import _nested
from lossatlas.surface.network._batchnorm import batchwise, settled, watched
from lossatlas.surface.network._data import Batch, untouched_randomness
from lossatlas.surface.network._keeper import finished, kept, same
from lossatlas.surface.network._objective import Objective, Outcome
from lossatlas.surface.network._products import Gradient, differentiable_twice, refuse_constant
from lossatlas.surface.network._user_code import in_user_code

Write = Callable[[Block, Tensor], object]
# Entries of a block that are moved at a time.
CHUNK = 2**17
# Users' modules may share parameters, and forwards may share state: one at a time, whichever surface evaluates.
_ALONE = _forks.lock()
_REENTRANT = re.compile(r"use_reentrant|checkpoint", re.I)
# Devices whose autocast a caller may be in.
_AUTOCAST = ("cpu", "cuda")
# Frozen parameters beyond so many bytes are not copied; a change of theirs is noticed by their version.
CONSTANT_BYTES = 2**30


@final
class Reference:
    """L by the user's own code on the user's own module.

    Args:
        model: the user's; parameters, buffers, modes, gradients, attributes, and random states are as before after
            every evaluation, also after an exception or an interrupt.
        objective: the loss over a batch.
        layout: of θ.
        theta: the model's own parameters, (N,).
        mode: of batch norm: ``batch`` and ``recompute`` let the user's batch norms normalize a batch by itself.
        beside: modules that are no part of the model, but that the loss reads: a teacher, a loss with weights. They are
            put back as well.

    Attributes:
        graph: whether the loss needs gradients enabled for its values, as one that differentiates in its forward does.
        clones: whether every evaluation gets its own copy of a batch, since the model writes into it.
        writes: whether a model was seen to write into such a copy.
        evaluations: batches evaluated so far.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        layout: Layout,
        theta: Tensor,
        mode: str,
        beside: Sequence[nn.Module] = (),
    ) -> None:
        self.model, self.objective, self.layout, self.theta, self.mode = model, objective, layout, theta, mode
        self.graph = self.clones = self.writes = self._reentrant = False
        self.evaluations = 0
        self._known: dict[int, tuple[Batch, list[Outcome]]] = {}
        everything = dict(model.named_parameters(remove_duplicate=False))
        self._targets = [(block, everything[block.name]) for block in layout.blocks]
        # Further parameters that share a block's numbers; a tied one is the same object and needs nothing of its own.
        self._twins = [
            list({id(everything[n]): everything[n] for n in b.aliases if everything[n] is not p}.values())
            for b, p in self._targets
        ]
        self._leaves = [p for _, p in self._targets] + [p for twins in self._twins for p in twins]
        own = {id(p) for p in self._leaves}
        frozen = [(n, p) for n, p in model.named_parameters() if id(p) not in own]
        small = sum(p.nbytes for _, p in frozen) <= CONSTANT_BYTES
        self._frozen = [(n, p, p.detach().clone() if small else None, p._version) for n, p in frozen]
        self._buffers = {name: b.detach().clone() for name, b in model.named_buffers()}
        self._beside, held = tuple(beside), {id(b) for b in model.buffers()}
        self._beside_buffers = [
            (f"{name} of the {type(module).__name__} that the loss reads", b, b.detach().clone())
            for module in beside
            for name, b in module.named_buffers()
            if not b.is_meta and id(b) not in held
        ]
        self._modes = [(module, module.training) for module in model.modules()]
        self._names = list(everything)

    @property
    def constants(self) -> dict[str, Tensor]:
        """What the model holds beside θ: frozen parameters and buffers, as they were when the surface was made."""
        return {**{n: p.detach() if c is None else c for n, p, c, _ in self._frozen}, **self._buffers}

    def in_mode(self, mode: str) -> Reference:
        """The same model, as it was when the surface was made, in another mode of batch norm."""
        twin = copy.copy(self)
        twin.mode, twin._known = mode, {}
        return twin

    def check(self, batch: Batch) -> tuple[Outcome, list[str]]:
        """The outcome of a batch at θ, and the names of parameters and buffers that the run has changed."""
        with self.holding(self.theta):
            if self.mode == "recompute":
                self._measure(self.theta, [batch])
            outcome = self._value(batch, 0, 1, self.theta)
            return outcome, self.changed(self.theta)

    def bytes_of(self, batch: Batch) -> int:
        """About how much an evaluation of a batch holds at a time: a few of its largest layers."""
        sizes: list[int] = []

        def count(tensor: Tensor) -> Tensor:
            sizes.append(tensor.nbytes if tensor.layout is torch.strided else 0)
            return tensor

        with self.holding(self.theta), torch.autograd.graph.saved_tensors_hooks(count, lambda kept_one: kept_one):
            self._outcome(batch, 0, 1, self.theta)
        own = {p.nbytes for p in self._leaves}
        return 4 * max((size for size in sizes if size not in own), default=0)

    def values(self, theta: Tensor | None, batches: Sequence[Batch], statistics: Tensor | None = None) -> list[Outcome]:
        """The outcome of each batch at θ (N,), without a graph; at the moved point for None, which is not held then."""
        with self.holding(self.move if theta is None else theta, statistics):
            if self.mode == "recompute":
                self._measure(theta, batches)
            return [self._value(batch, k, len(batches), theta) for k, batch in enumerate(batches)]

    def _measure(self, theta: Tensor | None, batches: Sequence[Batch]) -> None:
        """Give the user's batch norms the mean of what each batch shows them, weighted by size."""
        size, total = sum(batch.size for batch in batches), None
        with watched(self.model) as seen:
            for k, batch in enumerate(batches):
                self._outcome(batch, k, len(batches), theta, grad=self.graph)
                part = [row * (batch.size / size) for row in seen()]
                total = part if total is None else [a + b for a, b in zip(total, part, strict=True)]
        settled(self.model, total or [])

    def gradient(
        self, theta: Tensor, batches: Sequence[Batch], shares: Sequence[float], statistics: Tensor | None = None
    ) -> tuple[float, Tensor]:
        """Σ share·ℓ and its gradient (N,), float64 where there are several batches, by plain backward.

        Raises:
            LossError: if the loss has no gradient.
            NotApplicableError: where statistics are measured at θ, through which a copy differentiates.
        """
        self._refuse_measured()
        total = 0.0
        many = len(batches) > 1
        found = torch.zeros(len(theta), dtype=torch.float64 if many else theta.dtype, device=theta.device)
        with self.holding(theta, statistics):
            for k, (batch, share) in enumerate(zip(batches, shares, strict=True)):
                outcome = self._outcome(batch, k, len(batches), theta)
                refuse_constant(outcome.loss)
                total += float(outcome.loss.detach().double()) * share
                parts = self._differentiate(outcome.loss, batch, k, len(batches), theta)
                for block, part in zip(self.layout.blocks, parts, strict=True):
                    if part is not None:
                        found[block.span] += part.reshape(-1).to(found.device, found.dtype) * share
                del outcome, parts
        return total, found

    def at_both(self, small: Sequence[Batch]) -> list[Outcome]:
        """The outcome of one small batch at θ and at the moved point, evaluated once."""
        key = id(small[0])
        if key not in self._known:
            self._known[key] = (small[0], [self.values(point, small)[0] for point in (self.theta, None)])
        return self._known[key][1]

    def forget(self) -> None:
        """Evaluate anew what was kept: it is evaluated in another way from now on."""
        self._known.clear()

    def weight(self, batch: Batch) -> float | None:
        """The weight that the objective returns for a batch, or None where it returns none."""
        return self.values(self.theta, [batch])[0].weight

    def products(
        self,
        theta: Tensor,
        vectors: Tensor,
        batches: Sequence[Batch],
        shares: Sequence[float],
        statistics: Tensor | None = None,
    ) -> Tensor:
        """Hessian products (K, N), float64, by plain double backward.

        Raises:
            NotApplicableError: if some part of the model cannot be differentiated twice.
        """
        self._refuse_measured()
        total = torch.zeros(vectors.shape, dtype=torch.float64, device=theta.device)
        with self.holding(theta, statistics), sdpa_kernel(SDPBackend.MATH), differentiable_twice():
            for k, (batch, share) in enumerate(zip(batches, shares, strict=True)):
                loss = self._outcome(batch, k, len(batches), theta).loss
                where = partial(self.place, theta)
                with in_user_code(batch, k, len(batches), where, backward=True, keep=RuntimeError):
                    gradient = Gradient(loss, self._leaves)
                    gradient.refuse_dead_ends()
                    for row, vector in zip(total, vectors, strict=True):
                        row += share * self._turn(gradient, vector)
        return total

    def _turn(self, gradient: Gradient, vector: Tensor) -> Tensor:
        """One Hessian product (N,) of a batch."""
        parts = [vector[b.span].view(b.shape).to(p.device, p.dtype) for b, p in self._targets]
        # Parameters that share their numbers move together.
        parts += [part for part, twins in zip(parts, self._twins, strict=True) for _ in twins]
        found = self._together(gradient.turn(parts))
        flat = [
            v.new_zeros(()).expand(b.size) if f is None else f.reshape(-1)
            for b, f, v in zip(self.layout.blocks, found, parts, strict=False)
        ]
        return torch.cat([part.to(vector.device, torch.float64) for part in flat])

    @contextmanager
    def holding(self, theta: Tensor | Write, statistics: Tensor | None = None) -> Iterator[nn.Module]:
        """The user's module with θ (N,) in it, put back when the block ends.

        Args:
            theta: a vector, or a function that writes each block of one into a parameter's numbers.
            statistics: the s (S,) of (θ, s), in the order of `statistics_names`; None for the model's own.
        """
        write = theta if callable(theta) else _writes(theta)
        with _ALONE, untouched_randomness(*self._devices()), plain_modes(), kept(self.model, *self._beside):
            self._still_there()
            # Their own numbers, wherever the model's code leads a parameter meanwhile: what shares them sees them too.
            before = [(block, p.data, self._own(block, p)) for block, p in self._targets]
            constants = [
                (p.data, p.detach().clone()) for _, p, c, _ in self._frozen if c is not None and not same(p, c)
            ]

            def put_back() -> None:
                with torch.no_grad():
                    for block, data, own in before:
                        data.copy_(self.theta[block.span].view(block.shape) if own is None else own)
                    for data, own in constants:
                        data.copy_(own)
                    for module, mode in modes:
                        module.training = mode

            modes = [(module, module.training) for module, _ in self._modes]
            try:
                with torch.no_grad():
                    for module, mode in self._modes:
                        module.training = mode
                    for p in self._leaves:
                        p.grad = None
                    for block, p in self._targets:
                        write(block, p.data)
                    for _, p, constant, _ in self._frozen:
                        if constant is not None and not same(p, constant):
                            p.data.copy_(constant)
                    self._write_buffers(statistics)
                if self.mode == "batch":
                    batchwise(self.model)
                yield self.model
            finally:
                finished(put_back)

    @contextmanager
    def poisoned(self) -> Iterator[None]:
        """NaN in every trainable parameter of the user's module: whoever reads them instead of a copy shows it."""
        with self.holding(lambda block, out: out.fill_(float("nan"))):
            yield

    def move(self, block: Block, out: Tensor) -> None:
        """Write a block of the point near θ at which every parameter has another value, a piece at a time."""
        own = self.theta[block.span]
        scale = 0.1 * (
            float(torch.linalg.vector_norm(own.float() if own.element_size() < 4 else own)) / max(1, block.size) ** 0.5
            or 0.1
        )
        generator = torch.Generator().manual_seed(block.offset + 1)
        flat = out.view(-1) if out.is_contiguous() else own.new_empty(block.size)
        for begin in range(0, block.size, CHUNK):
            piece = own[begin : begin + CHUNK]
            noise = torch.rand(len(piece), generator=generator).sub_(0.5)
            noise += 0.5 * noise.sign()
            flat[begin : begin + CHUNK].copy_(piece + scale * noise.to(own.device, own.dtype))
        if not out.is_contiguous():
            out.copy_(flat.view(block.shape))

    def moved(self) -> Tensor:
        """The whole of that point, (N,)."""
        theta = torch.empty_like(self.theta)
        for block in self.layout.blocks:
            self.move(block, theta[block.span])
        return theta

    def changed(self, theta: Tensor) -> list[str]:
        """Inside `holding`: the names of parameters and buffers that no longer hold what was written.

        Those of modules that the loss reads are named with their module.
        """
        found = [
            b.name for b, p in self._targets if not same(p.detach(), theta[b.span].view(b.shape).to(p.device, p.dtype))
        ]
        found += [n for n, p, c, _ in self._frozen if c is not None and not same(p.detach(), c)]
        found += [name for name, b, own in self._beside_buffers if not same(b, own)]
        buffers = dict(self.model.named_buffers())
        if self.mode in ("batch", "recompute"):
            return found  # their batch norms count what they see
        return found + [n for n, c in self._buffers.items() if n not in buffers or not same(buffers[n], c)]

    def _value(self, batch: Batch, k: int, count: int, theta: Tensor | None) -> Outcome:
        outcome = self._outcome(batch, k, count, theta, grad=self.graph)
        return Outcome(outcome.loss.detach(), outcome.weight, outcome.hits)

    def _outcome(self, batch: Batch, k: int, count: int, theta: Tensor | None, *, grad: bool = True) -> Outcome:
        self.evaluations += 1
        fresh = batch.fresh(self.clones)
        with in_user_code(batch, k, count, partial(self.place, theta)), torch.set_grad_enabled(grad):
            outcome = self.objective(self.model, fresh)
        self.writes = self.writes or (self.clones and any(t._version for t in _nested.tensors(fresh.given)))
        return outcome

    def _differentiate(self, loss: Tensor, batch: Batch, k: int, count: int, theta: Tensor) -> list[Tensor | None]:
        leaves = self._leaves
        with in_user_code(batch, k, count, partial(self.place, theta), backward=True, keep=RuntimeError):
            try:
                if not self._reentrant:
                    return self._together(torch.autograd.grad(loss, leaves, allow_unused=True))
            except RuntimeError as error:
                # Recomputation of the older kind knows plain backward only.
                if not _REENTRANT.search(str(error)):
                    with in_user_code(batch, k, count, partial(self.place, theta), backward=True):
                        raise
                self._reentrant = True
                loss = self._outcome(batch, k, count, theta).loss
        with in_user_code(batch, k, count, partial(self.place, theta), backward=True), _own_gradients(leaves):
            loss.backward()  # type: ignore[no-untyped-call]
            return self._together([p.grad for p in leaves])

    def _together(self, found: Sequence[Tensor | None]) -> list[Tensor | None]:
        """One dense gradient for each block: those of parameters that share their numbers are added."""
        dense = [part.to_dense() if part is not None and part.layout is not torch.strided else part for part in found]
        rest, parts = iter(dense[len(self._targets) :]), []
        for part, twins in zip(dense, self._twins, strict=False):
            for _ in twins:
                other = next(rest)
                part = part if other is None else other if part is None else part + other
            parts.append(part)
        return parts

    def _own(self, block: Block, parameter: Tensor) -> Tensor | None:
        """A copy of what a parameter holds now, or None where that is θ still."""
        kept_there = self.theta[block.span].view(block.shape)
        if parameter.dtype == kept_there.dtype and parameter.device == kept_there.device:
            return None if same(parameter.detach(), kept_there) else parameter.detach().clone()
        return (
            None
            if same(parameter.detach(), kept_there.to(parameter.device, parameter.dtype))
            else parameter.detach().clone()
        )

    def _write_buffers(self, statistics: Tensor | None) -> None:
        buffers = dict(self.model.named_buffers())
        for name, own in self._buffers.items():
            if name in buffers and not same(buffers[name], own):
                buffers[name].data.copy_(own)
        offset = 0
        for name in self.statistics_names if statistics is not None else ():
            size = buffers[name].numel()
            assert statistics is not None
            part = statistics[offset : offset + size].view(buffers[name].shape)
            buffers[name].data.copy_(part.clamp_min(0) if name.endswith("running_var") else part)
            offset += size

    # Names of the running statistics s of (θ, s), in order; set by the surface in the mode that moves them.
    statistics_names: tuple[str, ...] = ()

    def _still_there(self) -> None:
        now = dict(self.model.named_parameters(remove_duplicate=False))
        gone = (
            [b.name for b, p in self._targets if now.get(b.name) is not p] if now.keys() == set(self._names) else None
        )
        late = [n for n, p, c, version in self._frozen if c is None and p._version != version]
        if gone is None or gone or late:
            names = ", ".join((late or gone or sorted(now.keys() ^ set(self._names)))[:4])
            raise ModelError(
                f"the model {type(self.model).__name__} was changed after its surface was made ({names}); expected the "
                "same modules and parameters, since the surface is evaluated on the model itself. Make the surface again."
            )

    def _refuse_measured(self) -> None:
        if self.mode == "recompute":
            raise NotApplicableError(
                f"gradients through statistics that are measured at every point need a private copy of "
                f"{type(self.model).__name__}, and there is none that equals it; take batchnorm='frozen' or 'batch'."
            )

    def place(self, theta: Tensor | None) -> str:
        """A point in words."""
        if theta is None:
            return "at a point near the model's own parameters"
        pieces = range(0, len(self.theta), CHUNK)
        off = (
            sum(
                float((theta[k : k + CHUNK][: len(self.theta) - k] - self.theta[k : k + CHUNK]).norm()) ** 2
                for k in pieces
            )
            ** 0.5
        )
        return f"at a point {off:.3g} away from the model's own parameters" if off else "at the model's own parameters"

    def _devices(self) -> list[torch.device]:
        return list({p.device for _, p in self._targets})


def _writes(theta: Tensor) -> Write:
    def write(block: Block, out: Tensor) -> None:
        out.copy_(theta[block.span].view(block.shape))

    return write


@contextmanager
def _own_gradients(leaves: Sequence[Tensor]) -> Iterator[None]:
    before = [p.grad for p in leaves]
    for p in leaves:
        p.grad = None
    try:
        yield
    finally:
        for p, gradient in zip(leaves, before, strict=True):
            p.grad = gradient


@contextmanager
def plain_modes() -> Iterator[None]:
    """Whatever modes the caller is in: no inference mode, no autocast of the caller's.

    Within a caller's autocast torch keeps the weights that a model's own autocast has cast, also once they hold another θ.
    """
    with ExitStack() as modes:
        modes.enter_context(torch.inference_mode(False))
        modes.enter_context(torch.enable_grad())
        for device in _AUTOCAST:
            if torch.is_autocast_enabled(device):
                modes.enter_context(torch.autocast(device, enabled=False, cache_enabled=False))
        yield
