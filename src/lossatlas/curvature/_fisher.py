"""The diagonal of the empirical Fisher matrix, from gradients of single examples."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from lossatlas import _checks
from lossatlas._errors import InputError
from lossatlas._progress import Show, counted
from lossatlas._versions import versions
from lossatlas.curvature._diagonal import Diagonal, averaged
from lossatlas.curvature._operator import probe_of
from lossatlas.curvature._samples import FEWEST, check_width, status_of
from lossatlas.probe import Gradients, Probe
from lossatlas.surface import NetworkSurface, PointLike, Sample, as_point, tensor_digest


def fisher_diagonal(
    surface: NetworkSurface,
    *,
    point: PointLike | None = None,
    relative: float = 0.05,
    confidence: float = 0.95,
    limit: int = 1000,
    seed: int = 0,
    probe: Probe | None = None,
    progress: Show = True,
) -> Diagonal:
    """The diagonal of the empirical Fisher matrix, F_ii = E g_i² over the gradients g of single examples.

    Examples are drawn at random until the standard errors together are as small as wanted. The labels are those of the data,
    not drawn from the model: at a minimum of a likelihood both are close, elsewhere they are not, and neither is the Hessian.

    Args:
        surface: of a network, whose data are drawn from.
        point: where, whatever describes a point; the network's own by default.
        relative: stop once the standard errors together are below this share of the length of the diagonal.
        confidence: of the intervals.
        limit: examples at most; each costs a gradient of one example.
        seed: of the draws.
        probe: what evaluates and counts; a new one by default.
        progress: True for a bar on the error stream of a terminal, False for silence, or a function of (examples done, limit).

    Returns:
        The `Diagonal`, whose quantity is ``F_ii``.

    Raises:
        InputError: for another surface, or settings that do not fit.

    Source: Kunstner, Balles and Hennig, Limitations of the empirical Fisher approximation, NeurIPS 2019, arXiv:1905.12558.
    """
    if not isinstance(surface, NetworkSurface):
        raise InputError(
            f"got {_checks.shown(surface)}; expected a network: the matrix is a mean over its examples. Give a NetworkSurface."
        )
    (relative, confidence, limit), seed = check_width(relative, confidence, limit), _checks.seed(seed)
    probe = probe_of(surface, probe)
    before = probe.meter.copy()
    theta = as_point(surface, point)

    def squares() -> Iterator[torch.Tensor]:
        with counted("examples", limit, progress) as report:
            for begin in range(0, limit, FEWEST):
                seeds = torch.arange(begin, min(begin + FEWEST, limit)) + seed * limit
                rows = theta.expand(len(seeds), -1)
                yield probe.evaluate(Gradients(rows, Sample(1, seeds))).gradients.double().square()
                report(begin + len(seeds))

    values, errors, count = averaged(squares(), relative)
    status = status_of(float((errors**2).sum() ** 0.5), relative * float((values**2).sum() ** 0.5), limit)
    record = {
        "surface": surface.fingerprint(), "point": tensor_digest(theta), "relative": relative, "limit": limit, "seed": seed,
        "versions": versions(),
    }  # fmt: skip
    return Diagonal(values, errors, confidence, count, probe.meter.since(before, 0.0), record, status, "F_ii")
