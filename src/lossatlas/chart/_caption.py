"""What stands over and under a picture of a chart: whose values it shows, how far they may be off, and what they rest on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from lossatlas.chart._chart import Chart

BATCHNORM = {
    "frozen": "running statistics frozen at the model's own",
    "interpolate": "running statistics interpolated between the models",
    "recompute": "running statistics recomputed at every point",
    "batch": "each batch normalized by itself",
}
# Of these it is the plane that decides; of the others the surface says what they do to its loss.
_OF_THE_PLANE = ("frozen", "interpolate")
_SAID = ("batch norm ran on frozen statistics", "the running statistics of")
# Cells whose loss is in this lowest share count as near the minimum.
NEAR = 0.1
# A note with these words is about speed, not about what the picture shows.
_NOT_SEEN = "is not used for"


class Titled(Protocol):
    """What has a surface's name, and a record of the surface."""

    @property
    def title(self) -> str:
        """The surface's name."""

    @property
    def provenance(self) -> dict[str, Any]:
        """The record."""


def title(chart: Titled, channel: str = "loss") -> str:
    """Which channel a picture shows, and of which network.

    Args:
        chart: what is drawn.
        channel: ``loss``, or a name in its extras.

    Returns:
        For example ``Loss of ResNet (cross entropy)`` or ``Accuracy of ResNet``. The loss of a surface without data, a
        landscape for one, bears the surface's name alone.
    """
    made = chart.provenance.get("surface", {})
    loss = str(made.get("loss", ""))
    name = chart.title.removesuffix(f" with {loss}") if loss else chart.title
    if channel != "loss":
        return f"{channel[:1].upper()}{channel[1:]} of {name}"
    if not loss or "loss" in name.lower():
        return name
    return f"Loss of {name}" + (f" ({loss.replace('_', ' ')})" if name != chart.title and loss != "model" else "")


def caption(chart: Chart, channel: str = "loss") -> str:
    """What a picture must say of itself, in sentences.

    Of how many directions it is a slice; how the cells were made and how far this channel may be off, near the
    minimum first, since that is where it is read; and what the surface and the plane say of themselves, such as how
    batch norm ran.

    Args:
        chart: what is drawn.
        channel: ``loss``, or a name in its extras.
    """
    says = [_slice(chart), _error(chart, channel), _holes(chart), *told(chart)]
    return " ".join(f"{sentence[:1].upper()}{sentence[1:].rstrip('.')}." for sentence in says if sentence.strip())


class Normed(Titled, Protocol):
    """What knows its mode of running statistics besides."""

    @property
    def batchnorm(self) -> str | None:
        """The mode, or None without batch norm."""


def told(chart: Normed) -> list[str]:
    """What the surface, and the plane or space, say of themselves under a picture, in sentences."""
    return [_norm(chart), *_captions(chart)]


def _slice(chart: Chart) -> str:
    dimension = chart.provenance.get("surface", {}).get("dimension")
    if dimension is None or dimension <= len(chart.labels):
        return ""
    return f"a slice: {len(chart.labels)} of {dimension:,} directions"


def _holes(chart: Chart) -> str:
    """What holes are where some of them are no answers of the surface."""
    guessed = getattr(chart, "guessed_holes", 0)
    return (
        f"{guessed:,} of {chart.holes:,} holes were not evaluated: they lie nearest to a point that is not finite"
        if guessed
        else ""
    )


def _norm(chart: Normed) -> str:
    """Where the running statistics of batch norm come from on this plane or line, unless the surface says more of it."""
    mode = chart.batchnorm
    return "" if mode is None or mode not in _OF_THE_PLANE else f"batch norm: {BATCHNORM[mode]}"


def seen(surface: Any) -> list[str]:
    """Sentences of a surface that belong under its picture."""
    given = getattr(surface, "captions", None)
    return [str(note) for note in (surface.notes if given is None else given) if _NOT_SEEN not in str(note)]


def _captions(chart: Normed) -> list[str]:
    """Sentences of the surface and the plane that belong under a picture."""
    given = chart.provenance.get("captions")
    if given is not None:
        said = chart.batchnorm in _OF_THE_PLANE
        return [str(sentence) for sentence in given if not (said and str(sentence).startswith(_SAID))]
    return [str(note) for note in chart.provenance.get("notes", ()) if _NOT_SEEN not in str(note)]


def _error(chart: Chart, channel: str) -> str:
    """How far the values of a channel may be off, whichever certificate the chart holds."""
    certificate: Any = chart.certificate
    if getattr(certificate, "exact", False):
        return "every cell evaluated"
    how = str(chart.provenance.get("sampler", ""))
    what = next(
        (word for word in ("outputs interpolated", "margins of labels interpolated") if word in how), "interpolated"
    )
    if channel != "loss":
        return f"{what}; {_of_channel(certificate, channel)}"
    if getattr(certificate, "near", None) is not None:
        return f"{what}; {_by_strata(certificate)}"
    share = 100 * certificate.rms / certificate.range if certificate.range else 0.0
    far = f"{share:.2g} % of the range (rms, {certificate.probes} held-out cells)"
    close = _expected_near(chart)
    if close is None:
        return f"{what}; error {far}"
    return f"{what}; near the minimum the expected error is {close:.2g} % of the loss, over the whole chart {far}"


def _by_strata(certificate: Any) -> str:
    """Of a certificate with rows of errors near the minimum and over the whole chart."""
    near, whole = certificate.near, certificate.whole
    unit = "" if getattr(certificate, "metric", "relative") == "relative" else " of a contour spacing"
    low, high = near.p95_interval
    return (
        f"error near the minimum {_percent(near.p95)}{unit} (95th percentile; 95 % interval {_percent(low)} to "
        f"{_percent(high)}), over the whole chart {_percent(whole.p95)}{unit}"
    )


def _of_channel(certificate: Any, channel: str) -> str:
    """Of a further channel: its 95th percentile and largest error, or its rms, whichever is held."""
    parts: dict[str, Any] = getattr(certificate, "channels", None) or {}
    if channel in parts:
        p95, worst = parts[channel]
        return f"error {amount(p95, channel)} (95th percentile), at most {amount(worst, channel)} at held-out cells"
    rms = (getattr(certificate, "extras", None) or {}).get(channel)
    if rms is None:
        return f"the error of the {channel} was not measured"
    # Beside rows of strata it is the 95th percentile, as these are.
    measure = "rms" if getattr(certificate, "near", None) is None else "95th percentile"
    return f"error {amount(rms, channel)} ({measure}, {certificate.probes} held-out cells)"


def amount(size: float, channel: str) -> str:
    """A difference of a channel with its unit: percentage points where it is drawn in percent."""
    return f"{100 * size:.2g} percentage points" if channel == "accuracy" else f"{size:.2g}"


def _expected_near(chart: Chart) -> float | None:
    """Median of the expected relative error, in percent, over the interpolated cells of the lowest losses."""
    finite = np.isfinite(chart.loss)
    if chart.error.shape != chart.loss.shape or not finite.any():
        return None
    low = finite & (chart.loss <= np.quantile(chart.loss[finite], NEAR)) & (chart.error > 0) & (chart.loss != 0)
    if not low.any():
        return None
    return 100 * float(np.median(chart.error[low] / np.abs(chart.loss[low])))


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"
