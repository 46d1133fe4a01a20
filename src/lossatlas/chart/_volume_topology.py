"""The topology of a volume: which minima, saddles and maxima along three and more directions are more than rounding."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from lossatlas.chart._features import Metric, Pair, features
from lossatlas.chart._topology import Paired
from lossatlas.chart._topology_words import sentence
from lossatlas.probe import Meter

if TYPE_CHECKING:
    from lossatlas.chart._volume import Volume
    from lossatlas.draw import MergeTreeDisplay


@dataclass(frozen=True, eq=False)
class VolumeTopology(Paired):
    """Minima, saddles and maxima of a volume, paired by persistence as in `Topology`; cells are neighbors across corners too.

    Attributes:
        axes: coordinates along each direction.
        loss: (…, nz, ny, nx) the field.
        labels: of the axes.
        title: the surface's name.
        metric: in which persistence is measured: ``loss``, or ``log`` for its natural logarithm.
        pairs: (extremum, saddle, number of the pair whose extremum it ends in); first those of minima, then those of
            maxima, each from the most to the least persistent. The saddle of a minimum is the pass at which its lake meets a
            deeper one, a critical point of index 1; that of a maximum is one of index d − 1.
        meter: what was evaluated for the volume.
        provenance: of the volume, with the settings of the topology.
    """

    KIND: ClassVar[str] = "volume-topology"

    axes: tuple[np.ndarray, ...]
    loss: np.ndarray
    labels: tuple[str, ...]
    title: str
    metric: Metric
    pairs: tuple[Pair, ...]
    meter: Meter = field(default_factory=Meter)
    provenance: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def sentence(self) -> str:
        """The minima in one sentence."""
        return sentence(self.loss, self.minima, self.metric).replace("the chart", "the volume")

    def plot(self, ax: Any = None, **style: Any) -> MergeTreeDisplay:
        """The merge tree of the minima; see `plot_tree`."""
        return self.plot_tree(ax, **style)


def volume_topology(
    volume: Volume, *, metric: Metric = "loss", minimum_persistence: float | None = None, spacing: bool = True
) -> VolumeTopology:
    """Minima, saddles and maxima of a volume whose persistence exceeds the error; see `Volume.topology`."""
    settings = {"metric": metric, "minimum_persistence": minimum_persistence, "spacing": spacing}
    return VolumeTopology(
        volume.axes,
        volume.loss,
        volume.labels,
        volume.title,
        metric,
        features(volume.measured(), metric, minimum_persistence, spacing),
        volume.meter,
        {**volume.provenance, "topology": settings},
    )
