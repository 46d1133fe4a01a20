"""Basin maps: for every start of a grid, where an optimizer ends and what it cost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from lossatlas import _checks, archive
from lossatlas._errors import InputError
from lossatlas._progress import Show, counted
from lossatlas.draw import Table
from lossatlas.optimize import Optimizer, Streams, begun, planned, resolve
from lossatlas.probe import Meter, Probe, Products, Request, Values, count, standing
from lossatlas.race._inputs import LARGEST_RECORD, check, one_of
from lossatlas.race._queries import lowest, valid
from lossatlas.race._statistics import wilson
from lossatlas.race._verdict import basins
from lossatlas.surface import Surface

if TYPE_CHECKING:
    from lossatlas.draw import BasinsDisplay, Motion

# Starts walked at a time: enough to spread the cost of calls, few enough for a core's cache.
BLOCK = 4096
MOST_STARTS = 10**7


@dataclass(frozen=True, eq=False)
class BasinMap(archive.Result):
    """Where an optimizer ends from every start of a grid.

    Attributes:
        surface: what was walked on.
        optimizer: as it walked.
        x: (nx,) first coordinate of the starts.
        y: (ny,) second coordinate.
        ends: (ny, nx) index into `names` of the well whose basin holds the end; −1 for none of them.
        names: of the wells.
        final: (ny, nx, 2) where it ended.
        loss: (ny, nx) there.
        cost: (ny, nx) queries until the loss first came within 1 % of its whole descent; NaN where it never descended.
        steps: per start.
        seed: random seed.
        meter: what the runs cost.
        referee: what was evaluated for the verdicts.
    """

    KIND: ClassVar[str] = "basins"
    SAYS: ClassVar[tuple[str, ...]] = ("provenance", "shares", "boundary")

    surface: Surface
    optimizer: Optimizer
    x: np.ndarray
    y: np.ndarray
    ends: np.ndarray
    names: tuple[str, ...]
    final: np.ndarray
    loss: np.ndarray
    cost: np.ndarray
    steps: int
    seed: int
    meter: Meter
    referee: Meter

    @property
    def sentence(self) -> str:
        """What was walked, and from where."""
        return f"{self.optimizer.title} on {self.surface.name}: {len(self.x)} × {len(self.y)} starts of {self.steps:,} steps"

    @property
    def provenance(self) -> dict[str, Any]:
        """The surface, the optimizer's settings, the grid of starts, steps and seed."""
        return {
            "surface": self.surface.fingerprint(),
            "optimizer": self.optimizer.record(),
            "points": [len(self.x), len(self.y)],
            "steps": self.steps,
            "seed": self.seed,
        }

    @property
    def shares(self) -> dict[str, list[float]]:
        """By well, the share of starts that end there, and its interval."""
        return {name: [self.share(name), *self.interval(name)] for name in self.names}

    def share(self, well: str) -> float:
        """Share of starts that end in a well."""
        return float(self._in(well).mean())

    def interval(self, well: str, confidence: float = 0.95) -> tuple[float, float]:
        """Interval of the share of the whole box that ends in a well, taking grid points for random ones (Wilson).

        A grid is spread more evenly than random points, so that this is wider than need be.
        """
        return wilson(int(self._in(well).sum()), self.ends.size, confidence)

    @property
    def boundary(self) -> float:
        """Length of the boundaries between basins in units of θ, from the grid's edges between unlike neighbors.

        By Cauchy–Crofton: counts of crossings along both axes overstate a slanted line by 4/π on average, which is
        divided out. A fractal boundary grows with the number of points.
        """
        dx, dy = self.x[1] - self.x[0], self.y[1] - self.y[0]
        across = int((self.ends[:, 1:] != self.ends[:, :-1]).sum())
        along = int((self.ends[1:] != self.ends[:-1]).sum())
        return float(math.pi / 4 * (across * dy + along * dx))

    def table(self) -> Table:
        """One row per well: share with interval, median cost."""
        rows = []
        for k, name in [*enumerate(self.names), (-1, "none of them")]:
            inside = self.ends == k
            low, high = wilson(int(inside.sum()), self.ends.size)
            costs = self.cost[inside & np.isfinite(self.cost)]
            median = f"{np.median(costs):,.0f}" if costs.size else "–"
            rows.append([name, f"{inside.mean():.2%}", f"{low:.2%} to {high:.2%}", median])
        size = f"{len(self.x)} × {len(self.y)} starts"
        title = f"{self.optimizer.title} on {self.surface.name}: {size}, boundary {self.boundary:.1f} long"
        return Table(title, ["ends in", "share", "95 %", "median queries"], rows)

    def plot(self, ax: Any = None) -> BasinsDisplay:
        """Starts colored by where they end, the lighter the longer it took."""
        return self._display().plot(ax)

    def motion(self) -> Motion:
        """The map as it fills in, the fastest starts first, for `animate`."""
        return self._display().motion()

    def _display(self) -> BasinsDisplay:
        from lossatlas.draw import BasinsDisplay

        wells = [(w.name, float(w.minimum[0]), float(w.minimum[1])) for w in self.surface.wells]
        title = f"{self.optimizer.title} on {self.surface.name}: where each start ends"
        return BasinsDisplay(self.x, self.y, self.ends, self.names, cost=self.cost, wells=wells, title=title)

    def _in(self, well: str) -> np.ndarray:
        return np.asarray(self.ends == self.names.index(one_of(f"well of {self.surface.name}", well, self.names)))


