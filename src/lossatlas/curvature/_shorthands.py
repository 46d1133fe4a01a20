"""Each measure of `Hessian` as a function of a surface and a point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict, Unpack

from torch import Tensor

from lossatlas._progress import Show
from lossatlas.curvature._blocks import BlockCurvature
from lossatlas.curvature._diagonal import Diagonal
from lossatlas.curvature._estimate import Estimate
from lossatlas.curvature._extremes import End, Extremes
from lossatlas.curvature._hessian import Hessian
from lossatlas.curvature._operator import How
from lossatlas.curvature._spectrum import Spectrum
from lossatlas.curvature._trace import Method
from lossatlas.probe import Probe
from lossatlas.surface import PointLike, Surface


class Where(TypedDict, total=False):
    """What these functions hand on to `Hessian`."""

    blocks: str | Sequence[str] | None
    scaling: PointLike | None
    how: How
    probe: Probe | None


def hessian(surface: Surface, point: PointLike | None = None, **where: Unpack[Where]) -> Tensor:
    """The dense Hessian at a point, (N, N) in float64: ``Hessian(surface, point, **where).dense()``.

    Args:
        surface: of at most 5,000 parameters.
        point: where, whatever describes a point; the surface's own by default.
        where: ``blocks``, ``scaling``, ``how`` and ``probe`` of `Hessian`.

    Example:
        >>> import torch, lossatlas as la
        >>> surface = la.landscapes.quadratic(condition=4.0, dimension=2, rotation=0.0)
        >>> torch.linalg.eigvalsh(hessian(surface)).round(decimals=6).tolist()
        [1.0, 4.0]
    """
    return Hessian(surface, point, **where).dense()


def extremes(
    surface: Surface, k: int = 5, *, point: PointLike | None = None, seed: int = 0, tolerance: float = 1e-4,
    limit: int | None = None, ends: End = "both", start: PointLike | Extremes | None = None, progress: Show = True,
    **where: Unpack[Where],
) -> Extremes:  # fmt: skip
    """The k largest and k smallest eigenpairs of the Hessian at a point: see `Hessian` and `Hessian.extremes`.

    Example:
        >>> import lossatlas as la
        >>> found = la.extremes(la.landscapes.quadratic(condition=100.0, dimension=300), 2, ends="largest")
        >>> found.largest.values.round(3).tolist(), found.status
        ([100.0, 98.472], 'converged')
    """
    return Hessian(surface, point, **where).extremes(
        k, seed=seed, tolerance=tolerance, limit=limit, ends=ends, start=start, progress=progress
    )


def trace(
    surface: Surface, *, point: PointLike | None = None, method: Method = "hutchinson", relative: float = 0.05,
    confidence: float = 0.95, limit: int = 1000, seed: int = 0, sketch: int = 16, known: Extremes | None = None,
    progress: Show = True, **where: Unpack[Where],
) -> Estimate:  # fmt: skip
    """The trace of the Hessian at a point with its interval, and ‖H‖_F²: see `Hessian` and `Hessian.trace`.

    Example:
        >>> import lossatlas as la
        >>> found = la.trace(la.landscapes.quadratic(condition=9.0, dimension=2, rotation=0.3))
        >>> round(found.value, 6), found.status
        (10.0, 'exact')
    """
    return Hessian(surface, point, **where).trace(
        method=method, relative=relative, confidence=confidence, limit=limit, seed=seed, sketch=sketch, known=known,
        progress=progress,
    )  # fmt: skip


def diagonal(
    surface: Surface, *, point: PointLike | None = None, relative: float = 0.05, confidence: float = 0.95,
    limit: int = 1000, seed: int = 0, progress: Show = True, **where: Unpack[Where],
) -> Diagonal:  # fmt: skip
    """The diagonal of the Hessian at a point, every entry with its error: see `Hessian` and `Hessian.diagonal`.

    Example:
        >>> import lossatlas as la
        >>> surface = la.landscapes.quadratic(condition=4.0, dimension=2, rotation=0.0)
        >>> diagonal(surface).values.round(6).tolist()
        [1.0, 4.0]
    """
    return Hessian(surface, point, **where).diagonal(
        relative=relative, confidence=confidence, limit=limit, seed=seed, progress=progress
    )


def spectrum(
    surface: Surface, *, point: PointLike | None = None, probes: int = 4, steps: int = 80, seed: int = 0,
    dense: bool | None = None, progress: Show = True, **where: Unpack[Where],
) -> Spectrum:  # fmt: skip
    """The spectral density of the Hessian at a point: see `Hessian` and `Hessian.spectrum`.

    Example:
        >>> import lossatlas as la
        >>> found = la.spectrum(la.landscapes.quadratic(condition=9.0, dimension=3))
        >>> found.index, found.nodes.round(6).tolist()
        (0, [[1.0, 3.0, 9.0]])
    """
    return Hessian(surface, point, **where).spectrum(
        probes=probes, steps=steps, seed=seed, dense=dense, progress=progress
    )


def per_block(
    surface: Surface, *, point: PointLike | None = None, blocks: str | Sequence[str] | None = None,
    eigenvalues: bool = True, relative: float = 0.05, confidence: float = 0.95, limit: int = 200, tolerance: float = 1e-3,
    seed: int = 0, progress: Show = True, scaling: PointLike | None = None, how: How = "auto", probe: Probe | None = None,
) -> BlockCurvature:  # fmt: skip
    """Trace and extreme eigenvalues of every diagonal block at a point: see `Hessian` and `Hessian.per_block`.

    Example:
        >>> import torch, lossatlas as la
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
        >>> surface = la.NetworkSurface(model, "mse", (torch.ones(5, 3), torch.zeros(5, 1)))
        >>> la.per_block(surface, blocks=["0", "2"]).sizes.tolist()
        [16, 5]
    """
    return Hessian(surface, point, scaling=scaling, how=how, probe=probe).per_block(
        blocks, eigenvalues=eigenvalues, relative=relative, confidence=confidence, limit=limit, tolerance=tolerance,
        seed=seed, progress=progress,
    )  # fmt: skip
