"""What a survey is made of: a field's nodes, the scale it is interpolated on, and the field as it stands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import final

import numpy as np
from numpy.typing import NDArray

from lossatlas.chart.sampling._dyadic import Dyadic, Filled

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Scale:
    """What is interpolated: the loss itself, or its logarithm where all losses are positive."""

    name: str
    forward: Callable[[Array], Array]
    back: Callable[[Array], Array]


def log(values: Array) -> Array:
    """Their logarithms; NaN or −inf where there is none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(values)


def exp(values: Array) -> Array:
    """Their exponentials; inf where they overflow."""
    with np.errstate(over="ignore"):
        return np.exp(values)


def same(values: Array) -> Array:
    """The values as they are."""
    return values


LINEAR = Scale("linear", same, same)
LOG = Scale("logarithmic", log, exp)


@final
@dataclass(eq=False)
class Layer:
    """One field's nodes, with a dyadic tree per channel.

    Attributes:
        to: ``exact`` or ``cheap``.
        tree: the losses, and the cells they were split by.
        extras: the other channels at the same nodes.
    """

    to: str
    tree: Dyadic
    extras: dict[str, Dyadic] = field(default_factory=dict)

    def tell(self, level: int, nodes: NDArray[np.int64], channels: dict[str, Array]) -> None:
        """Keep what was answered at nodes of a level."""
        self.tree.tell(level, nodes, channels["loss"])
        for name, values in channels.items():
            if name != "loss":
                tree = self.extras.setdefault(name, Dyadic(self.tree.dimension, self.tree.finest))
                tree.tell(level, nodes, values)


@dataclass(frozen=True, eq=False)
class Look:
    """The field as it stands.

    Attributes:
        scale: what is interpolated.
        fine: the fill of the fine layer on that scale.
        apart: the fill of exact less cheap, where there are two layers.
        loss: (ny, nx), the chart's cells.
        expected: (ny, nx), the error that the surpluses let expect there, in units of the loss.
    """

    scale: Scale
    fine: Filled
    apart: Filled | None
    loss: Array
    expected: Array

    def of(self, fine: bool) -> Filled:
        """The fill that a layer's nodes resolve: the field itself, or the difference."""
        return self.fine if fine or self.apart is None else self.apart
