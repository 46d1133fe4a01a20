"""A chart as an xarray data set: dimensions beta and alpha, channels as variables, the record as attributes."""

from __future__ import annotations

from typing import Any

from lossatlas import archive
from lossatlas._errors import InputError
from lossatlas.chart._chart import Chart


def to_xarray(chart: Chart) -> Any:
    """An `xarray.Dataset` with ``loss`` and each further channel over ``beta`` and ``alpha`` (``t`` for a line).

    Its attributes hold title, status, certificate and, as JSON in ``record``, everything else that is known.

    Raises:
        InputError: if xarray is not installed.
    """
    try:
        import xarray
    except ImportError as error:
        raise InputError(
            "to_xarray needs xarray, which is not installed. Install the extra: pip install 'lossatlas[xarray]'."
        ) from error
    names = ("t",) if chart.is_line else ("beta", "alpha")
    axes = (chart.alpha,) if chart.is_line else (chart.beta, chart.alpha)
    labels = chart.labels if chart.is_line else chart.labels[::-1]
    coords = {n: (n, axis, {"long_name": label}) for n, axis, label in zip(names, axes, labels, strict=True)}
    channels = {"loss": chart.loss, **chart.extras}
    variables = {name: (names, values[0] if chart.is_line else values) for name, values in channels.items()}
    attributes = {
        "title": chart.title,
        "status": chart.status,
        "certificate": chart.certificate.sentence,
        "record": archive.dump(chart.record()).decode(),
    }
    return xarray.Dataset(variables, coords=coords, attrs=attributes)
