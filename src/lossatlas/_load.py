"""Results from folders: whatever kind was saved there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lossatlas import archive
from lossatlas._errors import OutputError
from lossatlas.chart import Chart, Comparison
from lossatlas.connect import Path as ConnectingPath
from lossatlas.curvature import BlockCurvature, Diagonal, Estimate, Extremes, Spectrum

Curvature = Extremes | Estimate | Diagonal | Spectrum | BlockCurvature

_KINDS: dict[str, Callable[[Any, Any], Chart | Comparison | ConnectingPath | Curvature]] = {
    "chart": Chart.restore,
    "comparison": Comparison.restore,
    "path": ConnectingPath.restore,
    "extremes": Extremes.restore,
    "estimate": Estimate.restore,
    "diagonal": Diagonal.restore,
    "spectrum": Spectrum.restore,
    "blocks": BlockCurvature.restore,
}


def load(folder: str | Path) -> Chart | Comparison | ConnectingPath | Curvature:
    """The result that was saved in a folder: a chart, a comparison of charts, a path, or a measure of curvature.

    Args:
        folder: what the `save` of a result wrote.

    Raises:
        OutputError: if there is none, or it is damaged.
    """
    kind, arrays, record = archive.load(folder)
    if kind not in _KINDS:
        raise OutputError(
            f"{str(folder)!r} holds a {kind}; expected one of {', '.join(_KINDS)}. Read its JSON for the record."
        )
    return _KINDS[kind](arrays, record)
