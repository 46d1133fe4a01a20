"""A chart as comma-separated values: one row per cell, alpha running fastest, every digit kept."""

from __future__ import annotations

import csv
import io

from lossatlas.chart._chart import Chart


def csv_bytes(chart: Chart) -> bytes:
    """Columns alpha, beta (``t`` alone for a line), loss, and each further channel; holes are ``nan`` or ``inf``."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    channels = {"loss": chart.loss, **chart.extras}
    writer.writerow([*(("t",) if chart.is_line else ("alpha", "beta")), *channels])
    for j, beta in enumerate(chart.beta.tolist()):
        columns = [values[j].tolist() for values in channels.values()]
        for alpha, *rest in zip(chart.alpha.tolist(), *columns, strict=True):
            writer.writerow([repr(value) for value in ([alpha] if chart.is_line else [alpha, beta]) + rest])
    return buffer.getvalue().encode()
