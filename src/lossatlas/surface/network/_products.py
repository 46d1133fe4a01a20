"""Hessian products of a mean over batches, by differentiating twice: one batch's graph at a time."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, final

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from lossatlas._errors import LossError, ModelError, NotApplicableError
from lossatlas._layout import Layout
from lossatlas.surface.network._data import Batch
from lossatlas.surface.network._user_code import in_user_code

BatchLoss = Callable[[Mapping[str, Tensor], Batch], Tensor]

# Vectors that one backward sweep takes, in blocks of so many and more.
WIDTH, MANY = 32, 12
# Of graphs up to so many bytes: there the calls cost more than the arithmetic (a tenth to a third of the time of single sweeps on
# perceptrons of 0.01 and 0.9 MB, none is gained from 2 MB on; on devices that take work in a queue, more).
SMALL, SMALL_THERE = 2**20, 2**26
HELD_BYTES = 2**28
_DEAD_ENDS = ("torch::autograd::Error", "torch::autograd::NotImplemented")
_ONCE = re.compile(
    r"derivative.*not implemented|once_differentiable|differentiate twice|double.?backward|use_reentrant", re.I
)


def refuse_half(dtype: torch.dtype) -> None:
    """Refuse numbers that leave too few digits of a second derivative.

    Raises:
        ModelError: for half precision.
    """
    if dtype not in (torch.float32, torch.float64):
        raise ModelError(
            f"got a model in {str(dtype).removeprefix('torch.')}; expected float32 or float64, since half "
            "precision leaves one or two digits of a second derivative. Make the surface of model.float()."
        )


def refuse_constant(loss: Tensor) -> None:
    """Refuse a loss that nothing can be differentiated by.

    Raises:
        LossError: if it has no gradient.
    """
    if not loss.requires_grad:
        raise LossError(
            "the loss has no gradient: it does not depend on the parameters through differentiable steps (an "
            "argmax, a comparison, or .item() on the way?); expected a loss that can be differentiated. "
            "Use a smooth loss such as cross_entropy."
        )


@contextmanager
def differentiable_twice() -> Iterator[None]:
    """Say that a part cannot be differentiated twice where torch says so.

    Raises:
        NotApplicableError: instead of torch's error.
    """
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, NotImplementedError) or _ONCE.search(str(error)):
            raise NotApplicableError(
                f"a part of the model or loss cannot be differentiated twice: {str(error).splitlines()[0]}"
            ) from error
        raise


@final
class HessianProducts:
    """H v = Σ_b s_b ∇(∇L_b · v) for blocks of vectors, with the share s_b of each batch; sums in float64.

    The first derivative of a batch is taken once for all vectors. Where there is a single batch of moderate size its
    graph is kept for the next call at the same θ, which saves more than a third of each product of a Lanczos run.
    Attention runs on the math kernel, since fused ones cannot be differentiated twice. In blocks of 12 vectors and more,
    one backward sweep is used for several vectors where the graph is small. What a vector gives is the same to the bit in every
    process on a machine, if it is asked for in the same block.

    Args:
        loss: the mean loss over a batch at named tensors.
        layout: how θ is made of these.
        batches: the data.
        shares: of each batch in L.
        place: a point in words, for errors of the user's code.

    Source: Pearlmutter, Fast exact multiplication by the Hessian, Neural Computation 6 (1994).
    """

    def __init__(
        self,
        loss: BatchLoss,
        layout: Layout,
        batches: tuple[Batch, ...],
        shares: tuple[float, ...],
        place: Callable[[Tensor], str],
    ) -> None:
        self._shares, self._place = shares, place
        self._loss, self._layout, self._batches = loss, layout, batches
        self._width = 0
        self._bytes: int | None = None
        self._sound = False
        self._held: tuple[Tensor, Gradient] | None = None

    @property
    def choice(self) -> int:
        """Vectors per backward sweep: 1 one after another, 0 as long as no block was asked for."""
        return self._width

    def __deepcopy__(self, memo: dict[int, Any]) -> HessianProducts:
        # A held graph cannot be copied; it is only a shortcut.
        return HessianProducts(self._loss, self._layout, self._batches, self._shares, self._place)

    def __call__(self, theta: Tensor, vectors: Tensor) -> Tensor:
        """Products at θ (N,) with vectors (K, N), shape (K, N), float64.

        Raises:
            ModelError: for a half-precision model.
            LossError: if the loss has no gradient.
            NotApplicableError: if some part of the model cannot be differentiated twice.
        """
        refuse_half(theta.dtype)
        total = torch.zeros(vectors.shape, dtype=torch.float64, device=theta.device)
        vectors = vectors.to(theta.dtype)
        with differentiable_twice():
            for k, (batch, share) in enumerate(zip(self._batches, self._shares, strict=True)):
                run = partial(self._run, batch, k, partial(self._place, theta))
                # What torch says of second derivatives is a RuntimeError, and read by `differentiable_twice`.
                with self._named(batch, k, partial(self._place, theta), backward=True, keep=RuntimeError):
                    self._add(total, self._slope(theta, run), vectors, share)
        return total

    def _run(self, batch: Batch, number: int, place: Callable[[], str], leaves: Mapping[str, Tensor]) -> Tensor:
        with self._named(batch, number, place):
            return self._loss(leaves, batch)

    def _named(
        self, batch: Batch, number: int, place: Callable[[], str], *, backward: bool = False, keep: Any = ()
    ) -> AbstractContextManager[None]:
        return in_user_code(batch, number, len(self._batches), place, backward=backward, keep=keep)

    def _slope(self, theta: Tensor, run: Callable[[Mapping[str, Tensor]], Tensor]) -> Gradient:
        if self._held is not None and torch.equal(self._held[0], theta):
            return self._held[1]
        self._held = None
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            if self._bytes is None:
                self._bytes = _graph_bytes(lambda: run(self._leaves(theta)))
            leaves = self._leaves(theta)
            gradient = Gradient(run(leaves), list(leaves.values()))
            if not self._sound:
                gradient.refuse_dead_ends()
                self._sound = True
        if len(self._batches) == 1 and self._bytes <= HELD_BYTES:
            self._held = (theta.clone(), gradient)
        return gradient

    def _leaves(self, theta: Tensor) -> dict[str, Tensor]:
        return {name: part.detach().requires_grad_() for name, part in self._layout.split(theta).items()}

    def _add(self, total: Tensor, gradient: Gradient, vectors: Tensor, weight: float) -> None:
        width = self._several(gradient, vectors) if len(vectors) >= MANY else 1
        for begin in range(0, len(vectors), width):
            rows = slice(begin, begin + width)
            total[rows] += weight * self._turn(gradient, vectors[rows])

    def _several(self, gradient: Gradient, vectors: Tensor) -> int:
        """How many vectors one sweep takes."""
        if not self._width:
            held = SMALL if vectors.device.type == "cpu" else SMALL_THERE
            small = (self._bytes or 0) <= held
            self._width = WIDTH if small and self._agree(gradient, vectors) else 1
        return self._width

    def _agree(self, gradient: Gradient, vectors: Tensor) -> bool:
        """Whether one sweep for two vectors says what two sweeps say.

        Not taken for granted: some operations cannot be vectorized, and with torch 2.13 the second derivatives of
        layer norm that `torch.func` vectorizes are wrong.
        """
        drawn = torch.randn(2, vectors.shape[1], generator=torch.Generator().manual_seed(0), dtype=vectors.dtype)
        drawn = drawn.to(vectors.device)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                both = self._turn(gradient, drawn)
        except (RuntimeError, ValueError, Warning):
            return False
        alone = torch.cat([self._turn(gradient, row[None]) for row in drawn])
        return bool((both - alone).norm() <= 1e3 * torch.finfo(vectors.dtype).eps * alone.norm())

    def _turn(self, gradient: Gradient, vectors: Tensor) -> Tensor:
        """Vᵀ∇∇L for vectors (K, N), one backward sweep for all of them; (K, N) float64."""
        many = len(vectors) > 1
        parts = list(self._layout.split(vectors if many else vectors[0]).values())
        flat = [
            (torch.zeros_like(part) if product is None else product).reshape(len(vectors), -1)
            for product, part in zip(gradient.turn(parts, many=many), parts, strict=True)
        ]
        return torch.cat(flat, 1).double()


@final
class Gradient:
    """∇L of one batch, with the graph to differentiate it once more.

    Args:
        loss: of the batch.
        leaves: what it is differentiated by.
    """

    def __init__(self, loss: Tensor, leaves: Sequence[Tensor]) -> None:
        refuse_constant(loss)
        self._leaves = list(leaves)
        gradients = torch.autograd.grad(loss, self._leaves, create_graph=True, allow_unused=True)
        # A parameter that is not used, or enters linearly and alone, has a gradient without a graph: H is zero there.
        self._alive = [k for k, gradient in enumerate(gradients) if gradient is not None and gradient.requires_grad]
        self._gradients = [gradients[k] for k in self._alive]

    def refuse_dead_ends(self) -> None:
        """Look for kernels without double backward: autograd walks around some of them and leaves their part out.

        Raises:
            NotApplicableError: if there is one.
        """
        nodes: list[Any] = [gradient.grad_fn for gradient in self._gradients]
        seen = set(nodes)
        while nodes:
            node = nodes.pop()
            if node.name() in _DEAD_ENDS:
                raise NotApplicableError(
                    "a part of the model or loss cannot be differentiated twice: the graph of its gradient ends in "
                    "a function without a double backward, such as a fused kernel or a once_differentiable function"
                )
            following = {further for further, _ in node.next_functions if further is not None} - seen
            seen |= following
            nodes += following

    def turn(self, parts: Sequence[Tensor], *, many: bool = False) -> list[Tensor | None]:
        """The derivative of ∇L · v by each leaf, None where it is zero.

        Args:
            parts: v, one part for each leaf; several vectors along a leading axis.
            many: whether there are several.
        """
        if not self._gradients:
            return [None] * len(self._leaves)
        return list(
            torch.autograd.grad(
                self._gradients,
                self._leaves,
                [parts[k] for k in self._alive],
                retain_graph=True,
                allow_unused=True,
                is_grads_batched=many,
            )
        )


def _graph_bytes(forward: Callable[[], Tensor]) -> int:
    """About how much a graph that can be differentiated twice holds: three times what the forward pass saves."""
    seen: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        # Handed back as it is: a model that differentiates in its forward reads it there.
        if tensor.layout is torch.strided:
            seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda packed: packed):
        forward()
    return 3 * sum(seen.values())
