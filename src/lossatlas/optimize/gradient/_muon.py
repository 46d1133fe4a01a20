"""Muon: momentum made orthogonal by Newton–Schulz steps, for matrices."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from lossatlas._layout import Block, Layout
from lossatlas.optimize._optimizer import Optimizer, Walk
from lossatlas.optimize._ranges import below_one, not_negative, one_of, positive, whole
from lossatlas.optimize._rows import dot, matmul
from lossatlas.optimize._streams import Streams
from lossatlas.probe import Gradients

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
VECTORS = ("row", "column")
ADJUSTMENTS = ("original", "match_rms_adamw")
_MATRICES = ("linear", "linear-transposed", "fused", "conv", "conv-transpose", "vector", "other")


@final
@dataclass(frozen=True)
class Muon(Optimizer):
    """B ← μB + (1 − μ)g, U = (1 − μ)g + μB, W ← W(1 − ηλ) − η s · NS(U): all singular values of the step near one.

    NS is `steps` times X ← aX + (bA + cA²)X with A = XXᵀ, from U / ‖U‖, with a, b, c = 3.4445, −4.7750, 2.0315, in the
    surface's own precision (torch's runs in bfloat16). s = √max(1, rows/columns), or 0.2 √max(rows, columns) for
    ``match_rms_adamw``. For hidden weights: convolutions are flattened to matrices; embeddings, norms and biases take
    Adam steps of `lr_others`, as its authors do.

    Args:
        lr: learning rate η of matrices.
        momentum: factor μ that the mean gradient keeps per step.
        steps: Newton–Schulz steps.
        weight_decay: decoupled weight decay λ.
        adjust: of the step's size to the matrix: ``original`` or ``match_rms_adamw``.
        vector: what a landscape's coordinates are taken for: a ``row`` or a ``column``.
        lr_others: learning rate of the Adam steps of what is no matrix.
    """

    lr: float = 0.02
    momentum: float = 0.95
    steps: int = 5
    weight_decay: float = 0.0
    adjust: str = "original"
    vector: str = "row"
    lr_others: float = 1e-3

    name: ClassVar[str] = "muon"
    title: ClassVar[str] = "Muon"
    queries: ClassVar[frozenset[type]] = frozenset({Gradients})
    evaluates: ClassVar[str] = "one gradient (its value comes along)"
    remembers: ClassVar[str] = "mean gradient (N); Adam's two for what is no matrix"
    source: ClassVar[str] = "Jordan et al. 2024"
    reference: ClassVar[str] = "jordan2024"

    def __post_init__(self) -> None:
        positive(self, "lr", "lr_others")
        whole(self, 1, "steps")
        below_one(self, "momentum")
        not_negative(self, "weight_decay")
        one_of(self, "vector", VECTORS)
        one_of(self, "adjust", ADJUSTMENTS)

    def becomes(self, layout: Layout) -> str | None:
        """On vectors it never shrinks."""
        if all(len(block.shape) <= 1 for block in layout.blocks):
            length = scalar_map(1.0, self.steps) * self._scale(*self._matrix_shape(layout.blocks[0]))
            return f"normalized momentum of constant length {length:.4f} η: a vector is a matrix of rank one"
        return None

    def walk(self, start: Tensor, layout: Layout, rng: Streams) -> Walk:
        """Orthogonalize the momentum of every matrix; everything else takes Adam's step."""
        theta, mean = start, torch.zeros_like(start)
        square = torch.zeros_like(start) if any(not _is_matrix(block) for block in layout.blocks) else None
        for t in itertools.count(1):
            gradients = (yield Gradients(theta)).gradients
            moved = theta * (1 - self.lr * self.weight_decay)
            keep = self.momentum
            fresh = keep * mean + (1 - keep) * gradients
            nesterov = (1 - keep) * gradients + keep * fresh
            if square is not None:
                square = 0.999 * square + 0.001 * gradients * gradients
            for block in layout.blocks:
                if _is_matrix(block):
                    rows, columns = self._matrix_shape(block)
                    matrix = nesterov[:, block.span].reshape(-1, rows, columns)
                    step = self._scale(rows, columns) * self.lr * newton_schulz(matrix, self.steps)
                    moved[:, block.span] -= step.reshape(len(theta), -1)
                elif square is not None:
                    scale = (square[:, block.span] / (1 - 0.999**t)).sqrt() + 1e-8
                    corrected = fresh[:, block.span] / (1 - keep**t)
                    moved[:, block.span] -= self.lr_others * corrected / scale
            theta, mean = moved, fresh

    def _matrix_shape(self, block: Block) -> tuple[int, int]:
        if len(block.shape) <= 1:
            return (1, block.size) if self.vector == "row" else (block.size, 1)
        return block.shape[0], block.size // block.shape[0]

    def _scale(self, rows: int, columns: int) -> float:
        if self.adjust == "original":
            return math.sqrt(max(1.0, rows / columns))
        return 0.2 * math.sqrt(max(rows, columns))


def newton_schulz(matrices: Tensor, steps: int) -> Tensor:
    """X ← aX + (bA + cA²)X of matrices (runs, rows, columns), from X / (‖X‖ + 1e-7), transposed where tall."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.transpose(1, 2) if tall else matrices
    a, b, c = COEFFICIENTS
    flat = x.flatten(1)
    x = x / (dot(flat, flat).sqrt() + 1e-7)[:, None, None]
    for _ in range(steps):
        gram = _gram(x)
        x = a * x + matmul(b * gram + c * matmul(gram, gram), x)
    return x.transpose(1, 2) if tall else x


def scalar_map(value: float, steps: int) -> float:
    """What the iteration does to a singular value: σ ← aσ + bσ³ + cσ⁵."""
    a, b, c = COEFFICIENTS
    for _ in range(steps):
        value = a * value + b * value**3 + c * value**5
    return value


def _gram(x: Tensor) -> Tensor:
    if x.shape[1] == 1:
        return dot(x, x)[..., None]
    return matmul(x, x.transpose(1, 2))


def _is_matrix(block: Block) -> bool:
    return block.kind == "vector" or (block.kind in _MATRICES and len(block.shape) > 1)
