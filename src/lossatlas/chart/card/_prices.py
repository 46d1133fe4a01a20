"""What each line of a card costs, before anything of it is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

from lossatlas.chart.card import _cells as cells
from lossatlas.chart.card._price import Price
from lossatlas.chart.card._rescaling import drawn_with, scaling_of
from lossatlas.chart.card._spread import price_of
from lossatlas.surface import NetworkSurface, Surface

# A Hessian checks itself with so many products, once.
CHECKS = 3
# Products for both ends of the spectrum at most, and in the mean until they have converged; random vectors of a spectrum,
# and products with each.
ENDS, USUAL_ENDS, RUNS, NODES = 100, 50, 2, 20


@final
@dataclass(frozen=True)
class Prices:
    """Of each group of lines that is measured on its own, in order.

    Attributes:
        most: at most.
        dense: whether the whole Hessian costs no more than random vectors.
    """

    most: dict[str, Price]
    dense: bool

    @property
    def expected(self) -> Price:
        """Of all of them: the ends of the spectrum converge earlier in the mean."""
        whole = sum(self.most.values(), Price())
        early = ENDS - USUAL_ENDS if "Whole Hessian" in self.most and not self.dense else 0
        return Price(whole.values, whole.gradients, whole.products - early)


def prices(surface: Surface, plane: Any, shape: Sequence[int], *, path: int, vectors: int, seeds: int) -> Prices:
    """What the lines of a card cost.

    Args:
        surface: what is charted.
        plane: on what: a `Plane`, a `Line` or a bare `Frame`.
        shape: cells along each axis of the chart.
        path: points of a path, 0 for none.
        vectors: random vectors behind the trace.
        seeds: other planes to compare with.
    """
    frame, how, kind = plane.frame, getattr(plane, "how", {}), getattr(plane, "kind", "frame")
    k, n, gradients = frame.dimension, surface.dimension, surface.gradients_known
    scaled = scaling_of(surface.layout, frame.origin, kind, how) is not None
    found = {"Curvature": Price(3**k, 2, k) if gradients else Price(3**k)}
    found["Quadratic range"] = Price(cells.most_for_range(k))
    if path:
        found["Path"] = Price(2 * path)
    found["Noise"] = Price(cells.most_for_noise(shape) if isinstance(surface, NetworkSurface) else 0)
    dense = False
    if gradients:
        spectrum = RUNS * NODES
        sparse = {
            "Whole Hessian": Price(products=ENDS + CHECKS),
            "Typical direction": Price(products=vectors + 1),
            "Probability of a saddle": Price(products=2 * spectrum + vectors if scaled else spectrum),
        }
        dense = n + CHECKS <= sum(price.products for price in sparse.values())
        found |= {"Whole Hessian": Price(products=n + CHECKS)} if dense else sparse
    if seeds and drawn_with(kind, how) is not None:
        found["Other planes"] = price_of(seeds, k, gradients)
    return Prices(found, dense)
