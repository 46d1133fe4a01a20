"""Minima, saddles and maxima of a chart, each with its persistence and how uncertain that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, maximum_filter

from lossatlas import _checks, archive
from lossatlas._errors import InputError
from lossatlas.chart._merge_tree import Indices, MergeTree, merge_tree
from lossatlas.chart.sampling._certificate import Certificate

if TYPE_CHECKING:
    from lossatlas.chart._chart import Chart

Array = NDArray[np.float64]
Metric = Literal["loss", "log"]
Kind = Literal["minimum", "saddle", "maximum"]
Measured: TypeAlias = "Chart | ExactVolume"
# Losses are sums: their last bits are off by a few units of rounding.
ROUNDING = 8


@dataclass(frozen=True)
class Feature(archive.Result):
    """A minimum, saddle or maximum of a chart.

    Attributes:
        kind: ``minimum``, ``saddle`` or ``maximum``.
        position: (alpha, beta), (t,) on a line, or as many coordinates as a volume has directions.
        index: (j, i) of the cell; in a volume as many numbers, that along the first direction last.
        value: the loss there.
        persistence: of its pair, in units of the metric: height of the saddle above the minimum, or depth of the saddle
            below the maximum. Infinite for a minimum that meets no lower one, or a maximum that meets no higher one.
        error: how far the two cells of the pair may be off together.
        spacing: how far the surface between the cells may rise above or fall below them there.
        border: for an extremum, whether it is open to the rim of the chart or to a cell that is not finite: no way there
            rises by more than the uncertainty, so the surface may go on falling (or rising) where the chart shows
            nothing. For a saddle, whether it lies there itself.
        real: whether the persistence exceeds `error` and `spacing`.
    """

    kind: Kind
    position: tuple[float, ...]
    index: tuple[int, ...]
    value: float
    persistence: float
    error: float
    spacing: float
    border: bool
    real: bool

    @property
    def uncertainty(self) -> float:
        """Half-width of the interval of the persistence: `error` + `spacing`."""
        return self.error + self.spacing


@dataclass(frozen=True, eq=False)
class ExactVolume:
    """What is judged of a volume, every cell of which was evaluated.

    Attributes:
        axes: coordinates along each direction.
        loss: (…, nz, ny, nx).
        provenance: of the volume.
        error: none is expected.
        certificate: in which nothing was measured.
    """

    axes: tuple[Array, ...]
    loss: Array
    provenance: dict[str, Any]

    @property
    def error(self) -> Array:
        """No cell is off by more than rounding."""
        return np.zeros_like(self.loss)

    @property
    def certificate(self) -> Certificate:
        """That of a field that is exact."""
        return Certificate()


class Pair(NamedTuple):
    """An extremum, the saddle where it ends, and the number among the pairs of the extremum it ends in."""

    extremum: Feature
    saddle: Feature | None
    parent: int | None


def features(chart: Measured, metric: Metric, at_least: float | None, spacing: bool) -> tuple[Pair, ...]:
    """Pairs of minima and saddles, then of maxima and saddles; each kind from the most to the least persistent.

    Args:
        chart: whose loss is judged; a volume's as an `ExactVolume`.
        metric: ``loss``, or ``log`` for its natural logarithm.
        at_least: pairs of smaller persistence are left out.
        spacing: whether to count what may happen between the cells.

    Raises:
        InputError: for ``log`` of losses that are not positive, or a smallest persistence that is no number from 0 up.
        UnknownNameError: for another metric.
    """
    _checks.one_of("metric of topology", metric, ("loss", "log"))
    spacing = _checks.flag("spacing", spacing)
    units = "loss" if metric == "loss" else "logarithm of the loss"
    do = f"It is in units of the {units}; None keeps every pair."
    at_least = _checks.optional(_checks.number, "minimum_persistence", at_least, least=0, do=do)
    field, error = measured(chart, metric)
    between = spacing_error(field) if spacing else np.zeros_like(field)
    maker = _Maker(axes_of(chart), chart.loss, field, error, between, at_least or 0.0)
    return (*maker.pairs("minimum"), *maker.pairs("maximum"))


def axes_of(of: Measured) -> tuple[Array, ...]:
    """Coordinates along each direction, the first direction's first."""
    if isinstance(of, ExactVolume):
        return of.axes
    return (of.alpha,) if of.is_line else (of.alpha, of.beta)