def basin_map(
    surface: Surface,
    optimizer: str | Optimizer,
    *,
    points: int | tuple[int, int] = 200,
    steps: int = 500,
    seed: int = 0,
    progress: Show = True,
) -> BasinMap:
    """Walk from every start of a grid over the box, all of them in large batches.

    Args:
        surface: of two parameters, with a box and known wells.
        optimizer: a name or an optimizer.
        points: starts per axis, or (nx, ny).
        steps: per start.
        seed: random seed; each start has its own stream.
        progress: True for a bar on the error stream of a terminal, False for silence, or a function of (starts done, starts
            in all).

    Raises:
        InputError: if the surface has no box, no known wells or not two parameters.

    Example:
        >>> import lossatlas as la
        >>> la.basin_map(la.landscapes.himmelblau(), "momentum", points=8, steps=50).ends.shape
        (8, 8)
    """
    nx, ny = points if isinstance(points, tuple | list) and len(points) == 2 else (points, points)
    steps, seed = check("basin_map", surface, seed, steps=steps)
    nx, ny = (_checks.whole("points", each, 2, where="basin_map") for each in (nx, ny))
    if surface.dimension != 2 or surface.box is None or not surface.wells:
        raise InputError(
            f"got {surface.name} with {surface.dimension} parameters, {'no' if surface.box is None else 'a'} box and "
            f"{len(surface.wells)} known wells; a basin map needs two parameters, a box, and wells to end in."
        )
    one, length = planned(resolve(optimizer), steps)
    if nx * ny > MOST_STARTS or 4 * BLOCK * length > LARGEST_RECORD:
        raise InputError(
            f"got {nx:,} × {ny:,} starts of {length:,} steps; expected at most {MOST_STARTS:,} starts, and "
            f"{LARGEST_RECORD // (4 * BLOCK):,} steps each. Take a coarser grid or fewer steps."
        )
    (left, right), (bottom, top) = surface.box.tolist()
    x, y = torch.linspace(left, right, nx, dtype=torch.float64), torch.linspace(bottom, top, ny, dtype=torch.float64)
    starts = torch.stack([x.repeat(ny), y.repeat_interleave(nx)], 1).to(surface.device, surface.dtype)
    probe, referee = Probe(surface), Probe(surface)
    parts = []
    with counted("mapping basins", len(starts), progress) as note:
        for begin in range(0, len(starts), BLOCK):
            block = starts[begin : begin + BLOCK]
            numbers = range(begin, begin + len(block))
            streams = Streams(seed, numbers, one.name)
            parts.append(_walk(probe, referee, one, surface, block, length, streams))
            note(begin + len(block))
    final, loss, cost = (torch.cat(pieces) for pieces in zip(*parts, strict=True))
    names, _ = basins(surface, final, referee)
    known = tuple(well.name for well in surface.wells)
    # What has left the numbers ended nowhere, wherever its descent would begin anew.
    sound = (torch.isfinite(final).all(1) & torch.isfinite(loss)).tolist()
    places = [known.index(name) if ok and name is not None else -1 for name, ok in zip(names, sound, strict=True)]
    ends = np.array(places).reshape(ny, nx)
    return BasinMap(
        surface,
        one,
        x.numpy(),
        y.numpy(),
        ends,
        known,
        final.cpu().numpy().reshape(ny, nx, 2),
        loss.cpu().numpy().reshape(ny, nx),
        cost.cpu().numpy().reshape(ny, nx),
        steps,
        seed,
        probe.meter,
        referee.meter,
    )


def _walk(
    probe: Probe, referee: Probe, optimizer: Optimizer, surface: Surface, start: Tensor, length: int, rng: Streams
) -> tuple[Tensor, Tensor, Tensor]:
    """Where each run ends, the loss there, and the queries until it had made 99 % of its descent; nothing else is kept."""
    walk = begun(optimizer, start, surface.layout, rng)
    meter = probe.meter
    best, low = start, torch.full((len(start),), float("inf"), dtype=torch.float64, device=start.device)
    lows: list[Tensor] = []
    counts: list[int] = []
    where = start
    try:
        query = valid(next(walk), optimizer.name, start)
        for _ in range(length):
            (answer,) = probe.answer([Request(query, meter)])
            if answer is None:
                break
            counts.append(count(query))
            where = standing(query)
            if not isinstance(query, Products):
                values, points = lowest(query, answer)
                if optimizer.wanders:
                    best = torch.where((values < low)[:, None], points, best)
                low = torch.minimum(low, values)
            lows.append(low.float())
            query = valid(walk.send(answer), optimizer.name, start)
        where = standing(query)
    except StopIteration:
        pass
    final = best if optimizer.wanders else where
    loss = low if optimizer.wanders and lows else referee.evaluate(Values(final)).values
    if not lows:
        return final, loss, torch.full_like(loss, float("nan"))
    history = torch.stack(lows, 1)
    goal = history[:, -1:] + 0.01 * (history[:, :1] - history[:, -1:])
    reached = (history <= goal).int().argmax(1)
    cost = torch.tensor(np.cumsum(counts), dtype=torch.float64, device=start.device)[reached]
    return final, loss, torch.where(history[:, 0] > history[:, -1], cost, float("nan"))
