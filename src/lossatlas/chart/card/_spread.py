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


def price_of(seeds: int, dimension: int, gradients: bool) -> Price:
    """What `spread` evaluates, this plane's own coarse grid included.

    Args:
        seeds: other planes.
        dimension: of a plane.
        gradients: whether the surface knows gradients.
    """
    each = Price(products=dimension) if gradients else Price(3**dimension)
    return sum([each] * seeds, Price((seeds + 1) * CELLS**dimension))


def spread(
    surface: Surface,
    plane: Any,
    chart: Chart,
    here: Local,
    seeds: int,
    *,
    probe: Probe,
    open_probe: Callable[[Surface], Probe],
) -> Spread:
    """Curvatures, convex area and minima over planes with other seeds, this plane's own first.

    Args:
        surface: what is sliced.
        plane: a random `Plane` or `Line`.
        chart: of it, whose span is used.
        here: this plane.
        seeds: how many others; they follow on this plane's own.
        probe: of the surface.
        open_probe: gives a probe of a slice, whose evaluations count for the card.
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
        slice_probe = open_probe(surface.on(one))
        losses = np.concatenate(
            [slice_probe.evaluate(Values(part)).values.cpu().numpy() for part in torch.split(coords, chunk)]
        )
        rough = roughness(losses.reshape(cells.shape))
        curvatures = here.curvatures
        if seed != own:
            curvatures = curvatures_of(surface, one.frame, here.steps, probe=probe, slice_probe=slice_probe)
        found.append((curvatures, 1 - rough.nonconvex, rough.minima))
    pairs, convex, minima = zip(*found, strict=True)
    largest, smallest = tuple(pair[0] for pair in pairs), tuple(pair[-1] for pair in pairs)
    return Spread(others, CELLS, largest, smallest, tuple(convex), tuple(minima))


def again(surface: Surface, plane: Any, seed: int) -> Any:
    """The same kind of random plane or line with another seed, through the same origin."""
    same = {name: plane.how[name] for name in ("normalization", "ignore", "orthogonal") if name in plane.how}
    return type(plane).random(surface, seed=seed, origin=plane.frame.origin, **same)
