"""Results from folders: whatever kind was saved there."""

from __future__ import annotations

from pathlib import Path

from lossatlas import archive
from lossatlas._errors import OutputError
from lossatlas.chart import Chart


def load(folder: str | Path) -> Chart:
    """The chart that was saved in a folder.

    Args:
        folder: what `Chart.save` wrote.

    Raises:
        OutputError: if there is none, or it is damaged.
    """
    kind, arrays, record = archive.load(folder)
    if kind != "chart":
        raise OutputError(f"{str(folder)!r} holds a {kind}; expected a chart. Read its JSON for the record.")
    return Chart.restore(arrays, record)
