"""The sampler of outputs: nodes where the loss would be off most, cells held out near the minimum and elsewhere.

A round of nodes is one query. After each, every node is predicted from all others; how far its loss comes out wrong,
in the metric of the picture, says what the distance to the next node costs there, and so where the next nodes go.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RectBivariateSpline
from scipy.spatial import cKDTree
from torch import Tensor

from lossatlas._errors import LossError, NotApplicableError
from lossatlas.chart.sampling._dense import LATTICE, fill_all
from lossatlas.chart.sampling._fill import Channels, Filler
from lossatlas.chart.sampling._grid import Grid
from lossatlas.chart.sampling._look import Look, Reconstruction
from lossatlas.chart.sampling._metric import Metric, near
from lossatlas.chart.sampling._outputs import LIMIT, Scorer, Store, finite, nodes_within, width
from lossatlas.chart.sampling._spline import CUBIC, QUINTIC, Spline, farthest
from lossatlas.chart.sampling._strata import LOOSER, Certified, certify

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Cells = NDArray[np.int64]
Rounds = Generator[Array, list[Tensor], Reconstruction]

# The first nodes lie on a small tensor grid that is denser at the origin: t ↦ sign(t)|t|^p, on a line and on a plane.
START, GRADE = 5, (0, 1.25, 1.5)
# Nodes of one round, and held-out cells of each stratum, on a line and on a plane.
ROUND = (0, 1, 12)
HELD = (0, 2, 16)
# Nodes are added until the expected 95th percentiles are within this share of the tolerance.
MARGIN = (0, 0.8, 0.65)
# Held-out cells become nodes too, so that less is needed before they are drawn.
EARLY = (0, 3.0, 1.5)
# Rounds after which further cells are held out.
AGAIN = 4
# Errors beyond these are taken for these where splines are compared.
SMALL, LARGE = 1e-6, 1e6
CANDIDATES = 2601
# Neighbors whose errors, when they are left out, speak for a place.
NEIGHBORS = (0, 3, 8)
ALIKE = 10
# Charts of more cells than this have the error to expect interpolated from so many points per axis.
PLENTY, COARSE = 6000, 71
# Cells whose weights are held at a time.
MANY = 8192
# The lattice of cells that are filled in may add this share of the error that was measured.
ADDED = 0.3
# More evaluations than this share of the cells, and every cell may as well be evaluated.
GENEROUS = 0.5
# Why a sampler stops that has come down to what rounding alone makes.
ROUNDED = "the rest of the error is rounding, which further nodes do not lower"


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
        exponents: of splines, among which the nodes choose.
        lattice: so many cells per axis, at least, are filled in from outputs before others are checked.
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
        exponents: tuple[int, ...] = (QUINTIC, CUBIC),
        lattice: int = LATTICE,
    ) -> None:
        self.grid, self.scorer, self.tolerance, self.seed = grid, scorer, tolerance, seed
        self.exponents, self.exponent = exponents, exponents[0]
        self.filler, self.lattice = Filler(scorer, limit), lattice
        self.held = HELD[grid.dimension] if held is None else held
        self.low = np.array([axis[0] for axis in grid.axes])
        self.half = np.array([(axis[-1] - axis[0]) / 2 for axis in grid.axes])
        given = np.zeros((1, grid.dimension)) if centers is None else np.asarray(centers, dtype=np.float64)
        self.centers = given[(np.abs(self.units(given)) <= 1 + 1e-9).all(1)]
        self.cells = self._candidates()
        self.places = grid.coords(self.cells)
        self.room = min(nodes_within(scorer.shapes, limit, width(scorer)), int(GENEROUS * grid.cells))
        self.store = Store()
        self.coords = np.zeros((0, grid.dimension))
        self.finite = np.zeros(0, dtype=bool)
        self.exact = np.zeros(0, dtype=bool)
        # Which points of the answer that comes are in half precision, and the error of that.
        self.rounded: Mask | None = None
        self.rounding, self.holding = 0.0, False
        # Errors that rounding alone makes, near the center and away from it, in a metric that is relative.
        self.floor = (0.0, 0.0)
        self.drawn: Cells = np.zeros(0, dtype=np.int64)  # positions among coords of held-out cells
        self.losses = np.zeros(0)
        self.extras: Channels = {}
        self._measured = np.zeros(2)  # 95th percentiles near the minimum and on the whole, as last measured
        self._left: tuple[Array, Channels] = np.zeros(0), {}  # at the nodes, predicted from all others

    def units(self, coords: Array) -> Array:
        """Coordinates in units in which each span reaches from −1 to 1."""
        found: Array = (coords - self.low) / self.half - 1
        return found

    def walk(self) -> Rounds:
        """Yields coordinates (P, k) to evaluate, takes their outputs by batch, and returns the reconstruction."""
        yield from self._evaluate(self.first())
        self._refuse_holes()
        dimension = self.grid.dimension
        more, early, margin, since = ROUND[dimension], EARLY[dimension], MARGIN[dimension], 0
        while True:
            look = self._look()
            full = len(self.coords) + more > self.room
            floor = self.floor if Metric.of(self.losses).name == "relative" else (0.0, 0.0)
            if len(self.drawn) == 0 and (full or look.within(self.tolerance, early, floor)):
                yield from self._hold_out(look, self.held)
                if len(self.drawn) == 0:
                    return self._finish("there is no cell to hold out")
                continue
            if len(self.drawn) and look.within(self.tolerance, margin):
                return self._finish("")
            if len(self.drawn) and look.within(self.tolerance, margin, floor):
                return self._finish(ROUNDED)
            if full:
                return self._finish("the room for nodes is used up")
            if since == AGAIN:
                # What was held out long ago has shaped where nodes went since.
                yield from self._hold_out(look, max(1, self.held // 2))
                since = 0
                continue
            allowed = np.where(look.close, self.tolerance, LOOSER * self.tolerance)
            weigh = np.where(look.free, look.scale / allowed, 0.0)
            chosen = farthest(self._spline(), self.units(self.places), weigh, more)
            if len(chosen) == 0:
                return self._finish("all further nodes would coincide with present ones")
            yield from self._evaluate(self.places[chosen])
            since += len(self.drawn) > 0

    def central(self, coords: Array) -> Mask:
        """Which of coordinates (P, k) are centers."""
        if not len(self.centers):
            return np.zeros(len(coords), dtype=bool)
        apart = np.abs(self.units(coords)[:, None] - self.units(self.centers)[None]).max(2)
        found: Mask = apart.min(1) <= CLOSE
        return found

    def first(self) -> Array:
        """The first nodes: a graded tensor grid on cells, and the centers."""
        axes = []
        for axis in self.grid.axes:
            inside = axis[0] < 0 < axis[-1]
            middle = 0.0 if inside else (axis[0] + axis[-1]) / 2
            t = np.linspace(-1, 1, START)
            bent = np.sign(t) * np.abs(t) ** GRADE[self.grid.dimension]
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
        prepared = self.filler.prepare(outputs)
        self.store.add(prepared)
        self.coords = np.concatenate([self.coords, coords])
        rounded = np.zeros(len(coords), dtype=bool) if self.rounded is None else self.rounded
        self.exact, self.rounded = np.concatenate([self.exact, ~rounded]), None
        fresh, extras = self.filler.losses(None, prepared)
        self.finite = np.concatenate([self.finite, finite(prepared) & np.isfinite(fresh)])
        self.losses = np.concatenate([self.losses, fresh])
        for name, values in extras.items():
            self.extras[name] = np.concatenate([self.extras.get(name, np.zeros(0)), values])

    def _refuse_holes(self) -> None:
        """Refuse a chart whose first nodes are too few to put anything through.

        Raises:
            LossError: if no more of them than directions have finite outputs and a finite loss.
            NotApplicableError: if more of them have a finite loss all the same, as where classes are masked by −∞.
        """
        sound, losses = len(self._sound()), int(np.isfinite(self.losses).sum())
        if sound <= self.grid.dimension < losses:
            raise NotApplicableError(
                f"of the first {len(self.coords)} points, {losses} have a finite loss and {sound} have finite outputs"
            )
        if sound <= self.grid.dimension:
            raise LossError(
                f"of the first {len(self.coords)} points, {sound} have finite outputs and a finite loss; expected more than "
                f"{self.grid.dimension}, since nothing can be interpolated between so few. The network overflows away from the "
                "center: take a smaller span, or chart it exactly (exact=True) to see where."
            )

    def _sound(self) -> Cells:
        """Nodes that the spline goes through."""
        return np.flatnonzero(self.finite)

    def _spline(self) -> Spline:
        return Spline(self.units(self.coords[self._sound()]), self.exponent)

    def _known(self, cells: Cells) -> Mask:
        hit = self.grid.cell(self.coords)
        return np.isin(cells, hit[hit >= 0])

    def _prepared(self, nodes: Cells) -> list[Tensor]:
        if len(nodes) == self.store.count:
            return self.store.outputs
        return [part[nodes] for part in self.store.outputs]

    def interpolant(self) -> tuple[Cells, Spline, list[Tensor]]:
        """Positions of the nodes that are interpolated, the spline through them, and by batch their outputs."""
        nodes = self._sound()
        return nodes, self._spline(), self.filler.restore(self._prepared(nodes))

    def _choose(self) -> None:
        """Take the exponent whose splines predict the nodes best from one another, in the geometric mean."""
        nodes = self._sound()
        true, least = self.losses[nodes], np.inf
        metric, prepared = Metric.of(true), self._prepared(nodes)
        for exponent in self.exponents:
            spline = Spline(self.units(self.coords[nodes]), exponent)
            left = self.filler.losses(spline.omitted, prepared)
            score = float(np.log(np.minimum(metric.error(left[0], true), LARGE) + SMALL).mean())
            if score < least:
                least, self.exponent, self._left = score, exponent, left

    def _look(self) -> Look:
        self._choose()
        nodes, spline, left = self._sound(), self._spline(), self._left[0]
        true, points = self.losses[nodes], self.units(self.places)
        # Good enough to tell low cells from high ones, and no outputs of candidates are needed.
        metric = Metric.of(true)
        rough = metric.back(Spline(spline.nodes, CUBIC).weights(points) @ metric.forth(true))
        loss = np.where(self._holes(points), np.nan, np.clip(rough, true.min(), true.max()))
        scale = self._scale(spline, points, loss, true, left)
        expected, close = scale * spline.power(points), near(loss, points, self.units(self.centers))
        free = ~self._known(self.cells) & np.isfinite(loss)
        rows = None
        if len(self.drawn):
            held = np.flatnonzero(np.isin(nodes, self.drawn))
            at = np.searchsorted(self.cells, self.grid.cell(self.coords[nodes[held]]))
            errors = metric.error(left[held], true[held])
            predicted = scale[at] * spline.spread[held]
            near_row, whole_row, expected = certify(expected, close, ~free, at, errors, predicted, draws=0)
            rows, self._measured = (near_row, whole_row), np.array([near_row.p95, whole_row.p95])
        return Look(loss, scale, expected, close, free, rows)

    def _scale(self, spline: Spline, points: Array, loss: Array, true: Array, left: Array) -> Array:
        """Error per unit of the power function, from the nodes nearest in place and those alike in loss."""
        ratio = np.minimum(Metric.of(true).error(left, true), LARGE) / spline.spread
        apart = ((points[:, None] - spline.nodes[None]) ** 2).sum(-1)
        count = min(NEIGHBORS[self.grid.dimension], len(ratio))
        here = np.argpartition(apart, count - 1, 1)[:, :count]
        order = np.argsort(true)
        place = np.clip(np.searchsorted(true[order], loss) - ALIKE // 2, 0, max(0, len(true) - ALIKE))
        alike = order[np.minimum(place[:, None] + np.arange(min(ALIKE, len(true))), len(true) - 1)]
        found: Array = np.sqrt(((ratio[here] ** 2).mean(1) + (ratio[alike] ** 2).mean(1)) / 2)
        return found

    def _expected(self, spline: Spline, loss: Array, true: Array, left: Array, held: Cells) -> tuple[Array, Array]:
        """The error to expect of all cells, up to a factor, and error per unit of the power function at held-out ones."""
        points, grid = self.units(self.grid.coords()), self.grid
        scale = self._scale(spline, points[held], loss[held], true, left)
        if grid.dimension == 1 or grid.cells <= PLENTY:
            return self._scale(spline, points, loss, true, left) * spline.power(points), scale
        # It varies as slowly as nodes are apart.
        axes = [np.unique(np.rint(np.linspace(0, n - 1, min(n, COARSE))).astype(np.int64)) for n in grid.shape]
        cells = (axes[0][:, None] * grid.shape[1] + axes[1]).ravel()
        rough = self._scale(spline, points[cells], loss[cells], true, left) * spline.power(points[cells])
        between = RectBivariateSpline(*axes, rough.reshape(len(axes[0]), -1), kx=1, ky=1)
        found: Array = between(*(np.arange(n) for n in grid.shape)).ravel()
        return found, scale

    def _holes(self, points: Array) -> Mask:
        """Points whose nearest evaluated one has no finite outputs or loss."""
        lost = ~self.finite
        if not lost.any():
            return np.zeros(len(points), dtype=bool)
        _, nearest = cKDTree(self.units(self.coords)).query(points)
        return np.asarray(lost[nearest], dtype=bool)

    def _hold_out(self, look: Look, count: int) -> Generator[Array, list[Tensor], None]:
        """Draw cells evenly in each stratum among those that were not evaluated, and evaluate them."""
        rng = np.random.default_rng([self.seed, len(self.drawn)])
        picked = []
        for stratum in (look.close & look.free, ~look.close & look.free):
            choice = np.flatnonzero(stratum)
            picked.append(rng.choice(choice, min(count, len(choice)), replace=False))
        cells = np.concatenate(picked)
        if len(cells):
            begin, self.holding = len(self.coords), True
            yield from self._evaluate(self.places[cells])
            self.holding = False
            self.drawn = np.concatenate([self.drawn, np.arange(begin, begin + len(cells))])

    def _finish(self, reason: str) -> Reconstruction:
        """The field of all cells through all evaluated ones, and its certificate."""
        nodes, spline, grid = self._sound(), self._spline(), self.grid
        prepared, points = self._prepared(nodes), self.units(grid.coords())
        metric, true = Metric.of(self.losses), self.losses[nodes]
        left, left_extras = self._left

        def fill(cells: Cells) -> tuple[Array, Channels]:
            parts = [cells[begin : begin + MANY] for begin in range(0, len(cells), MANY)]
            found = [self.filler.losses(spline.weights(points[part]), prepared) for part in parts]
            together = {name: np.concatenate([extras[name] for _, extras in found]) for name in found[0][1]}
            return np.concatenate([losses for losses, _ in found]), together

        def closely(cells: Cells, losses: Array) -> Mask:
            return near(losses, points[cells], self.units(self.centers))

        # What the lattice adds to the error is to be little beside what there is.
        low, high = (np.array([1, LOOSER]) * self.tolerance / share for share in (20, 4))
        added = np.clip(ADDED * self._measured, low, high)
        quantum = 1 / self.scorer.examples if self.scorer.examples > 1 else 0.0
        filled = fill_all(
            grid, fill, metric, (float(added[0]), float(added[1])), closely, first=self.lattice, quantum=quantum
        )
        loss, extras = filled.loss, filled.extras
        holes, cell = self._holes(points), grid.cell(self.coords)
        held = np.flatnonzero(np.isin(nodes, self.drawn))
        at = cell[nodes[held]]
        expected, scale = self._expected(spline, loss, true, left, at)
        loss = np.where(holes, np.nan, loss)
        loss[cell[cell >= 0]] = self.losses[cell >= 0]
        known = np.zeros(grid.cells, dtype=bool)
        known[cell[(cell >= 0) & self.exact]] = True
        close = near(loss, points, self.units(self.centers))
        near_row, whole_row, expected = certify(
            expected, close, known | holes, at, metric.error(left[held], true[held]), scale * spline.spread[held]
        )
        near_row, whole_row = near_row.plus(filled.near), whole_row.plus(filled.anywhere)
        expected = np.where(expected > 0, np.hypot(expected, np.where(close, filled.near, filled.anywhere)), 0.0)
        rough = cell[(cell >= 0) & ~self.exact]
        expected[rough] = np.hypot(expected[rough], self.rounding)
        channels, on = {}, cell[nodes] >= 0
        for name, values in extras.items():
            values[cell[nodes[on]]] = self.extras[name][nodes[on]]
            gaps = np.abs(left_extras[name][held] - self.extras[name][nodes[held]])
            off = filled.channels[name]
            p95, worst = (float(np.quantile(gaps, 0.95)), float(gaps.max())) if len(gaps) else (np.nan, np.nan)
            channels[name] = float(np.hypot(p95, off)), float(np.hypot(worst, off))
            extras[name] = np.where(holes, np.nan, values).reshape(grid.shape)
        return Reconstruction(
            loss=loss.reshape(grid.shape),
            extras=extras,
            exactly=known.reshape(grid.shape),
            error=(expected * metric.size(np.where(holes, 0.0, loss))).reshape(grid.shape),
            doubtful=(expected > metric.step).reshape(grid.shape),
            certificate=Certified(near_row, whole_row, metric.name, self.tolerance, channels),
            samples=self.coords,
            held_out=self.coords[self.drawn],
            exponent=self.exponent,
            reason=reason,
            rounded=int((~self.exact).sum()),
        )


# Two places closer than this, in units of half a span, are one.
CLOSE = 1e-3
