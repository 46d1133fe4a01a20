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

from lossatlas.surface._data import Batch
from lossatlas.surface._layout import Layout
from lossatlas.surface._loss import Loss
from lossatlas.surface._threads import side_by_side, workers

_ELEMENTWISE = (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.ELU, nn.LeakyReLU, nn.Softplus)
_NOTHING = (nn.Identity, nn.Dropout)

# Points whose outputs are scored in one go: enough to spread the cost of calls, few enough to stay in the cache.
BLOCK = 8

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

        def part(_: int, coords: list[list[float]]) -> list[tuple[float, float]]:
            with torch.inference_mode():
                worker = _Worker(self, corners, first)
                blocks = [coords[i : i + BLOCK] for i in range(0, len(coords), BLOCK)]
                return [pair for block in blocks for pair in worker.read(block)]

        def read(coords: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            rows = coords.tolist()
            size = -(-len(rows) // workers(len(rows), each=origin.numel() * origin.element_size())) or 1
            shares = [rows[i : i + size] for i in range(0, len(rows), size)] or [rows]
            found = [pair for part_of_it in side_by_side(part, shares) for pair in part_of_it]
            table = torch.tensor(found, dtype=torch.float64).reshape(-1, 2)
            return table[:, 0], ({"accuracy": table[:, 1]} if self.loss.classification else {})

        return read

    def _affine(self, block: dict[str, Tensor], batch: Batch) -> Tensor:
        step = self.steps[0]
        x = batch.inputs[0].reshape(batch.size, -1)
        # Columns in multiples of eight suit the matrix kernels; the last example fills up and is not scored.
        x = torch.cat([x, x[-1:].expand(_padded(batch.size) - batch.size, -1)])
        out: Tensor = block[step.weight] @ x.t()
        if step.bias is not None:
            out += block[step.bias][:, None]
        return out.contiguous()


class _Worker:
    """One thread's own θ and buffers. Outputs of a block of points are scored together, to save calls."""

    def __init__(self, chain: Chain, corners: list[Tensor], first: list[list[Tensor]]) -> None:
        self.chain, self.corners, self.first = chain, corners, first
        self.theta = torch.empty_like(corners[0])
        views = {**chain.constants, **chain.layout.split(self.theta)}
        self.weights = [(views[s.weight], views[s.bias][:, None] if s.bias is not None else None) for s in chain.steps]
        self.buffers = [
            [self.theta.new_empty(w.shape[0], _padded(batch.size)) for w, _ in self.weights] for batch in chain.batches
        ]
        # The first layer along one row of a grid: all but its first coordinate, summed once.
        self.grounds = [torch.empty_like(parts[0]) for parts in first]
        self.row: list[list[float] | None] = [None] * len(first)
        self.flat = [
            batch.target * _padded(batch.size) + torch.arange(batch.size)
            if chain.loss.name == "cross_entropy"
            else None
            for batch in chain.batches
        ]

    def read(self, coords: list[list[float]]) -> list[tuple[float, float]]:
        """Loss and accuracy over all data at each of a block of points."""
        examples = sum(batch.size for batch in self.chain.batches)
        totals = [[0.0, 0.0] for _ in coords]
        for k, batch in enumerate(self.chain.batches):
            outputs = self.theta.new_empty(len(coords), self.weights[-1][0].shape[0], _padded(batch.size))
            for point, output in zip(coords, outputs, strict=True):
                self._move(point)
                self._forward(k, point, output)
            for total, pair in zip(totals, self._score(outputs, batch, self.flat[k]), strict=True):
                total[0] += pair[0] * batch.size / examples
                total[1] += pair[1] * batch.size / examples
        return [(loss, hits) for loss, hits in totals]

    def _move(self, coords: list[float]) -> None:
        torch.add(self.corners[0], self.corners[1], alpha=coords[0], out=self.theta)
        for coordinate, direction in zip(coords[1:], self.corners[2:], strict=True):
            self.theta.add_(direction, alpha=coordinate)

    def _forward(self, k: int, coords: list[float], output: Tensor) -> None:
        buffers, parts, last = self.buffers[k], self.first[k], len(self.weights) - 1
        ground = parts[0]
        if len(parts) > 2:
            ground = self.grounds[k]
            if self.row[k] != coords[1:]:
                torch.add(parts[0], parts[2], alpha=coords[1], out=ground)
                self.row[k] = coords[1:]
        hidden = torch.add(ground, parts[1], alpha=coords[0], out=buffers[0] if last else output)
        hidden = _activate(hidden, self.chain.steps[0])
        for i, (step, (weight, bias)) in enumerate(zip(self.chain.steps[1:], self.weights[1:], strict=True), start=1):
            out = output if i == last else buffers[i]
            hidden = torch.mm(weight, hidden, out=out) if bias is None else torch.addmm(bias, weight, hidden, out=out)
            hidden = _activate(hidden, step)
        if hidden.data_ptr() != output.data_ptr():
            output.copy_(hidden)

    def _score(self, outputs: Tensor, batch: Batch, flat: Tensor | None) -> list[tuple[float, float]]:
        rows = [output.t()[: batch.size] for output in outputs]
        if flat is None:
            counted = self.chain.loss.classification
            return [
                (float(self.chain.loss.function(r, batch.target)), _share(r, batch.target) if counted else 0.0)
                for r in rows
            ]
        logs = torch.log_softmax(outputs, 1).flatten(1).index_select(1, flat)
        losses = logs.mean(1, dtype=torch.float64).tolist()
        top = outputs.amax(1)
        peaks = torch.count_nonzero(outputs == top[:, None], (1, 2)).tolist()
        hits = torch.count_nonzero(outputs.flatten(1).index_select(1, flat) >= top[:, : batch.size], 1).tolist()
        # Tied classes: the first of them is the prediction, which only an argmax tells.
        shares = [
            h / batch.size if peak == outputs.shape[2] else _share(r, batch.target)
            for h, peak, r in zip(hits, peaks, rows, strict=True)
        ]
        return [(-loss, share) for loss, share in zip(losses, shares, strict=True)]


def _padded(examples: int) -> int:
    return -(-examples // 8) * 8


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
