"""What other seeds would have shown: the same kind of plane drawn again, on a coarse grid."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lossatlas.chart._roughness import roughness
from lossatlas.chart.card._local import Local, curvatures_of
from lossatlas.chart.card._picture_entries import Spread
from lossatlas.chart.card._price import Price
from lossatlas.chart.sampling._grid import grid
from lossatlas.probe import Probe, Values
from lossatlas.surface import Surface

if TYPE_CHECKING:
    from lossatlas.chart._chart import Chart

CELLS = 9
HELD_BYTES = 2**28


def price_of(seeds: int, dimension: int, slopes: bool) -> Price:
    """What `spread` asks for, this plane's own coarse grid included.

    Args:
        seeds: other planes.
        dimension: of a plane.
        slopes: whether the surface knows gradients.
    """
    each = Price(products=dimension) if slopes else Price(3**dimension)
    return sum([each] * seeds, Price((seeds + 1) * CELLS**dimension))


def spread(
    surface: Surface,
    plane: Any,
    chart: Chart,
    here: Local,
    seeds: int,
    *,
    door: Probe,
    open_door: Callable[[Surface], Probe],
) -> Spread:
    """Curvatures, convex area and minima over planes with other seeds, this plane's own first.

    Args:
        surface: what is sliced.
        plane: a random `Plane` or `Line`.
        chart: of it, whose span is used.
        here: this plane.
        seeds: how many others; they follow on this plane's own.
        door: to the surface.
        open_door: gives a billed door to a slice.
    """
    k = plane.frame.dimension
    spans = [(float(axis[0]), float(axis[-1])) for axis in (chart.alpha, chart.beta)][:k]
    cells = grid(spans * (3 - k), (CELLS, CELLS), k)
    coords = torch.from_numpy(cells.coords())
    chunk = max(1, HELD_BYTES // (surface.dimension * plane.frame.origin.element_size()))
    own = int(plane.how["seed"])
    others = tuple(own + 1 + n for n in range(seeds))
    found: list[tuple[tuple[float, ...], float, int]] = []
    for seed in (own, *others):
        one = plane if seed == own else again(surface, plane, seed)
        asked = open_door(surface.on(one))
        losses = np.concatenate([asked.ask(Values(part)).values.cpu().numpy() for part in torch.split(coords, chunk)])
        rough = roughness(losses.reshape(cells.shape))
        bends = here.curvatures
        if seed != own:
            bends = curvatures_of(surface, one.frame, here.steps, door=door, plane=asked)
        found.append((bends, 1 - rough.nonconvex, rough.minima))
    bends_, convex, minima = zip(*found, strict=True)
    return Spread(
        others, CELLS, tuple(b[0] for b in bends_), tuple(b[-1] for b in bends_), tuple(convex), tuple(minima)
    )


def again(surface: Surface, plane: Any, seed: int) -> Any:
    """The same kind of random plane or line with another seed, through the same origin."""
    same = {name: plane.how[name] for name in ("normalization", "ignore", "orthogonal") if name in plane.how}
    return type(plane).random(surface, seed=seed, origin=plane.frame.origin, **same)
