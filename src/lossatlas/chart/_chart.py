"""The result of charting: a field of losses on a plane or line, what it cost, and what it can be trusted for."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from lossatlas import archive
from lossatlas._errors import InputError
from lossatlas.archive import Status
from lossatlas.chart import _picture
from lossatlas.chart._caption import BATCHNORM, caption
from lossatlas.chart._picture import Spacing
from lossatlas.chart.sampling._certificate import Certificate
from lossatlas.probe import Meter

if TYPE_CHECKING:
    from lossatlas.chart._features import Metric
    from lossatlas.chart._morse_smale import MorseSmale
    from lossatlas.chart._smad import Smad
    from lossatlas.chart._topology import Topology
    from lossatlas.chart.card._card import Card
    from lossatlas.draw import FieldDisplay, PathsDisplay, ProfileDisplay, ReliefDisplay


@dataclass(frozen=True, eq=False)
class Chart(archive.Result):
    """Losses on a grid over a plane or line of a surface.

    Attributes:
        alpha: (nx,) coordinates along direction 1.
        beta: (ny,) coordinates along direction 2; on a line one zero.
        loss: (ny, nx) float64; loss[j, i] = L(origin + alpha[i]·d₁ + beta[j]·d₂). Non-finite losses are kept.
        extras: further channels of the same shape, for example ``accuracy``.
        labels: of the axes, with units.
        title: the surface's name.
        certificate: how far the field may be off.
        meter: what was evaluated for it.
        provenance: surface, plane, versions and settings, plain JSON values.
        status: ``complete``, or ``interrupted`` where cells of a file were never evaluated.
        exactly: (ny, nx), which cells hold the surface's own answer; the others were reconstructed.
        error: (ny, nx), the size of error to expect of each cell: what its neighborhood lets expect, scaled to what the
            held-out cells measured; 0 where the cell holds the surface's own answer.
        samples: (n, k) coordinates where the surface was evaluated, held-out cells included.
        held_out: (m, k) coordinates of those that measure the error.
        cheaply: (n, k) coordinates where the cheap field was evaluated.
        source: the surface and plane it was made of; None once it was loaded.
        kept: what was made from the chart later on and is saved with it: its card.
        meters: what was evaluated, by field: ``exact``, and ``cheap`` where there is such a field.
        forecast_seconds: what was expected of the whole chart after its first points, or None.
        ledger: what the ledger knew and holds, plain JSON values, or None without one.
    """

    KIND: ClassVar[str] = "chart"
    LISTED: ClassVar[float] = 0
    SAYS: ClassVar[tuple[str, ...]] = ("cells", "holes", "center")

    alpha: np.ndarray
    beta: np.ndarray
    loss: np.ndarray
    extras: dict[str, np.ndarray]
    labels: tuple[str, ...]
    title: str
    certificate: Certificate
    meter: Meter
    provenance: dict[str, Any]
    status: Status = Status.COMPLETE
    exactly: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=bool))
    error: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    samples: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    cheaply: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    held_out: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    source: tuple[Any, Any] | None = field(default=None, metadata=archive.UNSAVED)
    kept: dict[str, Card] = field(default_factory=dict)
    meters: dict[str, Meter] = field(default_factory=dict)
    forecast_seconds: float | None = None
    ledger: dict[str, Any] | None = None

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
        """Cells whose loss is not finite, or was not evaluated beside one that is not; they are drawn as holes."""
        return int((~np.isfinite(self.loss)).sum())

    @property
    def guessed_holes(self) -> int:
        """Of the holes those that were not evaluated: the nearest evaluated point is not finite."""
        if self.exactly.shape != self.loss.shape:
            return 0
        return int((~np.isfinite(self.loss) & ~self.exactly).sum())

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
        return str(mode) if mode in BATCHNORM else None

    @property
    def center(self) -> float | None:
        """The loss at the origin, or None where the grid does not hit it."""
        i, j = np.flatnonzero(self.alpha == 0), np.flatnonzero(self.beta == 0)
        return float(self.loss[j[0], i[0]]) if len(i) and len(j) else None

    @property
    def cells(self) -> int:
        """How many there are."""
        return int(self.loss.size)

    def reading(self) -> list[str]:
        """What the record says of the picture, in sentences, the most telling first."""
        finite = np.isfinite(self.loss)
        size = f"{self.cells:,} cells"
        if not finite.any():
            return [f"none of the {size} has a finite loss"]
        low, high = float(self.loss[finite].min()), float(self.loss[finite].max())
        says = [f"{size}, loss from {low:.4g} to {high:.4g}", *self._center(low)]
        if self.holes:
            guessed = self.guessed_holes
            says.append(
                f"{self.holes:,} of {size} are not finite and drawn as holes"
                if not guessed
                else f"{self.holes:,} of {size} are drawn as holes: {self.holes - guessed:,} were evaluated and are not finite, the "
                "others were not evaluated and lie nearest to a point that is not; exact=True evaluates each"
            )
        says += [self.certificate.sentence, *self._edge()]
        dimension = self.provenance.get("surface", {}).get("dimension")
        if dimension is not None and dimension > len(self.labels):
            says.append(f"this is a slice with {len(self.labels)} of {dimension:,} directions, not the surface itself")
        aside = self.provenance.get("asides", ())
        return says + [str(note) for note in self.provenance.get("notes", ()) if note not in aside]

    def card(self, **settings: Any) -> Card:
        """The honesty card: what this picture can and cannot show, measured with Hessian products and few losses.

        It is made once and kept with the chart; a loaded chart has the card it was saved with.

        Args:
            settings: of `lossatlas.chart.card`, for example ``budget`` or ``progress``.

        Raises:
            InputError: if the chart was loaded without a card, or another one is wanted: its surface is not there to be evaluated.
        """
        from lossatlas.chart.card._maker import card

        if "card" not in self.kept or settings:
            if self.source is None and "card" in self.kept:
                raise InputError(
                    f"got card({', '.join(f'{name}=…' for name in settings)}) on a chart that was loaded from a folder; it holds "
                    "only the card it was saved with. Call card() for that one, or chart the surface again for another."
                )
            if self.source is None:
                raise InputError(
                    "this chart was loaded from a folder and holds no card; making one evaluates the surface, which is not "
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

    def morse_smale(
        self, *, metric: Metric = "loss", minimum_persistence: float | None = None, spacing: bool = True
    ) -> MorseSmale:
        """Where each cell descends to and ascends to, and the lines from saddles to minima and maxima.

        Only what stands against the error of the chart divides the plane; the settings are those of `topology`, and so
        are the minima and maxima. On a plane only.

        Args:
            metric: ``loss``, or ``log`` to measure persistence as a difference of natural logarithms of the loss.
            minimum_persistence: what is less persistent does not divide the plane; None for all that stands.
            spacing: whether a feature must also exceed what the distance of the cells leaves open.

        Returns:
            The `MorseSmale` complex.

        Raises:
            InputError: on a line, for ``log`` of losses that are not positive, or a smallest persistence below 0.

        Example:
            >>> import torch
            >>> import lossatlas as la
            >>> frame = la.Frame(torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64))
            >>> chart = la.chart(la.landscapes.himmelblau(), frame, span=5.0, exact=True, progress=False)
            >>> len(chart.morse_smale().minima)
            4
        """
        from lossatlas.chart._morse_smale import morse_smale

        return morse_smale(self, metric=metric, minimum_persistence=minimum_persistence, spacing=spacing)

    def smad(
        self, *, normalize: bool = False, weighted: bool = False, resolved: bool = False, spacing: bool = True
    ) -> Smad:
        """The Saddle-Minimum Average Distance: how high the first saddle above a minimum is, in the mean over all minima.

        Landscaper's measure of smoothness (Chen et al., "Landscaper: Understanding Loss Landscapes Through Multi-Dimensional
        Topological Analysis", arXiv:2602.07135, 2026), as its code has it: each minimum of the merge tree with the saddle
        where its branch first meets another, and 0 where there is a single one. Cells are neighbors along both diagonals
        here, as in `topology`.

        Args:
            normalize: divide by the range of the losses.
            weighted: weight each gap with the share of the cells that descend to its minimum; the mean is still over all
                minima.
            resolved: count only minima that stand against the error of the chart.
            spacing: as in `topology`, for what stands and for the uncertainty.

        Returns:
            The `Smad`, with its uncertainty and how many of its minima stand.

        Example:
            >>> import torch
            >>> import lossatlas as la
            >>> frame = la.Frame(torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64))
            >>> chart = la.chart(la.landscapes.himmelblau(), frame, span=5.0, exact=True, progress=False)
            >>> chart.smad().minima
            4
        """
        from lossatlas.chart._smad import smad

        return smad(self, normalize=normalize, weighted=weighted, resolved=resolved, spacing=spacing)

    @property
    def doubtful(self) -> np.ndarray | None:
        """Cells that may lie on the other side of a contour line: their expected error exceeds the contour step there.

        They are hatched in the picture. Shape (ny, nx), or None where every cell was evaluated, no error is known, or
        on a line.
        """
        return None if self.is_line else self.display().doubted()

    def plot(
        self,
        ax: Any = None,
        *,
        channel: str = "loss",
        scale: Spacing = "auto",
        samples: bool = False,
        path: Any = None,
    ) -> FieldDisplay | PathsDisplay | ProfileDisplay:
        """Contours over the plane, or the profile along the line with the band of its error.

        Args:
            ax: matplotlib axes, or None for a new figure.
            channel: ``loss``, or a name in `extras`.
            scale: how the levels are spaced: ``linear``, ``log``, ``asinh`` (even around zero, logarithmic away from it) or
                ``quantile``. ``auto`` is ``log`` for values that are positive and span more than a factor of 30, and
                even levels for an accuracy.
            samples: show the points that were evaluated.
            path: iterates to draw on it: (T, 2) coordinates on the plane, or points of the surface in order, which are
                projected (vectors, state dicts, modules, checkpoint files, a recording); or several by name. On a
                surface of two parameters they are points of it.

        Returns:
            The display, drawn.

        Raises:
            InputError: an unknown channel, or a path that cannot be laid on this plane or is given for a line.
        """
        from lossatlas.draw import PathsDisplay

        if self.is_line:
            if path is not None:
                raise InputError("got a path for a chart of a line; expected a chart of a plane, of Plane.pca for one.")
            if scale == "quantile":
                raise InputError("got scale='quantile' for a line; expected 'auto', 'linear', 'log' or 'asinh'.")
            return _picture.draw_profile(_picture.profile(self, channel, samples), ax, channel, scale)
        display = self.display(channel, samples=samples)
        levels = _picture.levels(self, channel, scale)
        if path is None:
            return display.plot(ax, levels=levels)
        paths, off = _picture.paths_on(self, path)
        return PathsDisplay(display, paths, note=off or None).plot(ax, levels=levels)

    def plot_relief(
        self, ax: Any = None, *, channel: str = "loss", scale: Spacing = "auto", path: Any = None, **style: Any
    ) -> ReliefDisplay:
        """The same field as a surface in three dimensions, with paths over it.

        Args:
            ax: matplotlib axes with ``projection="3d"``, or None for a new figure.
            channel: as in `plot`.
            scale: as in `plot`; the heights are on this scale too.
            path: as in `plot`; its height is that of the field, interpolated.
            style: of ``ReliefDisplay.plot``, for example ``clip=0.95`` or ``azimuth=40``.

        Returns:
            The display, drawn.

        Raises:
            InputError: for a line, an unknown channel, or a path that cannot be laid on this plane.
        """
        if self.is_line:
            raise InputError("got a chart of a line for a relief; expected a chart of a plane. Use plot().")
        paths, off = ({}, "") if path is None else _picture.paths_on(self, path)
        display = _picture.relief(self, channel, paths)
        display.note = " ".join(part for part in (f"{off[:1].upper()}{off[1:]}." if off else "", display.note) if part)
        return display.plot(ax, levels=_picture.levels(self, channel, scale), **style)

    def display(self, channel: str = "loss", *, samples: bool = False) -> FieldDisplay:
        """The field as a display that is not drawn yet."""
        return _picture.field(self, channel, samples)

    def caption(self, channel: str = "loss") -> str:
        """What every picture says of itself: how far it may be off, near the minimum first, and what it rests on."""
        return caption(self, channel)

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

    @classmethod
    def _names(cls) -> dict[str, Any]:
        from lossatlas.chart.card._card import Card

        return {"Card": Card}

    def _center(self, low: float) -> list[str]:
        center = self.center
        if center is None or not np.isfinite(center):
            return []
        # A reconstructed cell counts as lower only where it is so by more than its error.
        off = 2 * self.error if self.error.shape == self.loss.shape else np.zeros_like(self.loss)
        sure = np.where(np.isfinite(self.loss), self.loss + off, np.inf)
        if sure.min() < center:
            j, i = np.unravel_index(np.argmin(sure), sure.shape)
            where = f"α = {self.alpha[i]:.3g}" + ("" if self.is_line else f", β = {self.beta[j]:.3g}")
            about = "" if self.certificate.exact or not off[j, i] else "about "
            return [f"the center ({center:.4g}) is not the lowest point: {about}{self.loss[j, i]:.4g} at {where}"]
        if low < center:
            return [f"no cell is lower than the center ({center:.4g}) by more than its error"]
        return [f"the center is the lowest cell ({center:.4g})"]

    def _edge(self) -> list[str]:
        """Whether the picture ends where the loss is still low: a wider span would show more."""
        center = self.center
        if self.is_line or center is None or not np.isfinite(center):
            return []
        rim = np.concatenate([self.loss[0], self.loss[-1], self.loss[:, 0], self.loss[:, -1]])
        rim = rim[np.isfinite(rim)]
        if rim.size and float(rim.max()) < 2 * center:
            return [
                "the loss is less than twice the center's everywhere on the rim: a wider span (or span='auto') would show more"
            ]
        return []
