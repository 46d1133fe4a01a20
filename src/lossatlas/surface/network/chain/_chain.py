"""Networks that are plain chains of linear layers and elementwise functions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from lossatlas._layout import Layout
from lossatlas.surface.network._data import Batch
from lossatlas.surface.network._loss import Loss

_ELEMENTWISE = (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.ELU, nn.LeakyReLU, nn.Softplus)
_NOTHING = (nn.Identity, nn.Dropout)


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
    shares: tuple[float, ...]

    @property
    def examples(self) -> int:
        """How many there are in all batches."""
        return sum(batch.size for batch in self.batches)

    def on(self, batches: tuple[Batch, ...]) -> Chain:
        """The same chain over other batches, each of equal share."""
        return replace(self, batches=batches, shares=(1.0 / len(batches),) * len(batches))


def find(
    model: nn.Module, loss: Loss, batches: tuple[Batch, ...], shares: tuple[float, ...], layout: Layout
) -> Chain | None:
    """The chain that a model seems to be, or None where it is anything else (or does not run on the CPU).

    What it seems to be is a guess, to be held against the model itself.
    """
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
    return Chain(tuple(steps), constants, layout, loss, batches, shares)


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
    if len(batch.inputs) != 1 or batch.keywords or not batch.rows_known:
        return False
    x: Any = batch.inputs[0]
    if not isinstance(x, Tensor) or not x.is_floating_point() or (x.ndim != 2 and not flattens):
        return False
    if not loss.classification:
        return isinstance(batch.target, Tensor)
    y: Any = batch.target
    labels = isinstance(y, Tensor) and y.ndim == 1 and y.dtype == torch.int64
    return labels and bool(((y >= 0) & (y != loss.ignored)).all())
