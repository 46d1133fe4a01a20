"""The result of charting: a field of losses on a plane or line, what it cost, and what it can be trusted for."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lossatlas import archive
from lossatlas._errors import InputError
from lossatlas.chart._reading import reading
from lossatlas.chart.sampling._certificate import Certificate

if TYPE_CHECKING:
    from lossatlas.chart._features import Metric
    from lossatlas.chart._topology import Topology
    from lossatlas.chart.card._card import Card
    from lossatlas.draw import FieldDisplay, ProfileDisplay, ReliefDisplay

KIND = "chart"
_BATCHNORM = {
    "frozen": "running statistics frozen at the model's own",
    "interpolate": "running statistics interpolated between the models",
    "recompute": "running statistics recomputed at every point",
    "batch": "each batch normalized by itself",
}
_ARRAYS = ("alpha", "beta", "loss", "exactly", "error", "samples", "cheaply")


@dataclass(frozen=True, eq=False)
class Chart:
    """Losses on a grid over a plane or line of a surface.

    Attributes:
        alpha: (nx,) coordinates along direction 1.
        beta: (ny,) coordinates along direction 2; on a line one zero.
        loss: (ny, nx) float64; loss[j, i] = L(origin + alpha[i]·d₁ + beta[j]·d₂). Non-finite losses are kept.
        extras: further channels of the same shape, for example ``accuracy``.
        labels: of the axes, with units.
        title: the surface's name.
        certificate: how far the field may be off.
        meter: what was asked for it.
        provenance: surface, plane, versions and settings, plain JSON values.
        status: ``complete``.
        exactly: (ny, nx), which cells hold the surface's own answer; the others were reconstructed.
        error: (ny, nx), the size of error to expect of each cell: what its neighborhood lets expect, scaled to what the
            held-out cells measured; 0 where the cell holds the surface's own answer.
        samples: (n, k) coordinates where the surface was asked, held-out cells included.
        cheaply: (n, k) coordinates where the cheap field was asked.
        source: the surface and plane it was made of; None once it was loaded.
        kept: what was made from the chart later on and is saved with it: its card.
    """

    alpha: np.ndarray
    beta: np.ndarray
    loss: np.ndarray
    extras: dict[str, np.ndarray]
    labels: tuple[str, ...]
    title: str
    certificate: Certificate
    meter: dict[str, Any]
    provenance: dict[str, Any]
    status: str = "complete"
    exactly: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=bool))
    error: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    samples: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    cheaply: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    source: tuple[Any, Any] | None = field(default=None, repr=False)
    kept: dict[str, Any] = field(default_factory=dict, repr=False)
    doubtful: np.ndarray | None = field(default=None, repr=False)

    @property
    def accuracy(self) -> np.ndarray:
        """Share of examples classified right, (ny, nx).

        Raises:
            InputError: if the loss is not a classification loss.
        """
        if "accuracy" not in self.extras:
            raise InputError(
                "this chart has no accuracy: its loss is not a known classification loss on class numbers. Use "
                "cross_entropy or nll with integer targets of shape (n,)."
            )
        return self.extras["accuracy"]

    @property
    def holes(self) -> int:
        """Cells whose loss is not finite; they are drawn as holes."""
        return int((~np.isfinite(self.loss)).sum())

    @property
    def positive(self) -> bool:
        """Whether the finite losses are all above 0, so that they have logarithms."""
        finite = self.loss[np.isfinite(self.loss)]
        return bool(finite.size and finite.min() > 0)

    @property
    def is_line(self) -> bool:
        """Whether it has one coordinate only."""
        return len(self.labels) == 1

    @property
    def batchnorm(self) -> str | None:
        """The mode of running statistics on this plane or line, or None without batch norm."""
        own = self.provenance.get("surface", {}).get("batchnorm")
        mode = self.provenance.get("plane", {}).get("batchnorm", own)
        return str(mode) if mode in _BATCHNORM else None

    @property
    def center(self) -> float | None:
        """The loss at the origin, or None where the grid does not hit it."""
        i, j = np.flatnonzero(self.alpha == 0), np.flatnonzero(self.beta == 0)
        return float(self.loss[j[0], i[0]]) if len(i) and len(j) else None

    def reading(self) -> list[str]:
        """What the record says of the picture, in sentences."""
        return reading(self)

    def card(self, **settings: Any) -> Card:
        """The honesty card: what this picture can and cannot show, measured with Hessian products and few losses.

        It is made once and kept with the chart; a loaded chart has the card it was saved with.

        Args:
            settings: of `lossatlas.chart.card`, for example ``budget`` or ``progress``.

        Raises:
            InputError: if the chart was loaded without a card: its surface is not there to be asked.
        """
        from lossatlas.chart.card._maker import card

        if "card" not in self.kept or settings:
            if self.source is None:
                raise InputError(
                    "this chart was loaded from a folder and holds no card; making one asks the surface, which is not "
                    "there. Chart it again and call card() before saving."
                )
            self.kept["card"] = card(*self.source, self, **settings)
        found: Card = self.kept["card"]
        return found if found.chart is not None else replace(found, chart=self)

    def topology(
        self, *, metric: Metric = "loss", minimum_persistence: float | None = None, spacing: bool = True
    ) -> Topology:
        """Minima, saddles and maxima of the field, each with its persistence and whether that exceeds the error.

        The persistence of a minimum is the height of the lowest saddle that leads from it to a lower one. It is
        uncertain by what its two cells may be off: twice the expected error of each (`error`), rounding, and, with
        ``spacing``, by how far the surface may go between the cells.

        Args:
            metric: ``loss``, or ``log`` to measure persistence as a difference of natural logarithms of the loss, for
                losses over decades: a persistence is then the logarithm of a factor.
            minimum_persistence: pairs of smaller persistence are left out; None to keep all above 0.
            spacing: whether a feature must also exceed what the distance of the cells leaves open,
                (|f_xx| + |f_yy|)/8 in units of the cells at each of its two cells. With False the field on the cells
                is all there is.

        Returns:
            The `Topology`.

        Raises:
            InputError: for ``log`` of losses that are not positive, or a smallest persistence below 0.

        Example:
            >>> import torch
            >>> import lossatlas as la
            >>> frame = la.Frame(torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64))
            >>> chart = la.chart(la.landscapes.himmelblau(), frame, span=5.0, exact=True, progress=False)
            >>> chart.topology().sentence
            '4 minima, separated by 13.2 ± 1.4 to 103.7 ± 1.8'
        """
        from lossatlas.chart._topology import topology

        return topology(self, metric=metric, minimum_persistence=minimum_persistence, spacing=spacing)

    def plot(
        self,
        ax: Any = None,
        *,
        channel: str = "loss",
        scale: Literal["auto", "linear", "log", "quantile"] = "auto",
        samples: bool = False,
    ) -> FieldDisplay | ProfileDisplay:
        """Contours over the plane, or the profile along the line with the band of its error.

        Args:
            ax: matplotlib axes, or None for a new figure.
            channel: ``loss``, or a name in `extras`.
            scale: how the levels are spaced; ``log`` for losses over decades.
            samples: show the points that were asked.
        """
        if self.is_line:
            return self._profile(channel, samples).plot(ax, yscale="log" if scale == "log" else "linear")
        return self.display(channel, samples=samples).plot(ax, levels=scale)

    def plot_relief(self, ax: Any = None) -> ReliefDisplay:
        """The same field as a surface in three dimensions."""
        from lossatlas.draw import ReliefDisplay

        return ReliefDisplay(
            self.alpha,
            self.beta,
            self.loss,
            xlabel=self.labels[0],
            ylabel=self.labels[1],
            title=self.title,
            note=self.small_print(),
        ).plot(ax)

    def display(self, channel: str = "loss", *, samples: bool = False) -> FieldDisplay:
        """The field as a display that is not drawn yet."""
        from lossatlas.draw import FieldDisplay

        return FieldDisplay(
            self.alpha,
            self.beta,
            self._channel(channel),
            xlabel=self.labels[0],
            ylabel=self.labels[1],
            zlabel=channel,
            title=self.title,
            center=(0.0, 0.0),
            samples=np.concatenate([self.cheaply, self.samples]) if samples else None,
            note=self.small_print(),
        )

    def export(self, path: str | Path, **settings: Any) -> Path:
        """Write the field for another program; the ending decides: csv, h5 (Li et al. 2018), vts or vtp (ParaView).

        Args:
            path: where to.
            settings: of `lossatlas.chart.export`, for example ``height="log"``.
        """
        from lossatlas.chart.exchange import export

        return export(self, path, **settings)

    def to_xarray(self) -> Any:
        """The field as an `xarray.Dataset` (extra ``xarray``)."""
        from lossatlas.chart.exchange import to_xarray

        return to_xarray(self)

    def _profile(self, channel: str, samples: bool) -> ProfileDisplay:
        from lossatlas.draw import ProfileDisplay

        values = self._channel(channel)[0]
        # Twice the error to expect of each place: about what 95 % of them keep within.
        banded = channel == "loss" and not self.certificate.exact and self.error.shape == self.loss.shape
        off = 2 * self.error[0] if banded else None
        asked = None
        if samples and len(self.samples):
            t = np.unique(self.samples[:, 0])
            t = t[(t >= self.alpha[0]) & (t <= self.alpha[-1])]
            asked = np.stack([t, np.interp(t, self.alpha, values)], 1)
        return ProfileDisplay(
            self.alpha,
            values,
            None if off is None else values - off,
            None if off is None else values + off,
            xlabel=self.labels[0],
            ylabel=channel,
            title=self.title,
            samples=asked,
            note=self.small_print(),
        )

    def small_print(self) -> str:
        """What every picture says of itself: a slice of how many directions, how far off it may be, and of which loss."""
        dimension = self.provenance.get("surface", {}).get("dimension")
        whole = dimension is None or dimension <= len(self.labels)
        says = [] if whole else [f"A slice: {len(self.labels)} of {dimension:,} directions."]
        if self.batchnorm is not None:
            says.append(f"Batch norm: {_BATCHNORM[self.batchnorm]}.")
        if not self.certificate.exact:
            share = 100 * self.certificate.rms / self.certificate.range if self.certificate.range else 0.0
            says.append(
                f"Reconstructed; error {share:.2g} % of the range (rms, {self.certificate.probes} held-out cells)."
            )
        says += [f"{note[:1].upper()}{note[1:].rstrip('.')}." for note in self.provenance.get("captions", ())]
        return " ".join(says)

    def record(self) -> dict[str, Any]:
        """Everything but the arrays, as plain JSON values."""
        return {
            "title": self.title,
            "labels": list(self.labels),
            "status": self.status,
            "cells": int(self.loss.size),
            "holes": self.holes,
            "center": self.center,
            "reading": self.reading(),
            "certificate": asdict(self.certificate) | {"sentence": self.certificate.sentence},
            "meter": self.meter,
            "provenance": self.provenance,
            "card": self.kept["card"].record() if "card" in self.kept else None,
        }

    def save(self, folder: str | Path) -> Path:
        """Write the chart into a folder: `chart.json` and `chart.safetensors`, atomically.

        Raises:
            OutputError: if the folder cannot be written; nothing is then half-written.
        """
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        return archive.save(
            folder, KIND, {**arrays, **{f"extras/{k}": v for k, v in self.extras.items()}}, self.record()
        )

    @classmethod
    def restore(cls, arrays: dict[str, np.ndarray], record: dict[str, Any]) -> Chart:
        """The chart that was saved."""
        from lossatlas.chart.card._card import Card

        certificate: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in record["certificate"].items()
            if name != "sentence"
        }
        return cls(
            arrays["alpha"],
            arrays["beta"],
            arrays["loss"],
            {k.removeprefix("extras/"): v for k, v in arrays.items() if k.startswith("extras/")},
            tuple(record["labels"]),
            record["title"],
            Certificate(**certificate),
            record["meter"],
            record["provenance"],
            record["status"],
            arrays["exactly"],
            arrays["error"],
            arrays["samples"],
            arrays["cheaply"],
            kept={"card": Card.restore(record["card"])} if record.get("card") else {},
        )

    def _channel(self, channel: str) -> np.ndarray:
        return self.loss if channel == "loss" else self.extras[channel]

    def _repr_html_(self) -> str:
        import html

        items = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in self.reading())
        return f"<p><b>{html.escape(self.title)}</b></p><ul>{items}</ul>"
