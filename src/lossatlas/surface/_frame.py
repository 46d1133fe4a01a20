"""A frame: an origin in parameter space and one or two directions. What a picture of a surface is taken on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from lossatlas._errors import PlaneError


class Framed(Protocol):
    """Anything that lies on a frame: a `Frame` itself, a `Line`, a `Plane`."""

    @property
    def frame(self) -> Frame:
        """The frame it lies on."""
        ...


@dataclass(frozen=True, eq=False)
class Frame:
    """An origin θ₀ and k directions.

    Attributes:
        origin: shape (N,).
        directions: shape (k, N), k = 1 or 2; of any length, not necessarily orthogonal.

    Raises:
        PlaneError: for a direction of zero or non-finite length, or two parallel ones.
    """

    origin: Tensor
    directions: Tensor

    def __post_init__(self) -> None:
        if self.directions.ndim != 2 or self.directions.shape[1] != self.origin.numel():
            raise PlaneError(
                f"got directions of shape {tuple(self.directions.shape)} at an origin of {self.origin.numel()} "
                "entries; expected one row per direction, each as long as the origin. Check that both come from "
                "the same architecture."
            )
        rows = self.directions.double()
        norms = rows.norm(dim=1)
        for k, norm in enumerate(norms.tolist()):
            if not (norm > 0 and norm < float("inf")):
                raise PlaneError(
                    f"direction {k + 1} has length {norm}; expected a finite length above zero. A direction of zero "
                    "length spans nothing: give two different points, or directions that move at least one weight."
                )
        if len(norms) == 2:
            unit = rows / norms[:, None]
            sine = float((unit[1] - (unit[0] @ unit[1]) * unit[0]).norm())
            if sine < 1e-6:
                raise PlaneError(
                    f"the two directions are parallel (the sine of their angle is {sine:.1e}); expected two that "
                    "span a plane. Use another seed or third point, or draw the one direction as a line."
                )

    @property
    def frame(self) -> Frame:
        """Itself, so that frames, lines and planes are taken alike."""
        return self

    @property
    def dimension(self) -> int:
        """k, the number of directions."""
        return self.directions.shape[0]

    def points(self, coords: Tensor) -> Tensor:
        """θ₀ + Σ cₖ dₖ for coordinates (B, k), shape (B, N), in the origin's dtype.

        Each row is summed in the same order whatever B is, so that a point does not depend on its neighbors.
        """
        coords = coords.to(self.origin.device, self.origin.dtype)
        theta = self.origin + coords[:, :1] * self.directions[0]
        for k in range(1, self.dimension):
            theta = torch.addcmul(theta, coords[:, k : k + 1], self.directions[k].unsqueeze(0))
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
        rows = self.directions.double()
        offset = theta.double() - self.origin.double()
        found = torch.linalg.solve(rows @ rows.T, (offset @ rows.T).reshape(-1, len(rows)).T)
        coords = found.T.reshape(*offset.shape[:-1], len(rows))
        missing = (offset - coords @ rows).norm(dim=-1)
        length = offset.norm(dim=-1)
        return coords, torch.where(length > 0, missing / length.clamp_min(1e-300), torch.zeros_like(length))
