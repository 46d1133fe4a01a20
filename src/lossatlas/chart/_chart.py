"""The result of charting: a field of losses on a plane or line, what it cost, and what it can be trusted for."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lossatlas import archive
from lossatlas._errors import InputError
from lossatlas.chart._certificate import Certificate
from lossatlas.chart._reading import reading

if TYPE_CHECKING:
    from lossatlas.draw import FieldDisplay, ProfileDisplay, ReliefDisplay

KIND = "chart"
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
    def is_line(self) -> bool:
        """Whether it has one coordinate only."""
        return len(self.labels) == 1

    @property
    def center(self) -> float | None:
        """The loss at the origin, or None where the grid does not hit it."""
        i, j = np.flatnonzero(self.alpha == 0), np.flatnonzero(self.beta == 0)
        return float(self.loss[j[0], i[0]]) if len(i) and len(j) else None

    def reading(self) -> list[str]:
        """What the record says of the picture, in sentences."""
        return reading(self)

    def plot(self, ax: Any = None, *, channel: str = "loss") -> FieldDisplay | ProfileDisplay:
        """Contours over the plane, or the profile along the line.

        Args:
            ax: matplotlib axes, or None for a new figure.
            channel: ``loss``, or a name in `extras`.
        """
        if self.is_line:
            from lossatlas.draw import ProfileDisplay

            return ProfileDisplay(self.alpha, self._channel(channel)[0], xlabel=self.labels[0], ylabel=channel).plot(ax)
        return self.display(channel).plot(ax)

    def plot_relief(self, ax: Any = None) -> ReliefDisplay:
        """The same field as a surface in three dimensions."""
        from lossatlas.draw import ReliefDisplay

        return ReliefDisplay(
            self.alpha, self.beta, self.loss, xlabel=self.labels[0], ylabel=self.labels[1], title=self.title
        ).plot(ax)

    def display(self, channel: str = "loss") -> FieldDisplay:
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
        )

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
        kept: dict[str, Any] = {
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
            Certificate(**kept),
            record["meter"],
            record["provenance"],
            record["status"],
            arrays["exactly"],
            arrays["error"],
            arrays["samples"],
            arrays["cheaply"],
        )

    def _channel(self, channel: str) -> np.ndarray:
        return self.loss if channel == "loss" else self.extras[channel]

    def _repr_html_(self) -> str:
        import html

        items = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in self.reading())
        return f"<p><b>{html.escape(self.title)}</b></p><ul>{items}</ul>"
