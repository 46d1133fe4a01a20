"""What the record of a chart says of its picture, in sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from lossatlas.chart._chart import Chart


def reading(chart: Chart) -> list[str]:
    """Sentences generated from a chart's record, most telling first."""
    finite = np.isfinite(chart.loss)
    size = f"{chart.loss.size:,} cells"
    if not finite.any():
        return [f"none of the {size} has a finite loss"]
    low, high = float(chart.loss[finite].min()), float(chart.loss[finite].max())
    says = [f"{size}, loss from {low:.4g} to {high:.4g}"]
    says += _center(chart, low)
    if chart.holes:
        says.append(f"{chart.holes:,} of {size} are not finite and drawn as holes")
    says.append(chart.certificate.sentence)
    says += _edge(chart)
    dimension = chart.provenance.get("surface", {}).get("dimension")
    if dimension is not None and dimension > len(chart.labels):
        says.append(f"this is a slice with {len(chart.labels)} of {dimension:,} directions, not the surface itself")
    aside = chart.provenance.get("asides", ())
    says += [str(note) for note in chart.provenance.get("notes", ()) if note not in aside]
    return says


def _center(chart: Chart, low: float) -> list[str]:
    center = chart.center
    if center is None or not np.isfinite(center):
        return []
    # A reconstructed cell counts as lower only where it is so by more than its error.
    off = 2 * chart.error if chart.error.shape == chart.loss.shape else np.zeros_like(chart.loss)
    sure = np.where(np.isfinite(chart.loss), chart.loss + off, np.inf)
    if sure.min() < center:
        j, i = np.unravel_index(np.argmin(sure), sure.shape)
        where = f"α = {chart.alpha[i]:.3g}" + ("" if chart.is_line else f", β = {chart.beta[j]:.3g}")
        about = "" if chart.certificate.exact or not off[j, i] else "about "
        return [f"the center ({center:.4g}) is not the lowest point: {about}{chart.loss[j, i]:.4g} at {where}"]
    if low < center:
        return [f"no cell is lower than the center ({center:.4g}) by more than its error"]
    return [f"the center is the lowest cell ({center:.4g})"]


def _edge(chart: Chart) -> list[str]:
    """Whether the picture ends where the loss is still low: a wider span would show more."""
    center = chart.center
    if chart.is_line or center is None or not np.isfinite(center):
        return []
    rim = np.concatenate([chart.loss[0], chart.loss[-1], chart.loss[:, 0], chart.loss[:, -1]])
    rim = rim[np.isfinite(rim)]
    if rim.size and float(rim.max()) < 2 * center:
        return ["the loss does not even double on the rim: a wider span (or span='auto') would show more"]
    return []
