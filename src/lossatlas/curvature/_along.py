"""Curvature along a training run: the largest eigenvalues with the line 2/η, the trace, and where the gradient points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from lossatlas import _checks, archive
from lossatlas._errors import StartError
from lossatlas._progress import Show, counted
from lossatlas._said import several
from lossatlas.curvature._extremes import shared
from lossatlas.curvature._hessian import Hessian
from lossatlas.curvature._numbers import is_row, numbers_in
from lossatlas.curvature._operator import How
from lossatlas.probe import Gradients, Meter, Probe
from lossatlas.surface import PointLike, Surface, as_points

if TYPE_CHECKING:
    from lossatlas.draw import AlongDisplay, CurvesDisplay


@dataclass(frozen=True, eq=False)
class RunCurvature(archive.Result):
    """Curvature at the checkpoints of one run.

    Attributes:
        t: (T,) when each was taken.
        loss: (T,) the loss there.
        gradient_norm: (T,) ‖g‖.
        largest: (T, k) the largest eigenvalues, descending.
        residuals: (T, k) ‖Hv − λv‖ of each.
        smallest: (T,) the smallest eigenvalue.
        trace: (T,) tr H, NaN where it was not computed.
        trace_interval: (T, 2) its interval.
        share: (T,) ‖Vᵀg‖² / ‖g‖² for the k top eigenvectors V: the share of the gradient in the top space. A random
            direction has k/N.
        edge: (T,) the curvature above which a step is unstable, 2(1 + β)/η; NaN without a learning rate.
        dimension: N.
        overlap: (T,) how far the top space is that of the checkpoint before, ‖V Wᵀ‖_F²/k; 1 at the first. 1 is the same space,
            a random one has k/N.
        overlap_first: (T,) the same with the first checkpoint.
        meter: what was evaluated for it.
        provenance: surface, settings and versions, plain JSON values.
        status: ``complete`` or ``interrupted``, what has not converged, and checkpoints left out.
    """

    KIND: ClassVar[str] = "run-curvature"
    SAYS: ClassVar[tuple[str, ...]] = ("checkpoints",)

    t: np.ndarray
    loss: np.ndarray
    gradient_norm: np.ndarray
    largest: np.ndarray
    residuals: np.ndarray
    smallest: np.ndarray
    trace: np.ndarray
    trace_interval: np.ndarray
    share: np.ndarray
    edge: np.ndarray
    dimension: int
    overlap: np.ndarray
    overlap_first: np.ndarray
    meter: Meter
    provenance: dict[str, Any]
    status: str

    @property
    def checkpoints(self) -> int:
        """How many were measured."""
        return len(self.t)

    def reading(self) -> list[str]:
        """What the record says, in sentences."""
        if not len(self.t):
            return [self.status]
        top, k = self.largest[:, 0], self.largest.shape[1]
        high = int(np.argmax(top))
        says = [
            f"λmax {top[0]:.4g} ± {self.residuals[0, 0]:.1g} at {self.t[0]:g}, at most {top[high]:.4g} (at {self.t[high]:g}), "
            f"{top[-1]:.4g} ± {self.residuals[-1, 0]:.1g} at {self.t[-1]:g}"
        ]
        known = np.isfinite(self.edge)
        if known.any():
            above = int((top[known] > self.edge[known]).sum())
            ratio = top[known][-1] / self.edge[known][-1]
            says.append(
                f"λmax lies above {self._edge_name()} at {above:,} of {several(int(known.sum()), 'checkpoint')}; at the last it is "
                f"{ratio:.2f} times that"
            )
        middle = float(np.median(self.share))
        says.append(
            f"{middle:.1%} of the squared gradient lies in the space of the {several(k, 'largest eigenvalue')} (median; a random "
            f"direction has {k / self.dimension:.1%})"
        )
        if len(self.t) > 1:
            says.append(
                f"the top space is {np.nanmedian(self.overlap[1:]):.0%} that of the checkpoint before (median), and at the last "
                f"{self.overlap_first[-1]:.0%} that of the first (the same space has 100%, a random one {k / self.dimension:.1%})"
            )
        says += [self.status] if self.status != "complete" else []
        return says

    def plot(self, ax: Any = None) -> AlongDisplay:
        """λmax over time with its residual, the next eigenvalues thin, and the line 2/η."""
        from lossatlas.draw import AlongDisplay

        name = "this run"
        known = bool(np.isfinite(self.edge).any())
        return AlongDisplay(
            {name: (self.t, self.largest[:, 0], self.residuals[:, 0])},
            {name: (self.t, self.edge)} if known else {},
            edge_label=self._edge_name(),
            more={name: (self.t, self.largest[:, 1:])} if self.largest.shape[1] > 1 else {},
            note="; ".join(self.reading()[1:2]),
        ).plot(ax)

    def plot_trace(self, ax: Any = None) -> CurvesDisplay:
        """The trace over time with its interval."""
        from lossatlas.draw import CurvesDisplay

        curves = {"tr H": (self.t, self.trace, *self.trace_interval.T)}
        return CurvesDisplay(curves, xlabel="step", ylabel="tr H").plot(ax)

    def plot_share(self, ax: Any = None) -> CurvesDisplay:
        """The share of the gradient in the top space over time, and that of a random direction."""
        from lossatlas.draw import CurvesDisplay

        k = self.largest.shape[1]
        level = np.full_like(self.share, k / self.dimension)
        curves = {f"top {k}": (self.t, self.share), "random direction": (self.t, level)}
        return CurvesDisplay(curves, xlabel="step", ylabel="share of ‖g‖² in the top space", yscale="linear").plot(ax)

    def plot_overlap(self, ax: Any = None) -> CurvesDisplay:
        """How far the top space is that of the checkpoint before, and that of the first, over time."""
        from lossatlas.draw import CurvesDisplay

        k = self.largest.shape[1]
        later = slice(1, None)
        curves = {
            "checkpoint before": (self.t[later], self.overlap[later]),
            "first checkpoint": (self.t[later], self.overlap_first[later]),
            "random space": (self.t[later], np.full(len(self.t[later]), k / self.dimension)),
        }
        return CurvesDisplay(
            curves, xlabel="step", ylabel=f"overlap of the spaces of the {k} largest eigenvalues", yscale="linear"
        ).plot(ax)

    def _edge_name(self) -> str:
        momentum = self.provenance["momentum"]
        return "2/η" if not momentum else f"2(1 + {momentum:g})/η"


def curvature_along(
    surface: Surface,
    checkpoints: PointLike | Sequence[PointLike],
    *,
    t: Sequence[float] | np.ndarray | torch.Tensor | None = None,
    lr: float | Sequence[float] | np.ndarray | torch.Tensor | None = None,
    momentum: float = 0.0,
    k: int = 5,
    with_trace: bool = True,
    relative: float = 0.1,
    tolerance: float = 1e-3,
    seed: int = 0,
    how: How = "auto",
    probe: Probe | None = None,
    progress: Show = True,
) -> RunCurvature:
    """The largest eigenvalues, the trace, and the gradient's share in the top space at the checkpoints of a run.

    Gradient descent with rate η is unstable along a direction of curvature above 2/η, with heavy-ball momentum β above
    2(1 + β)/η. In full-batch training λmax often rises to that line and stays about it, the edge of stability; for
    stochastic or adaptive methods the line has no such meaning.

    Args:
        surface: the run's surface: its model, loss and data.
        checkpoints: rows (T, N), or a sequence of whatever describes points: vectors, state dicts, modules, files, folders.
        t: when each was taken; 0, 1, 2, … by default.
        lr: η, one number or one for each checkpoint; without it there is no line.
        momentum: β.
        k: eigenvalues from the top.
        with_trace: whether to estimate the trace too.
        relative: how narrow the interval of the trace is to be.
        tolerance: of the eigenvalues.
        seed: of all random vectors; the same ones at every checkpoint.
        how: as of `Hessian`: ``exact``, ``differences`` or ``auto``.
        probe: what evaluates and counts; a new one by default.
        progress: True for a bar on the error stream of a terminal, False for silence, or a function of
            (checkpoints done, all).

    Returns:
        The `RunCurvature`. If it is interrupted with Ctrl-C, of the checkpoints that were done.

    Raises:
        InputError: for no checkpoints, or times, rates or a k that do not fit.
        StartError: if no checkpoint is finite.

    Source:
        Cohen et al., Gradient descent on neural networks typically occurs at the edge of stability, ICLR 2021; Gur-Ari,
        Roberts and Dyer, Gradient descent happens in a tiny subspace, arXiv:1812.04754.

    Example:
        >>> import torch, lossatlas as la
        >>> bowl = la.landscapes.quadratic(condition=9.0)
        >>> found = curvature_along(bowl, torch.ones(3, 2), lr=0.1, k=1)
        >>> found.largest[:, 0].round(6).tolist(), found.edge.tolist()
        ([9.0, 9.0, 9.0], [20.0, 20.0, 20.0])
    """
    points = as_points(surface, checkpoints, "checkpoints")
    k, seed = _checks.whole("k", k, 1, surface.dimension), _checks.seed(seed)
    with_trace = _checks.flag("with_trace", with_trace)
    times = np.arange(len(points), dtype=float) if t is None else numbers_in("t", t, len(points), of="checkpoint")
    edge = np.full(len(points), math.nan)
    momentum = _checks.number("momentum", momentum, least=0, below=1)
    if lr is not None:
        lr = _rates(lr, len(points))
        edge = 2 * (1 + momentum) / np.broadcast_to(lr, len(points))
    finite = torch.isfinite(points).all(1)
    if not bool(finite.any()):
        raise StartError(
            f"none of {several(len(points), 'checkpoint')} is finite; expected at least one. The run has diverged."
        )
    gone, points = int((~finite).sum()), points[finite]
    times, edge = times[finite.cpu().numpy()], edge[finite.cpu().numpy()]
    operator = Hessian(surface, points[0], how=how, probe=probe)
    rows: list[list[float]] = []
    first = last = np.empty((0, surface.dimension))
    overlaps: list[tuple[float, float]] = []
    tops, residuals, ends, poor, hidden, warning = [], [], [], 0, 0, ""
    status = "complete"
    try:
        with counted("checkpoints", len(points), progress) as report:
            for done, point in enumerate(points, start=1):
                here, answer = operator.at(point), operator.probe.evaluate(Gradients(point[None]))
                gradient = answer.gradients[0].double().cpu().numpy()
                found = here.extremes(k, seed=seed, tolerance=tolerance, progress=False)
                top = found.largest
                poor += not bool(np.all(top.converged))
                if found.provenance["warning"]:
                    hidden, warning = hidden + 1, found.provenance["warning"]
                size = float(np.linalg.norm(gradient))
                inside = float(np.linalg.norm(top.vectors @ gradient))
                value, low, high = math.nan, math.nan, math.nan
                if with_trace:
                    guess = here.trace(relative=relative, seed=seed, progress=False)
                    value, (low, high) = guess.value, guess.interval
                rows.append([float(answer.values[0]), size, (inside / size) ** 2 if size else 0.0, value])
                ends.append([float(found.smallest.values[0]), low, high])
                first, last = (first, last) if done > 1 else (top.vectors, top.vectors)
                overlaps.append((shared(top.vectors, last), shared(top.vectors, first)))
                last = top.vectors
                tops.append(_padded(top.values, k))
                residuals.append(_padded(top.residuals, k))
                report(done)
    except KeyboardInterrupt:
        status = "interrupted"
    if gone:
        status += f"; {several(gone, 'checkpoint')} not finite and left out"
    operator.warning = f"at {hidden} of {several(len(points), 'checkpoint')} {warning}" if hidden else ""
    status = operator.remark(status)
    status += f"; at {poor} of {several(len(points), 'checkpoint')} not all eigenvalues converged" if poor else ""
    table, last = np.array(rows).reshape(-1, 4), np.array(ends).reshape(-1, 3)
    settings = {"lr": lr, "k": k, "momentum": momentum, "relative": relative, "tolerance": tolerance, "seed": seed}
    n = len(table)
    shares = np.array(overlaps[:n]).reshape(-1, 2)
    return RunCurvature(
        times[:n], table[:, 0], table[:, 1], np.array(tops).reshape(-1, k), np.array(residuals).reshape(-1, k), last[:, 0],
        table[:, 3], last[:, 1:], table[:, 2], edge[:n], surface.dimension, shares[:, 0], shares[:, 1], operator.spent(),
        operator.provenance(**settings), status,
    )  # fmt: skip


def _rates(lr: Any, count: int) -> float | list[float]:
    """One learning rate, or one for each checkpoint."""
    if not is_row(lr):
        return _checks.number("lr", lr, above=0, do="It is the learning rate η, or one for each checkpoint.")
    return [_checks.number("lr", float(rate), above=0) for rate in numbers_in("lr", lr, count, of="checkpoint")]


def _padded(values: np.ndarray, k: int) -> np.ndarray:
    return np.concatenate([values, np.full(k - len(values), np.nan)])
