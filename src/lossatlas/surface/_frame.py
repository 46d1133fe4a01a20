"""A frame: an origin in parameter space and a few directions. What a picture of a surface is taken on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from lossatlas import _checks, _said
from lossatlas._errors import InputError, PlaneError
from lossatlas.surface._bits import tensor_digest

# Entries converted to float64 at a time.
CHUNK = 2**20


class Framed(Protocol):
    """Anything that lies on a frame: a `Frame` itself, a `Line`, a `Plane`."""

    @property
    def frame(self) -> Frame:
        """The frame it lies on."""
        ...


@dataclass(frozen=True, eq=False)
class Moving:
    """Some of the parameters that move along a frame.

    Attributes:
        origin: (n,), where they are at the origin.
        directions: (k, n), how they move.
        dtype: the type that they are rounded to.
    """

    origin: Tensor
    directions: Tensor
    dtype: torch.dtype


@dataclass(frozen=True, eq=False)
class Frame:
    """An origin θ₀ and k directions.

    Attributes:
        origin: shape (N,).
        directions: shape (k, N), k = 1 for a line, 2 for a plane, more for a space; of any length, not necessarily orthogonal.
        statistics: shape (k + 1, S), running statistics of batch norm at the origin and how they change along each
            direction, or None where they do not move. Left aside by a surface that was made with another ``batchnorm``
            than the default or ``interpolate``.

    Raises:
        PlaneError: for a direction of zero or non-finite length, two parallel ones, or one in the span of those before it.
    """

    origin: Tensor
    directions: Tensor
    statistics: Tensor | None = None

    def __post_init__(self) -> None:
        _checks.tensor("origin", self.origin, where="a frame", error=PlaneError)
        _checks.tensor("directions", self.directions, where="a frame", error=PlaneError)
        if self.statistics is not None:
            _checks.tensor("statistics", self.statistics, where="a frame", error=PlaneError)
        if self.directions.ndim != 2 or self.directions.shape[1] != self.origin.numel():
            raise PlaneError(
                f"got directions of shape {tuple(self.directions.shape)} at an origin of {self.origin.numel()} "
                "entries; expected one row per direction, each as long as the origin. Check that both come from "
                "the same architecture."
            )
        gram = inner(self.directions, self.directions)
        norms = gram.diagonal().sqrt()
        for k, norm in enumerate(norms.tolist()):
            if not (norm > 0 and norm < float("inf")):
                raise PlaneError(
                    f"direction {k + 1} has length {norm}; expected a finite length above zero. A direction of zero "
                    "length spans nothing: give two different points, or directions that move at least one weight."
                )
        if len(norms) == 2:
            sine = _sine(self.directions, gram)
            if sine < 1e-6:
                raise PlaneError(
                    f"the two directions are parallel (the sine of their angle is {sine:.1e}); expected two that "
                    "span a plane. Use another seed or third point, or draw the one direction as a line."
                )
        elif len(norms) > 2:
            _independent(gram / norms[:, None] / norms)

    def __repr__(self) -> str:
        return _said.line(self, f"{self.dimension} of {self.origin.numel():,} directions")

    @property
    def frame(self) -> Frame:
        """Itself, so that frames, lines and planes are taken alike."""
        return self

    @property
    def dimension(self) -> int:
        """k, the number of directions."""
        return self.directions.shape[0]

    def digests(self) -> dict[str, str]:
        """A digest of the bits of the origin, of each direction, and of the statistics where there are any."""
        parts = {"origin": self.origin, **{f"direction {k + 1}": row for k, row in enumerate(self.directions)}}
        if self.statistics is not None:
            parts["statistics"] = self.statistics
        return {name: tensor_digest(part) for name, part in parts.items()}

    def points(self, coords: Tensor, out: Tensor | None = None) -> Tensor:
        """θ₀ + Σ cₖ dₖ for coordinates (B, k), shape (B, N), in the origin's dtype.

        Each row is summed in the same order whatever B is, so that a point does not depend on its neighbors. No more
        than the result is held.

        Args:
            coords: shape (B, k).
            out: where to put them, shape (B, N).
        """
        if out is not None:
            _checks.tensor("out", out, self.origin.numel(), where="Frame.points")
            out = out.detach()
        coords = _checks.tensor("coords", coords, self.dimension).to(self.origin.device, self.origin.dtype)
        theta = torch.mul(coords[:, :1], self.directions[0], out=out)
        theta += self.origin
        for k in range(1, self.dimension):
            theta.addcmul_(coords[:, k : k + 1], self.directions[k].unsqueeze(0))
        return theta

    def project(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Nearest coordinates of θ on the frame, and how far off it lies.

        Solves G c = D(θ − θ₀) with the Gram matrix G = DDᵀ in float64, so that directions need be neither
        orthogonal nor of unit length.

        Args:
            theta: shape (N,) or (B, N).

        Returns:
            Coordinates (k,) or (B, k), and the residual ‖θ − θ₀ − cD‖ / ‖θ − θ₀‖, () or (B,), 0 at the origin.
        """
        _checks.tensor("theta", theta, where="Frame.project")
        if theta.ndim not in (1, 2) or theta.shape[-1] != self.origin.numel():
            raise InputError(
                f"Frame.project got theta of shape {tuple(theta.shape)}; expected ({self.origin.numel()},), or rows of that length."
            )
        points = theta.detach().reshape(-1, theta.shape[-1])
        right = torch.zeros(len(points), self.dimension, dtype=torch.float64, device=theta.device)
        missing, length = right.new_zeros(2, len(points)).unbind()
        for span in _spans(points.shape[1]):
            offset = points[:, span].double() - self.origin[span].double()
            right += offset @ self.directions[:, span].double().T
            length += offset.square().sum(1)
        found = torch.linalg.solve(inner(self.directions, self.directions), right.T).T
        for span in _spans(points.shape[1]):
            offset = points[:, span].double() - self.origin[span].double()
            missing += (offset - found @ self.directions[:, span].double()).square().sum(1)
        residual = torch.where(length > 0, (missing / length.clamp_min(1e-300)).sqrt(), 0.0)
        return found.reshape(*theta.shape[:-1], self.dimension), residual.reshape(theta.shape[:-1])


