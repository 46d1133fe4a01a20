"""A slice of a surface is a surface: everything that works on two parameters works on a plane of a network."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lossatlas._errors import InputError
from lossatlas.surface._frame import Frame
from lossatlas.surface._layout import Layout
from lossatlas.surface._surface import Reading, Sample, Surface


class Slice(Surface):
    """L restricted to a frame: s(c) = L(θ₀ + Σ cₖ dₖ).

    Gradients are ∂s/∂cₖ = dₖ·∇L and Hessian products D H Dᵀv; coordinates are float64 whatever the base's dtype.

    Args:
        base: the surface that is sliced.
        frame: its origin and one or two directions.
    """

    def __init__(self, base: Surface, frame: Frame) -> None:
        self.base = base
        self.frame = Frame(frame.origin.to(base.device, base.dtype), frame.directions.to(base.device, base.dtype))
        self.layout = Layout.vector(frame.dimension)
        self.name = f"a {('line', 'plane')[frame.dimension - 1]} through {base.name}"
        self.start = torch.zeros(frame.dimension, dtype=torch.float64, device=base.device)
        self.device = base.device
        self.examples = base.examples
        self._reader = base.reader(self.frame)

    def read(self, points: Tensor) -> Reading:
        """Losses and channels of the base surface at coordinates (B, k)."""
        return self._reader(self._check(points))

    def gradients(self, points: Tensor, sample: Sample | None = None) -> tuple[Tensor, Tensor]:
        """Losses (B,) and gradients (B, k) by the chain rule."""
        values, gradients = self.base.gradients(self.frame.points(self._check(points)), sample)
        return values, gradients.double() @ self.frame.directions.double().T

    def products(self, point: Tensor, vectors: Tensor) -> Tensor:
        """D H Dᵀ times each of K vectors (K, k)."""
        lifted = vectors.to(self.frame.directions.dtype) @ self.frame.directions
        full = self.base.products(self.frame.points(point[None])[0], lifted)
        return full.double() @ self.frame.directions.double().T

    def _check(self, points: Tensor) -> Tensor:
        if points.ndim != 2 or points.shape[1] != self.dimension:
            raise InputError(
                f"got points of shape {tuple(points.shape)} on {self.name}; expected (B, {self.dimension}), one row of "
                "coordinates per point."
            )
        return points

    def fingerprint(self) -> dict[str, Any]:
        """The base's fingerprint, and that this is a slice of it."""
        return {"surface": self.name, "dimension": self.dimension, "base": self.base.fingerprint()}
