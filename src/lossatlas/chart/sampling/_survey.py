"""The default sampler: few cells, a smooth field through them, and held-out cells that say how far it is off.

Two fields may be evaluated. The exact one is the surface; the cheap one reads a fixed subset of the examples. The cheap field
is resolved finely, the exact one coarsely, and their smooth difference is added back (a control variate).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray

from lossatlas._errors import LossError
from lossatlas.chart.sampling._certificate import Certificate, breadth
from lossatlas.chart.sampling._dyadic import Dyadic, Filled
from lossatlas.chart.sampling._field_query import FieldQuery, Survey, SurveyWalk
from lossatlas.chart.sampling._grid import Grid
from lossatlas.chart.sampling._held import HeldOut
from lossatlas.chart.sampling._layer import LINEAR, LOG, Layer, Look, Scale, log, same
from lossatlas.probe import Answer, Values

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

START = 3  # 9 nodes per axis of the fine field …
ANCHORS = 2  # … and 5 of the exact one where the fine field is the cheap one
# A cubic spline's error falls 16-fold when the spacing is halved, on a smooth field; kinks make it fall less.
DECAY = 8.0
BATCHES = 4  # of held-out cells at most
GENEROUS = 0.5  # a sampler that needs more than this share of the full grid gives way to it


Wanted = tuple[Layer, list[tuple[int, NDArray[np.int64]]]]


@final
class Surveyor:
    """Evaluates, reconstructs, holds against held-out cells, and refines until the tolerance is reached.

    Args:
        grid: the cells of the chart.
        tolerance: median relative error at most this, and rms error at most half of it of the field's range.
        probes: held-out cells.
        price: what a cheap value costs in exact ones, or None where there is no cheap field.
        chunk: how many points of a field to evaluate at a time.
        planned: told the number of exact points and of cheap points that are planned so far.
        seed: of the held-out cells.
        noise: relative size of what is not the surface's shape (rounding); nothing is refined below it.
    """

    def __init__(
        self,
        grid: Grid,
        *,
        tolerance: float,
        probes: int,
        price: float | None,
        chunk: Callable[[str], int],
        planned: Callable[[int, int], None],
        seed: int,
        noise: float,
    ) -> None:
        self.grid, self.tolerance, self.noise = grid, tolerance, noise
        self.held = HeldOut(grid, probes, seed)
        self.chunk, self.planned = chunk, planned
        self.exact = Layer("exact", Dyadic(grid.dimension, grid.finest))
        self.cheap = None if price is None else Layer("cheap", Dyadic(grid.dimension, grid.finest))
        self.price = price or 1.0
        self.evaluated = {"exact": 0, "cheap": 0}

    @property
    def fine(self) -> Layer:
        """The layer that resolves the field's shape."""
        return self.cheap or self.exact

    @property
    def cost(self) -> float:
        """What was evaluated so far, in exact values."""
        return self.evaluated["exact"] + self.price * self.evaluated["cheap"]

    def walk(self) -> SurveyWalk:
        """The queries, and the survey in the end."""
        if self._plan() > GENEROUS * self.grid.cells:
            return (yield from self._everything("full grid, since it has few cells"))
        yield from self._query(self.fine, self.fine.tree.whole(START))
        if self.cheap is not None:
            yield from self._query(self.exact, self.exact.tree.whole(ANCHORS))
        self._refuse_nothing()
        look = self._look()
        yield from self._hold_out(look)
        while True:
            certificate = self.held.certificate(look.loss, self.tolerance)
            if certificate.reached:
                return self._finish(look, certificate)
            if self._doubtful(look, certificate):
                yield from self._hold_out(look)
                continue
            wanted = self._refine(look, certificate)
            more = sum(len(nodes) * (1.0 if layer is self.exact else self.price) for layer, nodes in _flat(wanted))
            if not wanted or self.cost + more > GENEROUS * self.grid.cells:
                return (yield from self._everything("full grid, since the field is too rough for fewer cells"))
            for layer, nodes in wanted:
                yield from self._query(layer, nodes)
            self._drop_cheap()
            look = self._look()

    def _refuse_nothing(self) -> None:
        units, values = self.exact.tree.nodes()
        # The center is the surface's own point, whose loss is known to be finite.
        away = (self.grid.place(units) != 0).any(1)
        if not np.isfinite(values[away]).any():
            raise LossError(
                f"none of the first {away.sum()} losses on the plane, the center aside, is finite; expected some that are. The network "
                "overflows there: take a smaller span, or chart it exactly to see where."
            )

    def _plan(self) -> float:
        """Announce what the first round will evaluate; what it costs in exact values."""
        nodes, anchors = ((2**level + 1) ** self.grid.dimension for level in (START, ANCHORS))
        exact = self.held.size + (nodes if self.cheap is None else anchors)
        cheap = 0 if self.cheap is None else nodes
        self.planned(exact, cheap)
        return float(exact + self.price * cheap)

    def _query(self, layer: Layer, found: list[tuple[int, NDArray[np.int64]]]) -> Generator[FieldQuery, Answer, None]:
        if not found:
            return
        # All levels in one query: starting one costs more than many cheap points.
        channels = yield from self._values(
            layer.to, np.concatenate([self.grid.place(nodes / 2**level) for level, nodes in found])
        )
        begin = 0
        for level, nodes in found:
            end = begin + len(nodes)
            layer.tell(level, nodes, {name: values[begin:end] for name, values in channels.items()})
            begin = end

    def _values(self, to: str, coords: Array) -> Generator[FieldQuery, Answer, dict[str, Array]]:
        parts: dict[str, list[Array]] = {}
        done = 0
        while done < len(coords):
            query = Values(torch.from_numpy(coords[done : done + self.chunk(to)]))
            answer = yield FieldQuery(to, query)
            done += len(query.points)
            self.evaluated[to] += len(query.points)
            for name, channel in {"loss": answer.values, **answer.extras}.items():
                parts.setdefault(name, []).append(channel.cpu().numpy())
        return {name: np.concatenate(found) for name, found in parts.items()}

    def _hold_out(self, look: Look) -> Generator[FieldQuery, Answer, None]:
        taken = self.grid.hit(*[layer.tree.nodes()[0] for layer in self._layers()])
        cells = self.held.draw(look.expected, taken)
        distinct, back = np.unique(cells, return_inverse=True)
        found = yield from self._values("exact", self.grid.coords(distinct))
        self.held.tell(cells, {name: values[back] for name, values in found.items()})

    def _doubtful(self, look: Look, certificate: Certificate) -> bool:
        """Whether the surpluses promise what a few held-out cells deny: more cells may settle it."""
        allowed = self.tolerance / 2 * certificate.range
        promised = math.sqrt(float((look.expected**2).mean())) <= allowed and certificate.relative <= self.tolerance
        return promised and certificate.interval[0] <= allowed and self.held.batches < BATCHES

    def _layers(self) -> Iterator[Layer]:
        yield self.exact
        if self.cheap is not None:
            yield self.cheap

    def _look(self) -> Look:
        """The field as it stands, on the scale on which its finest levels are predicted better."""
        scale, fill = self._better_scale()
        apart = None
        field = fill.at(*self.grid.units)
        if self.cheap is not None:
            apart = self._difference("loss", scale.forward).fill(same)
            field = field + apart.at(*self.grid.units)
        loss = self.grid.oriented(scale.back(field))
        return Look(scale, fill, apart, loss, self._expected(scale, fill, apart, loss))

    def _better_scale(self) -> tuple[Scale, Filled]:
        tree = self.fine.tree
        linear = tree.fill(same)
        values = tree.nodes()[1]
        finite = values[np.isfinite(values)]
        if finite.size == 0 or finite.min() <= 0 or np.ptp(finite) == 0:
            return LINEAR, linear
        span = float(np.ptp(finite))
        logarithmic = tree.fill(log)
        scores = []
        for scale, filled in ((LINEAR, linear), (LOG, logarithmic)):
            off, size = [], []
            for level, surplus in filled.surplus.items():
                mask = tree.evaluated[level] & np.isfinite(surplus) & np.isfinite(tree.data[level])
                truth = tree.data[level][mask]
                off.append(np.abs(truth - scale.back(scale.forward(truth) - surplus[mask])))
                size.append(np.abs(truth))
            errors, sizes = np.concatenate(off), np.concatenate(size)
            rms = math.sqrt(float((errors**2).mean())) / span
            scores.append(max(2 * rms, float(np.median(errors / sizes))))
        return (LOG, logarithmic) if scores[1] < scores[0] else (LINEAR, linear)

    def _difference(self, name: str, forward: Callable[[Array], Array]) -> Dyadic:
        """Exact less cheap at the anchors, as a field of its own."""
        assert self.cheap is not None
        exact = self.exact.tree if name == "loss" else self.exact.extras[name]
        cheap = self.cheap.tree if name == "loss" else self.cheap.extras[name]
        apart = Dyadic(exact.dimension, exact.finest)
        for level, mask in exact.evaluated.items():
            nodes = np.argwhere(mask)
            with np.errstate(invalid="ignore"):
                gap = forward(exact.value(level, nodes)) - forward(cheap.value(level, nodes))
            apart.tell(level, nodes, gap)
        apart.leaves = exact.leaves
        return apart

    def _expected(self, scale: Scale, fill: Filled, apart: Filled | None, loss: Array) -> Array:
        """Expected error at each cell of the chart from the surpluses, in units of the loss."""
        total = np.zeros(self.grid.shape)
        for layer in self._layers():
            surpluses = (fill if layer is self.fine or apart is None else apart).surplus
            spread = np.zeros(tuple(len(axis) for axis in self.grid.axes))
            for level, leaves in layer.tree.leaves.items():
                if level not in surpluses or not leaves.any():
                    continue
                here = _cells(np.abs(surpluses[level])) / DECAY
                for axis, unit in enumerate(self.grid.units):
                    index = np.minimum((unit * 2**level).astype(int), 2**level - 1)
                    here, leaves = here.take(index, axis), leaves.take(index, axis)
                spread = here if leaves.all() else np.where(leaves, here, spread)
            total += self.grid.oriented(_sound(spread))
        if scale is LOG:
            total *= np.abs(loss)
        return _sound(total)

    def _refine(self, look: Look, certificate: Certificate) -> list[Wanted]:
        """Split cells of the layer that is expected to be off most, until what is left is within half the target."""
        ranked: list[tuple[float, Layer, dict[int, Mask]]] = []
        # What the surpluses expect is scaled to what the held-out cells measured.
        trust = float(np.clip(self._trust(look, certificate), 0.5, 8.0))
        for layer in self._layers():
            sizes = self._excess(layer, look, certificate, trust)
            total = sum(float((u**2).sum()) for u in sizes.values())
            price = 1.0 if layer is self.exact else self.price
            ranked.append((total / price, layer, self._marks(layer, sizes)))
        ranked.sort(key=lambda entry: entry[0], reverse=True)
        for _, layer, marks in ranked:
            found = self._split(layer, marks)
            if found:
                return found
        for _, layer, _ in ranked:
            # The surpluses saw nothing, the held-out cells did: split everything.
            found = self._split(layer, {level: leaves.copy() for level, leaves in layer.tree.leaves.items()})
            if found:
                return found
        return []

    def _excess(self, layer: Layer, look: Look, certificate: Certificate, trust: float) -> dict[int, Array]:
        """By level, the expected error of each leaf in units of what is allowed, times the root of its area."""
        found = {}
        surpluses, allowed = look.of(layer is self.fine).surplus, self.tolerance / 2 * certificate.range
        for level, leaves in layer.tree.leaves.items():
            if level not in surpluses or not leaves.any():
                continue
            expected = _cells(np.abs(surpluses[level])) * (trust / DECAY)
            losses = np.abs(_coarse(look.scale.back(look.fine.grid), level))
            with np.errstate(divide="ignore", invalid="ignore"):
                absolute = expected * losses if look.scale is LOG else expected
                relative = absolute / losses
            loud = np.zeros_like(absolute)
            if not certificate.rms <= allowed:
                loud = np.maximum(loud, absolute / (allowed if allowed > 0 else 1.0))
            if not certificate.relative <= self.tolerance:
                loud = np.maximum(loud, np.minimum(relative / self.tolerance, 1.0))
            loud = np.where(leaves & ~(relative <= self.noise), loud, 0.0)
            found[level] = np.nan_to_num(loud, nan=0.0, posinf=1e6) * 2.0 ** (-level * layer.tree.dimension / 2)
        return found

    def _marks(self, layer: Layer, sizes: dict[int, Array]) -> dict[int, Mask]:
        """The fewest leaves that hold all but a quarter of the allowed squared error (Dörfler 1996)."""
        flat = np.concatenate([u.ravel() for u in sizes.values()] or [np.zeros(0)])
        order = np.sort(flat)
        left = np.cumsum(order**2)
        place = int(np.searchsorted(left, 0.25))
        if place >= len(order):
            return {}
        cut = order[place]
        return {level: u >= cut for level, u in sizes.items() if level < layer.tree.finest}

    def _split(self, layer: Layer, marks: dict[int, Mask]) -> list[Wanted]:
        found = layer.tree.split(marks)
        if not found:
            return []
        result: list[Wanted] = [(layer, found)]
        if self.cheap is not None and layer is self.exact:
            # A difference needs both fields at its node.
            known = self.cheap.tree
            lacking = [(k, n[~known.evaluated[k][tuple(n.T)]] if k in known.evaluated else n) for k, n in found]
            result.append((self.cheap, [(k, n) for k, n in lacking if len(n)]))
        return result

    def _drop_cheap(self) -> None:
        """Where nearly every node became an anchor, the cheap field has nothing more to tell."""
        if self.cheap is not None and self.exact.tree.count > 0.5 * self.cheap.tree.count:
            self.cheap = None

    def _everything(self, why: str) -> SurveyWalk:
        """The full grid, every cell exact."""
        coords = self.grid.coords()
        self.planned(self.evaluated["exact"] + len(coords), self.evaluated["cheap"])
        channels = yield from self._values("exact", coords)
        shaped = {name: values.reshape(self.grid.shape) for name, values in channels.items()}
        loss = shaped.pop("loss")
        everywhere = np.ones(self.grid.shape, dtype=bool)
        return Survey(
            loss,
            shaped,
            everywhere,
            np.zeros(self.grid.shape),
            Certificate(range=breadth(loss)),
            coords,
            self._cheaply(),
            why,
            held_out=np.zeros((0, self.grid.dimension)),
        )

    def _cheaply(self) -> Array:
        if self.cheap is None or not self.cheap.tree.count:
            return np.zeros((0, self.grid.dimension))
        return self.grid.place(self.cheap.tree.nodes()[0])

    def _finish(self, look: Look, certificate: Certificate) -> Survey:
        """The further channels, and the surface's own answers in the cells where it was evaluated."""
        extras = self._extras()
        certificate = replace(certificate, extras=dict(self.held.rms(extras)))
        exactly = np.zeros(self.grid.shape, dtype=bool)
        trees = {"loss": self.exact.tree, **self.exact.extras}
        coords = self.grid.place(self.exact.tree.nodes()[0])
        own = self.grid.cell(coords)
        for name, channel in {"loss": look.loss, **extras}.items():
            channel.flat[own[own >= 0]] = trees[name].nodes()[1][own >= 0]
            channel.flat[self.held.cells] = self.held.truth[name]
        exactly.flat[own[own >= 0]] = True
        exactly.flat[self.held.cells] = True
        fine = f"{self.fine.tree.count:,} {self.fine.to} nodes"
        anchors = f" and {self.exact.tree.count:,} exact anchors" if self.cheap is not None else ""
        held = self.held.coords
        word = f"dyadic cells, cubic splines on a {look.scale.name} scale: {fine}{anchors}, {len(held)} held out"
        samples = np.concatenate([coords, held])
        error = np.where(exactly, 0.0, look.expected * self._trust(look, certificate))
        return Survey(look.loss, extras, exactly, error, certificate, samples, self._cheaply(), word, held_out=held)

    def _trust(self, look: Look, certificate: Certificate) -> float:
        """By how much the held-out cells are off more than the surpluses let expect."""
        promised = math.sqrt(float((look.expected**2).mean()))
        if not (0 < promised < math.inf and math.isfinite(certificate.rms)):
            return 1.0
        return certificate.rms / promised

    def _extras(self) -> dict[str, Array]:
        found = {}
        for name, tree in self.fine.extras.items():
            channel = tree.fill(same).at(*self.grid.units)
            if self.cheap is not None:
                channel = channel + self._difference(name, same).fill(same).at(*self.grid.units)
            found[name] = self.grid.oriented(np.clip(channel, 0.0, 1.0) if name == "accuracy" else channel)
        return found


def _flat(wanted: list[Wanted]) -> Iterator[tuple[Layer, NDArray[np.int64]]]:
    for layer, found in wanted:
        for _, nodes in found:
            yield layer, nodes


def _sound(field: Array) -> Array:
    """A field with 0 where it is not finite."""
    finite = np.isfinite(field)
    return field if finite.all() else np.where(finite, field, 0.0)


def _cells(surplus: Array) -> Array:
    """The largest of the surpluses at the corners of each cell."""
    found = surplus
    for axis in range(surplus.ndim):
        low = tuple(slice(None, -1) if k == axis else slice(None) for k in range(surplus.ndim))
        high = tuple(slice(1, None) if k == axis else slice(None) for k in range(surplus.ndim))
        found = np.maximum(found[low], found[high])
    return found


def _coarse(field: Array, level: int) -> Array:
    """A field at the middle of each cell of a level, by the nearest node."""
    last = len(field) - 1
    index = np.rint((np.arange(2**level) + 0.5) / 2**level * last).astype(int)
    found: Array = field[np.ix_(*([index] * field.ndim))]
    return found