def measured(chart: Measured, metric: Metric) -> tuple[Array, Array]:
    """The field in the metric and how far each of its cells may be off: twice the expected error, and rounding.

    Twice the expected error is what about 95 % of cells keep within. In the logarithm an error e of a loss L becomes
    −log(1 − e/L), infinite where e reaches L.
    """
    loss = chart.loss
    finite = np.isfinite(loss)
    expected = chart.error if chart.error.shape == loss.shape else np.zeros_like(loss)
    share = max(ROUNDING * float(torch.finfo(dtype_of(chart)).eps), rounding_of(chart))
    # Small losses are differences of larger numbers, so they round no finer than the typical loss.
    size = np.maximum(np.abs(loss), float(np.median(np.abs(loss[finite])))) if finite.any() else np.zeros_like(loss)
    error = np.where(finite, 2 * np.nan_to_num(expected, nan=np.inf) + share * size, 0.0)
    if metric == "loss":
        return loss, error
    if finite.any() and float(loss[finite].min()) <= 0:
        raise InputError(
            f"got metric='log' and a lowest loss of {float(loss[finite].min()):.3g}; expected losses above 0. "
            "Use metric='loss'."
        )
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.minimum(error / loss, 1.0)
        logarithm = np.log(np.where(finite, loss, 1.0))
        return np.where(finite, logarithm, np.nan), np.where(finite, -np.log1p(-relative), 0.0)


def dtype_of(chart: Measured) -> torch.dtype:
    """The type in which the surface was evaluated; float64 where the record does not say."""
    name = str(chart.provenance.get("surface", {}).get("dtype", "")).removeprefix("torch.")
    found = getattr(torch, name, None)
    return found if isinstance(found, torch.dtype) else torch.float64


def rounding_of(chart: Measured) -> float:
    """By what share of the loss rounding was measured to move it, near the center or away from it; 0 where it was not."""
    return max(chart.certificate.rounding or (0.0, 0.0))


def spacing_error(field: Array) -> Array:
    """How far the surface between the cells may be from interpolating them linearly, at each cell.

    (|f_xx| + |f_yy|)/8 in units of the cells, the classical bound of bilinear interpolation, with second differences
    for second derivatives and their largest values among a cell and its neighbors. Where the cells are too few for a
    second difference nothing is known, and the bound is infinite.
    """
    bound = np.zeros_like(field)
    for axis, count in enumerate(field.shape):
        if count == 1:
            continue
        seconds = np.full(field.shape, -np.inf)
        if count > 2:
            f = np.moveaxis(field, axis, 0)
            with np.errstate(invalid="ignore"):
                found = np.abs(f[2:] - 2 * f[1:-1] + f[:-2]) / 8
            np.moveaxis(seconds, axis, 0)[1:-1] = np.where(np.isfinite(found), found, -np.inf)
        largest = maximum_filter(seconds, size=3, mode="constant", cval=-np.inf)
        bound += np.where(np.isneginf(largest), np.inf, largest)
    return bound


