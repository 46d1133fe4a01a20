"""What a card reads off the chart's cells, and the few it evaluates again: range, resolution, noise, points off the plane."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lossatlas.chart._features import rounding_of
from lossatlas.chart.card._hessian_entries import Curvature
from lossatlas.chart.card._local import Local
from lossatlas.chart.card._picture_entries import Markers, Noise, Range, Resolution
from lossatlas.draw import scale_of
from lossatlas.probe import Probe, Values
from lossatlas.surface import Frame, NetworkSurface, StateSurface, Surface

if TYPE_CHECKING:
    from lossatlas.chart._chart import Chart

Array = NDArray[np.float64]

OFF = 0.1
NEAREST, HALVINGS = 2.0**-8, 6
SAMPLED = 5


def levels_of(chart: Chart) -> Array:
    """Where the picture has its contour lines."""
    return scale_of(chart.loss).levels


def gap_at(chart: Chart, loss: float) -> float:
    """The gap between the contour lines around a loss: with logarithmic levels, narrow where losses are low."""
    levels = levels_of(chart)
    below = int(np.searchsorted(levels, loss, side="right")) - 1
    return float(np.diff(levels)[min(max(below, 0), len(levels) - 2)])


def resolution(chart: Chart, here: Local, curvature: Curvature, typical: float | None) -> Resolution:
    """Grid step and widths of valleys.

    Args:
        chart: the picture.
        here: the plane.
        curvature: of plane and whole.
        typical: tr H / N, or None.
    """
    # Curvatures are those of the center, and so is the width of a valley between its lines.
    gap = gap_at(chart, here.loss)
    step = float((here.steps * np.sqrt(here.gram.diagonal())).max())
    top = curvature.largest.value if curvature.largest is not None else None
    slower = math.sqrt(top / typical) if top is not None and typical is not None and top > 0 < typical else None
    return Resolution(step, gap, _width(gap, top), _width(gap, here.curvatures[0]), slower)


def _width(gap: float, curvature: float | None) -> float | None:
    return math.sqrt(2 * gap / curvature) if curvature is not None and curvature > 0 else None


def quadratic_range(chart: Chart, here: Local, slice_probe: Probe) -> Range:
    """How far from the center the quadratic model holds, by bisection over ellipses of eight points (two on a line)."""
    axes = (chart.alpha, chart.beta)[: len(here.steps)]
    rims = np.array([max(abs(axis[0]), abs(axis[-1])) for axis in axes])
    step = float((here.steps / rims).max())
    rounding = max(16 * slice_probe.surface.rounding, rounding_of(chart)) * abs(here.loss)

    def holds(radius: float) -> bool:
        coords = radius * rims * _circle(len(axes))
        model = coords @ here.rise + 0.5 * np.einsum("ij,jk,ik->i", coords, here.form, coords)
        true = slice_probe.evaluate(Values(torch.from_numpy(coords))).values.cpu().numpy() - here.loss
        off, size = (math.sqrt(float((part**2).mean())) for part in (true - model, true))
        return off <= OFF * size + rounding

    if holds(1.0):
        return Range(1.0, True, step)
    low, high = math.log(NEAREST), 0.0
    if not holds(NEAREST):
        return Range(NEAREST, False, step)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(math.exp(middle)) else (low, middle)
    return Range(math.exp(low), True, step)


def most_for_range(directions: int) -> int:
    """How many losses `quadratic_range` evaluates at most."""
    return (HALVINGS + 2) * len(_circle(directions))


def _circle(directions: int) -> Array:
    if directions == 1:
        return np.array([[-1.0], [1.0]])
    angles = np.arange(8) * math.pi / 4
    return np.stack([np.cos(angles), np.sin(angles)], 1)


def noise(surface: Surface, frame: Frame, chart: Chart) -> tuple[Noise, Probe | None]:
    """Sampling error of 5×5 cells from the losses of single examples, paired with the center; and the probe that evaluated them.

    Without such losses only the field's own errors are known.
    """
    levels = levels_of(chart)
    whole = chart.certificate.whole
    relative = whole is not None and chart.certificate.metric == "relative"
    rounding = max(surface.rounding, rounding_of(chart))
    if relative and whole is not None:
        # Between the lines at two losses, errors are shares of the higher one.
        gap, error = float((np.diff(levels) / np.abs(levels[1:])).min()), whole.p95
    else:
        size = float(np.nanmax(np.abs(np.where(np.isfinite(chart.loss), chart.loss, np.nan)), initial=0.0))
        gap, rounding = float(np.diff(levels).min()), rounding * size
        error = 0.0 if chart.certificate.exact else chart.certificate.rms
    probe = _by_example(surface, frame)
    if probe is None:
        return Noise(None, None, len(levels) - 1, 0, surface.examples, error, rounding, gap, relative), None
    picked = [axis[np.unique(np.linspace(0, len(axis) - 1, SAMPLED).round().astype(int))] for axis in axes_of(chart)]
    coords = np.stack([g.ravel() for g in np.meshgrid(*picked)], 1)
    coords = np.concatenate([np.zeros((1, coords.shape[1])), coords[(coords != 0).any(1)]])
    losses = _examples(surface, frame, coords, probe)
    apart = losses[1:] - losses[0]
    heights, errors = apart.mean(1), apart.std(1, ddof=1) / math.sqrt(apart.shape[1])
    sound = np.isfinite(heights) & np.isfinite(errors) & (heights != 0)
    center = float(losses[0].mean())
    middles = (levels[1:] + levels[:-1]) / 2
    nearest = [int(np.argmin(np.abs(np.where(sound, center + heights, np.inf) - m))) for m in middles]
    clear = sum(bool(gap_ > 2 * errors[k]) for gap_, k in zip(np.diff(levels), nearest, strict=True))
    typical = float(np.median(errors[sound] / np.abs(heights[sound]))) if sound.any() else math.nan
    return (
        Noise(typical, clear, len(middles), int(sound.sum()), apart.shape[1], error, rounding, gap, relative),
        probe,
    )


def most_for_noise(shape: Sequence[int]) -> int:
    """How many losses `noise` evaluates at most, of a chart with so many cells along each axis."""
    return math.prod(min(SAMPLED, count) for count in shape) + 1


def axes_of(chart: Chart) -> list[Array]:
    """Coordinates along each direction."""
    return [chart.alpha] if chart.is_line else [chart.alpha, chart.beta]


def _by_example(surface: Surface, frame: Frame) -> Probe | None:
    """A probe of the losses of single examples, where batch norm ran as it does there."""
    if not isinstance(surface, NetworkSurface) or surface.batchnorm != "frozen":
        return None
    if frame.statistics is not None and surface.interpolates:
        return None
    return Probe(StateSurface(surface, examples=True))


def _examples(surface: Surface, frame: Frame, coords: Array, probe: Probe) -> Array:
    state = probe.surface
    assert isinstance(state, StateSurface) and state.start is not None
    own = state.start[state.parameters :][None]
    found = []
    for row in torch.from_numpy(coords):
        # One θ at a time: all of them together may be more than fits into memory.
        point = torch.cat([frame.points(row[None]).to(state.device, state.dtype), own], 1)
        found.append(probe.evaluate(Values(point)).extras["losses"][0].double().cpu().numpy())
    return np.stack(found)


def markers(frame: Frame, points: Tensor, here: Local, *, probe: Probe, slice_probe: Probe) -> Markers:
    """Points (T, N) and their projections: how far apart, and how unlike in loss."""
    coords, missing = frame.project(points)
    coords = coords.double().cpu()
    distances = missing.cpu() * (points.double() - frame.origin.double()).norm(dim=1).cpu()
    true = probe.evaluate(Values(points)).values.cpu()
    drawn = slice_probe.evaluate(Values(coords)).values.cpu()
    step = float((here.steps * np.sqrt(here.gram.diagonal())).max())
    return Markers(
        tuple(tuple(map(float, row)) for row in coords),
        tuple(distances.tolist()),
        tuple((true - drawn).abs().tolist()),
        step,
    )
