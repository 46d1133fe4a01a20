"""The lines of a card that hold the plane and its center against the gradient."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch

from lossatlas.chart.card._entry import TELLING, Part, share, short
from lossatlas.chart.card._local import Local
from lossatlas.curvature import Extremes
from lossatlas.surface import Frame, inner

# A center is critical where one ideal step gains no more than this share of its loss.
CRITICAL = 1e-6


@dataclass(frozen=True)
class Alignment(Part):
    """Whether the plane holds the directions that matter.

    Attributes:
        gradient: |Qᵀg| / |g|, Q an orthonormal basis of the plane; None where g = 0.
        sharpest: |Qᵀv|² for the eigenvector of λmax; None where not measured.
        negative: the same for that of λmin.
        random: what a random plane holds of any vector, k/N of its squared length.
    """

    heading: ClassVar[str] = "Alignment"
    gradient: float | None
    sharpest: float | None
    negative: float | None
    random: float

    @classmethod
    def of(cls, here: Local, frame: Frame, extremes: Extremes | None, dimension: int) -> Self | None:
        """From the gradient and the extreme eigenvectors; None on a surface without gradients."""
        if here.gradient is None:
            return None

        def held(vector: torch.Tensor) -> float:
            rows = frame.directions
            along = inner(rows, (vector / vector.norm())[None].to(rows.device)).cpu().numpy()[:, 0]
            return here.held(np.asarray(along))

        sharpest = lowest = None
        if extremes is not None:
            sharpest, lowest = (
                held(torch.from_numpy(np.asarray(pairs.vectors[0], dtype=np.float64)))
                for pairs in (extremes.largest, extremes.smallest)
            )
        gradient = math.sqrt(held(here.gradient)) if bool(here.gradient.any()) else None
        return cls(gradient, sharpest, lowest, min(1.0, frame.dimension / dimension))

    def says(self) -> list[str]:
        """Shares of the gradient and of both eigenvectors beside the random one."""
        part = (
            f"{share(self.gradient)} of the gradient's length (random: {share(math.sqrt(self.random))})"
            if self.gradient is not None
            else "there is no gradient"
        )
        words = f"in the picture lie {part}"
        if self.sharpest is not None and self.negative is not None:
            words += (
                f", {share(self.sharpest)} of the sharpest eigenvector and {share(self.negative)} of the lowest "
                f"(random: {share(self.random)}, squared)"
            )
        return [words]


@dataclass(frozen=True)
class Center(Part):
    """Is the center critical at all?

    Attributes:
        gradient: |g|.
        gain: |g|² / 2λmax, what one ideal step down the gradient gains at least, by the quadratic model; None where
            λmax is not known or not positive.
        flatness: r = |Hg| / (‖H‖ |g|); near 0 with a gradient that is not small the center is gradient-flat. None
            where not measured.
        loss: at the center.
        gap: between the contour lines around the center, what a loss must change by to be seen.
    """

    heading: ClassVar[str] = "Center"
    gradient: float
    gain: float | None
    flatness: float | None
    loss: float
    gap: float

    @classmethod
    def of(cls, here: Local, extremes: Extremes | None, pushed: float | None, gap: float) -> Self | None:
        """From the gradient, λmax and |Hg|, as far as they were measured; None on a surface without gradients."""
        if here.gradient is None:
            return None
        size, gain, flatness = float(here.gradient.norm()), None, None
        if extremes is not None:
            top = float(extremes.largest.values[0])
            gain = size**2 / (2 * top) if top > 0 else None
            flatness = pushed / (extremes.norm * size) if pushed is not None and size > 0 < extremes.norm else None
        return cls(size, gain, flatness, here.loss, gap)

    @property
    def critical(self) -> bool | None:
        """Whether a step down the gradient would gain no more than a millionth of the loss; None if not known."""
        if self.gradient == 0:
            return True
        return None if self.gain is None else self.gain <= CRITICAL * abs(self.loss)

    @property
    def visible(self) -> bool:
        """Whether that gain is a tenth of what can be seen in the picture, or more."""
        return self.gain is not None and self.gain >= TELLING * self.gap

    @property
    def flat(self) -> bool:
        """Whether the gradient lies almost in the kernel of H (Frye et al. 2021)."""
        return self.critical is False and self.flatness is not None and self.flatness < 1e-3

    def says(self) -> list[str]:
        """The gradient, what it is worth, and whether it is flat."""
        words = f"|∇L| = {short(self.gradient)}"
        if self.gain is not None:
            words += f"; a step down it would gain {short(self.gain)} of {short(self.loss)}"
        if self.flatness is not None:
            words += f"; r = |Hg| / ‖H‖|g| = {short(self.flatness)}"
        if self.critical is None:
            return [words, "whether the center is critical is not known"]
        if self.critical:
            return [words, "critical to within 1e-6 of the loss"]
        seen = "" if self.visible else ", though by less than the picture can show"
        return [words, f"not a critical point{seen}{', gradient-flat' if self.flat else ''}"]

    def warns(self) -> list[str]:
        """A center whose gradient can be seen, or is flat."""
        return self.says()[1:] if self.critical is False and (self.visible or self.flat) else []
