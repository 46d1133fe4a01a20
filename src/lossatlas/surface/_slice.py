"""A slice of a surface is a surface: everything that works on two parameters works on a plane of a network."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lossatlas._errors import InputError
from lossatlas._layout import Layout, Sample
from lossatlas.surface._frame import Frame, inner
from lossatlas.surface._surface import Reading, Surface


class Slice(Surface):
    """L restricted to a frame: s(c) = L(θ₀ + Σ cₖ dₖ).

    Gradients are ∂s/∂cₖ = dₖ·∇L and Hessian products D H Dᵀv; coordinates are float64 whatever the base's dtype.

    Args:
        base: the surface that is sliced.
        frame: its origin and one or two directions.
        steady: whether the bits of a reading must depend on its coordinates alone, as `Surface.reader` says it.
    """

    def __init__(self, base: Surface, frame: Frame, *, steady: bool = False) -> None:
        self.base = base
        origin, directions = (part.to(base.device, base.dtype) for part in (frame.origin, frame.directions))
        # A frame that is made is checked, which takes a while on a large one: not twice.
        fits = origin is frame.origin and directions is frame.directions
        self.frame = frame if fits else Frame(origin, directions, frame.statistics)
        self._under, self._lifted = base.along(self.frame)
        self.layout = Layout.vector(frame.dimension)
        self.name = f"a {('line', 'plane')[frame.dimension - 1]} through {base.name}"
        self.start = torch.zeros(frame.dimension, dtype=torch.float64, device=base.device)
        self.device = base.device
        self.examples, self.passes = base.examples, base.passes
        self.steady = steady or base.rows_alone
        self._reader = self._base_reader(steady)

    @property
    def notes(self) -> tuple[str, ...]:  # type: ignore[override]
        """Those of what is evaluated."""
        return self._under.notes

    @property
    def captions(self) -> tuple[str, ...]:
        """Those of what is evaluated."""
        return self._under.captions

    @property
    def proof_examples(self) -> int:  # type: ignore[override]
        """Those of what is evaluated."""
        return self._under.proof_examples

    def read(self, points: Tensor) -> Reading:
        """Losses and channels of the base surface at coordinates (B, k)."""
        return self._reader(self._check(points))

    def reader(self, frame: Frame, *, steady: bool = False) -> Callable[[Tensor], Reading]:
        """How to read a slice of this slice: through the base, which knows how to do that best."""
        read = self._base_reader(steady)
        return lambda coords: read(frame.points(coords))

    def _base_reader(self, steady: bool) -> Callable[[Tensor], Reading]:
        # A surface with a reader of its own need not know the word as long as nobody asks for it.
        return self._under.reader(self._lifted, steady=True) if steady else self._under.reader(self._lifted)

    def own_outputs(self) -> Any:
        """What lies between coordinates and the loss, such as a network's outputs; None where nothing does."""
        return self._under.outputs(self._lifted)

    def gradients(self, points: Tensor, sample: Sample | None = None) -> tuple[Tensor, Tensor]:
        """Losses (B,) and gradients (B, k) by the chain rule."""
        values, gradients = self._under.gradients(self._lifted.points(self._check(points)), sample)
        return values, inner(gradients, self._lifted.directions)

    def products(self, point: Tensor, vectors: Tensor) -> Tensor:
        """D H Dᵀ times each of K vectors (K, k)."""
        directions = self._lifted.directions
        full = self._under.products(self._lifted.points(point[None])[0], vectors.to(directions.dtype) @ directions)
        return inner(full, directions)

    def exact_products(self, point: Tensor, vectors: Tensor) -> Tensor:
        """The same by second derivatives of the base surface alone."""
        directions = self._lifted.directions
        full = self._under.exact_products(
            self._lifted.points(point[None])[0], vectors.to(directions.dtype) @ directions
        )
        return inner(full, directions)

    def sampled_products(self, point: Tensor, vectors: Tensor, sample: Sample) -> Tensor:
        """D H Dᵀ of a mini-batch's Hessian times each of K vectors (K, k)."""
        directions = self._lifted.directions
        lifted, full = self._lifted.points(point[None])[0], vectors.to(directions.dtype) @ directions
        return inner(self._under.sampled_products(lifted, full, sample), directions)

    def _check(self, points: Tensor) -> Tensor:
        if points.ndim != 2 or points.shape[1] != self.dimension:
            raise InputError(
                f"got points of shape {tuple(points.shape)} on {self.name}; expected (B, {self.dimension}), one row of "
                "coordinates per point."
            )
        return points

    @property
    def rounding(self) -> float:
        """The base's."""
        return self.base.rounding

    def fingerprint(self) -> dict[str, Any]:
        """The base's fingerprint, and which slice of it this is, to the bit."""
        told = {"surface": self.name, "dimension": self.dimension, "base": self.base.fingerprint()}
        return told | {"frame": self._frame_digests}

    @functools.cached_property
    def _frame_digests(self) -> dict[str, str]:
        return self.frame.digests()