def inner(a: Tensor, b: Tensor) -> Tensor:
    """Inner products of rows (m, N) and (n, N) in float64, shape (m, n), without a float64 copy of either."""
    total = torch.zeros(len(a), len(b), dtype=torch.float64, device=a.device)
    for span in _spans(a.shape[1]):
        total += a[:, span].double() @ b[:, span].double().T
    return total


def _sine(rows: Tensor, gram: Tensor) -> float:
    """Of the angle between two rows, from what is left of the second without the first: exact for small angles."""
    share, rest = gram[0, 1] / gram[0, 0], 0.0
    for span in _spans(rows.shape[1]):
        first, second = rows[:, span].double()
        rest += float((second - share * first).square().sum())
    return float((rest / gram[1, 1]) ** 0.5)


def _independent(cosines: Tensor) -> None:
    """Refuse three and more directions of which one lies in the span of the others.

    Args:
        cosines: (k, k), of the angles between them.

    Raises:
        PlaneError: if the sine of the angle between a direction and the span of those before it is below 1e-6.
    """
    for last in range(1, len(cosines)):
        for first in range(last):
            if 1 - float(cosines[first, last]) ** 2 < 1e-12:
                raise PlaneError(
                    f"directions {first + 1} and {last + 1} are parallel; expected {len(cosines)} that span a space of as many "
                    "dimensions. Leave one of them out, or use another seed."
                )
        # The last entry on the diagonal of Cholesky's factor is the sine.
        lower, failed = torch.linalg.cholesky_ex(cosines[: last + 1, : last + 1])
        if int(failed) or float(lower[last, last]) < 1e-6:
            raise PlaneError(
                f"direction {last + 1} lies in the span of those before it; expected {len(cosines)} that span a space of as many "
                "dimensions. Leave it out, or use another seed."
            )


def _spans(n: int) -> list[slice]:
    return [slice(begin, min(begin + CHUNK, n)) for begin in range(0, n, CHUNK)]
