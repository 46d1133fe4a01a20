"""A chart as displays: each channel in its own colors, on its own scale and under its own caption."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from lossatlas import _checks
from lossatlas._errors import InputError
from lossatlas.chart._caption import caption, title
from lossatlas.surface import Frame, numbers_of

if TYPE_CHECKING:
    from lossatlas.chart._chart import Chart
    from lossatlas.draw import FieldDisplay, ProfileDisplay, ReliefDisplay

Array = NDArray[np.float64]
Spacing = Literal["auto", "linear", "log", "asinh", "quantile"]

# Color maps that no one takes for that of the loss.
_COLORS = {"loss": None, "accuracy": "magma"}
_OTHER = "cividis"
_LINES = {"loss": "#0072B2", "accuracy": "#D55E00"}
_OTHER_LINE = "#009E73"
# An accuracy that varies by so many points gets all levels from 0 to 100 %; one that varies less its own.
_WIDE = 30.0


class Channels(Protocol):
    """What has a loss and further channels of its shape."""

    @property
    def loss(self) -> np.ndarray:
        """The loss."""

    @property
    def extras(self) -> dict[str, np.ndarray]:
        """The other channels, by name."""


def values(chart: Channels, channel: str) -> Array:
    """A channel as it is drawn: accuracy in percent, and never beyond 0 and 100 by rounding or interpolation.

    Raises:
        InputError: a channel that the chart does not have.
    """
    if _checks.text("channel", channel) == "loss":
        return chart.loss
    if channel not in chart.extras:
        raise InputError(
            f"got channel={channel!r}, which is not there; expected one of {', '.join(['loss', *chart.extras])}."
        )
    found: Array = chart.extras[channel]
    return np.clip(100 * found, 0, 100) if channel == "accuracy" else found


def unit(channel: str) -> str:
    """The name of a channel with its unit."""
    return "accuracy (%)" if channel == "accuracy" else channel


def colors(channel: str) -> str | None:
    """The color map of a channel; None for the usual one."""
    return _COLORS.get(channel, _OTHER)


def levels(chart: Channels, channel: str, scale: Spacing) -> Any:
    """The levels of a channel: those given, or its own where that is ``auto``."""
    if channel != "accuracy" or scale != "auto":
        return scale
    shown = values(chart, channel)
    finite = shown[np.isfinite(shown)]
    wide = finite.size and float(np.ptp(finite)) >= _WIDE
    return np.linspace(0, 100, 11).tolist() if wide else "linear"


def field(chart: Chart, channel: str, samples: bool) -> FieldDisplay:
    """A channel as a contour map that is not drawn yet."""
    from lossatlas.draw import FieldDisplay

    samples = _checks.flag("samples", samples)
    known = (
        _checks.text("channel", channel) == "loss"
        and not chart.certificate.exact
        and chart.error.shape == chart.loss.shape
    )
    return FieldDisplay(
        chart.alpha,
        chart.beta,
        values(chart, channel),
        samples=np.concatenate([chart.cheaply, chart.samples]) if samples else None,
        error=chart.error if known else None,
        center=(0.0, 0.0),
        **_common(chart, channel),
    )


def relief(chart: Chart, channel: str, paths: Mapping[str, Array]) -> ReliefDisplay:
    """A channel as a relief that is not drawn yet."""
    from lossatlas.draw import ReliefDisplay

    return ReliefDisplay(chart.alpha, chart.beta, values(chart, channel), paths=paths, **_common(chart, channel))


def profile(chart: Chart, channel: str, samples: bool) -> ProfileDisplay:
    """A channel along a line, with the band of its error."""
    from lossatlas.draw import ProfileDisplay

    samples = _checks.flag("samples", samples)
    shown = values(chart, channel)[0]
    # Twice the error to expect of each place: about what 95 % of them keep within.
    banded = channel == "loss" and not chart.certificate.exact and chart.error.shape == chart.loss.shape
    off = 2 * chart.error[0] if banded else None
    circles = None
    if samples and len(chart.samples):
        t = np.unique(chart.samples[:, 0])
        t = t[(t >= chart.alpha[0]) & (t <= chart.alpha[-1])]
        circles = np.stack([t, np.interp(t, chart.alpha, shown)], 1)
    return ProfileDisplay(
        chart.alpha,
        shown,
        None if off is None else shown - off,
        None if off is None else shown + off,
        xlabel=chart.labels[0],
        ylabel=unit(channel),
        title=title(chart, channel),
        samples=circles,
        note=caption(chart, channel),
    )


def draw_profile(display: ProfileDisplay, ax: Any, channel: str, scale: Any) -> ProfileDisplay:
    """Draw a profile in the color of its channel; an accuracy on an even scale from 0 to 100 %."""
    even = channel == "accuracy" and scale == "auto"
    display.plot(ax, color=_LINES.get(channel, _OTHER_LINE), yscale="linear" if even else scale)
    known = display.y[np.isfinite(display.y)]
    if even and known.size and float(np.ptp(known)) >= _WIDE:
        display.ax_.set_ylim(0, 102)
    return display


def _common(chart: Chart, channel: str) -> dict[str, Any]:
    return {
        "xlabel": chart.labels[0],
        "ylabel": chart.labels[1],
        "zlabel": unit(channel),
        "title": title(chart, channel),
        "note": caption(chart, channel),
        "cmap": colors(channel),
    }


def paths_on(chart: Chart, path: Any) -> tuple[dict[str, Array], str]:
    """Paths as coordinates on the plane of a chart, and what its picture must say of them.

    Args:
        chart: the plane.
        path: (T, 2) coordinates on the plane; or points of the surface in order, (T, N), state dicts, modules,
            checkpoint files or a recording, which are projected; or several of them by name.

    Returns:
        By name, (T, 2) coordinates; and a sentence on how far projected points lie off the plane, or an empty one.

    Raises:
        InputError: points of the surface where the chart was loaded from a folder and knows no plane, or a path of
            another form.
    """
    found, off = {}, []
    for name, one in (path if isinstance(path, Mapping) else {"path": path}).items():
        places = _coordinates(chart, one)
        if places is None:
            places, residual = _projected(chart, one)
            if residual > 1e-6:
                off.append(
                    f"{name} lies off this plane by up to {100 * residual:.2g} % of its distance from the center"
                )
        found[name] = places
    return found, "; ".join(off)


def _coordinates(chart: Chart, path: Any) -> Array | None:
    """Coordinates as they were given; None for points of the surface."""
    try:
        numbers = path if isinstance(path, torch.Tensor) else np.asarray(path, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    if numbers.ndim != 2 or numbers.shape[1] != 2 or (chart.source and chart.source[0].dimension == 2):
        return None
    result: Array = np.asarray(numbers.detach().cpu() if isinstance(numbers, torch.Tensor) else numbers, np.float64)
    return result


def _projected(chart: Chart, path: Any) -> tuple[Array, float]:
    """The nearest coordinates on the plane, and the largest share of a distance that lies off it."""
    if chart.source is None:
        raise InputError(
            f"got a path of {type(path).__name__} for a chart that was loaded from a folder, whose plane is not there; "
            "expected coordinates on the plane, (T, 2). Use plane.project(iterates).coords."
        )
    surface, plane = chart.source
    if not isinstance(plane, Frame):
        seen = plane.project(path, surface=surface)
        return seen.coords.cpu().double().numpy(), float(seen.residuals.max())
    points = [surface.vector(one) for one in _listed(path)]
    coords, residuals = plane.project(torch.stack(points).to(plane.origin.device))
    return coords.cpu().double().numpy(), float(residuals.max())


def _listed(path: Any) -> Sequence[Any]:
    several = list(path) if isinstance(path, Sequence | np.ndarray | torch.Tensor) else []
    if not several or numbers_of(several[0]) is None:
        raise InputError(
            f"got a path of type {type(path).__name__}; expected coordinates on the plane, (T, 2), or points of the "
            "surface in order, (T, N)."
        )
    return several