class _Maker:
    """Turns merge trees into pairs of features."""

    def __init__(
        self, axes: Sequence[Array], loss: Array, field: Array, error: Array, between: Array, at_least: float
    ) -> None:
        self.field, self.error, self.between, self.at_least = field, error, between, at_least
        self.loss, self.axes = loss, [axis.tolist() for axis in axes]
        outside = np.ones(field.shape, dtype=bool)
        # The only row of a line is no rim.
        outside[tuple(slice(None) if count == 1 else slice(1, -1) for count in field.shape)] = False
        self.rim = outside | binary_dilation(~np.isfinite(field), np.ones((3,) * field.ndim, dtype=bool))

    def pairs(self, kind: Literal["minimum", "maximum"]) -> list[Pair]:
        """The pairs of one kind of extremum, the most persistent first."""
        field = self.field if kind == "minimum" else -self.field
        tree = merge_tree(field)
        flat, met = field.ravel(), tree.saddles >= 0
        persistence = np.full(len(tree.minima), np.inf)
        persistence[met] = flat[tree.saddles[met]] - flat[tree.minima[met]]
        chosen = np.flatnonzero((persistence > 0) & (persistence >= self.at_least))
        chosen = chosen[np.argsort(-persistence[chosen], kind="stable")]
        # Nothing ends in a branch shallower than itself: what is left of the tree hangs together.
        number = np.full(len(tree.minima), -1, dtype=np.int64)
        number[chosen] = np.arange(len(chosen))
        parents = number[_standing(tree, persistence > 0)[tree.parents]]
        border = self._open(field, tree.minima)
        # What has no saddle is off by its own cell only.
        both = np.stack([tree.minima, np.where(met, tree.saddles, tree.minima)])
        error, spacing = (
            np.where([np.ones_like(met), met], bound.ravel()[both], 0.0) for bound in (self.error, self.between)
        )
        error, spacing = error.sum(0), spacing.sum(0)
        real = ~met | (persistence > error + spacing)
        found = []
        for k in chosen.tolist():
            said = (float(persistence[k]), float(error[k]), float(spacing[k]))
            extremum = self._feature(kind, int(tree.minima[k]), *said, bool(border[k]), bool(real[k]))
            if not met[k]:
                found.append(Pair(extremum, None, None))
                continue
            cell = int(tree.saddles[k])
            saddle = self._feature("saddle", cell, *said, bool(self.rim.flat[cell]), bool(real[k]))
            found.append(Pair(extremum, saddle, int(parents[k])))
        return found

    def _open(self, field: Array, minima: Indices) -> NDArray[np.bool_]:
        """Whether the way out of each minimum rises by no more than it is uncertain."""
        ways, flat = ways_out(field)[minima], field.ravel()
        bound = (self.error + self.between).ravel()
        # Where there is no way the last cell is read, and not used.
        rises = flat[ways] - flat[minima]
        return np.asarray((ways < 0) | ~(rises > bound[minima] + bound[ways]))

    def _feature(
        self, kind: Kind, cell: int, persistence: float, error: float, spacing: float, border: bool, real: bool
    ) -> Feature:
        index = tuple(int(one) for one in np.unravel_index(cell, self.field.shape))
        # The only row of a line has no coordinate.
        place = tuple(axis[k] for axis, k in zip(self.axes, reversed(index), strict=False))
        return Feature(kind, place, index, float(self.loss[index]), persistence, error, spacing, border, real)


def ways_out(field: Array) -> Indices:
    """For each minimum the highest cell on the lowest way from it to a lower minimum or out of the chart.

    The rim and every hole are taken for the edge of a sea lower than all minima.

    Args:
        field: of any number of axes.

    Returns:
        (field.size,) flat indices; −1 at cells that are no minimum, or one that lies at the sea itself.
    """
    finite = np.isfinite(field)
    order = np.argsort(np.where(finite, field, np.inf), axis=None, kind="stable")
    # Ranks have room below them whatever the numbers; holes get the rank of the sea.
    ranks = np.empty(field.size)
    ranks[order] = np.arange(1, field.size + 1)
    width = [(0, 0) if count == 1 else (1, 1) for count in field.shape]
    padded = np.pad(np.where(finite, ranks.reshape(field.shape), 0.0), width)
    own = np.pad(np.arange(field.size).reshape(field.shape), width, constant_values=-1).ravel()
    tree = merge_tree(padded)
    ways = np.full(field.size, -1, dtype=np.int64)
    inside = (own[tree.minima] >= 0) & (tree.saddles >= 0) & (padded.ravel()[tree.minima] > 0)
    ways[own[tree.minima[inside]]] = own[tree.saddles[inside]]
    return ways


def _standing(tree: MergeTree, stands: NDArray[np.bool_]) -> Indices:
    """For each minimum the first on its way to the root that is a feature of its own; pieces of plateaus are none."""
    ends = np.where(stands | (tree.parents < 0), np.arange(len(tree.minima)), tree.parents)
    while not np.array_equal(further := ends[ends], ends):
        ends = further
    return ends
