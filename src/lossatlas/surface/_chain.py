"""Exact structure of plain layer chains on a plane: the first layer is affine in the coordinates.

With θ = θ₀ + αd₁ + βd₂ the first linear layer gives W(α,β)x + b(α,β) = A₀ + αA₁ + βA₂, three matrices that are
computed once for the whole picture. The rest of the chain runs feature-major (features × examples) in buffers that
are reused, one point per thread at a time, so that every intermediate stays in that core's cache.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lossatlas.surface._chain_blocks import Blocks, together
from lossatlas.surface._chain_points import Points
from lossatlas.surface._chain_score import Score, padded
from lossatlas.surface._data import Batch
from lossatlas.surface._layout import Layout
from lossatlas.surface._loss import Loss
from lossatlas.surface._threads import side_by_side, workers

_ELEMENTWISE = (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.ELU, nn.LeakyReLU, nn.Softplus)
_NOTHING = (nn.Identity, nn.Dropout)

# Weights times examples times points, below which a query stays on its thread: some milliseconds of arithmetic.
HANDED_OVER = 2**27

SliceRead = Callable[[Tensor], tuple[Tensor, dict[str, Tensor]]]


@dataclass(frozen=True)
class Step:
    """One linear layer by its parameter names, and the activations after it."""

    weight: str
    bias: str | None
    after: tuple[nn.Module, ...]

    def activate(self, hidden: Tensor) -> Tensor:
        """The activations, in place where that is possible."""
        for module in self.after:
            hidden = hidden.relu_() if isinstance(module, nn.ReLU) else module(hidden)
        return hidden


@dataclass(frozen=True)
class Chain:
    """A network that is nothing but linear layers and elementwise functions, over its data."""

    steps: tuple[Step, ...]
    constants: dict[str, Tensor]
    layout: Layout
    loss: Loss
    batches: tuple[Batch, ...]

    @property
    def examples(self) -> int:
        """How many there are in all batches."""
        return sum(batch.size for batch in self.batches)

    def on(self, origin: Tensor, directions: Tensor, *, steady: bool = False) -> SliceRead:
        """How to read the losses of this chain at coordinates (B, k) on a frame.

        Args:
            origin: (N,).
            directions: (k, N).
            steady: whether the bits of a loss must not depend on the points beside it.
        """
        zero = {name: torch.zeros_like(value) for name, value in self.constants.items()}
        corners = [origin, *directions]
        blocks = [
            {**(self.constants if k == 0 else zero), **self.layout.split(corner)} for k, corner in enumerate(corners)
        ]
        first = [torch.stack([self._affine(block, batch) for block in blocks]) for batch in self.batches]
        size = 1 if steady else together(self, origin.element_size())
        kept: list[Points | Blocks] = []

        def made() -> Points | Blocks:
            return Blocks(self, origin, directions, first, size) if size > 1 else Points(self, corners, first)

        def read(coords: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            threads = self._threads(len(coords), origin)
            # Steady readings come from several threads at a time: nothing is kept for them.
            workers_of_it = [] if steady else kept
            workers_of_it += [made() for _ in range(threads - len(workers_of_it))]

            def part(worker: int, some: Tensor) -> list[Score]:
                with torch.inference_mode():
                    return workers_of_it[worker].read(some)

            found = [pair for pairs in side_by_side(part, coords.tensor_split(threads)) for pair in pairs]
            table = torch.tensor(found, dtype=torch.float64).reshape(-1, 2)
            return table[:, 0], ({"accuracy": table[:, 1]} if self.loss.classification else {})

        return read

    def _threads(self, points: int, origin: Tensor) -> int:
        """Few small points are not worth handing over to threads."""
        if points * self.examples * origin.numel() < HANDED_OVER:
            return 1
        return workers(points, each=origin.numel() * origin.element_size())

    def _affine(self, block: dict[str, Tensor], batch: Batch) -> Tensor:
        step = self.steps[0]
        x = batch.inputs[0].reshape(batch.size, -1)
        # Columns in multiples of eight suit the matrix kernels; the last example fills up and is not scored.
        x = torch.cat([x, x[-1:].expand(padded(batch.size) - batch.size, -1)])
        out: Tensor = block[step.weight] @ x.t()
        if step.bias is not None:
            out += block[step.bias][:, None]
        return out.contiguous()


def find(model: nn.Module, loss: Loss, batches: tuple[Batch, ...], layout: Layout) -> Chain | None:
    """The chain that a model is, or None where it is anything else (or does not run on the CPU)."""
    modules = _flatten(model)
    if modules is None or next(model.parameters()).device.type != "cpu":
        return None
    names = {id(p): n for n, p in model.named_parameters()}
    steps: list[Step] = []
    for module in modules:
        if isinstance(module, nn.Linear):
            bias = names[id(module.bias)] if module.bias is not None else None
            steps.append(Step(names[id(module.weight)], bias, ()))
        elif isinstance(module, nn.Flatten):
            if steps or module.start_dim != 1 or module.end_dim != -1:
                return None
        elif steps:
            last = steps[-1]
            steps[-1] = Step(last.weight, last.bias, (*last.after, module))
        else:
            return None
    flattens = any(isinstance(module, nn.Flatten) for module in modules)
    if not steps or not all(_plain(batch, flattens, loss) for batch in batches):
        return None
    trainable = {block.name for block in layout.blocks}
    constants = {n: p.detach() for n, p in model.named_parameters() if n not in trainable}
    return Chain(tuple(steps), constants, layout, loss, batches)


def _flatten(module: nn.Module) -> list[nn.Module] | None:
    hooked = module._forward_hooks or module._forward_pre_hooks
    if hooked or torch.nn.utils.parametrize.is_parametrized(module):
        return None
    if type(module) is nn.Sequential:
        parts = [_flatten(child) for child in module]
        if any(part is None for part in parts):
            return None
        return [leaf for part in parts if part is not None for leaf in part]
    if type(module) in _NOTHING:
        return []
    return [module] if type(module) in (*_ELEMENTWISE, nn.Linear, nn.Flatten) else None


def _plain(batch: Batch, flattens: bool, loss: Loss) -> bool:
    if len(batch.inputs) != 1 or batch.keywords:
        return False
    x: Any = batch.inputs[0]
    if not isinstance(x, Tensor) or not x.is_floating_point() or (x.ndim != 2 and not flattens):
        return False
    if not loss.classification:
        return isinstance(batch.target, Tensor)
    y: Any = batch.target
    return isinstance(y, Tensor) and y.ndim == 1 and not y.is_floating_point() and bool((y >= 0).all())
