"""The geometry of a path between two points: a segment, a Bézier curve, or a chain of segments."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lossatlas import archive

Array = NDArray[np.float64]
Kind = Literal["line", "bezier", "chain", "band"]
_FINE = 1001


@final
@dataclass(frozen=True, eq=False)
class Curve(archive.Result):
    """φ(t) = Σⱼ wⱼ(t) θⱼ for t from 0 to 1, with φ(0) = θ₀ and φ(1) = θₙ exactly.

    A Bézier curve of degree n has wⱼ(t) = C(n, j) tʲ (1 − t)ⁿ⁻ʲ; a chain (and a band, and a line, which is a chain
    without corners) is piecewise linear with its corners at t = j/n.

    Attributes:
        kind: ``line``, ``bezier``, ``chain`` or ``band``.
        controls: (n + 1, N), the ends first and last.

    Source:
        Garipov, Izmailov, Podoprikhin, Vetrov and Wilson: Loss surfaces, mode connectivity, and fast ensembling of
        DNNs, NeurIPS 2018, section 3.
    """

    SAYS: ClassVar[tuple[str, ...]] = ("length",)

    kind: Kind
    controls: Tensor

    @property
    def degree(self) -> int:
        """n: one less than the number of control points."""
        return len(self.controls) - 1

    @property
    def nodes(self) -> Array:
        """Where a chain has its corners, ends included; of a Bézier curve only the ends."""
        return np.array([0.0, 1.0]) if self.kind == "bezier" else np.linspace(0, 1, self.degree + 1)

    def weights(self, t: Array) -> Array:
        """wⱼ(t), shape (B, n + 1), float64; rows sum to 1."""
        t = np.asarray(t, dtype=np.float64)
        n = self.degree
        if self.kind == "bezier":
            return np.stack([math.comb(n, j) * t**j * (1 - t) ** (n - j) for j in range(n + 1)], 1)
        return np.asarray(np.maximum(0.0, 1 - np.abs(t[:, None] * n - np.arange(n + 1))))

    def slopes(self, t: Array) -> Array:
        """w′ⱼ(t), shape (B, n + 1); at a bend, of the segment after it."""
        t = np.asarray(t, dtype=np.float64)
        n = self.degree
        if self.kind == "bezier":
            lower = np.stack([math.comb(n - 1, j) * t**j * (1 - t) ** (n - 1 - j) for j in range(n)], 1)
            padded = np.pad(lower, ((0, 0), (1, 1)))
            return np.asarray(n * (padded[:, :-1] - padded[:, 1:]))
        segment = np.minimum((t * n).astype(int), n - 1)
        found = np.zeros((len(t), n + 1))
        found[np.arange(len(t)), segment], found[np.arange(len(t)), segment + 1] = -n, n
        return found

    def points(self, t: Array) -> Tensor:
        """φ(t), shape (B, N), in the dtype of the control points."""
        weights = torch.from_numpy(self.weights(t)).to(self.controls.device, self.controls.dtype)
        # Control by control, in one order: a point does not depend on its neighbors, and ends come out exact.
        found = weights[:, :1] * self.controls[0]
        for j in range(1, len(self.controls)):
            found = found + weights[:, j : j + 1] * self.controls[j]
        return found

    def arc(self, t: Array) -> Array:
        """Length of the curve from 0 to each t, shape (B,), in units of θ.

        |φ′|² = w′ᵀ G w′ with the Gram matrix G of the control points, integrated by Simpson's rule for a Bézier curve;
        exact for a chain.
        """
        offsets = self.controls.double() - self.controls[0].double()
        gram = (offsets @ offsets.T).cpu().numpy()
        if self.kind == "bezier":
            fine = np.linspace(0, 1, 2 * _FINE - 1)
            slopes = self.slopes(fine)
            speed = np.sqrt(np.maximum(0, np.einsum("bi,ij,bj->b", slopes, gram, slopes)))
            pieces = (speed[:-2:2] + 4 * speed[1:-1:2] + speed[2::2]) * (fine[2] / 6)
            return np.asarray(np.interp(t, fine[::2], np.concatenate([[0.0], np.cumsum(pieces)])))
        steps = np.diff(np.eye(self.degree + 1), axis=0)
        lengths = np.sqrt(np.maximum(0, np.einsum("bi,ij,bj->b", steps, gram, steps)))
        return np.asarray(np.interp(t, self.nodes, np.concatenate([[0.0], np.cumsum(lengths)])))

    @property
    def length(self) -> float:
        """Of the whole curve, in units of θ."""
        return float(self.arc(np.ones(1))[0])


def straight(kind: Kind, a: Tensor, b: Tensor, controls: int = 0) -> Curve:
    """A curve of its kind that is still the straight line: `controls` control points evenly spread from a to b."""
    inner = Curve("line", torch.stack([a, b])).points(np.linspace(0, 1, controls + 2)[1:-1])
    return Curve(kind, torch.cat([a[None], inner, b[None]]))
