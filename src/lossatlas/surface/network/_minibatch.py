"""Gradients of many rows, each over a mini-batch of its own, in one pass: several training runs for little more than one."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.func import grad_and_value, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from lossatlas.surface.network._data import Batch
from lossatlas.surface.network._scene import Scene
from lossatlas.surface.network._traced import Function, traced

# Calls of one shape before its operations are recorded, and recordings that are kept.
OFTEN, KEPT = 3, 4
# Numbers of all rows' examples together, in one pass.
LARGEST = 2**24
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)

Loss = Callable[[Tensor, Batch], tuple[Tensor, Tensor]]


def draw(size: int, seeds: Tensor, examples: int) -> Tensor:
    """Which examples each row takes, (B, size): without replacement, from its seed alone, in increasing order."""
    generator = torch.Generator()
    rows = [torch.randperm(examples, generator=generator.manual_seed(seed))[:size] for seed in seeds.tolist()]
    return torch.stack(rows).sort().values


@final
class Minibatches:
    """Evaluates rows side by side where that is possible, and says where it is not.

    It is not where a model cannot be vectorized, where batches hold tensors of different shapes, and where it does not
    pay: a convolution with weights of its own for each row has no fast kernel on a CPU. This does not depend on
    timing: the same call gives the same bits.

    Args:
        loss: loss and share of hits of one θ over one batch.
        batches: the data.
        scene: what is evaluated.
    """

    def __init__(self, loss: Loss, batches: tuple[Batch, ...], scene: Scene) -> None:
        self._loss, self._batches, self._scene = loss, batches, scene
        rows = all(batch.stacked for batch in batches)
        self._leaves = [batch.leaves() if rows else [] for batch in batches]
        first = self._leaves[0]
        alike = all(_alike(first, other) for other in self._leaves)
        reference = scene.reference
        slow = reference.theta.device.type == "cpu" and any(
            isinstance(m, _CONVOLUTIONS) for m in reference.model.modules()
        )
        self.possible = bool(alike and not slow and first)
        self._ends = torch.tensor([batch.size for batch in batches]).cumsum(0)
        self._calls: dict[tuple[int, int], int] = {}
        self._traced: dict[tuple[int, int], Function | None] = {}

    @property
    def width(self) -> int:
        """Numbers in the examples of one row and one example."""
        return sum(leaf[:1].numel() for leaf in self._leaves[0])

    def recorded(self, rows: int, size: int) -> bool:
        """Whether the operations for so many rows and examples are recorded: all of them in one pass then."""
        return self._traced.get((rows, size)) is not None and rows <= self._most(size)

    def _most(self, size: int) -> int:
        return max(1, LARGEST // max(1, self.width * size))

    def __reduce__(self) -> tuple[Any, ...]:
        # What was recorded holds on to the model that it was recorded of, and is soon recorded again.
        return Minibatches, (self._loss, self._batches, self._scene)

    def __call__(self, wholes: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor] | None:
        """Losses (B,) and gradients (B, …) of completed points, row b over its examples; None where not possible.

        Args:
            wholes: (B, …) points with whatever the model needs beside θ.
            chosen: (B, size) numbers of examples.
        """
        most = self._most(chosen.shape[1])
        parts = []
        for begin in range(0, len(wholes), most):
            found = self._rows(wholes[begin : begin + most], chosen[begin : begin + most])
            if found is None:
                return None
            parts.append(found)
        gradients, losses = (torch.cat(part) for part in zip(*parts, strict=True))
        return losses, gradients

    def gather(self, chosen: Tensor) -> list[Tensor]:
        """The tensors of the chosen examples (B, size), each (B, size, …)."""
        flat = chosen.reshape(-1)
        if len(self._batches) == 1:
            return [leaf[flat.to(leaf.device)].reshape(*chosen.shape, *leaf.shape[1:]) for leaf in self._leaves[0]]
        which = torch.searchsorted(self._ends, flat, right=True)
        found = [leaf.new_empty(len(flat), *leaf.shape[1:]) for leaf in self._leaves[0]]
        for k in torch.unique(which).tolist():
            rows = (which == k).nonzero()[:, 0]
            inside = flat[rows] - (int(self._ends[k - 1]) if k else 0)
            for out, leaf in zip(found, self._leaves[k], strict=True):
                out[rows.to(out.device)] = leaf[inside.to(leaf.device)]
        return [out.reshape(*chosen.shape, *out.shape[1:]) for out in found]

    def _rows(self, wholes: Tensor, chosen: Tensor) -> tuple[Tensor, ...] | None:
        arguments = [wholes, *self.gather(chosen)]
        key = (len(wholes), chosen.shape[1])
        ready = self._traced.get(key)
        if ready is not None:
            with torch.no_grad():
                return ready(*arguments)
        try:
            # Fused attention has no rule for rows with weights of their own; without rules there would be warnings.
            with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):
                warnings.simplefilter("ignore")
                self._calls[key] = self._calls.get(key, 0) + 1
                function: Function = vmap(grad_and_value(self._one))
                if self._calls[key] > OFTEN and key not in self._traced and len(self._traced) < KEPT:
                    self._traced[key] = traced(function, arguments)
                return function(*arguments)
        except Exception:  # what a user's code raises, or torch's transforms of it: row by row it is said better
            self.possible = False
            return None

    def _one(self, whole: Tensor, *leaves: Tensor) -> Tensor:
        return self._loss(whole, self._batches[0].rebuilt(leaves))[0]


@contextmanager
def without_rules() -> Iterator[None]:
    """No warning where a transform has no rule for an operation, and takes one row after another: what is faster is timed."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="There is a performance drop because")
        yield


def _alike(a: list[Tensor], b: list[Tensor]) -> bool:
    return len(a) == len(b) and all(
        x.shape[1:] == y.shape[1:] and x.dtype == y.dtype for x, y in zip(a, b, strict=True)
    )
