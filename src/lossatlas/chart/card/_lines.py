"""From what was measured to the lines that hold the plane against the whole Hessian; nothing is asked here."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from lossatlas.chart.card._hessian import Ends, Spectra, Sums
from lossatlas.chart.card._hessian_entries import Alignment, Center, Chance, Curvature, Trace
from lossatlas.chart.card._local import Local
from lossatlas.chart.card._picture_entries import Variance
from lossatlas.surface import Frame, inner

# Relative to ‖H‖: what is nearer to zero has no sign that could be trusted.
NOTHING = 1e-6


def curvature(here: Local, ends: Ends | None, dimension: int) -> Curvature:
    """Principal curvatures beside both ends of the spectrum."""
    exact = here.gradient is not None
    if ends is None:
        return Curvature(here.curvatures, here.fitted, None, None, (False, False), dimension, exact)
    return Curvature(here.curvatures, here.fitted, ends.largest, ends.smallest, ends.converged, dimension, exact)


def trace(here: Local, sums: Sums, spectra: Spectra | None, dimension: int) -> Trace:
    """The typical direction."""
    return Trace(
        sums.trace,
        sums.frobenius,
        sum(here.curvatures),
        len(here.curvatures),
        dimension,
        None if spectra is None else spectra.below,
        0.0 if spectra is None else spectra.epsilon,
        sums.own,
    )


def chance(bends: Curvature, spectra: Spectra, normalization: str | None) -> Chance:
    """How likely a picture like this one shows a saddle, and whether there is one to show."""
    size = max(abs(one) for one in bends.plane)
    shown = bends.plane[-1] < -NOTHING * size
    return Chance(
        isotropic=spectra.isotropic,
        own=spectra.own,
        draws=spectra.draws,
        normalization=None if spectra.own is None else normalization,
        gaussian=spectra.gaussian,
        below=spectra.negative,
        negative=True if shown else _negative(bends),
        shown=shown,
        directions=len(bends.plane),
    )


def _negative(bends: Curvature) -> bool | None:
    """Whether there is negative curvature, beyond residuals and rounding; None where that is not known."""
    if bends.smallest is None or bends.largest is None:
        return None
    nothing = NOTHING * max(abs(bends.smallest.value), abs(bends.largest.value))
    if bends.smallest.high < -nothing:
        return True
    return False if bends.converged[1] and bends.smallest.low >= -nothing else None


def alignment(here: Local, frame: Frame, ends: Ends | None, dimension: int) -> Alignment | None:
    """Shares of the gradient and of the extreme eigenvectors; None on a surface without gradients."""
    if here.gradient is None:
        return None
    size = float(here.gradient.norm())
    along = inner(frame.directions, here.gradient[None].to(frame.directions.device)).cpu().numpy()[:, 0]
    held = [None, None] if ends is None else [_held(here, frame, v) for v in (ends.sharpest, ends.lowest)]
    slope = math.sqrt(here.held(along / size)) if size > 0 else None
    return Alignment(slope, held[0], held[1], min(1.0, frame.dimension / dimension))


def _held(here: Local, frame: Frame, vector: torch.Tensor) -> float:
    along = inner(frame.directions, vector[None].to(frame.directions.device)).cpu().numpy()[:, 0]
    return here.held(np.asarray(along / float(vector.norm())))


def center(here: Local, ends: Ends | None, sums: Sums | None, gap: float) -> Center | None:
    """The gradient and what it is worth; None on a surface without gradients."""
    if here.gradient is None:
        return None
    size = float(here.gradient.norm())
    top = None if ends is None else ends.largest.value
    gain = size**2 / (2 * top) if top is not None and top > 0 else None
    known = ends is not None and sums is not None and size > 0 and ends.norm > 0
    flatness = sums.pushed / (ends.norm * size) if known and sums is not None and ends is not None else None
    return Center(size, gain, flatness, here.loss, gap)


def variance(how: dict[str, Any], directions: int) -> Variance | None:
    """What the directions hold of a path's variance, where they are principal components of one."""
    if "random_walk" not in how:
        return None
    shares, walk = how["shares"][:directions], how["random_walk"]["shares"][:directions]
    return Variance(tuple(shares), tuple(walk), int(how["iterates"]), str(how["centering"]))
