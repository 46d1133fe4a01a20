"""The result of evaluating a surface along three and more directions: losses on a grid, and what they cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lossatlas import _checks, archive
from lossatlas._errors import InputError
from lossatlas.archive import Status
from lossatlas.chart import _picture
from lossatlas.chart._caption import BATCHNORM, title, told
from lossatlas.chart._features import ExactVolume, Metric
from lossatlas.chart._picture import Spacing
from lossatlas.chart.sampling._certificate import Certificate, breadth
from lossatlas.probe import Meter
from lossatlas.surface import Frame

if TYPE_CHECKING:
    from lossatlas.chart._chart import Chart
    from lossatlas.chart._smad import Smad
    from lossatlas.chart._volume_topology import VolumeTopology
    from lossatlas.draw import SlicesDisplay

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Volume(archive.Result):
    """Losses on a grid over a space of a surface, every one evaluated.

    Attributes:
        axes: coordinates along each direction, the first direction's first.
        loss: (…, nz, ny, nx) float64; loss[k, j, i] = L(origin + axes[0][i]·d₁ + axes[1][j]·d₂ + axes[2][k]·d₃), the first
            direction last. Non-finite losses are kept.
        extras: further channels of the same shape, for example ``accuracy``.
        labels: of the axes, with units.
        title: the surface's name.
        meter: what was evaluated for it.
        provenance: surface, space, versions and settings, plain JSON values.
        status: ``complete``: every cell was evaluated.
        source: the surface and space it was made of; None once it was loaded.
        forecast_seconds: what was expected of it after its first points, or None.
        ledger: what the ledger knew and holds, plain JSON values, or None without one.
    """

    KIND: ClassVar[str] = "volume"
    LISTED: ClassVar[float] = 0
    SAYS: ClassVar[tuple[str, ...]] = ("cells", "holes", "center", "lowest", "highest")

    axes: tuple[np.ndarray, ...]
    loss: np.ndarray
    extras: dict[str, np.ndarray]
    labels: tuple[str, ...]
    title: str
    meter: Meter
    provenance: dict[str, Any]
    status: Status = Status.COMPLETE
    source: tuple[Any, Any] | None = field(default=None, metadata=archive.UNSAVED)
    forecast_seconds: float | None = None
    ledger: dict[str, Any] | None = None

    @property
    def dimension(self) -> int:
        """How many directions it has."""
        return len(self.axes)

    @property
    def cells(self) -> int:
        """How many there are."""
        return int(self.loss.size)

    @property
    def finite(self) -> NDArray[np.bool_]:
        """Which losses are finite, of the shape of `loss`."""
        found: NDArray[np.bool_] = np.isfinite(self.loss)
        return found

    @property
    def holes(self) -> int:
        """Cells whose loss is not finite; they are drawn as holes."""
        return int((~self.finite).sum())

    @property
    def lowest(self) -> float | None:
        """The lowest finite loss, or None where there is none."""
        return float(self.loss[self.finite].min()) if self.finite.any() else None

    @property
    def highest(self) -> float | None:
        """The highest finite loss, or None where there is none."""
        return float(self.loss[self.finite].max()) if self.finite.any() else None

    @property
    def center(self) -> float | None:
        """The loss at the origin, or None where the grid does not hit it."""
        at = [np.flatnonzero(axis == 0) for axis in reversed(self.axes)]
        return float(self.loss[tuple(int(one[0]) for one in at)]) if all(map(len, at)) else None

    @property
    def batchnorm(self) -> str | None:
        """The mode of running statistics in this space, or None without batch norm."""
        own = self.provenance.get("surface", {}).get("batchnorm")
        mode = self.provenance.get("space", {}).get("batchnorm", own)
        return str(mode) if mode in BATCHNORM else None

    @property
    def accuracy(self) -> np.ndarray:
        """Share of examples classified right, of the shape of `loss`.

        Raises:
            InputError: if the loss is not a classification loss.
        """
        if "accuracy" not in self.extras:
            raise InputError(
                "this volume has no accuracy: its loss is not a known classification loss on class numbers. Use "
                "cross_entropy or nll with integer targets of shape (n,)."
            )
        return self.extras["accuracy"]

    def reading(self) -> list[str]:
        """What the record says of the volume, in sentences, the most telling first."""
        size = f"{' × '.join(str(len(axis)) for axis in self.axes)} cells"
        low, high = self.lowest, self.highest
        if low is None or high is None:
            return [f"none of the {size} has a finite loss"]
        says = [f"{size}, loss from {low:.4g} to {high:.4g}", *self._lowest(low)]
        if self.holes:
            says.append(f"{self.holes:,} of {self.cells:,} cells are not finite and drawn as holes")
        says.append("every cell was evaluated")
        dimension = self.provenance.get("surface", {}).get("dimension")
        if dimension is not None and dimension > self.dimension:
            says.append(f"this is a slice with {self.dimension} of {dimension:,} directions, not the surface itself")
        return says + [str(note) for note in self.provenance.get("notes", ())]

    def slice(self, axis: int, value: float = 0.0) -> Chart | Volume:
        """The layer of the grid that is nearest to a value of one coordinate.

        Nothing is evaluated: a layer of three directions is an exact `Chart` with all that charts have, of more directions a
        `Volume` with one fewer.

        Args:
            axis: number of the coordinate, 0 for that of the first direction.
            value: of the coordinate; the value that was taken is in ``provenance["slice"]``.

        Raises:
            InputError: for an axis that is not there, or a value more than half a cell outside of the grid.
        """
        axis = _checks.whole("axis", axis, 0, self.dimension - 1, where="Volume.slice")
        value = _checks.number("value", value, where="Volume.slice")
        places = self.axes[axis]
        step = float(places[1] - places[0])
        number = int(np.argmin(np.abs(places - value)))
        if abs(float(places[number]) - value) > 0.5 * step * (1 + 1e-9):
            raise InputError(
                f"Volume.slice got value={value:g} for axis {axis}; expected one from {places[0]:g} to {places[-1]:g}."
            )
        at = self.dimension - 1 - axis
        loss, *rest = (np.take(one, number, axis=at) for one in (self.loss, *self.extras.values()))
        extras = dict(zip(self.extras, rest, strict=True))
        axes = self.axes[:axis] + self.axes[axis + 1 :]
        labels = self.labels[:axis] + self.labels[axis + 1 :]
        provenance = {
            **self.provenance,
            "slice": {"axis": axis, "label": self.labels[axis], "value": float(places[number])},
        }
        source = self._sliced(axis, float(places[number]))
        if self.dimension > 3:
            return Volume(axes, loss, extras, labels, self.title, self.meter, provenance, self.status, source)
        from lossatlas.chart._chart import Chart

        return Chart(
            axes[0],
            axes[1],
            loss,
            extras,
            labels,
            self.title,
            Certificate(range=breadth(loss)),
            self.meter,
            provenance,
            self.status,
            exactly=np.ones(loss.shape, dtype=bool),
            error=np.zeros(loss.shape),
            source=source,
        )

    def topology(
        self, *, metric: Metric = "loss", minimum_persistence: float | None = None, spacing: bool = True
    ) -> VolumeTopology:
        """Minima, saddles and maxima, each pair with its persistence and what that may be off; nothing is evaluated.

        Args:
            metric: ``loss``, or ``log`` for persistence as a factor.
            minimum_persistence: pairs of less are left out; None keeps all.
            spacing: whether what may happen between the cells counts as an error.

        Raises:
            InputError: for settings that `Chart.topology` would refuse.
        """
        from lossatlas.chart._volume_topology import volume_topology

        return volume_topology(self, metric=metric, minimum_persistence=minimum_persistence, spacing=spacing)

    def smad(
        self, *, normalize: bool = False, weighted: bool = False, resolved: bool = False, spacing: bool = True
    ) -> Smad:
        """Landscaper's Saddle-Minimum Average Distance; see `Chart.smad`."""
        from lossatlas.chart._smad import smad

        return smad(self, normalize=normalize, weighted=weighted, resolved=resolved, spacing=spacing)

    def measured(self) -> ExactVolume:
        """What its topology is judged by."""
        return ExactVolume(self.axes, self.loss, self.provenance)

    def plot(self, ax: Any = None, *, channel: str = "loss", scale: Spacing = "auto", **style: Any) -> SlicesDisplay:
        """Slices through the center, one for each pair of directions, with one color scale.

        Args:
            ax: not taken: the picture has many axes. Give None.
            channel: ``loss``, or a name in `extras`.
            scale: how the levels are spaced, as in ``Chart.plot``.
            style: of ``SlicesDisplay.plot``, for example ``cmap="cividis"``.

        Returns:
            The display, drawn.

        Raises:
            InputError: an unknown channel, or if axes are given.
        """
        return self.display(channel).plot(ax, levels=_picture.levels(self, channel, scale), **style)

    def display(self, channel: str = "loss") -> SlicesDisplay:
        """The slices as a display that is not drawn yet.

        Raises:
            InputError: an unknown channel.
        """
        from lossatlas.draw import SlicesDisplay

        values = _picture.values(self, channel)
        center = [int(np.argmin(np.abs(axis))) for axis in self.axes]
        fields = {}
        for one, other in combinations(range(self.dimension), 2):
            fixed = tuple(slice(None) if k in (one, other) else center[k] for k in reversed(range(self.dimension)))
            fields[one, other] = values[fixed]
        return SlicesDisplay(
            self.axes,
            fields,
            labels=self.labels,
            at=[float(axis[k]) for axis, k in zip(self.axes, center, strict=True)],
            zlabel=_picture.unit(channel),
            title=title(self, channel),
            note=self.caption(),
            cmap=_picture.colors(channel),
        )

    def caption(self) -> str:
        """What its picture must say of itself, in sentences."""
        dimension = self.provenance.get("surface", {}).get("dimension")
        says = ["every cell evaluated", *told(self)]
        if dimension is not None and dimension > self.dimension:
            says.insert(0, f"slices through the center of {self.dimension} of {dimension:,} directions")
        return " ".join(f"{sentence[:1].upper()}{sentence[1:].rstrip('.')}." for sentence in says if sentence.strip())

    def export(self, path: str | Path) -> Path:
        """Write it for another program; see `lossatlas.chart.export_volume`."""
        from lossatlas.chart.exchange import export_volume

        return export_volume(self, path)

    def to_xarray(self) -> Any:
        """The volume as an `xarray.Dataset` (extra ``xarray``)."""
        from lossatlas.chart.exchange import volume_to_xarray

        return volume_to_xarray(self)

    def _lowest(self, low: float) -> list[str]:
        center = self.center
        if center is None or not np.isfinite(center):
            return []
        if low >= center:
            return [f"the center is the lowest cell ({center:.4g})"]
        at = np.unravel_index(int(np.nanargmin(np.where(self.finite, self.loss, np.inf))), self.loss.shape)
        named = zip(self.labels, self.axes, reversed(at), strict=True)
        where = ", ".join(f"{label[:1]} = {axis[k]:.3g}" for label, axis, k in named)
        return [f"the center ({center:.4g}) is not the lowest point: {low:.4g} at {where}"]

    def _sliced(self, axis: int, value: float) -> tuple[Any, Any] | None:
        """The surface and the frame that a layer lies on."""
        if self.source is None:
            return None
        surface, frame = self.source[0], self.source[1].frame
        kept = [k for k in range(self.dimension) if k != axis]
        statistics = frame.statistics
        origin = (frame.origin.double() + value * frame.directions[axis].double()).to(frame.origin)
        if statistics is not None:
            moved = statistics[0] + value * statistics[1 + axis]
            statistics = statistics[[0, *(1 + k for k in kept)]].clone()
            statistics[0] = moved
        return surface, Frame(origin, frame.directions[kept], statistics)
