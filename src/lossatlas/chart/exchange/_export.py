"""Writing a chart to a file, whose suffix decides the format."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lossatlas import _checks, archive
from lossatlas._errors import InputError, OutputError
from lossatlas.chart._chart import Chart
from lossatlas.chart.exchange import _vtk
from lossatlas.chart.exchange._li2018 import li2018_bytes
from lossatlas.chart.exchange._vtk import Height


def _csv_bytes(chart: Chart) -> bytes:
    """Columns alpha, beta (``t`` alone for a line), loss, and each further channel; holes are ``nan`` or ``inf``.

    One row per cell, alpha running fastest, every digit kept.
    """
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    channels = {"loss": chart.loss, **chart.extras}
    writer.writerow([*(("t",) if chart.is_line else ("alpha", "beta")), *channels])
    for j, beta in enumerate(chart.beta.tolist()):
        columns = [values[j].tolist() for values in channels.values()]
        for alpha, *rest in zip(chart.alpha.tolist(), *columns, strict=True):
            writer.writerow([repr(value) for value in ([alpha] if chart.is_line else [alpha, beta]) + rest])
    return buffer.getvalue().encode()


_PLAIN: dict[str, Callable[[Chart], bytes]] = {".csv": _csv_bytes, ".h5": li2018_bytes, ".hdf5": li2018_bytes}
_RAISED = (".vts", ".vtp")


def export(
    chart: Chart,
    path: str | Path,
    *,
    height: Height = "loss",
    clamp: float | None = None,
    offset: float = 0.1,
    factor: float = 1.0,
) -> Path:
    """Write a chart for another program, complete or not at all.

    Args:
        chart: on a plane or line.
        path: its ending decides: ``.csv``; ``.h5`` for Li et al. 2018 (extra ``h5``); ``.vts``, a structured grid, or
            ``.vtp``, quadrilaterals (a polyline for a line), for ParaView.
        height: for ParaView, how high the surface lies: ``loss``, ``log`` for ln(loss + offset) as Li et al. do, or
            ``flat``. The loss itself is always a point array.
        clamp: for ParaView, losses above it are put there, in the height only.
        offset: of ``log``.
        factor: of the height.

    Returns:
        The path written.

    Raises:
        OutputError: for another ending, or a place that cannot be written.
        InputError: for losses that have no logarithm, or a package that is missing.
    """
    path = _checks.path("path", path, error=OutputError)
    suffix = path.suffix.lower()
    if suffix in _PLAIN:
        return archive.write_bytes(path, _PLAIN[suffix](chart))
    if suffix not in _RAISED:
        known = ", ".join([*_PLAIN, *_RAISED])
        raise OutputError(f"a chart cannot be exported as {suffix or 'a file without ending'!r}; expected {known}.")
    z = _vtk.heights(chart.loss, height, clamp, offset, factor)
    fields: dict[str, NDArray[Any]] = {"loss": chart.loss, **chart.extras, **_vtk.hidden(chart.loss)}
    if chart.is_line and suffix == ".vtp":
        points = np.stack([chart.alpha, np.zeros_like(chart.alpha), z[0]], 1)
        return archive.write_bytes(path, _vtk.polyline(points, fields))
    write = _vtk.structured_grid if suffix == ".vts" else _vtk.polygons
    return archive.write_bytes(path, write(chart.alpha, chart.beta, z, fields))


def export_path(
    path: str | Path,
    coords: ArrayLike,
    *,
    losses: ArrayLike | None = None,
    residuals: ArrayLike | None = None,
    height: Height = "loss",
    clamp: float | None = None,
    offset: float = 0.1,
    factor: float = 1.0,
) -> Path:
    """Write a path on a chart for ParaView, one polyline in a ``.vtp`` file.

    Give the losses, height and clamp of the surface it is to lie on.

    Args:
        path: ending in ``.vtp``.
        coords: (n, k), such as `Plane.project` gives.
        losses: (n,), of the iterates themselves; without them the path is flat.
        residuals: (n,), how far off the plane they are.
        height: as in `export`.
        clamp: as in `export`.
        offset: as in `export`.
        factor: as in `export`.

    Returns:
        The path written.

    Raises:
        OutputError: for another ending, or a place that cannot be written.
        InputError: for arrays that do not fit together.
    """
    path = _checks.path("path", path, error=OutputError)
    if path.suffix.lower() != ".vtp":
        raise OutputError(f"a path cannot be exported as {path.suffix!r}; expected .vtp.")
    places = np.asarray(coords, dtype=np.float64)
    if places.ndim != 2 or places.shape[1] not in (1, 2) or len(places) < 2:
        raise InputError(f"got coords of shape {places.shape}; expected (n, 1) or (n, 2) with at least two points.")
    fields: dict[str, NDArray[Any]] = {"step": np.arange(len(places), dtype=np.int64)}
    for name, values in (("loss", losses), ("residual", residuals)):
        if values is not None:
            fields[name] = np.asarray(values, dtype=np.float64)
            if fields[name].shape != (len(places),):
                raise InputError(f"got {name} of shape {fields[name].shape}; expected ({len(places)},), one per point.")
    z = _vtk.heights(fields["loss"], height, clamp, offset, factor) if losses is not None else np.zeros(len(places))
    across = places[:, 1] if places.shape[1] == 2 else np.zeros(len(places))
    return archive.write_bytes(path, _vtk.polyline(np.stack([places[:, 0], across, z], 1), fields))
