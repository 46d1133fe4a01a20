"""The sampler of outputs: nodes where the loss would be off most, cells held out near the minimum and elsewhere.

A round of nodes is one query. After each, every node is predicted from all others; how far its loss comes out wrong,
in the metric of the picture, says what the distance to the next node costs there, and so where the next nodes go.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lossatlas.chart.sampling._fill import Channels, Filler
from lossatlas.chart.sampling._grid import Grid
from lossatlas.chart.sampling._metric import Metric, near
from lossatlas.chart.sampling._outputs import LIMIT, Scorer, Store, nodes_within
from lossatlas.chart.sampling._spline import CUBIC, QUINTIC, Spline, farthest
from lossatlas.chart.sampling._strata import LOOSER, Certified, certify

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Cells = NDArray[np.int64]
Rounds = Generator[Array, list[Tensor], "Reconstruction"]

# The first nodes lie on a small tensor grid that is denser at the origin: t ↦ sign(t)|t|^1.5.
START, GRADE = 5, 1.5
# Nodes of one round, and held-out cells of each stratum, on a line and on a plane.
ROUND = (0, 1, 12)
HELD = (0, 2, 20)
# Nodes are added until the expected 95th percentiles are within this share of the tolerance.
MARGIN = 0.8
# Held-out cells become nodes too, so that less is needed before they are drawn.
EARLY = 1.25
CANDIDATES = 2601
# Neighbors whose errors, when they are left out, speak for a place.
NEIGHBORS = (0, 3, 8)
ALIKE = 10
# More evaluations than this share of the cells, and every cell may as well be evaluated.
GENEROUS = 0.5


@final
@dataclass(eq=False)
class Reconstruction:
    """What the sampler brings back.

    Attributes:
        loss: (ny, nx).
        extras: further channels of that shape.
        exactly: (ny, nx), cells that were evaluated themselves.
        error: (ny, nx), the size of error to expect of each cell, in units of the loss.
        doubtful: (ny, nx), cells whose expected error exceeds a contour step.
        certificate: what the held-out cells say.
        samples: (n, k), coordinates that were evaluated.
        held: how many of them, the last ones, were held out.
        reason: why the sampler stopped before its tolerance, or an empty sentence.
    """

    loss: Array
    extras: Channels
    exactly: Mask
    error: Array
    doubtful: Mask
    certificate: Certified
    samples: Array
    held: int
    reason: str


@final
@dataclass(eq=False)
class Look:
    """The field as far as the losses at the nodes show it.

    Attributes:
        loss: (m,) at the candidates.
        scale: (m,), error in the metric of the picture per unit of the power function.
        expected: (m,), their product: the error to expect.
        close: (m,), which candidates are near the minimum or a center.
    """

    loss: Array
    scale: Array
    expected: Array
    close: Mask

    def quantiles(self, free: Mask) -> tuple[float, float]:
        """95th percentiles of the expected errors of cells that are not evaluated: near and on the whole."""
        inside = self.expected[self.close & free]
        return tuple(float(np.quantile(e, 0.95)) if e.size else 0.0 for e in (inside, self.expected[free]))  # type: ignore[return-value]


@final
class OutputSampler:
    """Evaluates nodes round by round, interpolates outputs between them, and certifies the result.

    Args:
        grid: the cells of the chart.
        scorer: the loss of outputs.
        tolerance: 95th percentile of the error near the minimum, in the metric of the picture; over the whole chart
            ``LOOSER`` times that.
        centers: coordinates (c, k) of points to look at closely, such as the models that span a plane; the origin, if
            it is within the spans, by default.
        held: held-out cells of each stratum.
        limit: bytes of memory for outputs.
        seed: of the held-out cells.
        exponent: of the spline.
    """

    def __init__(
        self,
        grid: Grid,
        scorer: Scorer,
        *,
        tolerance: float = 0.02,
        centers: Array | None = None,
        held: int | None = None,
        limit: int = LIMIT,
        seed: int = 0,
        exponent: int = QUINTIC,
    ) -> None:
        self.grid, self.scorer, self.tolerance, self.exponent, self.seed = grid, scorer, tolerance, exponent, seed
        self.filler = Filler(scorer, limit)
        self.held = HELD[grid.dimension] if held is None else held
        self.low = np.array([axis[0] for axis in grid.axes])
        self.half = np.array([(axis[-1] - axis[0]) / 2 for axis in grid.axes])
        given = np.zeros((1, grid.dimension)) if centers is None else np.asarray(centers, dtype=np.float64)
        self.centers = given[(np.abs(self.units(given)) <= 1 + 1e-9).all(1)]
        self.cells = self._candidates()
        self.places = grid.coords(self.cells)
        self.room = min(nodes_within(scorer.shapes, limit), int(GENEROUS * grid.cells))
        self.store = Store()
        self.coords = np.zeros((0, grid.dimension))
        self.drawn: Cells = np.zeros(0, dtype=np.int64)  # positions among coords of held-out cells
        self.losses = np.zeros(0)

    def units(self, coords: Array) -> Array:
        """Coordinates in units in which each span reaches from −1 to 1."""
        return (coords - self.low) / self.half - 1

    def walk(self) -> Rounds:
        """Yields coordinates (P, k) to evaluate, takes their outputs by batch, and returns the reconstruction."""
        yield from self._evaluate(self.first())
        reason, k = "", self.grid.dimension
        rounds_after = 0
        while True:
            look = self._look()
            free = ~self._known(self.cells)
            inside, whole = look.quantiles(free)
            margin = MARGIN if len(self.drawn) else EARLY
            enough = inside <= margin * self.tolerance and whole <= margin * LOOSER * self.tolerance
            full = len(self.coords) + ROUND[k] > self.room
            if enough or full:
                reason = "" if enough else "the room for nodes is used up"
                if len(self.drawn) == 0 or rounds_after:
                    yield from self._hold_out(look)
                    rounds_after = 0
                made = self._finish(reason)
                if made.certificate.reached or full or len(self.coords) + ROUND[k] > self.room:
                    return made
            allowed = np.where(look.close, self.tolerance, LOOSER * self.tolerance)
            weigh = np.where(free & np.isfinite(look.loss), look.scale / allowed, 0.0)
            chosen = farthest(self._spline(), self.units(self.places), weigh, ROUND[k])
            if len(chosen) == 0:
                return self._finish("no further node can be told from those there are")
            yield from self._evaluate(self.places[chosen])
            rounds_after += len(self.drawn) > 0

    def first(self) -> Array:
        """The first nodes: a graded tensor grid on cells, and the centers."""
        axes = []
        for axis in self.grid.axes:
            inside = axis[0] < 0 < axis[-1]
            middle = 0.0 if inside else (axis[0] + axis[-1]) / 2
            t = np.linspace(-1, 1, START)
            bent = np.sign(t) * np.abs(t) ** GRADE
            wanted = middle + np.where(bent < 0, middle - axis[0], axis[-1] - middle) * bent
            axes.append(axis[np.unique(np.abs(axis[:, None] - wanted).argmin(0))])
        mesh = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, self.grid.dimension)
        fresh = [c for c in self.centers if (np.abs(self.units(mesh) - self.units(c[None])).max(1) > CLOSE).all()]
        return np.concatenate([mesh, np.array(fresh).reshape(-1, self.grid.dimension)])

    def _candidates(self) -> Cells:
        """Numbers of the cells that are looked at while nodes are chosen: all of them, or an even share."""
        nx = self.grid.shape[1]
        stride = max(1, int(np.ceil(np.sqrt(self.grid.cells / CANDIDATES)))) if self.grid.dimension == 2 else 1
        rows, columns = (np.arange(0, n, stride if n > 1 else 1) for n in self.grid.shape)
        found: Cells = (rows[:, None] * nx + columns[None]).ravel().astype(np.int64)
        return found

    def _evaluate(self, coords: Array) -> Generator[Array, list[Tensor], None]:
        outputs = yield coords
        self.store.add(outputs)
        self.coords = np.concatenate([self.coords, coords])
        fresh, _ = self.filler.losses(np.eye(len(coords)), outputs)
        self.losses = np.concatenate([self.losses, fresh])

    def _sound(self) -> Cells:
        """Nodes that the spline goes through."""
        return np.flatnonzero(self.store.finite())

    def _spline(self) -> Spline:
        return Spline(self.units(self.coords[self._sound()]), self.exponent)

    def _known(self, cells: Cells) -> Mask:
        hit = self.grid.cell(self.coords)
        return np.isin(cells, hit[hit >= 0])

    def _outputs(self, nodes: Cells) -> list[Tensor]:
        if len(nodes) == self.store.count:
            return self.store.outputs
        return [part[nodes] for part in self.store.outputs]

    def _look(self) -> Look:
        nodes, spline = self._sound(), self._spline()
        true, points = self.losses[nodes], self.units(self.places)
        left, _ = self.filler.losses(spline.omitted, self._outputs(nodes))
        # Good enough to tell low cells from high ones, and no outputs of candidates are needed.
        shape = Spline(spline.nodes, CUBIC)
        rough = Metric.of(true).back(shape.weights(points) @ Metric.of(true).forth(true))
        loss = np.clip(rough, true.min(), true.max())
        scale = self._scale(spline, points, loss, true, left)
        loss = np.where(self._holes(points), np.nan, loss)
        close = near(loss, points, self.units(self.centers))
        return Look(loss, scale, scale * spline.power(points), close)

    def _scale(self, spline: Spline, points: Array, loss: Array, true: Array, left: Array) -> Array:
        """Error per unit of the power function, from the nodes nearest in place and those alike in loss."""
        ratio = np.minimum(Metric.of(true).error(left, true), 1e6) / spline.spread
        apart = ((points[:, None] - spline.nodes[None]) ** 2).sum(-1)
        count = min(NEIGHBORS[self.grid.dimension], len(ratio))
        here = np.argpartition(apart, count - 1, 1)[:, :count]
        order = np.argsort(true)
        place = np.clip(np.searchsorted(true[order], loss) - ALIKE // 2, 0, max(0, len(true) - ALIKE))
        alike = order[np.minimum(place[:, None] + np.arange(min(ALIKE, len(true))), len(true) - 1)]
        found: Array = np.sqrt(((ratio[here] ** 2).mean(1) + (ratio[alike] ** 2).mean(1)) / 2)
        return found

    def _holes(self, points: Array) -> Mask:
        """Points whose nearest evaluated one has no finite outputs or loss."""
        lost = ~(self.store.finite() & np.isfinite(self.losses))
        if not lost.any():
            return np.zeros(len(points), dtype=bool)
        apart = ((points[:, None] - self.units(self.coords)[None]) ** 2).sum(-1)
        return np.asarray(lost[apart.argmin(1)], dtype=bool)

    def _hold_out(self, look: Look) -> Generator[Array, list[Tensor], None]:
        """Draw cells evenly in each stratum among those that were not evaluated, and evaluate them."""
        rng = np.random.default_rng([self.seed, len(self.drawn)])
        free = ~self._known(self.cells) & np.isfinite(look.loss)
        picked = []
        for stratum in (look.close & free, ~look.close & free):
            choice = np.flatnonzero(stratum)
            picked.append(rng.choice(choice, min(self.held, len(choice)), replace=False))
        cells = np.concatenate(picked)
        if len(cells):
            begin = len(self.coords)
            yield from self._evaluate(self.places[cells])
            self.drawn = np.concatenate([self.drawn, np.arange(begin, begin + len(cells))])

    def _finish(self, reason: str) -> Reconstruction:
        """The field of all cells through all evaluated ones, and its certificate."""
        nodes, spline, grid = self._sound(), self._spline(), self.grid
        outputs, points = self._outputs(nodes), self.units(grid.coords())
        loss, extras = self.filler.losses(spline.weights(points), outputs)
        true, true_extras = self.filler.losses(np.eye(len(nodes)), outputs)
        left, left_extras = self.filler.losses(spline.omitted, outputs)
        metric = Metric.of(self.losses)
        scale = self._scale(spline, points, loss, true, left)
        holes = self._holes(points)
        loss = np.where(holes, np.nan, loss)
        close = near(loss, points, self.units(self.centers))
        expected = scale * spline.power(points)
        cell = grid.cell(self.coords)
        hit = cell >= 0
        loss[cell[hit]] = self.losses[hit]
        held = np.flatnonzero(np.isin(nodes, self.drawn))
        at = cell[nodes[held]]
        errors = metric.error(left[held], true[held])
        near_row, whole_row, expected = certify(
            expected,
            close & ~holes,
            self._known(np.arange(grid.cells)) | holes,
            at,
            errors,
            scale[at] * spline.spread[held],
        )
        channels = {}
        for name, values in extras.items():
            values[cell[nodes[cell[nodes] >= 0]]] = true_extras[name][cell[nodes] >= 0]
            gaps = np.abs(left_extras[name][held] - true_extras[name][held])
            channels[name] = (float(np.quantile(gaps, 0.95)), float(gaps.max())) if len(gaps) else (np.nan, np.nan)
        certificate = Certified(near_row, whole_row, metric.name, self.tolerance, channels)
        size = metric.size(np.where(np.isfinite(loss), loss, 0.0))
        exactly = np.zeros(grid.cells, dtype=bool)
        exactly[cell[hit]] = True
        return Reconstruction(
            loss.reshape(grid.shape),
            {name: values.reshape(grid.shape) for name, values in extras.items()},
            exactly.reshape(grid.shape),
            (expected * size).reshape(grid.shape),
            (expected > metric.step).reshape(grid.shape),
            certificate,
            self.coords,
            len(self.drawn),
            reason,
        )


# Two places closer than this, in units of half a span, are one.
CLOSE = 1e-3
