"""Where answers are computed. One engine so far: in this process. A pool or a cluster answers the same questions."""

from __future__ import annotations

from typing import Protocol, final

from torch import Tensor

from lossatlas._layout import Sample
from lossatlas.surface import Reading, Surface


class Engine(Protocol):
    """Evaluates queries; rows of the answer are in the order of the points."""

    def read(self, surface: Surface, points: Tensor) -> Reading:
        """Losses and channels at points (B, N)."""
        ...

    def gradients(self, surface: Surface, points: Tensor, sample: Sample | None) -> tuple[Tensor, Tensor]:
        """Losses (B,) and gradients (B, N)."""
        ...

    def products(self, surface: Surface, point: Tensor, vectors: Tensor, sample: Sample | None = None) -> Tensor:
        """Hessian at a point (N,) times vectors (K, N), of all data or of one mini-batch."""
        ...


@final
class Inline:
    """Answers in this process."""

    def read(self, surface: Surface, points: Tensor) -> Reading:
        """Losses and channels at points (B, N)."""
        return surface.read(points)

    def gradients(self, surface: Surface, points: Tensor, sample: Sample | None) -> tuple[Tensor, Tensor]:
        """Losses (B,) and gradients (B, N)."""
        return surface.gradients(points, sample)

    def products(self, surface: Surface, point: Tensor, vectors: Tensor, sample: Sample | None = None) -> Tensor:
        """Hessian at a point (N,) times vectors (K, N), of all data or of one mini-batch."""
        return (
            surface.exact_products(point, vectors)
            if sample is None
            else surface.sampled_products(point, vectors, sample)
        )
