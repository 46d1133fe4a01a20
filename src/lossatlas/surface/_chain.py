"""Exact structure of plain layer chains on a plane: the first layer is affine in the coordinates.

With θ = θ₀ + αd₁ + βd₂ the first linear layer gives W(α,β)x + b(α,β) = A₀ + αA₁ + βA₂, three matrices that are
computed once for the whole picture. The rest of the chain runs feature-major (features × examples) in buffers that
are reused, one point per thread at a time, so that every intermediate stays in that core's cache.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lossatlas.surface._data import Batch
from lossatlas.surface._layout import Layout
from lossatlas.surface._loss import Loss

_ELEMENTWISE = (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.ELU, nn.LeakyReLU, nn.Softplus)
_NOTHING = (nn.Identity, nn.Dropout)

SliceRead = Callable[[Tensor], tuple[Tensor, dict[str, Tensor]]]


@dataclass(frozen=True)
class Step:
    """One linear layer by its parameter names, and the activations after it."""

    weight: str
    bias: str | None
    after: tuple[nn.Module, ...]


@dataclass(frozen=True)
class Chain:
    """A network that is nothing but linear layers and elementwise functions, over its data."""

    steps: tuple[Step, ...]
    constants: dict[str, Tensor]
    layout: Layout
    loss: Loss
    batches: tuple[Batch, ...]

    def on(self, origin: Tensor, directions: Tensor) -> SliceRead:
        """How to read the losses of this chain at coordinates (B, k) on a frame."""
        corners = [origin, *directions]
        zero = {name: torch.zeros_like(value) for name, value in self.constants.items()}
        blocks = [
            {**(self.constants if k == 0 else zero), **self.layout.split(corner)} for k, corner in enumerate(corners)
        ]
        first = [[self._affine(block, batch) for block in blocks] for batch in self.batches]
        examples = sum(batch.size for batch in self.batches)

        def one(worker: _Worker, coords: list[float]) -> tuple[float, float]:
            worker.move(coords)
            loss = hits = 0.0
            for k, batch in enumerate(self.batches):
                value, right = worker.run(k, batch)
                loss += value * batch.size
                hits += right * batch.size
            return loss / examples, hits / examples

        def part(coords: list[list[float]], threads: int) -> list[tuple[float, float]]:
            if threads > 1:
                torch.set_num_threads(1)
            with torch.inference_mode():
                worker = _Worker(self, corners, first)
                return [one(worker, row) for row in coords]

        def read(coords: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            rows = coords.tolist()
            threads = min(torch.get_num_threads(), max(1, len(rows) // 4))
            if threads > 1:
                size = -(-len(rows) // threads)
                with ThreadPoolExecutor(threads) as pool:
                    parts = pool.map(
                        part, [rows[i * size : (i + 1) * size] for i in range(threads)], [threads] * threads
                    )
                    found = [pair for chunk in parts for pair in chunk]
            else:
                found = part(rows, 1)
            table = torch.tensor(found, dtype=torch.float64).reshape(-1, 2)
            return table[:, 0], ({"accuracy": table[:, 1]} if self.loss.classification else {})

        return read

    def _affine(self, block: dict[str, Tensor], batch: Batch) -> Tensor:
        step = self.steps[0]
        x = batch.inputs[0].reshape(batch.size, -1)
        out: Tensor = block[step.weight] @ x.t()
        if step.bias is not None:
            out += block[step.bias][:, None]
        return out.contiguous()


class _Worker:
    """One thread's own θ and buffers."""

    def __init__(self, chain: Chain, corners: list[Tensor], first: list[list[Tensor]]) -> None:
        self.chain, self.corners, self.first = chain, corners, first
        self.theta = torch.empty_like(corners[0])
        self.coords: list[float] = []
        views = {**chain.constants, **chain.layout.split(self.theta)}
        self.weights = [(views[s.weight], views[s.bias][:, None] if s.bias is not None else None) for s in chain.steps]
        self.buffers = [
            [torch.empty(w.shape[0], batch.size, dtype=self.theta.dtype) for w, _ in self.weights]
            for batch in chain.batches
        ]
        self.targets = [
            batch.target * batch.size + torch.arange(batch.size) if chain.loss.name == "cross_entropy" else None
            for batch in chain.batches
        ]

    def move(self, coords: list[float]) -> None:
        self.coords = coords
        torch.add(self.corners[0], self.corners[1], alpha=coords[0], out=self.theta)
        for coordinate, direction in zip(coords[1:], self.corners[2:], strict=True):
            self.theta.add_(direction, alpha=coordinate)

    def run(self, k: int, batch: Batch) -> tuple[float, float]:
        buffers, parts = self.buffers[k], self.first[k]
        hidden = torch.add(parts[0], parts[1], alpha=self.coords[0], out=buffers[0])
        for coordinate, part in zip(self.coords[1:], parts[2:], strict=True):
            hidden.add_(part, alpha=coordinate)
        hidden = _activate(hidden, self.chain.steps[0])
        for step, (weight, bias), buffer in zip(self.chain.steps[1:], self.weights[1:], buffers[1:], strict=True):
            hidden = (
                torch.mm(weight, hidden, out=buffer) if bias is None else torch.addmm(bias, weight, hidden, out=buffer)
            )
            hidden = _activate(hidden, step)
        return self._score(hidden, batch, self.targets[k])

    def _score(self, output: Tensor, batch: Batch, flat: Tensor | None) -> tuple[float, float]:
        rows = output.t()
        if flat is None:
            loss = float(self.chain.loss.function(rows, batch.target))
            return loss, _share(rows, batch.target) if self.chain.loss.classification else 0.0
        loss = -float(torch.log_softmax(output, 0).take(flat).mean(dtype=torch.float64))
        top = output.amax(0)
        if int(torch.count_nonzero(output == top)) != batch.size:
            # Tied classes: the first of them is the prediction, which only an argmax tells.
            return loss, _share(rows, batch.target)
        return loss, int(torch.count_nonzero(output.take(flat) >= top)) / batch.size


def _share(rows: Tensor, target: Tensor) -> float:
    return int(torch.count_nonzero(rows.contiguous().argmax(1) == target)) / len(target)


def _activate(hidden: Tensor, step: Step) -> Tensor:
    for module in step.after:
        hidden = hidden.relu_() if isinstance(module, nn.ReLU) else module(hidden)
    return hidden


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
